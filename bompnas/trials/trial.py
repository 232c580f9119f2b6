"""The trial: one float training, and what follows from it for each policy.

BOMP-NAS, Fig. 1: train in float (2), fold batch normalization, quantize by the policy (3), fine-tune quantization-aware
(4), evaluate (5). Final training (7) is the same with more epochs, the test part and the models saved.
"""

import contextlib
import dataclasses
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
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
from bompnas.trials.events import Epoch
from bompnas.trials.executor import Arrays, Shared, Tell, ignore

PARTS = ("train", "validation", "test")
CALIBRATION_IMAGES = 128


@dataclasses.dataclass(frozen=True)
class TrialTask:
    """What a worker needs to carry out a trial.

    Attributes:
        networks: One network for each policy; they share one architecture.
        head: Where the head comes from.
        data: The data set, as an executor shares it; None where arrays are handed over.
        early: Float training.
        qaft: Quantization-aware fine-tuning; no epochs mean post-training quantization.
        seed: Of weights, order and augmentation.
        test: Whether the test part is measured too.
        keep_models: Whether each policy's quantized model comes back.
        device: What measures each policy's quantized network, once; None for no such costs.
        checkpoint_every: Epochs from one checkpoint to the next; None for none.
        checkpoint: What an earlier attempt at this task told last, to go on from; None to begin.
    """

    networks: tuple[Network, ...]
    head: HeadSource
    data: Shared | None
    early: Phase
    qaft: Phase
    seed: int
    test: bool = False
    keep_models: bool = False
    device: MeasuredModel | None = None
    checkpoint_every: int | None = None
    checkpoint: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one policy.

    Attributes:
        metrics: Measured values: `float_val_*` before and `val_*` after quantization, `*test_*` where asked for, and
            what the device tells of.
        seconds: Wall time of the phases that are this policy's own [s].
        error: Why it failed, in one line; None otherwise.
        model: The quantized model as a .keras file's content, where asked for; None otherwise.
    """

    metrics: dict[str, float]
    seconds: dict[str, float]
    error: str | None = None
    model: bytes | None = None


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


def run_trial(task: TrialTask, tell: Tell = ignore) -> TrialResult:
    """Carries out a trial on the task's data; see `train_quantized`."""
    return train_quantized(task, task.data.load(), tell)


def train_quantized(
    task: TrialTask,
    arrays: Arrays,
    tell: Tell = ignore,
    build: Callable[[Network, Head], keras.Model] = float_model.build,
) -> TrialResult:
    """Trains in float, then quantizes, fine-tunes and measures each policy.

    Seeds Keras' global generators, from which layers draw their weights.

    Args:
        task: What to do; its `data` is not read.
        arrays: Images and labels by part; of the test part only if the task measures it.
        tell: Takes `bompnas.trials.events`.
        build: Makes the float model: functional, its layers with weights named as the network's.

    Raises:
        DivergedError: The float training's loss is not finite; there is nothing to quantize then.
    """
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(task.seed)
    clock = Clock()

    def teller(phase: str, policy: int) -> Callable[[int, float], None]:
        total = (task.early if phase == "float" else task.qaft).epochs
        return lambda number, loss: tell(Epoch(phase, policy, number, total, loss))

    with clock("build"):
        head = task.head.head()
        model = build(task.networks[0], head)
        criterion = Criterion.of(head, model)
    with clock("train"):
        losses = loop.train(model, criterion, *arrays["train"], task.early, task.seed, teller("float", 0))
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
                losses = loop.train(
                    quantized, criterion, *arrays["train"], task.qaft, task.seed + 1, teller("qaft", index)
                )
            with own("evaluate"):
                metrics = _measure(quantized, criterion, arrays, task, "")
            if task.device is not None:
                with own("measure"):
                    metrics |= _on_device(quantized, task.device)
            model = saved(quantized) if task.keep_models else None
        except Exception as error:  # the other policies of this training go on
            outcomes.append(Outcome({}, own.seconds, f"{type(error).__name__}: {error}"))
            continue
        curves.setdefault("qaft_loss", losses)
        outcomes.append(Outcome({**float_metrics, **metrics}, own.seconds, model=model))
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


def saved(model: keras.Model) -> bytes:
    """A model as the content of a .keras file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.keras")
        model.save(path)
        return path.read_bytes()


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
