"""The trial: one float training, and what follows from it for each policy.

BOMP-NAS, Fig. 1: train in float (2), fold batch normalization, quantize by the policy (3), fine-tune quantization-aware
(4), evaluate (5). Final training (7) is the same with more epochs, the test part and the models saved.
"""

import contextlib
import dataclasses
import functools
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.model import MeasuredModel
from bompnas.networks import float_model, fold, quantize
from bompnas.networks.heads import Head, HeadSource
from bompnas.space.network import Network
from bompnas.training import loop
from bompnas.training.loop import Phase
from bompnas.training.loss import Criterion
from bompnas.whole_files import replacing

Arrays = Mapping[str, tuple[np.ndarray, np.ndarray]]

PARTS = ("train", "validation", "test")
CALIBRATION_IMAGES = 128


@dataclasses.dataclass(frozen=True)
class TrialTask:
    """What a worker needs to carry out a trial.

    Attributes:
        networks: One network for each policy; they share one architecture.
        head: Where the head comes from.
        data: Directory of the data set's arrays, as `save_arrays` wrote them; None where they are handed over.
        early: Float training.
        qaft: Quantization-aware fine-tuning; no epochs mean post-training quantization.
        seed: Of weights, order and augmentation.
        test: Whether the test part is measured too.
        models: Where each policy's quantized model is saved; empty to save none.
        device: What measures each policy's quantized network, once; None for no such costs.
    """

    networks: tuple[Network, ...]
    head: HeadSource
    data: Path | None
    early: Phase
    qaft: Phase
    seed: int
    test: bool = False
    models: tuple[Path, ...] = ()
    device: MeasuredModel | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one policy.

    Attributes:
        metrics: Measured values: `float_val_*` before and `val_*` after quantization, `*test_*` where asked for, and
            what the device tells of.
        seconds: Wall time of the phases that are this policy's own [s].
        error: Why it failed, in one line; None otherwise.
    """

    metrics: dict[str, float]
    seconds: dict[str, float]
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What a trial found.

    Attributes:
        outcomes: One for each of the task's networks.
        seconds: Wall time of the phases that all policies share [s].
        curves: Mean training loss of each epoch: `float_loss`, and `qaft_loss` of the first policy.
    """

    outcomes: tuple[Outcome, ...]
    seconds: dict[str, float]
    curves: dict[str, list[float]]


def run_trial(task: TrialTask) -> TrialResult:
    """Carries out a trial on the task's data; see `train_quantized`."""
    return train_quantized(task, load_arrays(task.data))


def train_quantized(
    task: TrialTask, arrays: Arrays, build: Callable[[Network, Head], keras.Model] = float_model.build
) -> TrialResult:
    """Trains in float, then quantizes, fine-tunes and measures each policy.

    Seeds Keras' global generators, from which layers draw their weights.

    Args:
        task: What to do; its `data` is not read.
        arrays: Images and labels by part; of the test part only if the task measures it.
        build: Makes the float model: functional, its layers with weights named as the network's.

    Raises:
        DivergedError: The float training's loss is not finite; there is nothing to quantize then.
    """
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(task.seed)
    clock = Clock()
    with clock("build"):
        head = task.head.head()
        model = build(task.networks[0], head)
        criterion = Criterion.of(head, model)
    with clock("train"):
        losses = loop.train(model, criterion, *arrays["train"], task.early, task.seed)
    with clock("evaluate"):
        float_metrics = _measure(model, criterion, arrays, task, "float_")
    with clock("quantize"):
        folded = fold.fold(model)
        calibration = quantize.Calibration.of(folded, _calibration_images(arrays["train"][0], task.seed))
    del model
    curves = {"float_loss": losses}
    outcomes = []
    for index, network in enumerate(task.networks):
        own = Clock()
        try:
            with own("quantize"):
                quantized = quantize.quantize(folded, quantize.Policy.of(network, task.networks[0]), calibration)
            with own("qaft"):
                losses = loop.train(quantized, criterion, *arrays["train"], task.qaft, task.seed + 1)
            with own("evaluate"):
                metrics = _measure(quantized, criterion, arrays, task, "")
            if task.device is not None:
                with own("measure"):
                    metrics |= _on_device(quantized, task.device)
            if task.models:
                save(quantized, task.models[index])
        except Exception as error:  # the other policies of this training go on
            outcomes.append(Outcome({}, own.seconds, f"{type(error).__name__}: {error}"))
            continue
        curves.setdefault("qaft_loss", losses)
        outcomes.append(Outcome({**float_metrics, **metrics}, own.seconds))
    return TrialResult(tuple(outcomes), clock.seconds, curves)


class Clock:
    """Adds up the wall time of named phases, in `seconds`."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Counts the time inside the `with` block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


def save(model: keras.Model, path: Path) -> None:
    """Saves a model so that the file is either whole or not there."""
    with replacing(path, durable=True) as draft:
        model.save(draft)


def save_arrays(parts: dict[str, tuple[np.ndarray, np.ndarray]], directory: Path) -> None:
    """Writes images and labels of each part as plain `.npy` files, which workers map into memory."""
    for part, arrays in parts.items():
        for kind, array in zip(("images", "labels"), arrays, strict=True):
            np.save(directory / f"{part}_{kind}.npy", array, allow_pickle=False)


@functools.lru_cache(maxsize=1)
def load_arrays(directory: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels by part, read once per process."""
    return {
        part: tuple(
            np.load(directory / f"{part}_{kind}.npy", mmap_mode="r", allow_pickle=False)
            for kind in ("images", "labels")
        )
        for part in PARTS
    }


def _calibration_images(images: np.ndarray, seed: int) -> np.ndarray:
    """A random few of the training images, whose order may follow the classes."""
    chosen = np.random.default_rng([seed, 2]).permutation(len(images))[:CALIBRATION_IMAGES]
    return images[np.sort(chosen)]


def _on_device(model: keras.Model, device: MeasuredModel) -> dict[str, float]:
    """What a device says of a quantized model; layers at the end that integers cannot express are left out."""
    from bompnas.export.extract import extract  # needs the exporter's packages, which only measuring does

    found = device.measure(extract(model, float_head=True).graph)
    expected = {quantity.name for quantity in device.quantities}
    if set(found) != expected:
        raise InputError(f"hardware: measured {sorted(found)}, expected {sorted(expected)}")
    return found


def _measure(model, criterion: Criterion, arrays, task: TrialTask, prefix: str) -> dict[str, float]:
    parts = {"validation": "val", "test": "test"} if task.test else {"validation": "val"}
    return {
        f"{prefix}{short}_{name}": value
        for part, short in parts.items()
        for name, value in loop.evaluate(model, criterion, *arrays[part], task.early.batch_size).items()
    }
