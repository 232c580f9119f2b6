import errno
import os
from pathlib import Path

import pytest

from bompnas import whole_files


def write(path, content):
    with whole_files.replacing(path, durable=True) as draft:
        assert draft.suffix == path.suffix
        draft.write_bytes(content)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_files.replacing(path) as draft:
        draft.write_text(f"half, {1 // 0}")
    assert path.read_text() == "old"
    with whole_files.replacing(path) as draft:
        draft.write_text("new")
    assert contents(tmp_path) == {"table.csv": b"new"}


def test_a_text_is_the_old_one_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "pareto.csv"
    whole_files.write_text(path, "old")

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(whole_files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        whole_files.write_text(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    whole_files.write_text(path, "new")
    assert contents(tmp_path) == {"pareto.csv": b"new"}


def test_a_durable_write_leaves_the_old_content_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "1.tflite"
    write(path, b"old")
    synced = []
    monkeypatch.setattr(whole_files.os, "fsync", lambda descriptor: synced.append(sorted(contents(tmp_path))))
    write(path, b"new")
    assert contents(tmp_path) == {"1.tflite": b"new"}
    assert synced == [[".draft.1.tflite", "1.tflite"], ["1.tflite"]]  # the content before its name, then the name

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(whole_files.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write(path, b"newer")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failing", ["write_bytes", "replace", "fsync"])
def test_a_full_disk_leaves_no_draft_and_names_the_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "model.keras"
    write(path, b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    holder = Path if failing == "write_bytes" else os
    monkeypatch.setattr(holder, failing, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(path, b"new")
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert contents(tmp_path) == {"model.keras": b"old"}


def test_an_error_that_names_its_file_is_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, whole_files.naming(tmp_path / "given"):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")
