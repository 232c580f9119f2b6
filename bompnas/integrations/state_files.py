"""JSON files that are either whole or as they were."""

import json
import os
from typing import Any

from bompnas.whole_files import replacing


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
    with replacing(path, durable=True) as draft:
        draft.write_text(text, encoding="utf-8")
    return text
