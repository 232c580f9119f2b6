"""Data sets: images as bytes, labels or targets, and splits that a seed fixes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from bompnas.errors import InputError
from bompnas.experiment.sections import DataSettings, check_classes, check_share
from bompnas.training import arrays, sources
from bompnas.training.image_files import ImageFiles

Task = Literal["classification", "regression"]

DEFAULT_TEST = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Attributes:
        images: (n, height, width, channels), uint8; perhaps in their files.
        labels: (n,) int64 class ids, or (n, targets) float32 for regression.
    """

    images: np.ndarray | ImageFiles
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def part(self, chosen: np.ndarray) -> "Split":
        """Some of the images; those in files stay there."""
        images = self.images.part(chosen) if isinstance(self.images, ImageFiles) else self.images[chosen]
        return Split(images, self.labels[chosen])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in its three parts.

    Attributes:
        name: What messages call it.
        train: What networks are trained on.
        validation: What candidates are scored on.
        test: What only the final numbers come from.
        classes: Number of classes; None for regression.
        class_names: One name per class; none for regression.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int | None
    class_names: tuple[str, ...]


def load(
    settings: DataSettings, input_size: int, input_channels: int, seed: int, task: Task = "classification"
) -> Dataset:
    """Reads and splits the data of an experiment.

    Args:
        settings: The experiment's section `data`.
        input_size: Height and width that the search space expects [pixels].
        input_channels: Channels that it expects.
        seed: Fixes the splits.
        task: Whether labels are classes or targets.

    Raises:
        InputError: Data that cannot be read, or does not fit the space or the task.
    """
    if task == "regression" and settings.dataset == "folder":
        raise InputError("data.dataset: a folder's images have classes but no targets; use an .npz file for regression")
    source = sources.read(settings, input_size, input_channels)
    if settings.test is not None and source.test is not None:
        raise InputError(f"data.test: {source.name} has a test part of its own; remove this key")
    return from_arrays(
        *source.train,
        *(source.test or (None, None)),
        input_size=input_size,
        input_channels=input_channels,
        seed=seed,
        task=task,
        validation=settings.validation,
        test=settings.test or DEFAULT_TEST,
        train_images=settings.train_images,
        range=source.range or settings.range,
        class_names=source.class_names,
        classes=settings.classes,
        name=source.name,
    )


def from_arrays(
    x: np.ndarray | ImageFiles,
    y: np.ndarray,
    x_test: np.ndarray | None = None,
    y_test: np.ndarray | None = None,
    *,
    input_size: int,
    input_channels: int,
    seed: int = 0,
    task: Task = "classification",
    validation: float | int = 0.2,
    test: float | int = DEFAULT_TEST,
    train_images: int | None = None,
    range: tuple[float, float] | None = None,
    class_names: Sequence[str] = (),
    classes: int | Sequence[str] | None = None,
    name: str = "your data",
) -> Dataset:
    """Checks and splits arrays.

    Args:
        x: Images, (n, height, width, channels), or (n, height, width) for one channel.
        y: Class ids from 0, (n,) or (n, 1); for regression targets, (n,) or (n, targets).
        x_test: Images of the test part; held out of `x` if not given.
        y_test: Their labels.
        input_size: Height and width that the search space expects [pixels].
        input_channels: Channels that it expects.
        seed: Fixes the splits; the same for every `train_images`.
        task: Whether labels are classes, by which the splits are stratified, or targets.
        validation: Fraction or number of the images of `x` held out for validation.
        test: Fraction or number of the images of `x` held out as test part, unless `x_test` is given.
        train_images: Shortens the training part to so many images.
        range: Pixel values of black and white; not needed for 0..255 whole numbers and 0..1 floats.
        class_names: Names of the classes; their numbers if not given.
        classes: Number of the first classes to use, or names of some; their labels are numbered anew, in the order of
            the data. All classes take part in the splits, so that an image is in the same part whichever are chosen.
        name: What messages call the data.

    Raises:
        InputError: Arrays that do not fit each other, the space or the task, or too few images to split.
    """
    if (x_test is None) != (y_test is None):
        raise InputError(f"{name}: test images and test labels belong together; only one of the two is there")

    def checked(images: np.ndarray | ImageFiles, labels: np.ndarray, part: str) -> Split:
        place = f"{name}, {part} part"
        images = images if isinstance(images, ImageFiles) else np.asarray(images)
        images = arrays.as_bytes(images, input_size, input_channels, range, place)
        labels = np.asarray(labels)
        if labels.ndim == 0 or len(labels) != len(images):
            raise InputError(f"{place}: {len(images)} images, but labels of shape {labels.shape}")
        return Split(
            images, arrays.as_class_ids(labels, place) if task == "classification" else arrays.as_targets(labels, place)
        )

    train = checked(x, y, "training")
    given_test = None if x_test is None else checked(x_test, y_test, "test")
    class_names = _name_classes(train, given_test, class_names, name) if task == "classification" else ()
    chosen = _chosen(classes, class_names, name)
    if given_test is not None and train.labels.shape[1:] != given_test.labels.shape[1:]:
        raise InputError(
            f"{name}: {train.labels.shape[1]} targets per image in the training part, but "
            f"{given_test.labels.shape[1]} in the test part"
        )
    held_out = {"validation": validation} if given_test is not None else {"test": test, "validation": validation}
    parts = _divide(train, held_out, train_images, {label: class_names[label] for label in chosen}, seed, name)
    if given_test is not None:
        parts["test"] = given_test
    if classes is not None:
        parts = {part: _of_classes(split, chosen, f"{name}, {part} part") for part, split in parts.items()}
    return Dataset(
        name=name,
        train=parts["training"],
        validation=parts["validation"],
        test=parts["test"],
        classes=len(chosen) or None,
        class_names=tuple(class_names[label] for label in chosen),
    )


