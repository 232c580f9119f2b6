"""Experiment files as files: finding them, reading their YAML, and replacing keys from the command line."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bompnas import strict_yaml
from bompnas.errors import InputError

_PACKAGE = Path(__file__).parents[1]
_SHIPPED = ("experiments", "search_spaces")


def find(path: str | Path, directory: Path | None = None) -> Path:
    """The absolute path of an existing file or folder.

    Relative paths start from `directory`, else from the working directory; files of `experiments/` and
    `search_spaces/` that are at neither are taken from the installed package, or from the checkout that it lies in.

    Raises:
        InputError: There is none; says where it was looked for.
    """
    asked = Path(path).expanduser()
    starts = [Path.cwd()] if directory is None else [directory, Path.cwd()]
    tried = list(dict.fromkeys((start / asked).resolve() for start in starts))
    shipped = [part for part in asked.parts if part != ".."]
    if not asked.is_absolute() and shipped and shipped[0] in _SHIPPED:
        candidates = [*tried, *(place.joinpath(*shipped) for place in (_PACKAGE, _PACKAGE.parent))]
    else:
        candidates = tried
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise InputError(f"{path} does not exist; looked for {' and '.join(map(str, tried))}")


def read(file: Path, place: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        InputError: The file cannot be read, is not YAML, or holds no mapping; calls it `place`.
    """
    document = strict_yaml.read(file, place)
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise InputError(f"{place}: expected the keys name, data and space, each on a line of its own; found {found}")
    return document


def override(
    document: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Replaces the keys that `key.path=value` names; sections not there yet are added.

    Returns:
        The changed copy, and key path -> what errors call its origin, for every path that is now the override's.

    Raises:
        InputError: No `=`, a value that is not YAML, or a path through something that has no keys.
    """
    result, origins = copy.deepcopy(dict(document)), {}
    for text in overrides:
        path = added = _path(text)
        section = result
        for depth, key in enumerate(path[:-1], start=1):
            if section.get(key) is None:
                section[key] = {}
                added = min(added, path[:depth], key=len)
            section = section[key]
            if not isinstance(section, dict):
                raise InputError(
                    f"--set {text}: {'.'.join(path[:depth])} is {section!r}, which has no keys; set it as a whole"
                )
        section[path[-1]] = strict_yaml.parse(text.partition("=")[2], f"--set {text}: the value")
        origins[added] = f"--set {text}"
    return result, origins


def _path(text: str) -> tuple[str, ...]:
    key, equals, _ = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise InputError(f"--set {text}: expected key=value, such as training.epochs=3")
    return path
