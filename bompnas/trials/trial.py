"""The trial: one float training, and what follows from it for each policy.

BOMP-NAS, Fig. 1: train in float (2), fold batch normalization, quantize by the policy (3), fine-tune quantization-aware
(4), evaluate (5). Final training (7) is the same with more epochs, the test part and the models saved.
"""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.model import MeasuredModel
from bompnas.networks import float_model, fold, quantize
from bompnas.networks.heads import Head, HeadSource
from bompnas.space.network import Network
from bompnas.training import backends, loop, state
from bompnas.training.loop import Phase, Trainer
from bompnas.training.loss import Criterion
from bompnas.training.state import State
from bompnas.trials.events import Checkpoint, Epoch, Note
from bompnas.trials.executors.contract import Arrays, Shared, Tell, ignore

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
        precision: Of the float training: `float32`, `bfloat16` (weights stay in float32), or `auto`, which is bfloat16
            on a GPU and float32 elsewhere.
        checkpoint_every: Epochs from one checkpoint to the next; None for none.
        checkpoint: What an earlier attempt at this task told last, to go on from; None to begin.
        weights: What the float model begins with, as `float_model.restore` takes them; None for fresh weights.
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
    precision: str = "float32"
    checkpoint_every: int | None = None
    checkpoint: bytes | None = None
    weights: Mapping[str, np.ndarray] | None = None

    def run(self, tell: Tell = ignore) -> "TrialResult":
        """Carries out the trial on the task's data; see `train_quantized`."""
        return train_quantized(self, self.data.load(), tell)


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


def run_trial(task: Any, tell: Tell = ignore) -> Any:
    """Carries out a trial, or whatever else a task is: what workers do."""
    return task.run(tell)


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
    keras.backend.clear_session()  # and collects what earlier trials left
    keras.utils.set_random_seed(task.seed)
    clock, stages = Clock(), _Stages(task, tell)
    with clock("build"), _precision(task.precision):
        head = task.head.head()
        model = build(task.networks[0], head)
        if task.weights is not None:
            float_model.restore(model, task.weights)
        criterion = Criterion.of(head, model)
        trainer = Trainer(criterion, *arrays["train"])
    with clock("train"):
        losses = stages.train(trainer, model, "float", 0)
    with clock("quantize"):
        folded = fold.fold(model)  # in full precision
        calibration = quantize.Calibration.of(folded, _calibration_images(arrays["train"][0], task.seed))
    with clock("evaluate"):
        float_metrics = _measure(folded, criterion, arrays, task, "float_")
    curves = {"float_loss": losses}
    outcomes = []
    for index, network in enumerate(task.networks):
        own = Clock()
        try:
            with own("quantize"):
                quantized = quantize.quantize(folded, quantize.Policy.of(network, task.networks[0]), calibration)
            with own("qaft"):
                losses = stages.train(trainer, quantized, "qaft", index)
            with own("evaluate"):
                metrics = _measure(quantized, criterion, arrays, task, "")
            if task.device is not None:
                with own("measure"):
                    metrics |= _on_device(quantized, task.device)
            content = saved(quantized) if task.keep_models else None
        except Exception as error:  # the other policies of this training go on
            outcomes.append(Outcome({}, own.seconds, f"{type(error).__name__}: {error}"))
            continue
        curves.setdefault("qaft_loss", losses)
        outcomes.append(Outcome({**float_metrics, **metrics}, own.seconds, model=content))
    return TrialResult(tuple(outcomes), clock.seconds, curves)


class _Stages:
    """The trainings of a trial, one after the other: tells of their epochs, keeps and takes up their checkpoints."""

    def __init__(self, task: TrialTask, tell: Tell):
        self._task = task
        self._tell = tell
        self._states: dict[str, State] = {}
        if task.checkpoint is not None:
            try:
                self._states = state.unpack(task.checkpoint)
            except ValueError as error:
                tell(Note(f"its checkpoint is damaged, the training begins anew: {error}"))

    def train(self, trainer: Trainer, model: keras.Model, phase: str, policy: int) -> list[float]:
        """Trains a model in a phase, from where an earlier attempt at the task came to."""
        name = f"{phase} {policy}"
        settings = self._task.early if phase == "float" else self._task.qaft

        def progress(reached: State) -> None:
            self._tell(Epoch(phase, policy, reached.epoch, settings.epochs, reached.losses[-1]))
            if reached.arrays:
                self._states[name] = reached
                self._tell(Checkpoint(state.pack(self._states)))

        begin = self._states.get(name)
        if begin is not None and not trainer.fits(model, settings, begin):
            self._tell(Note("its checkpoint is of another version, the training begins anew"))
            begin = None
        seed = self._task.seed + (phase != "float")
        return trainer.train(model, settings, seed, progress, begin, self._task.checkpoint_every)


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Builds layers that compute in a precision; `auto` is bfloat16 on a GPU, float32 elsewhere."""
    if name == "auto":
        name = "bfloat16" if backends.current().has_gpu() else "float32"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


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
        for name, value in loop.evaluate(model, criterion, *arrays[part]).items()
    }
