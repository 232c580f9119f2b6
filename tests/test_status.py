import dataclasses
import datetime
import fcntl
import io
import os
import subprocess
import sys
import time

import pytest
from rich.console import Console

from bompnas import experiment as experiments
from bompnas import report, status
from bompnas import run as runs
from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.trials import trial
from bompnas.trials.events import Epoch
from bompnas.trials.record import Record
from bompnas.trials.trial import Outcome, TrialResult
from bompnas.trials.watching.live import Running, Stage

NOW = datetime.datetime(2031, 5, 4, 12, 0, 30)
PHASES = {"build": 0.5, "train": 3.0}


def fake_trial(task, tell=None):
    """Accuracies that are a function of networks and seed; one network in three fails."""
    outcomes = []
    for network in task.networks:
        number = int(network.key, 16)
        if number % 3 == 0 and not task.test:
            outcomes.append(Outcome({}, {}, error="DivergedError: the loss became nan"))
            continue
        metrics = {"val_accuracy": number % 997 / 997} | ({"test_accuracy": 0.5} if task.test else {})
        outcomes.append(Outcome(metrics, {"qaft": 0.5}, model=b"a model" if task.keep_models else None))
    return TrialResult(tuple(outcomes), PHASES, {"float_loss": [1.0]})


@pytest.fixture
def experiment(tmp_path, pytestconfig):
    return {
        "name": "small",
        "data": {"dataset": "digits"},
        "space": str(pytestconfig.rootpath / "search_spaces/mobilenetv2_digits.yaml"),
        "method": {"name": "random", "trials": 6},
        "export": {"format": "none"},
        "seed": 3,
    }


@pytest.fixture
def carry_out(experiment, tmp_path, monkeypatch):
    """Carries out the experiment by the fake trial, in `tmp_path/out`."""
    monkeypatch.setattr(report, "write", lambda folder: folder / "report.html")

    def start(function=fake_trial):
        monkeypatch.setattr(trial, "run_trial", function)
        return runs.run(experiments.parse(experiment), out=tmp_path / "out").folder

    return start


def text(found, width=120):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(status.render(found, NOW))
    return console.export_text()


def facts(found):
    lines = (line.split("  ", 1) for line in text(found).split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, value in lines}


def test_a_finished_run(carry_out):
    folder = carry_out()
    found = status.read(folder)
    failed = [candidate for candidate in found.view.candidates if candidate.state is State.FAILED]
    assert failed, "the seed is such that some fail"
    assert found.finished
    assert found.driver is None
    assert found.stage is None
    assert found.seconds == {"build": 0.5, "train": 3.0, "qaft": 0.5}
    assert found.failures == {
        "DivergedError: the loss became nan": tuple(f"trial {candidate.trial}" for candidate in failed)
    }
    told = facts(found)
    assert told["run"] == f"small in {folder}"
    assert told["method"] == "random, 6 trials, seed 3"
    assert told["state"] == "finished"
    assert told["trials"] == f"6 of 6, {len(failed)} of them failed"
    assert told["seconds a trial"] == "4.0 (build 0.5, train 3.0, qaft 0.5)"
    best = found.view.best
    assert told["best"] == (
        f"score {best.score:.4f}, candidate {best.id} of trial {best.trial}; front of {len(found.view.front)}"
    )
    assert told["final trainings"] == f"{len(found.view.front)} of {len(found.view.front)}"
    table = text(found)
    assert "Front, after final training" in table
    assert "Packed size [kB]" in table
    assert f"{len(failed)}x  DivergedError: the loss became nan (trial " in table


def test_a_run_while_it_is_carried_out(carry_out, tmp_path):
    seen = []

    def look(task, tell):
        tell(Epoch("float", 0, 1, 20, 0.75))
        seen.append(status.read(tmp_path / "out"))
        return fake_trial(task)

    carry_out(look)
    found = seen[3]
    assert not found.finished
    assert found.driver.startswith(f"process {os.getpid()} on ")
    assert facts(found)["state"] == f"running ({found.driver})"
    assert facts(found)["trials"].startswith("3 of 6")
    assert facts(found)["trials"].endswith("; 1 running")
    (running,) = found.stage.running
    assert running.job == "trial 4"
    assert (found.stage.done, found.stage.total) == (3, 6)
    assert "3 of 6" in text(found).split("\n\n")[1]
    assert "trial 4  " in text(found)
    assert "as the search measured it" in text(found)


def test_a_run_that_was_interrupted(carry_out, tmp_path):
    calls = []

    def interrupted(task, tell=None):
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fake_trial(task)

    with pytest.raises(KeyboardInterrupt):
        carry_out(interrupted)
    found = status.read(tmp_path / "out")
    assert not found.finished
    assert facts(found)["state"] == "stopped; the command that began it goes on with it"
    assert facts(found)["trials"].endswith("1 interrupted, to be run again")
    assert facts(found)["trials"].startswith("2 of 6")


