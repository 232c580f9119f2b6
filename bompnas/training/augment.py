"""Augmentation of small natural images: horizontal flips and shifts by up to four pixels."""

import numpy as np

SHIFT = 4


def standard(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Each image flipped with probability one half and shifted by up to four pixels, black moving in.

    Args:
        images: Shape (n, height, width, channels).
        generator: Source of the choices.

    Returns:
        New images of the same shape and type.
    """
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    top, left = generator.integers(0, 2 * SHIFT + 1, (2, count))
    rows = top[:, None] + np.arange(height)
    columns = left[:, None] + np.arange(width)
    flipped = generator.random(count) < 0.5
    columns[flipped] = columns[flipped, ::-1]
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
