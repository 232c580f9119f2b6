import pickle
import time

import numpy as np
import pytest
from PIL import Image

from bompnas.errors import InputError
from bompnas.training import image_files
from bompnas.training.image_files import ImageFiles

SIZE = 8


@pytest.fixture
def folder(tmp_path):
    """Images of noise in several formats and sizes: 9 of class a, 5 of class b."""
    generator = np.random.default_rng(0)
    for name, count in (("b", 5), ("a", 9)):
        (tmp_path / name).mkdir()
        for number in range(count):
            pixels = generator.integers(0, 256, (7 + number, 11, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.{('png', 'webp', 'JPG')[number % 3]}")
    return tmp_path


@pytest.fixture
def images(folder):
    return image_files.find(folder, SIZE, 3)[0]


def expected(folder, name, channels=3):
    with Image.open(folder / name) as image:
        small = image.convert("RGB" if channels == 3 else "L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small).reshape(SIZE, SIZE, channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_listed_by_class_and_name_and_decoded_as_they_are(folder, channels):
    images, labels, classes = image_files.find(folder, SIZE, channels)
    names = [
        f"{name}/{n}.{('png', 'webp', 'JPG')[n % 3]}" for name, count in (("a", 9), ("b", 5)) for n in range(count)
    ]
    assert images.files["name"].tolist() == [name.encode() for name in names]
    assert images.files["bytes"].tolist() == [(folder / name).stat().st_size for name in names]
    assert classes == ("a", "b")
    assert labels.tolist() == [0] * 9 + [1] * 5
    np.testing.assert_array_equal(images[:], [expected(folder, name, channels) for name in names])


def test_they_are_indexed_as_an_array(images):
    whole = images[:]
    assert (images.shape, images.size, images.ndim, images.dtype) == (whole.shape, whole.size, whole.ndim, whole.dtype)
    assert len(images) == 14
    for chosen in (slice(3, 7), slice(12, 99), slice(0), np.array([5, 0, 5]), np.arange(14) % 4 == 1):
        np.testing.assert_array_equal(images[chosen], whole[chosen])
        np.testing.assert_array_equal(images.part(chosen)[:], whole[chosen])


def test_the_whole_never_becomes_an_array_by_accident(images):
    with pytest.raises(TypeError, match=r"the 14 images of .* stay in their files; index some of them"):
        np.asarray(images)


def test_they_travel_as_a_list_of_files(images):
    content = pickle.dumps(images)
    assert len(content) < 14 * 20 + 1000
    np.testing.assert_array_equal(pickle.loads(content)[:], images[:])


def test_names_of_any_bytes_are_found(folder):
    odd = bytes(folder) + b"/a/\xff \xc3\xa9.png"
    with open(odd, "wb") as file:
        Image.new("L", (3, 3), 77).save(file, "png")
    images = image_files.find(folder, SIZE, 1)[0]
    assert (images[images.files["name"] == b"a/\xff \xc3\xa9.png"] == 77).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_bytes(b""), r"0\.png: not readable as an image \(the file is empty\)"),
        (lambda file: (file.unlink(), file.mkdir()), r"0\.png: expected an image file; found a folder, or a link to"),
        (lambda file: (file.unlink(), file.symlink_to("gone")), r"0\.png: expected an image file; found a folder, or"),
    ],
)
def test_what_cannot_be_an_image_shows_at_the_start(folder, spoil, message):
    spoil(folder / "a" / "0.png")
    with pytest.raises(InputError, match=message):
        image_files.find(folder, SIZE, 3)


def test_what_cannot_be_decoded_shows_when_it_is_needed_and_names_the_first(folder):
    for name in ("b/0.png", "a/6.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:50])
    (folder / "b" / "3.png").unlink()
    images = image_files.find(folder, SIZE, 3)[0]
    assert len(images[:6]) == 6
    with pytest.raises(InputError, match=r"a/6\.png: not readable as an image \("):
        images[:]
    (folder / "b" / "1.webp").unlink()
    with pytest.raises(InputError, match=r"b/1\.webp: not readable as an image \(.*No such file"):
        images[10:]


def test_what_is_not_wanted_any_more_is_not_decoded(images, monkeypatch):
    begun = []

    def slowly(decoder, name):
        begun.append(name)
        time.sleep(0.05)
        return np.zeros((SIZE, SIZE, 3), np.uint8)

    monkeypatch.setattr(image_files.Decoder, "__call__", slowly)
    many = ImageFiles(images.decoder, np.repeat(images.files, 50))
    many.decoding(slice(None)).cancel()
    assert images[:1].shape == (1, SIZE, SIZE, 3)  # its turn comes behind all that was not cancelled
    assert len(begun) < 700


@pytest.mark.parametrize(("given", "number"), [("3", 3), ("", None)])
def test_as_many_threads_decode_as_a_worker_has(monkeypatch, given, number):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(image_files.os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4})
    assert image_files._threads.__wrapped__()._max_workers == (number or 5)
