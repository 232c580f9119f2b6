"""Files that are whole or as they were, however a process ends while it writes them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

DRAFTS = ".draft.*"
"""What the drafts are called that a kill leaves behind."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
    """Lets a draft be written that takes a file's place at the end; an error or a kill before leaves the old file.

    Args:
        path: The file.
        durable: Whether it has to outlive a power cut from then on, as what a synced record tells of must.

    Yields:
        Where to write: a path beside the file, of the same suffix.

    Raises:
        OSError: It cannot be written; names the file.
    """
    path = Path(path)
    draft = path.with_name(f".draft.{path.name}")
    try:
        with naming(path):
            yield draft
            if durable:
                _flush(draft)
            os.replace(draft, path)
            if durable:
                _flush(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a file so that a reader finds the old text or the new one, never a part."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Adds a file's name to errors of the system that name none, as those of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
