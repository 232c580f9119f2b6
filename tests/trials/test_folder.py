import contextlib
import logging
import sqlite3
import subprocess
import sys
import tempfile
import textwrap

import pytest
import yaml

from bompnas.errors import InputError
from bompnas.trials import folder
from bompnas.trials.record import Record

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


def test_a_second_run_is_refused_while_the_first_goes_on(tmp_path, environment):
    program = f"""
        from pathlib import Path
        from bompnas.errors import InputError
        from bompnas.trials import folder
        try:
            with folder.opened(Path({str(tmp_path)!r}), {meta()!r}):
                print("opened")
        except InputError as error:
            print(error)
    """

    def second():
        command = [sys.executable, "-c", textwrap.dedent(program)]
        return subprocess.run(command, capture_output=True, text=True, env=environment).stdout

    with folder.opened(tmp_path, meta()):
        refusal = second()
        assert "is in use by another run (process " in refusal
        with Record(tmp_path / "run.db", read_only=True) as reader:
            assert reader.meta == meta()
    assert second() == "opened\n"


def test_the_log_holds_what_the_package_logs_while_the_folder_is_open(tmp_path):
    logger = logging.getLogger("bompnas.somewhere")
    with folder.opened(tmp_path, meta()):
        logger.error("inside")
    logger.error("outside")
    log = (tmp_path / "run.log").read_text()
    assert log.endswith("ERROR inside\n")
    assert log.count("\n") == 1


def test_an_atomic_write_leaves_the_old_text_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "pareto.csv"
    folder.write_atomically(path, "old")

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.write_atomically(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    folder.write_atomically(path, "new")
    assert contents(tmp_path) == {"pareto.csv": b"new"}


def test_scratch_is_removed_at_the_end_and_after_a_kill(tmp_path, monkeypatch, environment):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = """
        import os, signal
        from bompnas.trials import folder
        with folder.scratch() as directory:
            (directory / "images.npy").write_text("images")
            print(directory, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run(command, env={**environment, "TMPDIR": str(tmp_path)})
    (killed,) = tmp_path.iterdir()
    finished = tmp_path / "bompnas-scratch-and-mine"  # whatever a user calls the folder of a run, it is kept
    with folder.opened(finished, meta()):
        pass
    with folder.scratch() as first:
        assert not killed.exists()
        with folder.scratch() as second:
            assert first.is_dir()
            assert first != second
    assert list(tmp_path.iterdir()) == [finished]
    assert (finished / "run.db").exists()
