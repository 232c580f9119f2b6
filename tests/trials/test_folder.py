import contextlib
import errno
import io
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import textwrap

import pytest
import yaml

from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.trials import folder
from bompnas.trials.record import Final, Record

EXPERIMENT = {"name": "digits", "training": {"epochs": 20}, "blocks": [{"kernel": [2, 3]}, {"kernel": [3]}]}


def meta(**changes):
    experiment = {**EXPERIMENT, **changes}
    return {"experiment": experiment, "identity": experiment, "versions": {"python": "3.11.0", "keras": "3.15.1"}}


def contents(path):
    return {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.is_file()}


def test_a_new_folder_holds_the_record_and_the_experiment(tmp_path):
    path = tmp_path / "runs" / "digits"
    with folder.opened(path, meta()) as record:
        assert record.meta == meta()
    assert yaml.safe_load((path / "experiment.yaml").read_text()) == EXPERIMENT
    assert "#   keras 3.15.1\n" in (path / "experiment.yaml").read_text()
    assert {entry.name for entry in path.iterdir()} == {"run.db", "run.lock", "run.log", "experiment.yaml"}


def test_the_same_experiment_goes_on(tmp_path, make_candidate):
    candidate = make_candidate()
    with folder.opened(tmp_path, meta()) as record:
        record.add([candidate])
    (tmp_path / "experiment.yaml").unlink()
    later = {**meta(), "versions": {"python": "3.12.0"}}
    with folder.opened(tmp_path, later) as record:
        assert record.candidates == (candidate,)
        assert record.meta == meta()
    assert "python 3.11.0" in (tmp_path / "experiment.yaml").read_text()


def test_a_changed_experiment_is_refused_with_the_difference(tmp_path):
    with folder.opened(tmp_path, meta()):
        pass
    before = contents(tmp_path)
    changed = meta(training={"epochs": 3}, seed=1, blocks=[{"kernel": [2, 3]}, {"kernel": [3, 5]}])
    with pytest.raises(InputError) as caught, folder.opened(tmp_path, changed):
        pass
    assert str(caught.value).splitlines() == [
        f"{tmp_path} holds a run of another experiment:",
        "  training.epochs: 20 there, 3 now",
        "  blocks.2.kernel: [3] there, [3, 5] now",
        "  seed: None there, 1 now",
        "Undo the change to go on with that run, choose another folder with --out, or delete it with --overwrite.",
    ]
    assert {**contents(tmp_path), "run.lock": b""} == {**before, "run.lock": b""}


def test_a_key_that_an_older_version_did_not_know_has_its_default(tmp_path):
    with folder.opened(tmp_path, meta()):
        pass
    with folder.opened(tmp_path, meta(training={"epochs": 20, "precision": "auto"})) as record:
        assert record.meta == meta()
    with (
        pytest.raises(InputError, match=r"training\.precision: auto there, bfloat16 now"),
        folder.opened(tmp_path, meta(training={"epochs": 20, "precision": "bfloat16"})),
    ):
        pass


def test_the_export_section_may_change_and_is_followed(tmp_path):
    def exporting(**settings):
        return {**meta(), "experiment": {**EXPERIMENT, "export": settings}}

    with folder.opened(tmp_path, exporting(io="int8")) as record:
        assert record.meta["experiment"]["export"] == {"io": "int8"}
    with folder.opened(tmp_path, exporting(io="float")) as record:
        assert record.meta["experiment"] == {**EXPERIMENT, "export": {"io": "float"}}
        assert record.meta["identity"] == EXPERIMENT
    assert yaml.safe_load((tmp_path / "experiment.yaml").read_text())["export"] == {"io": "float"}


