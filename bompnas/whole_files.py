"""Files that are whole or as they were, however a process ends while it writes them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
    """Lets a draft be written that takes a file's place at the end; an error or a kill before leaves the old file.

    Args:
        path: The file.
        durable: Whether it has to outlive a power cut from then on, as what a synced record tells of must.

    Yields:
        Where to write: a path beside the file, of the same suffix.
    """
    path = Path(path)
    draft = path.with_name(f".draft.{path.name}")
    yield draft
    if durable:
        _flush(draft)
    os.replace(draft, path)
    if durable:
        _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
