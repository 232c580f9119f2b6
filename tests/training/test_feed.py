import time

import numpy as np
import pytest
from keras import ops
from PIL import Image

from bompnas.errors import InputError
from bompnas.training import augment, feed, image_files
from bompnas.training.feed import Feed

SIZE, COUNT, BATCH = 8, 50, 4


@pytest.fixture
def images(tmp_path):
    """Images in files, all different."""
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        file = tmp_path / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(1, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(file)
    return image_files.find(tmp_path, SIZE, 3)[0]


@pytest.fixture
def labels():
    return np.arange(COUNT)


def epoch(steps, kind):
    """An order of the images, and what becomes of each."""
    generator = np.random.default_rng(1)
    order = generator.permutation(COUNT)[: steps * BATCH].astype(np.int32)
    chosen = augment.choices(COUNT, SIZE, kind, generator)
    return order.reshape(steps, BATCH), tuple(values[order].reshape(steps, BATCH) for values in chosen)


def shown(found):
    """Images as they are shown and labels, step by step."""
    for (images, labels), (indices, *chosen), steps in found:
        assert len(indices) == steps.stop - steps.start
        for step in range(len(indices)):
            batch = ops.convert_to_tensor(indices[step]), tuple(ops.convert_to_tensor(each[step]) for each in chosen)
            yield (
                ops.convert_to_numpy(augment.views(images, *batch, (SIZE, SIZE))),
                ops.convert_to_numpy(ops.take(labels, batch[0], axis=0)),
            )


@pytest.mark.parametrize("kind", ["none", "shift", "standard"])
@pytest.mark.parametrize("steps", [1, 5, 12])
def test_files_are_shown_as_arrays_are(images, labels, monkeypatch, kind, steps):
    margin = 0 if kind == "none" else 1
    monkeypatch.setattr(feed, "CHUNK", 3 * BATCH * (SIZE + 2 * margin) ** 2 * 3 + 1)
    order, chosen = epoch(steps, kind)
    streamed = list(Feed(images, labels, kind).chunks(order, chosen))
    at_once = list(Feed(images[:], labels, kind).chunks(order, chosen))
    assert [part for *_, part in at_once] == [slice(0, steps)]
    expected = {1: [(0, 1)], 5: [(0, 3), (3, 5)], 12: [(0, 3), (3, 6), (6, 9), (9, 12)]}[steps]
    assert [(part.start, part.stop) for *_, part in streamed] == expected
    assert len({data[0].shape for data, *_ in streamed}) == len({data[1].shape for data, *_ in streamed}) == 1
    for one, other in zip(shown(streamed), shown(at_once), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_chunks_are_about_equal_and_never_less_than_a_step(images, labels, monkeypatch):
    step = BATCH * SIZE * SIZE * 3
    order, _ = epoch(12, "none")
    for most, expected in ((5, [4, 4, 4]), (11, [6, 6]), (0.5, [1] * 12), (100, [12])):
        monkeypatch.setattr(feed, "CHUNK", int(most * step))
        parts = [part for *_, part in Feed(images, labels).chunks(order)]
        assert [part.stop - part.start for part in parts] == expected


def test_arrays_are_brought_to_the_device_once(images, labels):
    brought = Feed(images[:], labels, "shift")
    first, second = (next(iter(brought.chunks(*epoch(3, "shift"))))[0] for _ in range(2))
    assert first[0] is second[0]
    assert first[0].shape == (COUNT, SIZE + 2, SIZE + 2, 3)


def test_the_next_chunk_is_decoded_while_one_is_used(images, labels, monkeypatch):
    decoded = []
    real = image_files.Decoder.__call__
    monkeypatch.setattr(image_files.Decoder, "__call__", lambda self, name: decoded.append(name) or real(self, name))
    monkeypatch.setattr(feed, "CHUNK", BATCH * SIZE * SIZE * 3)
    order, _ = epoch(3, "none")
    chunks = Feed(images, labels).chunks(order)
    next(chunks)
    end = time.monotonic() + 30
    while len(decoded) < 2 * BATCH and time.monotonic() < end:
        time.sleep(0.01)
    assert sorted(decoded) == sorted(images.files["name"][order[:2].ravel()])


def test_a_file_that_cannot_be_decoded_ends_the_epoch_with_its_name(images, labels, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK", BATCH * SIZE * SIZE * 3)
    order, _ = epoch(5, "none")
    broken = images.decoder.path(images.files["name"][order[3, 2]])
    broken.write_bytes(broken.read_bytes()[:40])
    chunks = Feed(images, labels).chunks(order)
    assert [next(chunks)[2].start for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match=f"{broken.name}: not readable as an image"):
        next(chunks)


@pytest.mark.parametrize("size", [1, 7, 50, 64])
def test_all_images_come_in_parts(images, size):
    whole = images[:]
    for found in (list(feed.parts(images, size)), list(feed.parts(whole, size))):
        assert [len(part) for part in found] == [min(size, COUNT - start) for start in range(0, COUNT, size)]
        np.testing.assert_array_equal(np.concatenate(found), whole)
