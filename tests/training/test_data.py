import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.datasets import load_digits

from bompnas.errors import InputError
from bompnas.experiment.sections import DataSettings
from bompnas.training import data

SIZE, CHANNELS, CLASSES = 4, 3, 3
COUNT = 60


@pytest.fixture
def images():
    """Every image is different: its first pixel is its number."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, CHANNELS), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(COUNT)
    return images


@pytest.fixture
def labels():
    return np.arange(COUNT) % CLASSES


def split(images, labels, *test, **options):
    return data.from_arrays(images, labels, *test, **({"input_size": SIZE, "input_channels": CHANNELS} | options))


def numbers(part):
    return part.images[:, 0, 0, 0].tolist()


def test_digits_as_bytes_in_stratified_parts():
    digits = data.load(DataSettings(dataset="digits", validation=0.2, test=0.2), 8, 1, seed=0)
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part) for part in parts] == [1079, 359, 359]
    assert digits.classes == 10
    assert digits.class_names == tuple("0123456789")
    assert digits.train.images.shape == (1079, 8, 8, 1)
    assert digits.train.images.dtype == np.uint8
    original = load_digits()
    sixteenths = np.concatenate([part.images for part in parts]).astype(int)[..., 0]
    assert set(np.unique(sixteenths)) == {round(value * 255 / 16) for value in range(17)}
    assert np.rint(sixteenths * 16 / 255).sum() == original.images.sum()
    shares = np.bincount(original.target) / 1797
    for part in parts:
        assert np.abs(np.bincount(part.labels) - shares * len(part)).max() <= 2


def test_parts_are_disjoint_complete_and_fixed_by_the_seed(images, labels):
    first = split(images, labels, seed=3)
    again = split(images, labels, seed=3)
    other = split(images, labels, seed=4)
    parts = (first.train, first.validation, first.test)
    assert [len(part) for part in parts] == [36, 12, 12]
    assert sorted(number for part in parts for number in numbers(part)) == list(range(COUNT))
    for part in parts:
        assert (part.labels == part.images[:, 0, 0, 0] % CLASSES).all()
        assert np.bincount(part.labels).tolist() == [len(part) // 3] * 3
    for name in ("train", "validation", "test"):
        assert numbers(getattr(first, name)) == numbers(getattr(again, name))
    assert numbers(first.test) != numbers(other.test)


def test_a_shorter_training_part_leaves_the_others_as_they_are(images, labels):
    whole, short = split(images, labels), split(images, labels, train_images=9)
    assert np.bincount(short.train.labels).tolist() == [3, 3, 3]
    assert set(numbers(short.train)) < set(numbers(whole.train))
    assert numbers(short.validation) == numbers(whole.validation)
    assert numbers(short.test) == numbers(whole.test)


def test_a_test_part_of_its_own_stays_as_it_is(images, labels):
    given = split(images, labels, images[:7], labels[:7], validation=6)
    assert numbers(given.test) == list(range(7))
    assert (len(given.train), len(given.validation)) == (54, 6)


@settings(deadline=None)
@given(counts=st.lists(st.integers(3, 40), min_size=2, max_size=6), share=st.floats(0.05, 0.45))
def test_classes_keep_their_shares(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    size = max(1, round(share * len(labels)))
    chosen = data.stratified(labels, size, np.random.default_rng(0))
    assert len(set(chosen)) == size
    quota = np.array(counts) * size / len(labels)
    assert (np.abs(np.bincount(labels[chosen], minlength=len(counts)) - quota) < 1).all()


def test_regression_targets_become_rows(images, labels):
    one, two = split(images, labels, task="regression"), split(images, np.eye(2)[labels % 2], task="regression")
    assert one.train.labels.shape == (36, 1)
    assert two.train.labels.shape == (36, 2)
    assert one.train.labels.dtype == np.float32
    assert (one.classes, one.class_names) == (None, ())
    assert (one.train.labels[:, 0] == one.train.images[:, 0, 0, 0] % CLASSES).all()


def test_names_of_classes(images, labels):
    assert split(images, labels, class_names=("a", "b", "c")).class_names == ("a", "b", "c")


@pytest.mark.parametrize("kind", [np.int16, np.uint64, np.float32, np.bool_])
def test_labels_of_any_type_that_hold_whole_numbers(images, labels, kind):
    result = split(images, (labels % 2).astype(kind)[:, np.newaxis])
    assert result.train.labels.dtype == np.int64
    assert result.train.labels.shape == (36,)


def test_grey_images_without_a_channel_axis(images, labels):
    result = split(images[..., 0], labels, input_channels=1)
    assert result.train.images.shape == (36, SIZE, SIZE, 1)


@settings(deadline=None)
@given(npst.arrays(np.uint8, (5, 2, 2, 1)), st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]))
def test_float_images_give_back_the_bytes_that_they_came_from(original, interval):
    low, high = interval
    floats = (low + original * ((high - low) / 255)).astype(np.float32).clip(low, high)
    given_range = None if interval == (0.0, 1.0) else interval
    assert (data.arrays.as_bytes(floats, 2, 1, given_range, "here") == original).all()


def test_whole_numbers_up_to_255_are_bytes(images, labels):
    assert (split(images.astype(np.int64), labels).train.images == split(images, labels).train.images).all()


IMAGE_CASES = [
    (lambda x: x[:0], {}, "there are no images; found an array of shape (0, 4, 4, 3)"),
    (
        lambda x: x[:, :2],
        {},
        "images of shape (60, 2, 4, 3) do not fit the search space, which expects (number, 4, 4, 3)",
    ),
    (lambda x: x, {"input_size": 8}, "which expects (number, 8, 8, 3); resize the images or change the input of"),
    (lambda x: x, {"input_channels": 1}, "which expects (number, 4, 4, 1)"),
    (lambda x: x.astype(str), {}, "expected images as arrays of numbers; found text"),
    (
        lambda x: x.astype(np.float32),
        {},
        "pixels are float32 from 0 to 255, neither whole numbers 0..255 nor 0..1; say in",
    ),
    (lambda x: x.astype(np.int32) - 9, {}, "pixels are int32 from -9 to 246, neither whole numbers"),
    (lambda x: x / 255, {"range": (0.0, 0.5)}, "pixels from 0 to 1 lie outside data.range [0, 0.5]"),
    (lambda x: np.where(x > 200, np.nan, x / 255), {}, "some pixels are not finite numbers"),
]


@pytest.mark.parametrize(("change", "options", "message"), IMAGE_CASES)
def test_images_that_do_not_fit(images, labels, change, options, message):
    with pytest.raises(InputError) as caught:
        split(change(images), labels, name="mine", **options)
    assert str(caught.value).startswith("mine, training part: ")
    assert message in str(caught.value)


LABEL_CASES = [
    (lambda y: y[:50], {}, "mine, training part: 60 images, but labels of shape (50,)"),
    (lambda y: np.int64(3), {}, "mine, training part: 60 images, but labels of shape ()"),
    (
        lambda y: np.eye(3)[y],
        {},
        "labels of shape (60, 3); expected one class number per image (of one-hot labels, take",
    ),
    (lambda y: y - 1, {}, "mine, training part: label -1 is negative; expected class numbers from 0"),
    (
        lambda y: y + 0.5,
        {},
        "label 0.5 is not a whole number; expected class numbers from 0 (to learn targets, use head",
    ),
    (lambda y: np.full(60, np.nan), {}, "label nan is not a whole number"),
    (lambda y: y.astype(str), {}, "mine, training part: labels are text; expected class numbers from 0"),
    (lambda y: y * 2, {}, "mine: no training image of class 1, although labels reach 4; number the classes from 0"),
    (lambda y: y + 10**9, {}, "mine: no training image of class 0, although labels reach 1000000002"),
    (lambda y: y * 0, {}, "mine: all training images are of one class; expected at least 2 classes"),
    (lambda y: y, {"class_names": ("a", "b")}, "mine: labels reach 2, but there are 2 classes, numbered from 0"),
    (lambda y: y * np.nan, {"task": "regression"}, "mine, training part: some targets are not finite numbers"),
    (
        lambda y: np.zeros((60, 2, 2)),
        {"task": "regression"},
        "targets are float64 of shape (60, 2, 2); expected one number",
    ),
    (lambda y: y.astype(str), {"task": "regression"}, "targets are text of shape (60,); expected one number"),
]


@pytest.mark.parametrize(("change", "options", "message"), LABEL_CASES)
def test_labels_that_do_not_fit(images, labels, change, options, message):
    with pytest.raises(InputError) as caught:
        split(images, change(labels), name="mine", **options)
    assert message in str(caught.value)


# --- Some of the classes ----------------------------------------------------------------------------------------------


def test_chosen_classes_are_numbered_anew_and_keep_their_names(images, labels):
    result = split(images, labels, class_names=("a", "b", "c"), classes=["c", "a"])
    assert (result.classes, result.class_names) == (2, ("a", "c"))
    for part in (result.train, result.validation, result.test):
        assert part.labels.dtype == np.int64
        assert (part.labels == (part.images[:, 0, 0, 0] % CLASSES == 2)).all()
        assert set(part.images[:, 0, 0, 0] % CLASSES) == {0, 2}
    assert [len(part) for part in (result.train, result.validation, result.test)] == [24, 8, 8]


def test_a_number_of_classes_are_the_first_ones(images, labels):
    two, named = split(images, labels, classes=2), split(images, labels, classes=["0", "1"])
    assert two.class_names == named.class_names == ("0", "1")
    assert numbers(two.train) == numbers(named.train)
    assert two.train.labels.tolist() == (two.train.images[:, 0, 0, 0] % CLASSES).tolist()


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(15, 30), min_size=3, max_size=8),
    seed=st.integers(0, 99),
    number=st.booleans(),
    draw=st.data(),
)
def test_an_image_is_in_the_same_part_whichever_classes_are_chosen(counts, seed, number, draw):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    options = {"input_size": 1, "input_channels": 1, "seed": seed, "validation": 2 * len(counts) if number else 0.2}
    whole = data.from_arrays(images, labels, **options)
    some = draw.draw(st.lists(st.sampled_from(whole.class_names), min_size=2, unique=True))
    for classes in (2, len(counts), some):
        fewer = data.from_arrays(images, labels, classes=classes, **options)
        for part in ("train", "validation", "test"):
            every, found = getattr(whole, part), getattr(fewer, part)
            kept = [whole.class_names[label] in fewer.class_names for label in every.labels]
            assert found.images.tolist() == every.images[kept].tolist()
            assert [fewer.class_names[label] for label in found.labels] == [str(label) for label in every.labels[kept]]


def test_a_shorter_training_part_is_one_of_all_classes(images, labels):
    whole, two = split(images, labels, train_images=9), split(images, labels, train_images=9, classes=2)
    assert numbers(two.train) == [number for number in numbers(whole.train) if number % CLASSES < 2]
    assert len(two.train) == 6


def test_classes_of_a_test_part_of_its_own(images, labels):
    result = split(images, labels, images[:7], labels[:7], classes=["1", "2"])
    assert numbers(result.test) == [1, 2, 4, 5]
    assert result.test.labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(InputError, match=r"mine, test part: there is no image of the chosen classes \(data.classes\)"):
        split(images, labels, images[:1], labels[:1], classes=["1", "2"], name="mine")


def test_a_class_with_too_few_images_may_be_left_out(images, labels):
    labels[:2] = 3
    assert split(images, labels, classes=3).class_names == ("0", "1", "2")
    with pytest.raises(InputError, match="class 3 has 2 of 60 images"):
        split(images, labels, classes=["0", "3"])


def test_digits_of_the_first_classes_are_those_of_all_of_them():
    def load(classes):
        return data.load(DataSettings(dataset="digits", classes=classes), 8, 1, seed=0)

    whole, five = load(None), load(5)
    assert (five.classes, five.class_names) == (5, tuple("01234"))
    for part in ("train", "validation", "test"):
        every, first = getattr(whole, part), getattr(five, part)
        assert (first.images == every.images[every.labels < 5]).all()
        assert (first.labels == every.labels[every.labels < 5]).all()


CLASSES_CASES = [
    (4, {}, "data.classes: found 4, but mine has 3 classes; expected 2 to 3"),
    (["a", "z"], {"class_names": "abc"}, "data.classes: mine has no class 'z'; expected some of its 3: a, b, c"),
    (1, {}, "data.classes: expected how many classes to use, or a list of their names, and at least 2; found 1"),
    ([], {}, "data.classes: expected how many classes to use, or a list of their names, and at least 2; found []"),
    (["0"], {}, "and at least 2; found ['0']"),
    (["0", 0], {}, "data.classes: expected different classes; found '0' twice"),
    ([True, "0"], {}, "data.classes: expected names of classes; found true; put it in quotes if it is a name"),
    (True, {}, "or a list of their names, and at least 2; found true"),
    ("ab", {}, "or a list of their names, and at least 2; found the text 'ab'"),
    (2, {"task": "regression"}, "data.classes: mine is for regression, whose targets are no classes; remove this key"),
]


@pytest.mark.parametrize(("classes", "options", "message"), CLASSES_CASES)
def test_classes_that_there_are_not(images, labels, classes, options, message):
    with pytest.raises(InputError) as caught:
        split(images, labels, name="mine", classes=classes, **options)
    assert message in str(caught.value)


SIZE_CASES = [
    (
        {"train_images": 50},
        "mine: 60 images, less 12 for test and 12 for validation, leave 36 for training; expected at",
    ),
    ({"validation": 30, "test": 30}, "leave 0 for training; expected at least 1"),
    (
        {"train_images": 2},
        "mine: no image of class 2 is among the 2 training images; add images of it, hold out fewer,",
    ),
    ({"validation": -0.5}, "expected a fraction between 0 and 1, or a number of images, to hold out; found -0.5"),
]


@pytest.mark.parametrize(("options", "message"), SIZE_CASES)
def test_too_few_images(images, labels, options, message):
    with pytest.raises(InputError) as caught:
        split(images, labels, name="mine", **options)
    assert message in str(caught.value)


def test_a_class_with_too_few_images_for_all_parts(images, labels):
    labels[:2] = 3
    with pytest.raises(
        InputError, match="class d has 2 of 60 images; expected at least 3, one each for test, validation"
    ):
        split(images, labels, class_names=tuple("abcd"))
    assert 3 in split(images, labels, images, labels, class_names=tuple("abcd")).train.labels


def test_test_parts_that_do_not_fit(images, labels):
    with pytest.raises(InputError, match="no training image of class 3, although labels reach 5"):
        split(images, labels, images, labels + 3)
    with pytest.raises(InputError, match="test images and test labels belong together"):
        split(images, labels, images)
    with pytest.raises(InputError, match=r"^mine, test part: images of shape"):
        split(images, labels, images[:, 1:], labels, name="mine")
    with pytest.raises(InputError, match="3 targets per image in the training part, but 1 in the test part"):
        split(images, np.eye(3)[labels], images, labels, task="regression")
