"""Augmentation: shifts by up to an eighth of the image (4 pixels at 32x32), and horizontal flips of natural images."""

import numpy as np

NONE, SHIFT, STANDARD = "none", "shift", "standard"
LARGEST_SHIFT = 1 / 8


def augmented(images: np.ndarray, kind: str, generator: np.random.Generator) -> np.ndarray:
    """New views of images, black moving in where they are shifted.

    Args:
        images: Shape (n, height, width, channels).
        kind: `none`; `shift` in both directions; or `standard`, which also flips with probability one half.
        generator: Source of the choices.

    Returns:
        Images of the same shape and type.
    """
    if kind == NONE:
        return images
    count, height, width, _ = images.shape
    shift = round(height * LARGEST_SHIFT)
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    top, left = generator.integers(0, 2 * shift + 1, (2, count))
    rows = top[:, None] + np.arange(height)
    columns = left[:, None] + np.arange(width)
    if kind == STANDARD:
        flipped = generator.random(count) < 0.5
        columns[flipped] = columns[flipped, ::-1]
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
