"""Training and evaluation: one trace, one batch shape, a whole epoch inside the graph.

Keras' own `fit` traces its step twice, again for a ragged last batch, and updates each variable by operations of its
own; for networks of this size and epochs this short, that is most of a trial. Here a step is a function of the
training's state (`bompnas.training.state`), and an epoch is one call to the backend, on data that stays there. Images
in files come in chunks, each of which is one call (`bompnas.training.feed`).
"""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from bompnas.networks import numbers
from bompnas.training import augment, backends
from bompnas.training.feed import Feed, parts
from bompnas.training.image_files import ImageFiles
from bompnas.training.loss import Criterion
from bompnas.training.optimizers import Adam, Schedule, Sgd
from bompnas.training.state import State, Weights

INFERRED = 128
"""Images that are inferred at once, at most."""


class DivergedError(ArithmeticError):
    """The training loss is not finite any more."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """How to train for some epochs.

    Attributes:
        epochs: Passes over the training images; 0 trains nothing.
        learning_rate: At the start.
        schedule: `constant`, or `cosine` decay to zero over the phase.
        batch_size: Images a step.
        optimizer: `adam`, or `sgd` (momentum 0.9, Nesterov).
        weight_decay: Decoupled decay of kernels [per step, times the learning rate].
        augmentation: `none`, `shift` or `standard` (`bompnas.training.augment`).
    """

    epochs: int
    learning_rate: float
    schedule: str = "constant"
    batch_size: int = 64
    optimizer: str = "adam"
    weight_decay: float = 0.0
    augmentation: str = augment.NONE


class Trainer:
    """Trains models on the same images.

    Quantized models that differ in nothing but a policy's numbers are trained by one compiled epoch.

    Args:
        criterion: Loss and metrics.
        images: Shape (n, height, width, channels), values 0..255.
        labels: As the criterion expects them.
    """

    def __init__(self, criterion: Criterion, images: np.ndarray | ImageFiles, labels: np.ndarray):
        self._criterion = criterion
        self._images = images
        self._labels = labels
        self._feeds: dict[str, Feed] = {}
        self._epochs: dict[tuple, Callable] = {}

    def train(
        self,
        model: keras.Model,
        phase: Phase,
        seed: int,
        progress: Callable[[State], None] = lambda state: None,
        begin: State | None = None,
        keep_every: int | None = None,
    ) -> list[float]:
        """Trains a model in place on shuffled batches of one size; a rest of images waits for another epoch.

        Args:
            model: Takes images with values 0..255.
            phase: Epochs, optimizer, schedule, augmentation.
            seed: Of the order and the augmentation.
            progress: Told the state after each epoch; `keep_every` says which of them hold arrays.
            begin: Where to go on, of the same model, phase, seed and images; None at the beginning.
            keep_every: The state holds its arrays after so many epochs and at the end; None for never.

        Returns:
            The mean training loss of each epoch.

        Raises:
            DivergedError: A loss is not finite.
        """
        count = len(self._images)
        batch_size = min(phase.batch_size, count)
        steps = count // batch_size
        weights = Weights(model)
        arrays = weights.read()
        state = (arrays, optimizer(phase, steps).begin(len(arrays[0])))
        losses: list[float] = []
        if begin is not None:
            state = (begin.arrays[: len(arrays)], begin.arrays[len(arrays) :])
            losses = list(begin.losses)
        if len(losses) < phase.epochs:
            epoch = self._compiled(model, weights, phase, steps)
        constants = (numbers.of(model), weights.decayed)
        for number in range(len(losses), phase.epochs):
            generator = np.random.default_rng([seed, number])
            order = generator.permutation(count)[: steps * batch_size].astype(np.int32)
            chosen = augment.choices(count, self._images.shape[1], phase.augmentation, generator)
            order, *chosen = (
                array.reshape(steps, batch_size) for array in (order, *(values[order] for values in chosen))
            )
            before = total = np.float32(0)
            for data, batches, _ in self._feed(phase.augmentation).chunks(order, tuple(chosen)):
                float(before)  # waits, so that no more than two chunks are on the device
                before = total
                state, total = epoch(data, batches, constants, state, total)
            losses.append(float(np.float32(total) / np.float32(steps)))
            if not math.isfinite(losses[-1]):
                raise DivergedError(
                    f"the training loss became {losses[-1]} in epoch {number + 1}; a lower learning rate may help"
                )
            kept = keep_every is not None and ((number + 1) % keep_every == 0 or number + 1 == phase.epochs)
            arrays = tuple(np.asarray(array) for part in state for array in part) if kept else ()
            progress(State(tuple(losses), arrays))
        weights.write(state[0])
        return losses

    def fits(self, model: keras.Model, phase: Phase, state: State) -> bool:
        """Whether a state is one of this training: its arrays are as many and as large."""
        arrays = Weights(model).read()
        own = (*arrays, *optimizer(phase, 1).begin(len(arrays[0])))
        return len(state.losses) <= phase.epochs and list(map(np.shape, own)) == list(map(np.shape, state.arrays))

    def _feed(self, augmentation: str) -> Feed:
        """What brings the images to the device; only that of the last augmentation is kept."""
        if augmentation not in self._feeds:
            self._feeds = {augmentation: Feed(self._images, self._labels, augmentation)}
        return self._feeds[augmentation]

    def _compiled(self, model: keras.Model, weights: Weights, phase: Phase, steps: int) -> Callable:
        """The compiled epoch for a model, or that of an earlier one of the same structure."""
        quantized = len(numbers.of(model)) > 0
        key = (numbers.structure(model) if quantized else id(model), phase)
        if key not in self._epochs:
            self._epochs[key] = backends.current().epoch(self._step(model, weights, optimizer(phase, steps)))
        return self._epochs[key]

    def _step(self, model: keras.Model, weights: Weights, rule: Adam | Sgd) -> backends.Step:
        criterion, size = self._criterion, self._images.shape[1:3]
        differentiate = backends.current().value_and_gradient

        def step(data, batch, constants, state):
            images, labels = data
            indices, *chosen = batch
            policy, decayed = constants
            (parameters, *others), variables = state
            shown = ops.cast(augment.views(images, indices, tuple(chosen), size), "float32")
            targets = ops.take(labels, indices, axis=0)

            def loss(parameters):
                with numbers.given(model, policy):
                    outputs, own, after = weights.call((parameters, *others), shown)
                return criterion.loss(targets, ops.cast(outputs, "float32")) + own, after

            (value, after), gradient = differentiate(loss, parameters)
            parameters, variables = rule.update(parameters, gradient, decayed, variables)
            return ((parameters, *after), variables), value

        return step


def optimizer(phase: Phase, steps: int) -> Adam | Sgd:
    """The optimizer of a phase whose epochs have so many steps."""
    kind = Sgd if phase.optimizer == "sgd" else Adam
    schedule = Schedule(phase.learning_rate, steps * phase.epochs if phase.schedule == "cosine" else None)
    return kind(schedule, phase.weight_decay)


def train(
    model: keras.Model,
    criterion: Criterion,
    images: np.ndarray | ImageFiles,
    labels: np.ndarray,
    phase: Phase,
    seed: int,
) -> list[float]:
    """Trains one model in place; see `Trainer.train`."""
    return Trainer(criterion, images, labels).train(model, phase, seed)


def evaluate(
    model: keras.Model, criterion: Criterion, images: np.ndarray | ImageFiles, labels: np.ndarray
) -> dict[str, float]:
    """Loss and metrics of a model in inference, over all images."""
    return criterion.measure(labels, predict(model, images))


def predict(model: keras.Model, images: np.ndarray | ImageFiles, batch_size: int = INFERRED) -> np.ndarray:
    """Outputs for all images, inferred in batches of one size; the last one is padded."""
    infer = backends.current().inference(model)
    batches = math.ceil(len(images) / batch_size)
    batch_size = math.ceil(len(images) / batches)
    outputs = []
    for batch in parts(images, batch_size):
        missing = batch_size - len(batch)
        padded = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch
        outputs.append(infer(padded)[: len(batch)])
    return np.concatenate(outputs)
