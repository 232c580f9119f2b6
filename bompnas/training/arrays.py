"""Arrays as users have them: images turned into bytes, labels and targets checked."""

import numpy as np

from bompnas.errors import InputError
from bompnas.training.image_files import ImageFiles


def as_bytes(
    images: np.ndarray | ImageFiles, size: int, channels: int, range: tuple[float, float] | None, place: str
) -> np.ndarray | ImageFiles:
    """Images as (n, size, size, channels) uint8.

    Args:
        images: Whole numbers 0..255, floats 0..1, or numbers within `range`; (n, size, size) for one channel.
        size: Expected height and width [pixels].
        channels: Expected channels.
        range: Pixel values of black and white, mapped linearly to 0 and 255; None where the type tells them.
        place: What errors call the images.

    Raises:
        InputError: Another shape, or pixels outside the range.
    """
    if images.dtype.kind not in "uif":
        raise InputError(f"{place}: expected images as arrays of numbers; found {_kind(images)}")
    if not images.size:
        raise InputError(f"{place}: there are no images; found an array of shape {images.shape}")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.shape[1:] != (size, size, channels):
        raise InputError(
            f"{place}: images of shape {images.shape} do not fit the search space, which expects "
            f"(number, {size}, {size}, {channels}); resize the images or change the input of the space"
        )
    if images.dtype == np.uint8 and range is None:
        return images
    low, high = images.min(), images.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{place}: some pixels are not finite numbers")
    if range is None:
        if images.dtype.kind in "ui" and low >= 0 and high <= 255:
            return images.astype(np.uint8)
        if images.dtype.kind in "ui" or low < 0 or high > 1:
            raise InputError(
                f"{place}: pixels are {images.dtype} from {low:g} to {high:g}, neither whole numbers 0..255 nor 0..1; "
                "say in data.range which values are black and white, such as [-1.0, 1.0] or [0.0, 255.0]"
            )
        range = (0.0, 1.0)
    black, white = range
    if low < black or high > white:
        raise InputError(f"{place}: pixels from {low:g} to {high:g} lie outside data.range [{black:g}, {white:g}]")
    values = images.astype(np.result_type(images, np.float32))
    return np.rint((values - black) * 255 / (white - black)).astype(np.uint8)


def as_class_ids(labels: np.ndarray, place: str) -> np.ndarray:
    """Labels (n,) or (n, 1) as (n,) int64.

    Raises:
        InputError: Labels that are not whole numbers from 0, one per image.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"{place}: labels of shape {labels.shape}; expected one class number per image (of one-hot labels, take "
            "argmax(axis=1))"
        )
    if labels.dtype.kind not in "buif":
        raise InputError(f"{place}: labels are {_kind(labels)}; expected class numbers from 0")
    fractional = labels[~(np.isfinite(labels) & (labels == np.rint(labels)))] if labels.dtype.kind == "f" else ()
    if len(fractional):
        raise InputError(
            f"{place}: label {fractional[0]:g} is not a whole number; expected class numbers from 0 (to learn targets, "
            "use head: {class: regression})"
        )
    if labels.min() < 0:
        raise InputError(f"{place}: label {labels.min():g} is negative; expected class numbers from 0")
    return labels.astype(np.int64)


def as_targets(labels: np.ndarray, place: str) -> np.ndarray:
    """Targets (n,) or (n, k) as (n, k) float32.

    Raises:
        InputError: Targets that are not finite numbers.
    """
    if labels.dtype.kind not in "buif" or labels.ndim > 2:
        raise InputError(
            f"{place}: targets are {_kind(labels)} of shape {labels.shape}; expected one number, or one row of "
            "numbers, per image"
        )
    targets = labels.astype(np.float32).reshape(len(labels), -1)
    if not np.isfinite(targets).all():
        raise InputError(f"{place}: some targets are not finite numbers")
    return targets


def _kind(array: np.ndarray) -> str:
    return "text" if array.dtype.kind in "US" else str(array.dtype)
