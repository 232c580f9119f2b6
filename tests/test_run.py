import csv
import math
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

import bompnas
from bompnas import experiment as experiments
from bompnas import report
from bompnas import run as runs
from bompnas.report import snapshots
from bompnas.training import data
from bompnas.trials import delivery, trial
from bompnas.trials.events import Epoch, Values
from bompnas.trials.record import Record
from bompnas.trials.trial import Outcome, TrialResult

SPACE = Path("search_spaces/mobilenetv2_digits.yaml")


def fake_trial(task, tell=None):
    """Accuracies that are a function of networks and seed."""
    outcomes = []
    for network in task.networks:
        accuracy = (int(network.key, 16) + task.seed) % 997 / 997
        metrics = {"float_val_accuracy": accuracy, "val_accuracy": accuracy, "val_loss": 1 - accuracy}
        if task.test:
            metrics["test_accuracy"] = accuracy
        outcomes.append(Outcome(metrics, {"qaft": 0.1}, model=b"a model" if task.keep_models else None))
    return TrialResult(tuple(outcomes), {"train": 1.0}, {"float_loss": [1.0]})


@pytest.fixture
def faked(monkeypatch):
    """Replaces the trial, by default by one that takes no time."""

    def replace(function=fake_trial):
        monkeypatch.setattr(trial, "run_trial", function)

    replace()
    return replace


@pytest.fixture
def no_report(monkeypatch):
    """Leaves out the report, which takes longer than all the rest."""
    monkeypatch.setattr(report, "write", lambda folder: folder / "report.html")


