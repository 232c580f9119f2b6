"""JSON files that are either whole or as they were."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: str | os.PathLike[str], content: Any) -> str:
    """Writes a JSON file so that a crash at any moment leaves the old one or the new one.

    Args:
        path: The file; a place with a scheme (`gs://...`) is left to KerasTuner's own writer.
        content: What `json` can write.

    Returns:
        The text that was written.
    """
    text = json.dumps(content)
    if "://" in str(path):
        from keras_tuner.src.backend import io

        with io.File(str(path), "w") as file:
            file.write(text)
        return text
    path = Path(path)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return text
