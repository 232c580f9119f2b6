import contextlib
import os
import pickle
import sys

from bompnas.trials.executors import process
from bompnas.trials.executors.contract import Failure


def test_what_native_code_says_at_import_is_shown_only_when_it_fails(capfd):
    with process.quiet_imports():
        os.write(2, b"chatter\n")
    assert capfd.readouterr().err == ""
    with contextlib.suppress(ImportError), process.quiet_imports():
        os.write(2, b"reason\n")
        raise ImportError
    assert capfd.readouterr().err == "reason\n"


def test_standard_error_comes_back(capfd, tmp_path):
    with (tmp_path / "errors").open("wb") as file, process.errors_to(file.fileno()):
        os.write(2, b"there")
    os.write(2, b"here")
    assert (tmp_path / "errors").read_bytes() == b"there"
    assert capfd.readouterr().err == "here"


def test_failures_travel():
    failure = Failure("reason", "trace", lost=True)
    assert pickle.loads(pickle.dumps(failure)) == failure


def test_an_exception_without_text_is_named():
    assert process.one_line(MemoryError()) == "MemoryError"
    assert process.one_line(ValueError("a\n  b")) == "ValueError: a b"


def test_a_function_is_imported_where_it_arrives_and_when_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "imported_later.py").write_text("def double(task, tell):\n    return 2 * task\n")
    monkeypatch.syspath_prepend(tmp_path)
    function = process.Imported("imported_later", "double")
    message = pickle.dumps(function)
    assert "imported_later" not in sys.modules
    assert function(4, None) == 8
    assert pickle.loads(message) is sys.modules["imported_later"].double
    monkeypatch.setattr("imported_later.double", process.one_line)
    assert pickle.loads(pickle.dumps(function)) is process.one_line
    monkeypatch.delitem(sys.modules, "imported_later")