@pytest.fixture
def command(experiment, out):
    """The command line, in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda *arguments: runs.main([str(experiment), "--out", str(out), *arguments])
    for number, handler in before.items():
        signal.signal(number, handler)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


EXPORTED = ("--set", "method.trials=1", "data.train_images=128", "export.format=tflite")


def test_an_experiment_runs_from_images_to_integer_files(command, out, capsys):
    assert command(*EXPORTED) == 0
    names = {entry.name for entry in out.iterdir()}
    assert names >= {"experiment.yaml", "run.db", "candidates.csv", "pareto.csv", "models", "report.html", "run.log"}
    assert [row["state"] for row in rows(out / "candidates.csv")] == ["completed"]
    front = rows(out / "pareto.csv")
    for row in front:
        assert float(row["size_kb"]) <= 16
        assert 0 <= float(row["test_accuracy"]) <= 1
        model = keras.models.load_model(out / row["model"])
        assert model(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 10)
        assert row["tflite_test_accuracy"] == row["test_accuracy"]
        assert (row["parity_argmax"], row["parity_max_lsb"], row["parity_images"]) == ("1.0", "0", "359")
        assert (out / row["tflite"]).stat().st_size == int(row["tflite_bytes"])
        assert (out / row["packed"]).stat().st_size == int(row["packed_bytes"])
    assert len(front) == 1
    printed = capsys.readouterr().out
    assert "trial 1 of 1: " in printed
    assert "Exported 1 of 1 networks as .tflite" in printed
    assert "on 359 test images: exact" in printed
    page = (out / "report.html").read_text()
    assert "Integer files" in page

    (tflite,) = out.glob("models/*.tflite")
    before = tflite.stat().st_mtime_ns
    assert command(*EXPORTED) == 0
    assert tflite.stat().st_mtime_ns == before
    assert command(*EXPORTED, "export.io=float") == 0
    assert tflite.stat().st_mtime_ns > before
    assert yaml.safe_load((out / "experiment.yaml").read_text())["export"]["io"] == "float"


@pytest.mark.usefixtures("no_report")
def test_networks_of_a_float_search_are_exported(command, out):
    assert command(*EXPORTED, "quantization.mode=none") == 0
    (row,) = rows(out / "pareto.csv")
    assert (row["parity_argmax"], row["parity_max_lsb"]) == ("1.0", "0")
    assert row["tflite_test_accuracy"] == row["test_accuracy"]


@pytest.mark.usefixtures("no_report")
def test_a_run_killed_before_its_export_goes_on_and_tells_what_cannot_be_exported(command, out, monkeypatch, capsys):
    wide = (*EXPORTED, "quantization={mode: ptq, bits: 12}")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "deliver", killed)
        assert command(*wide) == 130
    (before,) = rows(out / "pareto.csv")
    assert before["packed"] == ""
    capsys.readouterr()

    def no_trial(task, tell):
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(trial, "run_trial", no_trial)
    assert command(*wide) == 0
    (row,) = rows(out / "pareto.csv")
    assert row["test_accuracy"] == before["test_accuracy"]
    assert "12" in row["not_exportable"]
    assert (row["tflite"], row["parity_argmax"], row["parity_max_lsb"]) == ("", "1.0", "0")
    assert (out / row["packed"]).exists()
    printed = capsys.readouterr()
    assert "Exported 0 of 1 networks as .tflite" in printed.out
    assert "network 1: layer 'stem' cannot be exported" in printed.out
    assert printed.err == ""


def test_files_that_differ_end_in_a_status_of_their_own_after_the_report(command, out, faked, capsys):
    assert command("--set", "method.trials=1", "export.format=tflite") == 3  # what the fake has saved is no model
    printed = capsys.readouterr()
    assert "network 1: export failed: InputError: " in printed.err
    assert "Traceback" not in printed.err
    assert "cannot be read as a Keras model" in (out / "report.html").read_text()
    assert "Traceback" in (out / "run.log").read_text()
    assert "cannot be read as a Keras model" in rows(out / "pareto.csv")[0]["export_error"]


@pytest.mark.usefixtures("no_report")
def test_the_same_command_goes_on_and_finds_nothing_left(command, out, faked, capsys):
    assert command() == 0
    first = (out / "pareto.csv").read_bytes()

    def no_trial(task, tell):
        raise AssertionError("nothing is left to train")

    faked(no_trial)
    assert command() == 0
    assert (out / "pareto.csv").read_bytes() == first
    assert "6 trials of bomp, 6 of them from before" in capsys.readouterr().out


@pytest.mark.usefixtures("no_report")
def test_overrides_and_overwrite_start_over(command, out, faked):
    assert command() == 0
    assert command("--set", "method.trials=4") == 2
    assert len(rows(out / "candidates.csv")) == 6
    assert command("--set", "method.trials=4", "--overwrite") == 0
    assert len(rows(out / "candidates.csv")) == 4
    assert yaml.safe_load((out / "experiment.yaml").read_text())["method"]["trials"] == 4


@pytest.mark.usefixtures("no_report")
def test_the_front_is_of_finally_trained_networks_that_no_other_dominates(experiment, out, faked):
    result = runs.run(experiments.load(experiment), out=out)
    assert result.folder == out
    assert len(result.candidates) == 6
    assert all(candidate in result.trained for candidate in result.front)
    assert [row["id"] for row in rows(out / "pareto.csv") if row["pareto"] == "True"] == [
        str(candidate.id) for candidate in result.front
    ]
    assert result.model(result.front[0]) == out / f"models/{result.front[0].id}.keras"


@pytest.mark.usefixtures("no_report")
def test_float_search_ranks_float_networks_and_deploys_quantized_ones(experiment, out, faked):
    def lossy(task, tell=None):
        result = fake_trial(task)
        for outcome in result.outcomes:
            outcome.metrics["val_accuracy"] /= 2
        return result

    faked(lossy)
    result = runs.run(experiments.load(experiment, ["quantization.mode=none", "method.trials=3"]), out=out)
    for candidate in result.candidates:
        terms = candidate.metrics["float_val_accuracy"] / 0.8, 8 / np.log10(candidate.cost["float_size_bits"])
        assert candidate.score == pytest.approx(sum(terms))
        assert {layer.weight_bits for layer in candidate.network.layers} == {8}
    for candidate in result.trained:
        terms = candidate.metrics["val_accuracy"] / 0.8, 8 / np.log10(candidate.cost["size_bits"])
        assert candidate.score == pytest.approx(sum(terms))


@pytest.mark.usefixtures("no_report")
def test_head_and_data_may_come_from_python(experiment, out, faked):
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (90, 8, 8, 1), np.uint8), np.arange(90) % 3
    dataset = data.from_arrays(images, labels, input_size=8, input_channels=1)
    seen = []

    def look(task, tell):
        seen.append(task.data.load())
        return fake_trial(task)

    faked(look)

    def head(features):
        return keras.layers.Dense(3)(features)

    result = runs.run(experiments.load(experiment), head=head, data=dataset, out=out)
    assert result.candidates[0].network.head[-1].out_channels == 3
    np.testing.assert_array_equal(seen[0]["train"][0], dataset.train.images)
    np.testing.assert_array_equal(seen[0]["test"][1], dataset.test.labels)


@pytest.mark.usefixtures("no_report")
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(command, out, faked, capsys):
    calls = []

    def interrupted(task, tell=None):
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fake_trial(task)

    faked(interrupted)
    assert command() == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    assert [row["state"] for row in rows(out / "candidates.csv")] == ["completed"] * 2
    faked()
    assert command() == 0
    assert [row["state"] for row in rows(out / "candidates.csv")] == ["completed"] * 6


def test_when_every_trial_fails_the_reason_is_kept(command, out, faked, capsys):
    def fail(task, tell=None):
        raise ValueError("the head does not like it")

    faked(fail)
    assert command() == 1
    assert "No network was trained to the end" in capsys.readouterr().err
    assert {row["error"] for row in rows(out / "candidates.csv")} == {"ValueError: the head does not like it"}
    assert "Traceback" in (out / "run.log").read_text()
    assert (out / "report.html").exists()


@pytest.mark.usefixtures("no_report")
def test_what_a_job_measures_in_its_epochs_is_in_the_record_while_it_runs(command, out, faked):
    seen = []

    def told(task, tell):
        tell(Epoch("float", 0, 1, 2, 1.0))
        tell(Values(1, {"loss": 1.0, "reward": math.nan}))
        with Record(out / "run.db", read_only=True) as record:
            seen.append(record.curves("trial 1"))
        return fake_trial(task)

    faked(told)
    assert command() == 0
    assert seen[0]["loss"] == [1.0]
    assert math.isnan(seen[0]["reward"][0])


@pytest.mark.usefixtures("no_report")
def test_a_resumed_run_goes_on_with_its_tensorboard_logs(command, out, faked):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    calls = []

    def told(task, tell):
        calls.append(task)
        tell(Epoch("float", 0, 1, 1, 1.0))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fake_trial(task)

    def losses(job):
        log = accumulator.EventAccumulator(str(out / "tensorboard" / job)).Reload()
        return [(event.step, event.value) for event in log.Scalars("loss/float")]

    faked(told)
    assert command("--set", "tensorboard=true") == 130
    assert losses("trial 3") == [(1, 1.0)]
    assert command("--set", "tensorboard=true") == 0
    for number in range(1, 7):
        assert losses(f"trial {number}") == [(1, 1.0)]
    front = [row["id"] for row in rows(out / "pareto.csv")]
    assert {path.name for path in (out / "tensorboard").glob("final *")} == {f"final {id}" for id in front}


def test_a_missing_tensorboard_is_told_before_anything_is_made(command, out, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    assert command("--set", "tensorboard=true") == 2
    assert "pip install 'bompnas[tensorboard]'" in capsys.readouterr().err
    assert not out.exists()


def test_the_report_is_drawn_while_the_run_goes_on_and_is_final_at_its_end(command, out, faked, monkeypatch):
    pages = []

    def look(task, tell):
        pages.append((out / "report.html").read_text())
        return fake_trial(task)

    faked(look)
    monkeypatch.setattr(snapshots, "_FIRST", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", 1e9)
    assert command("--set", "method.trials=2") == 0
    assert "0 of 2 trials. This page reloads itself" in pages[0]
    assert "1 of 2 trials. This page reloads itself" in pages[1]
    assert "This page reloads itself" not in (out / "report.html").read_text()


def test_the_report_is_drawn_when_a_job_has_measured_something(command, out, faked, monkeypatch):
    pages = []

    def told(task, tell):
        (out / "report.html").unlink(missing_ok=True)
        tell(Epoch("float", 0, 1, 2, 1.0))
        tell(Values(1, {"loss": 1.0}))
        pages.append((out / "report.html").exists())
        return fake_trial(task)

    faked(told)
    monkeypatch.setattr(snapshots, "_FIRST", 0.0)
    monkeypatch.setattr(snapshots, "SHARE", 1e9)
    assert command("--set", "method.trials=1") == 0
    assert pages[0]


def test_a_full_disk_ends_in_a_message(command, out, faked, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Record, "finish", full)
    assert command() == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "Traceback" not in error


def unfit_images(folder):
    np.savez(folder / "x.npz", x_train=np.zeros((50, 9, 9), np.uint8), y_train=np.arange(50) % 2)
    return f"data={{dataset: npz, path: {folder / 'x.npz'}}}"


def unreadable_npz(folder):
    (folder / "x.npz").write_text("no archive")
    return f"data={{dataset: npz, path: {folder / 'x.npz'}}}"


def pickled_objects(folder):
    np.savez(folder / "x.npz", x_train=np.array([{}]), y_train=np.zeros(1))
    return f"data={{dataset: npz, path: {folder / 'x.npz'}}}"


def empty_choices(folder):
    document = yaml.safe_load(SPACE.read_text())
    document["last_conv"]["filters"] = []
    (folder / "space.yaml").write_text(yaml.safe_dump(document))
    return f"space={folder / 'space.yaml'}"


BAD = {
    "unknown key": (lambda folder: "training.epoch=3", "training.epoch"),
    "wrong type": (lambda folder: "training.epochs=many", "training.epochs"),
    "missing space": (lambda folder: "space=nowhere.yaml", "nowhere.yaml"),
    "bits": (lambda folder: "quantization.bits=17", "quantization.bits"),
    "head": (lambda folder: "head.class=no_such_module:Head", "no_such_module"),
    "infeasible": (lambda folder: "constraints.size_kb=0.001", "size_kb"),
    "empty choices": (empty_choices, "filters"),
    "unfit images": (unfit_images, "8, 8, 1"),
    "unreadable npz": (unreadable_npz, "x.npz"),
    "pickled objects": (pickled_objects, "object"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_and_nothing_is_created(command, out, tmp_path, capsys, case):
    make, expected = BAD[case]
    assert command("--set", make(tmp_path)) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") <= 2
    assert captured.out == ""
    assert not out.exists()


def test_a_missing_experiment_is_one_message(tmp_path, capsys):
    assert runs.main([str(tmp_path / "nothing.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "nothing.yaml" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_head_that_workers_cannot_get_is_refused_before_anything_is_made(experiment, out):
    class Local:
        def build(self, hp, inputs):
            return keras.layers.Dense(10)(inputs)

    with pytest.raises(bompnas.errors.InputError, match="set `workers: 1`"):
        runs.run(experiments.load(experiment, ["workers=2"]), head=Local(), out=out)
    assert not out.exists()
