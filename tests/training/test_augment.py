import numpy as np
import pytest
from keras import ops

from bompnas.training import augment


def shown(images, kind, seed):
    chosen = augment.choices(len(images), images.shape[1], kind, np.random.default_rng(seed))
    order = np.arange(len(images), dtype="int32")[::-1]
    batch = tuple(values[order] for values in chosen)
    prepared = ops.convert_to_tensor(augment.prepared(images, kind))
    found = ops.convert_to_numpy(augment.views(prepared, ops.convert_to_tensor(order.copy()), batch, images.shape[1:3]))
    return found[::-1]


def views(images, shift, flips):
    """For every image, the (top, left, flip) views that reproduce the augmented one."""
    found = shown(images, "standard" if flips else "shift", 1)
    assert found.dtype == np.uint8
    size = images.shape[1]
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    for before, after in zip(padded, found, strict=True):
        yield {
            (top, left, flip)
            for top in range(2 * shift + 1)
            for left in range(2 * shift + 1)
            for flip in (False, True)
            if np.array_equal(before[top : top + size, left : left + size][:, :: -1 if flip else 1], after)
        }


@pytest.mark.parametrize(("size", "shift"), [(8, 1), (32, 4)])
@pytest.mark.parametrize("flips", [True, False])
def test_images_are_shifted_by_up_to_an_eighth_and_flipped_where_asked(size, shift, flips):
    images = np.random.default_rng(0).integers(1, 256, (150, size, size, 3)).astype("uint8")
    found = list(views(images, shift, flips))
    assert all(len(view) == 1 for view in found)
    tops, lefts, flipped = (set(values) for values in zip(*(view.pop() for view in found), strict=True))
    assert tops == lefts == set(range(2 * shift + 1))
    assert flipped == ({False, True} if flips else {False})


def test_the_same_seed_gives_the_same_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype("uint8")
    first, second, other = (shown(images, "standard", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_none_leaves_images_alone_whatever_their_shape():
    images = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    assert augment.prepared(images, "none") is images
    np.testing.assert_array_equal(shown(images, "none", 0), images)
