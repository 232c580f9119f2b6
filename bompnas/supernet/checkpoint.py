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

import numpy as np

from bompnas.errors import InputError

FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Knowledge:
    """A supernet's weights and thresholds.

    Attributes:
        arrays: Weights, as `Supernet.arrays` gives them.
        gates: Names of the gates, `block2.kernel=5`.
        thresholds: Theirs, shape (gates,).
        classes: Names of the classes.
    """

    arrays: Mapping[str, np.ndarray]
    gates: tuple[str, ...]
    thresholds: np.ndarray
    classes: tuple[str, ...]


def pack(knowledge: Knowledge) -> bytes:
    """The content of a checkpoint file, an .npz."""
    content = {f"weights/{name}": array for name, array in knowledge.arrays.items()}
    content |= {
        "format": np.asarray(FORMAT),
        "gates": np.array(knowledge.gates, dtype=np.str_),
        "thresholds": knowledge.thresholds,
        "classes": np.array(knowledge.classes, dtype=np.str_),
    }
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def unpack(content: bytes, place: str = "method.checkpoint") -> Knowledge:
    """Inverse of `pack`.

    Args:
        content: Of a file.
        place: What errors call it.

    Raises:
        InputError: It is no checkpoint of a supernet, damaged, or a newer version's.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            if int(archive["format"]) > FORMAT:
                raise InputError(
                    f"{place}: format {int(archive['format'])} is newer than this version's {FORMAT}; upgrade bompnas"
                )
            names = [name for name in archive.files if name.startswith("weights/")]
            return Knowledge(
                {name.removeprefix("weights/"): archive[name] for name in names},
                tuple(archive["gates"].tolist()),
                archive["thresholds"],
                tuple(archive["classes"].tolist()),
            )
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{place}: not a supernet's checkpoint, or a damaged one ({error}); expected the supernet.npz of a run"
        ) from error


def check(
    knowledge: Knowledge, gates: tuple[str, ...], classes: tuple[str, ...], place: str = "method.checkpoint"
) -> None:
    """Makes sure that a supernet can start from what another one has learned.

    Args:
        knowledge: Of an earlier search.
        gates: Names of the new supernet's gates.
        classes: Names of its classes.
        place: What errors call the checkpoint.

    Raises:
        InputError: It is of another space, or knows a class that is not there any more.
    """
    if knowledge.gates != gates:
        different = sorted(set(knowledge.gates) ^ set(gates))
        raise InputError(
            f"{place}: it is of another search space ({', '.join(different[:3]) or 'another order of decisions'}); "
            "expected the same blocks and choices"
        )
    gone = [name for name in knowledge.classes if name not in classes]
    if gone:
        raise InputError(
            f"{place}: it knows class {gone[0]!r}, which the data does not have; expected all of its "
            f"{len(knowledge.classes)} classes, and perhaps more"
        )


def grown(
    knowledge: Knowledge,
    arrays: Mapping[str, np.ndarray],
    classes: tuple[str, ...],
    generator: np.random.Generator,
    place: str = "method.checkpoint",
) -> dict[str, np.ndarray]:
    """Known weights for a supernet that may have more classes.

    Args:
        knowledge: Of an earlier search.
        arrays: The new supernet's weights, for their shapes.
        classes: Names of its classes, the known ones among them.
        generator: Of the new outputs' weights.
        place: What errors call the checkpoint.

    Raises:
        InputError: It is of another head, or of blocks with other channels.
    """
    known = [classes.index(name) for name in knowledge.classes]
    found = {}
    for name, array in arrays.items():
        old = knowledge.arrays.get(name)
        head = name.startswith("head") and array.shape[-1:] == (len(classes),)
        if old is not None and head and old.shape == (*array.shape[:-1], len(known)):
            found[name] = _with_new_outputs(old, known, len(classes), generator)
        elif old is not None and old.shape == array.shape:
            found[name] = old
        else:
            shape = "nothing" if old is None else f"shape {old.shape}"
            raise InputError(f"{place}: it has {shape} for {name}; expected shape {array.shape}")
    return found


def _with_new_outputs(old: np.ndarray, known: list[int], count: int, generator: np.random.Generator) -> np.ndarray:
    """Weights of all outputs, on the last axis."""
    if old.ndim == 1:
        new = np.full(count, old.mean(), old.dtype)
    else:
        new = (old.std() * generator.standard_normal((*old.shape[:-1], count))).astype(old.dtype)
    new[..., known] = old
    return new
