"""A run's data set where its tasks find it: held in this process, or mapped from files by workers.

Of images that stay in their own files, workers map the list of these files.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from bompnas.training.image_files import Decoder, ImageFiles
from bompnas.trials.executors.contract import Arrays

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
    """Arrays in plain `.npy` files of a directory, which all processes of a machine map into memory.

    Attributes:
        directory: Where the files are.
        decoders: What reads the images of a part that stay in their own files.
    """

    directory: Path
    decoders: tuple[tuple[str, Decoder], ...] = ()

    @classmethod
    def write(cls, arrays: Arrays, directory: Path) -> "Mapped":
        """Writes the files.

        Raises:
            OSError: There is no space for them.
        """
        decoders = []
        for part, (images, labels) in arrays.items():
            if isinstance(images, ImageFiles):
                decoders.append((part, images.decoder))
                images = images.files
            for kind, array in zip(KINDS, (images, labels), strict=True):
                path = directory / f"{part}_{kind}.npy"
                try:
                    np.save(path, array, allow_pickle=False)
                except OSError as error:  # NumPy's names neither the file nor the reason
                    size = f"{array.nbytes / 1e6:.0f} MB"
                    raise OSError(f"{path}: {size} cannot be written ({error}); TMPDIR names another place") from error
        return cls(directory, tuple(decoders))

    def load(self) -> Arrays:
        """The arrays, mapped once per process."""
        return _mapped(self.directory, self.decoders)


@functools.lru_cache(maxsize=1)
def _mapped(directory: Path, decoders: tuple[tuple[str, Decoder], ...]) -> Arrays:
    parts = sorted(path.name.removesuffix("_images.npy") for path in directory.glob("*_images.npy"))
    arrays = {
        part: tuple(np.load(directory / f"{part}_{kind}.npy", mmap_mode="r", allow_pickle=False) for kind in KINDS)
        for part in parts
    }
    for part, decoder in decoders:
        files, labels = arrays[part]
        arrays[part] = ImageFiles(decoder, files), labels
    return arrays
