"""Where images come from: scikit-learn's digits, the CIFARs, an .npz file, a folder of images."""

import dataclasses
import logging
import lzma
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from bompnas.errors import InputError
from bompnas.experiment.sections import DataSettings
from bompnas.training import image_files
from bompnas.training.image_files import ImageFiles

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DATA_FOLDER = "BOMPNAS_DATA"

_UNREADABLE = (OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Source:
    """Arrays as they were found.

    Attributes:
        name: What messages call them.
        train: Images, perhaps in their files, and labels.
        test: The same of a test part, if there is one.
        range: Pixel values of black and white where they are known.
        class_names: Names of the classes where they are known.
    """

    name: str
    train: tuple[np.ndarray | ImageFiles, np.ndarray]
    test: tuple[np.ndarray, np.ndarray] | None = None
    range: tuple[float, float] | None = None
    class_names: tuple[str, ...] = ()


def read(settings: DataSettings, input_size: int, input_channels: int) -> Source:
    """Reads a data set; only a folder's images are resized to the input of the search space.

    Raises:
        InputError: There is no such data, or it cannot be read.
    """
    if settings.dataset == "digits":
        return _digits()
    if settings.dataset == "folder":
        return _folder(settings, input_size, input_channels)
    if settings.dataset == "npz":
        return _npz(settings.file)
    return _cifar(settings)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Source("digits", (digits.images, digits.target), range=(0.0, 16.0))


def _cifar(settings: DataSettings) -> Source:
    name = settings.dataset
    file = settings.file or _shared_file(f"{name}.npz")
    source = Source(name, *_download(name)) if file is None else _npz(file)
    if source.test is None:
        raise InputError(f"{file}: has no x_test and y_test; {name} needs them")
    return dataclasses.replace(source, class_names=CIFAR10_CLASSES if name == "cifar10" else ())


def _shared_file(name: str) -> Path | None:
    """The file in the folder that the environment names, if it is there."""
    folder = os.environ.get(DATA_FOLDER)
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise InputError(f"{DATA_FOLDER} is {folder!r}, which is not a folder; correct the variable or unset it")
    file = Path(folder, name)
    return file if file.is_file() else None


def _download(name: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    from keras import datasets

    _log.info("reading %s through Keras, which downloads it once", name)
    try:
        return getattr(datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise InputError(
            f"{name} could not be downloaded ({error}); give its .npz file as data.path, or put {name}.npz into a "
            f"folder and name that in the environment variable {DATA_FOLDER}"
        ) from error


def _npz(file: Path) -> Source:
    """Arrays of `numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)`; the test part may be missing."""
    if not zipfile.is_zipfile(file):
        raise InputError(f"{file}: not an .npz file, or one cut short; expected what numpy.savez writes")
    arrays = {}
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = archive.files
            for name in ("x_train", "y_train", "x_test", "y_test"):
                if name in names:
                    arrays[name] = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise InputError(f"{file}: {name} cannot be read ({error})") from None
        raise InputError(
            f"{file}: {name} holds pickled objects, which could run any code when read and are refused; save it as an "
            "array of numbers"
        ) from None
    except _UNREADABLE as error:
        raise InputError(f"{file}: cannot be read ({error})") from None
    missing = [name for name in ("x_train", "y_train") if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        raise InputError(
            f"{file}: expected the arrays x_train, y_train and, with a test part, x_test, y_test; found "
            f"{', '.join(names) or 'none'}"
        )
    test = (arrays["x_test"], arrays["y_test"]) if "x_test" in arrays else None
    return Source(str(file), (arrays["x_train"], arrays["y_train"]), test)


def _folder(settings: DataSettings, size: int, channels: int) -> Source:
    """Images of a folder with one subfolder per class, squeezed to the input of the search space."""
    images, labels, names = image_files.find(settings.file, size, channels)
    return Source(str(settings.file), (images if settings.stream else images[:], labels), class_names=names)
