"""Search spaces from YAML files."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from bompnas.errors import InputError
from bompnas.space import mobilenetv2
from bompnas.space.head import DenseHead
from bompnas.space.network import Layer
from bompnas.space.reading import Section
from bompnas.space.space import SearchSpace

FAMILIES = {"mobilenetv2": mobilenetv2.parse}


def load(
    path: str | os.PathLike[str],
    head: Callable[[int], tuple[Layer, ...]] | None = None,
    bits: int | None = None,
) -> SearchSpace:
    """Reads a search space.

    Args:
        path: The YAML file.
        head: Number of features -> head layers; a classifier of ten classes where None.
        bits: One width for all weights instead of the file's choices (homogeneous quantization) [bits].

    Raises:
        InputError: The file cannot be read or does not describe a space; says where and what is expected.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: the search space cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(f"{path}: {place}not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(data, Mapping):
        raise InputError(f"{path}: {type(data).__name__} found, expected the mapping that describes a search space")
    section = Section(data, str(path))
    family = section.text("family")
    if family not in FAMILIES:
        raise section.error("family", f"{family!r} found, expected one of {', '.join(FAMILIES)}")
    return FAMILIES[family](section, head or DenseHead(10), bits)
