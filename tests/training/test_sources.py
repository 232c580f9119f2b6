import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bompnas.errors import InputError
from bompnas.experiment.sections import DataSettings
from bompnas.training import data, sources
from bompnas.training.image_files import Decoder, ImageFiles

SIZE = 4


@pytest.fixture
def arrays():
    images = np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8)
    return {"x_train": images, "y_train": np.arange(40) % 2, "x_test": images[:8], "y_test": np.arange(8) % 2}


def load(dataset, path=None, size=SIZE, channels=3, **options):
    return data.load(DataSettings(dataset=dataset, path=path and str(path), **options), size, channels, seed=0)


def test_reading_data_imports_no_framework():
    program = (
        "import sys; from bompnas.experiment.sections import DataSettings; from bompnas.training import data; "
        "data.load(DataSettings(dataset='digits'), 8, 1, 0); "
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_npz_with_a_test_part(tmp_path, arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    dataset = load("npz", tmp_path / "mine.npz")
    assert (dataset.test.images == arrays["x_test"]).all()
    assert (len(dataset.train), len(dataset.validation)) == (32, 8)
    with pytest.raises(InputError, match=r"^data\.test: .*mine\.npz has a test part of its own; remove this key$"):
        load("npz", tmp_path / "mine.npz", test=0.1)


def test_npz_without_a_test_part(tmp_path, arrays):
    np.savez_compressed(tmp_path / "mine.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    dataset = load("npz", tmp_path / "mine.npz", test=4)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (28, 8, 4)


def test_npz_of_floats_in_a_range(tmp_path, arrays):
    arrays = {name: values / 127.5 - 1 if name.startswith("x") else values for name, values in arrays.items()}
    np.savez(tmp_path / "mine.npz", **arrays)
    dataset = load("npz", tmp_path / "mine.npz", range=[-1.0, 1.0])
    assert (dataset.test.images == np.rint((arrays["x_test"] + 1) * 127.5)).all()


@pytest.mark.parametrize("missing", ["x_train", "y_train", "x_test", "y_test"])
def test_npz_without_an_array(tmp_path, arrays, missing):
    del arrays[missing]
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(
        InputError, match=f"mine.npz: expected the arrays x_train, y_train .* found {', '.join(arrays)}$"
    ):
        load("npz", tmp_path / "mine.npz")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("name", ["x_train", "y_test"])
def test_pickled_objects_are_refused_unread(tmp_path, monkeypatch, arrays, name):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", **(arrays | {name: np.array([Trap()], dtype=object)}))
    with pytest.raises(InputError, match=rf"mine\.npz: {name} holds pickled objects, which could run any code"):
        load("npz", "mine.npz")
    assert not Path("sprung").exists()


def damaged(path, kind, arrays):
    np.savez(path, **arrays)
    whole = path.read_bytes()
    if kind == "text":
        path.write_text("x_train, y_train")
    elif kind == "cut short":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        path.write_bytes(whole[:500] + bytes([whole[500] ^ 255]) + whole[501:])
    elif kind == "one array":
        with path.open("wb") as file:
            np.save(file, arrays["x_train"])
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00junk")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "not an .npz file, or one cut short; expected what numpy.savez writes"),
        ("cut short", "not an .npz file, or one cut short; expected what numpy.savez writes"),
        ("one array", "not an .npz file, or one cut short; expected what numpy.savez writes"),
        ("flipped", r"cannot be read \(Bad CRC-32 for file 'x_train.npy'\)"),
        ("bad header", "x_train cannot be read"),
    ],
)
def test_damaged_npz(tmp_path, arrays, kind, message):
    damaged(tmp_path / "mine.npz", kind, arrays)
    with pytest.raises(InputError, match=rf"mine\.npz: {message}"):
        load("npz", tmp_path / "mine.npz")


def test_cifar10_from_a_path_and_from_the_shared_folder(tmp_path, monkeypatch, arrays):
    arrays |= {"y_train": np.arange(40)[:, np.newaxis] % 10, "y_test": np.arange(8)[:, np.newaxis]}
    np.savez(tmp_path / "cifar10.npz", **arrays)
    by_path = load("cifar10", tmp_path / "cifar10.npz")
    monkeypatch.setenv(sources.DATA_FOLDER, str(tmp_path))
    by_folder = load("cifar10")
    assert (by_path.train.images == by_folder.train.images).all()
    assert by_folder.classes == 10
    assert by_folder.class_names[:2] == ("airplane", "automobile")


def test_cifar_needs_a_test_part(tmp_path, arrays):
    np.savez(tmp_path / "mine.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    with pytest.raises(InputError, match=r"mine\.npz: has no x_test and y_test; cifar100 needs them"):
        load("cifar100", tmp_path / "mine.npz")


def test_a_shared_folder_that_is_none(monkeypatch):
    monkeypatch.setenv(sources.DATA_FOLDER, "/nowhere")
    with pytest.raises(InputError, match="BOMPNAS_DATA is '/nowhere', which is not a folder; correct the variable"):
        load("cifar10")


def test_cifar_comes_through_keras_otherwise(monkeypatch, tmp_path, arrays):
    datasets = pytest.importorskip("keras.datasets")
    monkeypatch.setenv(sources.DATA_FOLDER, str(tmp_path))
    train, test = (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
    monkeypatch.setattr(datasets.cifar100, "load_data", lambda: (train, test))
    assert (load("cifar100").test.images == arrays["x_test"]).all()

    def fail():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(datasets.cifar100, "load_data", fail)
    with pytest.raises(
        InputError, match=r"^cifar100 could not be downloaded \(URL fetch failure\); give its \.npz file"
    ):
        load("cifar100")


def test_cifar10_itself():
    folder = os.environ.get(sources.DATA_FOLDER)
    if not folder or not Path(folder, "cifar10.npz").is_file():
        pytest.skip(f"no cifar10.npz in a folder named by {sources.DATA_FOLDER}")
    dataset = load("cifar10", size=32, train_images=4000, validation=0.1)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [4000, 5000, 10000]
    assert np.bincount(dataset.train.labels).tolist() == [400] * 10
    assert np.bincount(dataset.validation.labels).tolist() == [500] * 10


@pytest.fixture
def photos(tmp_path):
    """Three dark dogs, five bright cats of other sizes and formats, and files that are no images."""
    for name, count, value in (("dogs", 3, 40), ("cats", 5, 200)):
        (tmp_path / name).mkdir()
        for number in range(count):
            suffix = ("png", "jpg", "bmp")[number % 3]
            Image.new("RGB", (8 + number, 6), (value, value, value)).save(tmp_path / name / f"{number}.{suffix}")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "cats" / "notes.txt").write_text("cats")
    return tmp_path


def test_a_folder_of_images(photos):
    dataset = load("folder", photos, validation=2, test=2)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert dataset.class_names == ("cats", "dogs")
    assert dataset.train.images.shape == (4, SIZE, SIZE, 3)
    for part in parts:
        assert [200 if label == 0 else 40 for label in part.labels] == part.images.max(axis=(1, 2, 3)).tolist()
    assert np.bincount(np.concatenate([part.labels for part in parts])).tolist() == [5, 3]


def test_a_folder_in_grey(photos):
    assert load("folder", photos, channels=1).train.images.shape[1:] == (SIZE, SIZE, 1)


def test_a_streamed_folder_is_split_into_the_same_images_that_stay_in_their_files(photos):
    read = load("folder", photos, validation=2, test=2)
    streamed = load("folder", photos, validation=2, test=2, stream=True)
    assert (streamed.name, streamed.classes, streamed.class_names) == (read.name, read.classes, read.class_names)
    for part in ("train", "validation", "test"):
        one, other = getattr(streamed, part), getattr(read, part)
        assert isinstance(one.images, ImageFiles)
        assert one.images.shape == other.images.shape
        np.testing.assert_array_equal(one.images[:], other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("stream", [False, True])
def test_some_classes_of_a_folder(photos, stream):
    (photos / "birds").mkdir()
    for number in range(4):
        Image.new("RGB", (5, 5), (100, 100, 100)).save(photos / "birds" / f"{number}.png")
    dataset = load("folder", photos, validation=0.25, test=0.25, stream=stream, classes=["dogs", "birds"])
    parts = (dataset.train, dataset.validation, dataset.test)
    assert dataset.class_names == ("birds", "dogs")
    assert {isinstance(part.images, ImageFiles) for part in parts} == {stream}
    for part in parts:
        assert [100 if label == 0 else 40 for label in part.labels] == part.images[:].max(axis=(1, 2, 3)).tolist()
    assert np.bincount(np.concatenate([part.labels for part in parts])).tolist() == [4, 3]
    with pytest.raises(InputError, match=r"has no class 'cows'; expected some of its 3: birds, cats, dogs$"):
        load("folder", photos, classes=["dogs", "cows"])


def test_a_streamed_folder_is_not_read_at_the_start(photos):
    (photos / "cats" / "0.png").write_bytes(b"no image")
    assert len(load("folder", photos, validation=2, test=2, stream=True).train) == 4
    with pytest.raises(InputError, match="image files have 1 or 3 channels, but the search space expects 4"):
        load("folder", photos, channels=4, stream=True)


def test_phone_photos_stand_upright(tmp_path):
    image = Image.new("L", (2, 2))
    image.putpixel((0, 0), 255)
    turned = Image.Exif()
    turned[274] = 3
    image.save(tmp_path / "turned.png", exif=turned)
    pixels = Decoder(tmp_path, 2, 1)(b"turned.png")
    assert pixels[..., 0].tolist() == [[0, 0], [0, 255]]


def test_folders_that_hold_no_classes(tmp_path, photos):
    with pytest.raises(InputError, match="cats: expected one subfolder of images per class; found no subfolder"):
        load("folder", photos / "cats")
    (photos / "birds").mkdir()
    with pytest.raises(InputError, match="birds: expected the images of class birds; found no image file"):
        load("folder", photos)


def test_folders_have_no_targets(photos):
    with pytest.raises(InputError, match="a folder's images have classes but no targets"):
        data.load(DataSettings(dataset="folder", path=str(photos)), SIZE, 3, seed=0, task="regression")


def test_folders_need_grey_or_colour(photos):
    with pytest.raises(InputError, match="image files have 1 or 3 channels, but the search space expects 4"):
        load("folder", photos, channels=4)


def test_images_that_cannot_be_read(photos):
    whole = photos / "cats" / "0.png"
    whole.write_bytes(whole.read_bytes()[:45])
    with pytest.raises(InputError, match=r"0\.png: not readable as an image \("):
        load("folder", photos)
    Image.fromarray(np.full((6, 6), 40_000, np.uint16)).save(whole)
    with pytest.raises(InputError, match=r"0\.png: has more than 8 bits per channel; convert it to an 8-bit image"):
        load("folder", photos)


def test_too_few_images_of_a_class(photos):
    (photos / "dogs" / "0.png").unlink()
    with pytest.raises(InputError, match="class dogs has 2 of 7 images; expected at least 3"):
        load("folder", photos)