def test_many_differences_are_cut_short(tmp_path):
    with folder.opened(tmp_path, meta()):
        pass
    with (
        pytest.raises(InputError, match="  and 4 more"),
        folder.opened(tmp_path, meta(**dict.fromkeys("abcdefghijkl", 1))),
    ):
        pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_refused_and_kept(tmp_path, overwrite):
    (tmp_path / "experiment.yaml").write_text("mine")
    message = r"holds other files \(experiment.yaml\) and no run"
    with pytest.raises(InputError, match=message), folder.opened(tmp_path, meta(), overwrite):
        pass
    assert contents(tmp_path) == {"experiment.yaml": b"mine"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_someone_elses_run_db_is_refused_and_kept(tmp_path, overwrite):
    (tmp_path / "run.db").write_bytes(b"something else")
    with pytest.raises(InputError, match="cannot be read as the record"), folder.opened(tmp_path, meta(), overwrite):
        pass
    assert contents(tmp_path) == {"run.db": b"something else"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"), folder.opened(tmp_path / "file", meta()):
        pass


def test_overwriting_deletes_the_run_and_nothing_else(tmp_path, make_candidate):
    with folder.opened(tmp_path, meta()) as record:
        record.add([make_candidate()])
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "1.keras").write_text("weights")
    (tmp_path / "pareto.csv").write_text("id\n1\n")
    (tmp_path / "notes.txt").write_text("mine")
    with folder.opened(tmp_path, meta(seed=1), overwrite=True) as record:
        assert record.candidates == ()
        assert record.meta == meta(seed=1)
    assert set(contents(tmp_path)) == {"run.db", "run.lock", "run.log", "experiment.yaml", "notes.txt"}
    assert not (tmp_path / "models").exists()


def test_a_run_of_another_version_is_refused_and_can_be_overwritten(tmp_path):
    with folder.opened(tmp_path, meta()):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(InputError, match="or with --overwrite"), folder.opened(tmp_path, meta()):
        pass
    with folder.opened(tmp_path, meta(seed=1), overwrite=True) as record:
        assert record.meta == meta(seed=1)


def test_a_folder_that_was_only_begun_is_begun_again(tmp_path):
    (tmp_path / "run.lock").write_text("process 1 on there")
    (tmp_path / ".draft.run.db").write_bytes(b"half")
    (tmp_path / ".draft.run.db-journal").write_bytes(b"half")
    with folder.opened(tmp_path, meta()) as record:
        assert record.meta == meta()
    assert ".draft.run.db" not in contents(tmp_path)


def test_a_second_run_is_refused_while_the_first_goes_on(tmp_path, environment, make_candidate):
    program = f"""
        import os, signal, sys
        from pathlib import Path
        from bompnas.errors import InputError
        from bompnas.trials import folder
        try:
            with folder.opened(Path({str(tmp_path)!r}), {meta()!r}, overwrite="overwrite" in sys.argv):
                if "killed" in sys.argv:
                    os.kill(os.getpid(), signal.SIGKILL)
                print("opened")
        except InputError as error:
            print(error)
    """

    def second(overwrite=False, killed=False):
        words = ["overwrite"] * overwrite + ["killed"] * killed
        command = [sys.executable, "-c", textwrap.dedent(program), *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment).stdout

    with folder.opened(tmp_path, meta()) as record:
        record.add([make_candidate()])
        for overwrite in (False, True):
            assert "is in use by another run (process " in second(overwrite)
        with Record(tmp_path / "run.db", read_only=True) as reader:
            assert reader.meta == meta()
            assert len(reader.candidates) == 1
    assert second(killed=True) == ""
    assert (tmp_path / "run.lock").read_text().startswith("process ")  # of one that is dead
    assert second() == "opened\n"


def test_the_driver_of_a_run_is_known_while_it_goes_on(tmp_path, environment):
    assert folder.driver(tmp_path) is None
    with folder.opened(tmp_path / "run", meta()):
        name = folder.driver(tmp_path / "run")
        assert name == f"process {os.getpid()} on {socket.gethostname()}"
        path = str(tmp_path / "run")
        other = f"from pathlib import Path; from bompnas.trials import folder; print(folder.driver(Path({path!r})))"
        found = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, env=environment)
        assert found.stdout.strip() == name
    assert folder.driver(tmp_path / "run") is None
    (tmp_path / "run" / "run.lock").write_text("process 7 on another machine")
    assert folder.driver(tmp_path / "run") is None


def test_the_log_holds_what_the_package_logs_while_the_folder_is_open(tmp_path):
    logger = logging.getLogger("bompnas.somewhere")
    with folder.opened(tmp_path, meta()):
        logger.error("inside")
    logger.error("outside")
    log = (tmp_path / "run.log").read_text()
    assert log.endswith("ERROR inside\n")
    assert log.count("\n") == 1


