"""Images that stay in their files and are decoded when they are needed."""

import concurrent.futures
import dataclasses
import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bompnas.errors import InputError

_AT_ONCE = 8  # images that a thread decodes one after the other
_THREADS = "OMP_NUM_THREADS"  # what a worker may compute with


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Turns files into images, squeezed to the input of a search space.

    Attributes:
        folder: Where the files lie.
        size: Height and width of the images [pixels].
        channels: 1 for grey, 3 for colour.
    """

    folder: Path
    size: int
    channels: int

    def path(self, name: bytes) -> Path:
        """The file of that name within the folder."""
        return self.folder / os.fsdecode(name)

    def __call__(self, name: bytes) -> np.ndarray:
        """One image, (size, size, channels) uint8.

        Raises:
            InputError: The file cannot be read.
        """
        file = self.path(name)
        try:
            with Image.open(file) as image:
                mode = image.mode
                upright = ImageOps.exif_transpose(image).convert("L" if self.channels == 1 else "RGB")
                pixels = np.asarray(upright.resize((self.size, self.size), Image.Resampling.BILINEAR))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{file}: not readable as an image ({error})") from None
        if mode.startswith(("I", "F")):
            raise InputError(f"{file}: has more than 8 bits per channel; convert it to an 8-bit image")
        return pixels.reshape(self.size, self.size, self.channels)


class ImageFiles:
    """Images in files, as an array of shape (n, size, size, channels) of which only parts can be had.

    Args:
        decoder: Turns a file into an image.
        files: Structured array of `name`, within the decoder's folder, and `bytes`, the file's size.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, decoder: Decoder, files: np.ndarray):
        self.decoder = decoder
        self.files = files

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As an array's."""
        return len(self.files), self.decoder.size, self.decoder.size, self.decoder.channels

    @property
    def size(self) -> int:
        """Number of values, as an array's."""
        return len(self.files) * self.decoder.size**2 * self.decoder.channels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Decodes some of the images.

        Raises:
            InputError: A file cannot be read.
        """
        return self.decoding(chosen).result()

    def __array__(self, *arguments, **options):
        raise TypeError(f"the {len(self)} images of {self.decoder.folder} stay in their files; index some of them")

    def decoding(self, chosen: slice | np.ndarray) -> "Decoding":
        """Begins to decode some of the images; does not wait for them."""
        return Decoding(self.decoder, self.files[chosen]["name"])

    def part(self, chosen: np.ndarray) -> "ImageFiles":
        """Some of the images, still in their files."""
        return ImageFiles(self.decoder, self.files[chosen])


class Decoding:
    """Images that other threads are decoding.

    Args:
        decoder: Turns a file into an image.
        names: Of the files.
    """

    def __init__(self, decoder: Decoder, names: np.ndarray):
        self._decoder = decoder
        self._names = names
        self._images = np.empty((len(names), decoder.size, decoder.size, decoder.channels), np.uint8)
        self._jobs = [_threads().submit(self._decode, start) for start in range(0, len(names), _AT_ONCE)]

    def result(self) -> np.ndarray:
        """Waits for the images.

        Raises:
            InputError: A file cannot be read; the first such one.
        """
        try:
            for job in self._jobs:
                job.result()
        finally:
            self.cancel()
        return self._images

    def cancel(self) -> None:
        """Leaves undecoded what nobody has begun with."""
        for job in self._jobs:
            job.cancel()

    def _decode(self, start: int) -> None:
        for place in range(start, min(start + _AT_ONCE, len(self._names))):
            self._images[place] = self._decoder(self._names[place])


def find(folder: Path, size: int, channels: int) -> tuple[ImageFiles, np.ndarray, tuple[str, ...]]:
    """The image files of a folder with one subfolder per class; reads none of them.

    Args:
        folder: The folder.
        size: Height and width that images are to have [pixels].
        channels: Channels that they are to have.

    Returns:
        The images, their class ids, and the names of the classes.

    Raises:
        InputError: There is a class without images, or a file that cannot be one.
    """
    if channels not in (1, 3):
        raise InputError(
            f"{folder}: image files have 1 or 3 channels, but the search space expects {channels}; use .npz"
        )
    with os.scandir(folder) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise InputError(f"{folder}: expected one subfolder of images per class; found no subfolder")
    suffixes = frozenset(Image.registered_extensions())
    parts = [_of_class(folder, name, suffixes) for name in classes]
    files = np.concatenate(parts)  # as wide as the longest name
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in parts])
    return ImageFiles(Decoder(folder.absolute(), size, channels), files), labels, tuple(classes)


def _of_class(folder: Path, name: str, suffixes: frozenset[str]) -> np.ndarray:
    """The image files of a subfolder, by name."""
    found = []
    with os.scandir(folder / name) as entries:
        for entry in entries:
            if os.path.splitext(entry.name)[1].lower() not in suffixes or entry.name.startswith("."):
                continue
            if not entry.is_file():
                raise InputError(f"{entry.path}: expected an image file; found a folder, or a link to nowhere")
            bytes = entry.stat().st_size
            if not bytes:
                raise InputError(f"{entry.path}: not readable as an image (the file is empty)")
            found.append((os.fsencode(f"{name}/{entry.name}"), bytes))
    if not found:
        raise InputError(f"{folder / name}: expected the images of class {name}; found no image file")
    found.sort(key=lambda file: os.fsdecode(file[0]))
    return np.array(found, [("name", f"S{max(len(path) for path, _ in found)}"), ("bytes", np.int64)])


@functools.cache
def _threads() -> concurrent.futures.ThreadPoolExecutor:
    """Those that decode, as many as this process may compute with."""
    Image.init()  # threads that meet the first file of a rare format would disturb each other in it
    given = os.environ.get(_THREADS, "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return concurrent.futures.ThreadPoolExecutor(int(given) if given.isdecimal() else cores, "decode")
