import numpy as np
import pytest

from bompnas.training import augment


def views(images, shift, flips):
    """For every image, the (top, left, flip) views that reproduce the augmented one."""
    shown = augment.augmented(images, "standard" if flips else "shift", np.random.default_rng(1))
    assert shown.dtype == np.uint8
    size = images.shape[1]
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    for before, after in zip(padded, shown, strict=True):
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
    first, second, other = (augment.augmented(images, "standard", np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_none_leaves_images_alone():
    images = np.zeros((3, 8, 8, 1), "uint8")
    assert augment.augmented(images, "none", np.random.default_rng(0)) is images