class FullDisk(io.StringIO):
    """A file on a disk that has just become full."""

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_is_told_once_at_the_end(tmp_path, monkeypatch, caplog, capfd):
    with caplog.at_level("INFO", "bompnas"):
        with folder.opened(tmp_path, meta()):
            (handler,) = (one for one in logging.getLogger("bompnas").handlers if isinstance(one, folder._LogFile))
            handler.setStream(FullDisk()).close()
            for number in range(3):
                logging.getLogger("bompnas.trials").info("line %d", number)
        logging.getLogger("bompnas.trials").info("after")
    assert caplog.messages == [
        "line 0", "line 1", "line 2",
        f"{tmp_path}/run.log is incomplete: [Errno 28] No space left on device",
        "after",
    ]  # fmt: skip
    assert capfd.readouterr().err == ""


def test_a_full_disk_while_a_folder_is_opened_is_one_error_that_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "run"

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", full)
        with pytest.raises(OSError, match=r"No space left on device: .*experiment.yaml"), folder.opened(path, meta()):
            pass
    assert {entry.name for entry in path.iterdir()} == {"run.db", "run.lock", "run.log"}
    with folder.opened(path, meta()) as record:
        assert record.meta == meta()


def test_what_a_killed_session_left_behind_is_removed(tmp_path, make_candidate):
    with folder.opened(tmp_path, meta()) as record:
        done = [make_candidate(state=State.COMPLETED) for _ in range(3)]
        record.add([*done, make_candidate()])
        record.finish_finals("final 1", [Final(1, {}, {}, 1.0, "models/1.keras")])
        record.finish_finals("final 2", [Final(2, {}, {}, None, None, "killed")])
    kept = {"trial_4.npz", "final_2.npz", "final_3.npz"}
    for name in ("models", "figures", "checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".draft.1.keras").write_bytes(b"half")
    for name in kept | {"trial_1.npz", "final_1.npz", "trial_9.npz", "search.npz"}:
        (tmp_path / "checkpoints" / name).write_bytes(b"state")
    (tmp_path / ".draft.pareto.csv").write_text("half")
    (tmp_path / "models" / "1.keras").write_bytes(b"whole")
    with folder.opened(tmp_path, meta()):
        pass
    assert not list(tmp_path.rglob(".draft.*"))
    assert {entry.name for entry in (tmp_path / "checkpoints").iterdir()} == kept
    assert (tmp_path / "models" / "1.keras").exists()


def test_the_checkpoint_of_a_search_stays_until_its_networks_are_recorded(tmp_path):
    with folder.opened(tmp_path, meta()):
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "search.npz").write_bytes(b"state")
    with folder.opened(tmp_path, meta()):
        assert (tmp_path / "checkpoints" / "search.npz").exists()


def test_a_refused_run_is_not_brought_up_to_date(tmp_path):
    with folder.opened(tmp_path, meta()):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "run.db")) as connection:
        connection.executescript("DROP TABLE incidents; PRAGMA user_version = 3;")
    before = contents(tmp_path)["run.db"]
    with pytest.raises(InputError, match="another experiment"), folder.opened(tmp_path, meta(seed=1)):
        pass
    assert contents(tmp_path)["run.db"] == before
    with folder.opened(tmp_path, meta()) as record:
        assert record.incidents == ()
    assert contents(tmp_path)["run.db"] != before


def test_a_damaged_run_is_refused_and_can_be_overwritten(tmp_path, make_candidate):
    with folder.opened(tmp_path, meta()) as record:
        record.add([make_candidate() for _ in range(30)])
    (tmp_path / "run.db").write_bytes((tmp_path / "run.db").read_bytes()[:-8192])
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"run\.db: this record of a run is damaged"), folder.opened(tmp_path, meta()):
        pass
    assert contents(tmp_path) == before
    (tmp_path / "run.db-journal").write_bytes(b"what a kill left")
    with folder.opened(tmp_path, meta(seed=1), overwrite=True) as record:
        assert record.meta == meta(seed=1)
        assert record.candidates == ()
    assert not (tmp_path / "run.db-journal").exists()
