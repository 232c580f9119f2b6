"""Augmentation: shifts by up to an eighth of the image (4 pixels at 32x32), and horizontal flips of natural images.

Images stay where they are trained on; of each epoch only the choices travel there.
"""

import numpy as np
from keras import ops

NONE, SHIFT, STANDARD = "none", "shift", "standard"
LARGEST_SHIFT = 1 / 8


def margin(height: int) -> int:
    """The largest shift of images of that height [pixels]."""
    return round(height * LARGEST_SHIFT)


def prepared(images: np.ndarray, kind: str) -> np.ndarray:
    """Images as `views` takes them: with black around them where they are to be shifted.

    Args:
        images: Shape (n, height, width, channels); any shape for `none`.
        kind: `none`; `shift` in both directions; or `standard`, which also flips with probability one half.
    """
    if kind == NONE:
        return images
    shift = margin(images.shape[1])
    return np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))


def choices(count: int, height: int, kind: str, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """What becomes of each image in an epoch.

    Args:
        count: Number of images.
        height: Of an image [pixels].
        kind: As in `prepared`.
        generator: Source of the choices.

    Returns:
        Nothing for `none`, else first row, first column, and whether to flip: int32, shape (count,) each.
    """
    if kind == NONE:
        return ()
    top, left = generator.integers(0, 2 * margin(height) + 1, (2, count))
    flipped = generator.random(count) < 0.5 if kind == STANDARD else np.zeros(count, bool)
    return top.astype(np.int32), left.astype(np.int32), flipped.astype(np.int32)


def views(images, batch, chosen, size: tuple[int, ...]):
    """The images of a batch as they are shown, on the backend.

    Args:
        images: All images as `prepared` returns them.
        batch: Indices of the batch's images, shape (batch,).
        chosen: Their `choices`.
        size: Height and width of what is shown [pixels].
    """
    taken = ops.take(images, batch, axis=0)
    if not chosen:
        return taken
    top, left, flipped = (ops.expand_dims(values, -1) for values in chosen)
    _, outer_height, outer_width, channels = images.shape
    height, width = size
    rows = top + ops.arange(height, dtype="int32")
    columns = ops.arange(width, dtype="int32")
    columns = left + ops.where(flipped == 1, width - 1 - columns, columns)
    first = ops.expand_dims(ops.arange(batch.shape[0], dtype="int32") * (outer_height * outer_width), (1, 2))
    pixels = first + ops.expand_dims(rows * outer_width, 2) + ops.expand_dims(columns, 1)
    return ops.take(ops.reshape(taken, (-1, channels)), pixels, axis=0)
