"""A run's data set where its tasks find it: held in this process, or mapped from files by workers."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from bompnas.trials.executor import Arrays

KINDS = "images", "labels"


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """Arrays of this process."""

    arrays: Arrays

    def load(self) -> Arrays:
        """The arrays themselves."""
        return self.arrays


@dataclasses.dataclass(frozen=True)
class Mapped:
    """Arrays in plain `.npy` files of a directory, which all processes of a machine map into memory."""

    directory: Path

    @classmethod
    def write(cls, arrays: Arrays, directory: Path) -> "Mapped":
        """Writes the files."""
        for part, pair in arrays.items():
            for kind, array in zip(KINDS, pair, strict=True):
                np.save(directory / f"{part}_{kind}.npy", array, allow_pickle=False)
        return cls(directory)

    def load(self) -> Arrays:
        """The arrays, mapped once per process."""
        return _mapped(self.directory)


@functools.lru_cache(maxsize=1)
def _mapped(directory: Path) -> Arrays:
    parts = sorted(path.name.removesuffix("_images.npy") for path in directory.glob("*_images.npy"))
    return {
        part: tuple(np.load(directory / f"{part}_{kind}.npy", mmap_mode="r", allow_pickle=False) for kind in KINDS)
        for part in parts
    }
