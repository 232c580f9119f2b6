import contextlib
import os
import pickle

from bompnas.trials import process
from bompnas.trials.executor import Failure


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
