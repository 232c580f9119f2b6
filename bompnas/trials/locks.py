"""Locks on files, which the system gives back however their process ends."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bompnas.whole_files import naming


class TakenError(Exception):
    """Another process holds the lock; says which one."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of a file, which is made where there is none and tells who holds it.

    Raises:
        TakenError: Another process does.
        OSError: The disk is full, or the file cannot be written.
    """
    with path.open("a+") as file:
        try:
            _lock(file)
        except BlockingIOError:
            file.seek(0)
            raise TakenError(file.read().strip()) from None
        with naming(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield


def holder(path: Path) -> str | None:
    """Who holds the lock of a file (`process 7 on host`); None if nobody does."""
    with contextlib.suppress(FileNotFoundError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "a process"
    return None


def _lock(file: IO[str]) -> None:
    """Takes a file's lock; one who only looks whether it is taken holds it for a moment."""
    for attempt in range(3):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt == 2:
                raise
            time.sleep(0.05)
