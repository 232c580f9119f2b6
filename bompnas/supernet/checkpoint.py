"""What a supernet has learned, kept for later searches (HQNAS, M* of Algorithm 1 and section IV-C).

A later search may have more classes, or other data. How the head grows is not in the paper: outputs of known classes
keep their weights, found by the classes' names; those of new classes begin at random, as large as the known ones, with
their mean bias.
"""

import dataclasses
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bompnas.errors import InputError
from bompnas.supernet.chains import Chains

FORMAT = 1
PLACE = "method.checkpoint"
"""What errors call a checkpoint."""

HEAD = "head"
"""What the names of the head's weights begin with."""

Shape = tuple[int, ...]
_WEIGHTS = "weights/"
_OTHERS = "format", "thresholds", "searches", "decisions", "classes"
_UNREADABLE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Knowledge:
    """A supernet's weights and thresholds.

    Attributes:
        arrays: Weights, as `Supernet.arrays` gives them.
        decisions: What is decided, as `decisions` tells.
        thresholds: Of all gates, shape (gates,).
        classes: Names of the classes.
        searches: Number of the search that met each class first, from 0; several may have gone on from another.
    """

    arrays: Mapping[str, np.ndarray]
    decisions: tuple[str, ...]
    thresholds: np.ndarray
    classes: tuple[str, ...]
    searches: tuple[int, ...]

    def searches_of(self, classes: tuple[str, ...]) -> tuple[int, ...]:
        """The same for the classes of a search that goes on: new ones are its own."""
        known = dict(zip(self.classes, self.searches, strict=True))
        return tuple(known.get(name, max(self.searches) + 1) for name in classes)


def decisions(chains: Chains) -> tuple[str, ...]:
    """The genes that a supernet decides, with their values, as `block2.kernel: 3, 5`."""
    return tuple(f"{chain.gene}: {', '.join(map(str, chain.values))}" for chain in chains.chains)


def pack(knowledge: Knowledge) -> bytes:
    """The content of a checkpoint file, an .npz."""
    content = {f"{_WEIGHTS}{name}": array for name, array in knowledge.arrays.items()}
    content |= {
        "format": np.asarray(FORMAT),
        "decisions": np.array(knowledge.decisions, dtype=np.str_),
        "thresholds": knowledge.thresholds,
        "classes": np.array(knowledge.classes, dtype=np.str_),
        "searches": np.array(knowledge.searches, dtype=np.int64),
    }
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def read(file: Path, place: str = PLACE) -> Knowledge:
    """What a checkpoint file holds.

    Args:
        file: The file.
        place: What errors call it.

    Raises:
        InputError: It cannot be read; is no checkpoint of a supernet, damaged, or a newer version's.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror})") from None
    return unpack(content, place)


def unpack(content: bytes, place: str = PLACE) -> Knowledge:
    """Inverse of `pack`.

    Args:
        content: Of a file.
        place: What errors call it.

    Raises:
        InputError: It is no checkpoint of a supernet, damaged, or a newer version's.
    """
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise ValueError("no .npz file, or one cut short")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            version = int(archive["format"])
            knowledge = _knowledge(archive) if version <= FORMAT else None
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{place}: not a supernet's checkpoint, or a damaged one ({reason}); expected the supernet.npz of a run"
        ) from None
    if knowledge is None:
        raise InputError(f"{place}: format {version} is newer than this version's {FORMAT}; upgrade bompnas")
    return knowledge


def check(
    knowledge: Knowledge,
    chains: Chains,
    shapes: Mapping[str, Shape],
    classes: tuple[str, ...],
    place: str = PLACE,
) -> None:
    """Makes sure that a supernet can start from what another one has learned.

    Args:
        knowledge: Of an earlier search.
        chains: The new supernet's decisions.
        shapes: Those of its weights, in the order of `Supernet.arrays`.
        classes: Names of its classes.
        place: What errors call the checkpoint.

    Raises:
        InputError: It is of another space or head, or knows a class that is not there any more.
    """
    expected = decisions(chains)
    if knowledge.decisions != expected:
        only = [
            sorted(set(one) - set(other))
            for one, other in ((knowledge.decisions, expected), (expected, knowledge.decisions))
        ]
        found, wanted = (each[0] if each else "another order of blocks" for each in only)
        raise InputError(f"{place}: it is of another search space; found {found}, expected {wanted}")
    gone = [name for name in knowledge.classes if name not in classes]
    if gone:
        raise InputError(
            f"{place}: it knows class {gone[0]!r}, which the data does not have; expected all of its "
            f"{len(knowledge.classes)} classes, and perhaps more"
        )
    growing = _of_classes(shapes, len(classes))
    wanted = {
        name: (*shape[:-1], len(knowledge.classes)) if name in growing else tuple(shape)
        for name, shape in shapes.items()
    }
    for name in (*wanted, *knowledge.arrays):
        array = knowledge.arrays.get(name)
        found = None if array is None else array.shape
        if found != wanted.get(name):
            what = "the same head" if name.startswith(HEAD) else "the same channels and kernels"
            raise InputError(
                f"{place}: it has {_described(name, found)}, this search {_described(name, shapes.get(name))}; "
                f"expected a checkpoint of {what}"
            )


def grown(
    knowledge: Knowledge,
    shapes: Mapping[str, Shape],
    classes: tuple[str, ...],
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Known weights for a supernet that may have more classes, or the same in another order.

    Args:
        knowledge: Of an earlier search; fits the supernet (`check`).
        shapes: Those of the new supernet's weights, in the order of `Supernet.arrays`.
        classes: Names of its classes, the known ones among them.
        generator: Of the new outputs' weights.
    """
    known = [classes.index(name) for name in knowledge.classes]
    growing = _of_classes(shapes, len(classes))
    return {
        name: _with_new_outputs(array, known, len(classes), generator) if name in growing else array
        for name, array in ((name, knowledge.arrays[name]) for name in shapes)
    }


