import os
import socket
import subprocess
import sys

import pytest

from bompnas.trials import locks


def test_a_lock_is_held_by_one_alone_who_is_known(tmp_path, environment):
    path = tmp_path / "run.lock"
    assert locks.holder(path) is None
    name = f"process {os.getpid()} on {socket.gethostname()}"
    program = f"""
from pathlib import Path
from bompnas.trials import locks
try:
    with locks.locked(Path({str(path)!r})):
        print("locked")
except locks.TakenError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    with locks.locked(path):
        assert locks.holder(path) == name
        found = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert found.stdout.strip() == name
    assert locks.holder(path) is None
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.stdout.strip() == "locked"
    assert path.read_text() != name


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.locked(tmp_path / "run.lock"):
        raise ZeroDivisionError
    assert locks.holder(tmp_path / "run.lock") is None
