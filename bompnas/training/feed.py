"""What brings an epoch's images to the backend: at once if they are in memory, in chunks if they stay in files."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from bompnas.training import augment
from bompnas.training.image_files import ImageFiles

CHUNK = 128 * 2**20
"""Images of a chunk [bytes], at most, unless one batch is larger. About four chunks are in memory at a time."""

Chunk = tuple[tuple[Any, Any], tuple[np.ndarray, ...], slice]
"""Images and labels on the backend's device; batches, whose first array indexes them; which steps these are."""


class Feed:
    """Brings batches to the backend's device.

    Arrays are brought there once and stay. Images in files come in chunks of some steps, all of one shape; the next one
    is decoded while the device computes.

    Args:
        images: Shape (n, height, width, channels), values 0..255.
        labels: One entry per image.
        augmentation: `none`, `shift` or `standard`, as `augment.views` is to show them.
    """

    def __init__(self, images: np.ndarray | ImageFiles, labels: np.ndarray, augmentation: str = augment.NONE):
        self._images = images
        self._labels = np.asarray(labels)
        self._augmentation = augmentation
        self._resident: tuple[Any, Any] | None = None

    def chunks(self, order: np.ndarray, chosen: tuple[np.ndarray, ...] = ()) -> Iterator[Chunk]:
        """The steps of an epoch in chunks.

        Args:
            order: Indices of the images that each step takes, shape (steps, batch), int32.
            chosen: Further arrays of shape (steps, ...), handed on for their steps.

        Raises:
            InputError: A file cannot be read.
        """
        if isinstance(self._images, ImageFiles):
            return self._decoded(order, chosen)
        return self._at_once(order, chosen)

    def _at_once(self, order: np.ndarray, chosen: tuple[np.ndarray, ...]) -> Iterator[Chunk]:
        if self._resident is None:
            self._resident = self._on_device(np.asarray(self._images), self._labels)
        yield self._resident, (order, *chosen), slice(0, len(order))

    def _decoded(self, order: np.ndarray, chosen: tuple[np.ndarray, ...]) -> Iterator[Chunk]:
        steps, batch = order.shape
        most = self._steps(steps, batch)
        starts = range(0, steps, most)
        decoding = self._images.decoding(order[:most].ravel())
        try:
            for start in starts:
                taken = order[start : start + most]
                images = decoding.result()
                decoding = self._images.decoding(order[start + most : start + 2 * most].ravel())
                missing = most * batch - taken.size  # in the last chunk; no step takes them
                images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else images
                labels = self._labels[np.pad(taken.ravel(), (0, missing))]
                indices = np.arange(taken.size, dtype=np.int32).reshape(taken.shape)
                of_steps = slice(start, start + len(taken))
                batches = (indices, *(array[of_steps] for array in chosen))
                yield self._on_device(images, labels), batches, of_steps
        finally:
            decoding.cancel()

    def _steps(self, steps: int, batch: int) -> int:
        """Steps of a chunk: about as many in each as fit."""
        margin = 0 if self._augmentation == augment.NONE else augment.margin(self._images.shape[1])
        _, height, width, channels = self._images.shape
        size = batch * (height + 2 * margin) * (width + 2 * margin) * channels
        return math.ceil(steps / math.ceil(steps / max(1, CHUNK // size)))

    def _on_device(self, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        images = augment.prepared(images, self._augmentation)
        return ops.convert_to_tensor(images), ops.convert_to_tensor(labels)


def parts(images: np.ndarray | ImageFiles, size: int) -> Iterator[np.ndarray]:
    """All images, `size` at a time; of images in files the next ones are decoded meanwhile.

    Raises:
        InputError: A file cannot be read.
    """
    slices = [slice(start, start + size) for start in range(0, len(images), size)]
    if not isinstance(images, ImageFiles):
        yield from (np.asarray(images[part]) for part in slices)
        return
    decoding = images.decoding(slices[0])
    try:
        for following in [*slices[1:], slice(0)]:
            found = decoding.result()
            decoding = images.decoding(following)
            yield found
    finally:
        decoding.cancel()