def _knowledge(archive: Mapping[str, np.ndarray]) -> Knowledge:
    thresholds, searches, *names = (archive[key] for key in _OTHERS[1:])
    weights = {name: archive[name] for name in archive if name not in _OTHERS}
    strange = [name for name in weights if not name.startswith(_WEIGHTS)]
    if strange:
        raise ValueError(f"there is no {strange[0]} in a checkpoint")
    for name, array in {**weights, "thresholds": thresholds}.items():
        if array.dtype.kind not in "fui" or not np.isfinite(array).all():
            raise ValueError(f"{name} are not finite numbers")
    for name, array in zip(_OTHERS[3:], names, strict=True):
        if array.dtype.kind != "U" or array.ndim != 1:
            raise ValueError(f"{name} are no names")
    decided, classes = (tuple(array.tolist()) for array in names)
    gates = sum(each.count(",") for each in decided)
    if thresholds.shape != (gates,):
        raise ValueError(f"thresholds of shape {thresholds.shape} for {gates} gates")
    if searches.dtype.kind != "i" or searches.shape != (len(classes),) or not classes:
        raise ValueError(f"searches of shape {searches.shape} for {len(classes)} classes")
    arrays = {name.removeprefix(_WEIGHTS): array for name, array in weights.items()}
    return Knowledge(arrays, decided, thresholds, classes, tuple(searches.tolist()))


def _of_classes(shapes: Mapping[str, Shape], count: int) -> set[str]:
    """Weights of the head with one entry for each class, on the last axis: in its last layer with a kernel and behind.

    A layer before it may be as wide by chance.
    """
    names = [name for name in shapes if name.startswith(HEAD)]
    kernels = [place for place, name in enumerate(names) if name.endswith("/kernel")]
    return {name for name in names[kernels[-1] if kernels else 0 :] if tuple(shapes[name][-1:]) == (count,)}


def _described(name: str, shape: Shape | None) -> str:
    return f"no {name}" if shape is None else f"{name} of shape {shape}"


def _with_new_outputs(old: np.ndarray, known: list[int], count: int, generator: np.random.Generator) -> np.ndarray:
    """Weights of all outputs, on the last axis."""
    if old.ndim == 1:
        new = np.full(count, old.mean(), old.dtype)
    else:
        new = (old.std() * generator.standard_normal((*old.shape[:-1], count))).astype(old.dtype)
    new[..., known] = old
    return new
