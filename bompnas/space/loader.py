"""Search spaces from YAML files."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from bompnas import strict_yaml
from bompnas.errors import InputError
from bompnas.space import mobilenetv2
from bompnas.space.head import DenseHead
from bompnas.space.network import Layer
from bompnas.space.reading import Section
from bompnas.space.space import NetworkSpace

FAMILIES = {"mobilenetv2": mobilenetv2.parse}


def load(
    path: str | os.PathLike[str],
    head: Callable[[int], tuple[Layer, ...]] | None = None,
    bits: int | None = None,
) -> NetworkSpace:
    """Reads a search space.

    Args:
        path: The YAML file.
        head: Number of features -> head layers; a classifier of ten classes where None.
        bits: One width for all weights instead of the file's choices (homogeneous quantization) [bits].

    Raises:
        InputError: The file cannot be read or does not describe a space; says where and what is expected.
    """
    data = strict_yaml.read(Path(path), str(path))
    if not isinstance(data, Mapping):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise InputError(f"{path}: {found} found, expected the mapping that describes a search space")
    section = Section(data, str(path))
    family = section.text("family")
    if family not in FAMILIES:
        raise section.error("family", f"{family!r} found, expected one of {', '.join(FAMILIES)}")
    return FAMILIES[family](section, head or DenseHead(10), bits)
