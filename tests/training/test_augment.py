import numpy as np

from bompnas.training import augment


def test_images_are_flipped_and_shifted_by_at_most_four_pixels():
    images = np.random.default_rng(0).integers(1, 256, (300, 12, 12, 3)).astype("uint8")
    shown = augment.standard(images, np.random.default_rng(1))
    assert shown.dtype == np.uint8
    assert shown.shape == images.shape
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    seen = set()
    for before, after in zip(padded, shown, strict=True):
        matches = {
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (False, True)
            if np.array_equal(before[top : top + 12, left : left + 12][:, :: -1 if flip else 1], after)
        }
        assert len(matches) == 1
        seen |= matches
    assert {flip for _, _, flip in seen} == {False, True}
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))


def test_the_same_seed_gives_the_same_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype("uint8")
    first, second, other = (augment.standard(images, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
