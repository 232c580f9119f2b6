"""YAML's safe subset, in which a key given twice is an error instead of a silent choice of the last."""

from pathlib import Path
from typing import Any

import yaml

from bompnas.errors import InputError


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, once its keys are known to be different."""
        keys = []
        for key, _ in node.value:
            if key.value in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            keys.append(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str, place: str) -> Any:
    """What a text holds.

    Raises:
        InputError: It is not YAML; calls it `place`.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1},"
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{place}{where} is not valid YAML: {problem}") from None


def read(file: Path, place: str) -> Any:
    """What a file holds.

    Raises:
        InputError: It cannot be read, or is not YAML; calls it `place`.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InputError(f"{place} cannot be read: {reason}") from None
    return parse(text, place)
