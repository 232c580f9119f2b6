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
        """Writes the files.

        Raises:
            OSError: There is no space for them.
        """
        for part, pair in arrays.items():
            for kind, array in zip(KINDS, pair, strict=True):
                path = directory / f"{part}_{kind}.npy"
                try:
                    np.save(path, array, allow_pickle=False)
                except OSError as error:  # NumPy's names neither the file nor the reason
                    size = f"{array.nbytes / 1e6:.0f} MB"
                    raise OSError(f"{path}: {size} cannot be written ({error}); TMPDIR names another place") from error
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
