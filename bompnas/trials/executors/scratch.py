"""Temporary directories that are removed even after a kill: by the next one that is made."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bompnas.trials.locks import TakenError, locked

_PREFIX, _LOCK = "bompnas-scratch-", "scratch.lock"  # names that no run's folder has


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory, removed at the end; those that killed runs have left behind are removed first."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError, TakenError), locked(leftover):  # another user's, or one still in use
            shutil.rmtree(leftover.parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as directory, locked(Path(directory, _LOCK)):
        yield Path(directory)