def _name_classes(train: Split, test: Split | None, names: Sequence[str], place: str) -> tuple[str, ...]:
    """One name per class, once labels are known to run from 0 without gaps."""
    present = np.unique(train.labels)
    largest = max(present[-1], -1 if test is None else test.labels.max())
    if names and largest >= len(names):
        raise InputError(f"{place}: labels reach {largest}, but there are {len(names)} classes, numbered from 0")
    gaps = np.flatnonzero(present != np.arange(len(present)))
    missing = gaps[0] if len(gaps) else len(present)
    if missing <= largest:
        raise InputError(
            f"{place}: no training image of class {missing}, although labels reach {largest}; number the classes "
            "from 0 without gaps"
        )
    if len(present) < 2:
        raise InputError(f"{place}: all training images are of one class; expected at least 2 classes")
    return tuple(names[: len(present)]) or tuple(str(label) for label in present)


def _chosen(classes: int | Sequence[str] | None, class_names: Sequence[str], place: str) -> list[int]:
    """Class ids to use, ascending; none for regression."""
    if classes is None:
        return list(range(len(class_names)))
    try:
        classes = check_classes(classes)
    except InputError as error:
        raise InputError(f"data.classes: {error}") from None
    if not class_names:
        raise InputError(f"data.classes: {place} is for regression, whose targets are no classes; remove this key")
    count = len(class_names)
    if isinstance(classes, int):
        if classes > count:
            raise InputError(f"data.classes: found {classes}, but {place} has {count} classes; expected 2 to {count}")
        return list(range(classes))
    unknown = [each for each in classes if each not in class_names]
    if unknown:
        known = ", ".join(class_names[:10]) + (", ..." if count > 10 else "")
        raise InputError(f"data.classes: {place} has no class {unknown[0]!r}; expected some of its {count}: {known}")
    return sorted(class_names.index(each) for each in classes)


def _of_classes(split: Split, chosen: Sequence[int], place: str) -> Split:
    """The images of some classes, whose labels are numbered anew."""
    places = np.flatnonzero(np.isin(split.labels, chosen))
    if not len(places):
        raise InputError(f"{place}: there is no image of the chosen classes (data.classes)")
    part = split.part(places)
    return Split(part.images, np.searchsorted(chosen, part.labels))


def _divide(
    everything: Split,
    held_out: Mapping[str, float | int],
    train_images: int | None,
    needed: Mapping[int, str],
    seed: int,
    name: str,
) -> dict[str, Split]:
    """Takes the parts to hold out one after the other; the rest, shortened, is the `training` part.

    Parts are stratified where there are classes. Each has random numbers of its own, so that a shorter training part
    leaves the others as they are. Of the needed classes, id -> name, there must be images in every part.
    """
    labels = everything.labels
    count = len(labels)
    sizes = {
        part: share if isinstance(check_share(share), int) else max(1, round(share * count))
        for part, share in held_out.items()
    }
    left = count - sum(sizes.values())
    if left < (train_images or 1):
        taken = " and ".join(f"{size} for {part}" for part, size in sizes.items())
        raise InputError(
            f"{name}: {count} images, less {taken}, leave {max(left, 0)} for training; expected at least "
            f"{train_images or 1}"
        )
    for label, class_name in needed.items():
        images = np.count_nonzero(labels == label)
        if images <= len(sizes):
            raise InputError(
                f"{name}: class {class_name} has {images} of {count} images; expected at least {len(sizes) + 1}, one "
                f"each for {', '.join(sizes)} and training"
            )
    strata = labels if needed else np.zeros(count, int)
    sizes["training"] = train_images or left
    parts, rest = {}, np.arange(count)
    for stream, (part, size) in enumerate(sizes.items()):
        chosen = stratified(strata[rest], size, np.random.default_rng([seed, stream]))
        parts[part] = everything.part(rest[chosen])
        rest = np.delete(rest, chosen)
    absent = [class_name for label, class_name in needed.items() if label not in parts["training"].labels]
    if absent:
        raise InputError(
            f"{name}: no image of class {absent[0]} is among the {sizes['training']} training images; add images of "
            "it, hold out fewer, or use more for training"
        )
    return parts


def stratified(strata: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Chooses `size` positions at random, of every stratum in proportion to its size (largest remainders)."""
    _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
    quota = counts * size / len(strata)
    shares = np.floor(quota).astype(int)
    shares[np.argsort(shares - quota, kind="stable")[: size - shares.sum()]] += 1
    order = generator.permutation(len(strata))
    return np.sort(np.concatenate([order[stratum[order] == index][:share] for index, share in enumerate(shares)]))