def test_what_a_killed_driver_left_behind_is_not_taken_for_the_present(carry_out):
    folder = carry_out()
    left = Stage("trial", 6, 2, (Running("trial 3", "4 kB", 0.0),), None, None, 0.0)
    (folder / "status.json").write_text(left.to_json())
    assert status.read(folder).stage is None
    with (folder / "run.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert status.read(folder).stage == left
        (folder / "status.json").write_text('{"name": "tri')
        assert status.read(folder).stage is None


def test_a_run_of_which_nothing_came_is_finished_too(carry_out):
    def fail(task, tell=None):
        raise ValueError("the head does not like it")

    found = status.read(carry_out(fail))
    assert found.finished
    assert found.failed == (1, 2, 3, 4, 5, 6)
    assert "6x  ValueError: the head does not like it (trial 1, trial 2, " in text(found)


def test_exports_are_part_of_a_run(carry_out, experiment):
    found = status.read(carry_out())
    wanted = {**found.view.experiment, "export": {"format": "tflite"}}
    assert not dataclasses.replace(found, view=dataclasses.replace(found.view, experiment=wanted)).finished


def test_incidents_are_told(carry_out):
    folder = carry_out()
    with Record(folder / "run.db") as record:
        for number in range(1, 8):
            record.note(f"trial {number}", "killed by signal 9; started again")
    told = text(status.read(folder))
    assert "Last 5 of 7 incidents" in told
    assert "trial 2" not in told.rpartition(" incidents")[2]
    assert "trial 7  killed by signal 9; started again" in told


def test_times(carry_out):
    folder = carry_out()
    (folder / "run.log").write_text("2031-05-04 11:00:00,123 INFO begun\n2031-05-04 11:59:00,000 INFO more\n")
    os.utime(folder / "run.db", (NOW.timestamp() - 20, NOW.timestamp() - 20))
    told = facts(status.read(folder))
    assert told["begun"] == "2031-05-04 11:00:00, 1:00:30 ago"
    assert told["last change"] == "2031-05-04 12:00:10, 0:20 ago"
    (folder / "run.log").unlink()
    assert "begun" not in facts(status.read(folder))


def test_reading_changes_nothing(carry_out):
    folder = carry_out()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    status.read(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="does not exist"):
        status.read(tmp_path)
    assert runs.main(["--status", str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_watching_ends_with_the_run(carry_out, monkeypatch, capsys):
    folder = carry_out()
    lock = (folder / "run.lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    monkeypatch.setattr(time, "sleep", lambda seconds: lock.close())
    assert runs.main(["--status", str(folder), "--watch"]) == 0
    assert "finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected EXPERIMENT"),
        (["--watch", "some.yaml"], "--watch goes with --status"),
        (["some.yaml", "--status", "runs/some"], "leave out EXPERIMENT"),
        (["--status", "runs/some", "--overwrite"], "leave out --overwrite"),
        (["--status", "runs/some", "--set", "seed=1"], "leave out --set"),
        (["--status", "runs/some", "--out", "there"], "leave out --out"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        runs.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_status_needs_neither_keras_nor_tensorflow():
    code = "import sys, bompnas.run, bompnas.status; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_search_of_a_supernet(supernet_runs, hqnas_digits, tmp_path):
    supernet_runs.write(tmp_path / "going", hqnas_digits, epochs=3, planned=12, warm_up=4)
    found = status.read(tmp_path / "going")
    told = facts(found)
    last = {name: values[-1] for name, values in found.view.curves.items()}
    assert not found.finished
    assert told["method"] == "hqnas, a supernet of 12 epochs, seed 0"
    shown = ", ".join(f"{name} {last[name]:.4g}" for name in ("loss", "val_accuracy", "latency_ms"))
    assert told["epochs"] == f"3 of 12; {shown}"
    assert not {"trials", "networks", "best"} & told.keys()

    supernet_runs.write(tmp_path / "done", hqnas_digits, epochs=12, planned=12, warm_up=4, sampled=4)
    found = status.read(tmp_path / "done")
    told = facts(found)
    assert found.finished
    assert told["epochs"].startswith("12 of 12; ")
    assert told["networks"] == "5: 1 decided, 4 sampled last"
    assert told["seconds of the search"] == "1234.5 (search 1234.5)"
    best = found.view.best
    assert told["best"] == f"score {best.score:.4f}, candidate {best.id}; front of {len(found.view.front)}"
    assert told["final trainings"] == f"{len(found.view.chosen)} of {len(found.view.chosen)}"
    assert "trials" not in told


def test_what_failed_of_a_supernet_is_told_network_by_network(supernet_runs, hqnas_digits, tmp_path):
    supernet_runs.write(tmp_path, hqnas_digits, epochs=2, planned=2, warm_up=1, sampled=2, trained=False)
    found = status.read(tmp_path)
    broken = [dataclasses.replace(item, state=State.FAILED, error="nan") for item in found.view.candidates[1:]]
    view = dataclasses.replace(found.view, candidates=(found.view.candidates[0], *broken))
    assert dataclasses.replace(found, view=view).failures == {"nan": ("candidate 2", "candidate 3")}
