"""Training and evaluation: one trace, one batch shape, a whole epoch inside the graph.

TensorFlow only: the epoch is a `tf.function` around the step. Keras' own `fit` traces the step twice, and again for a
ragged last batch; for networks of this size and epochs this short, tracing is most of a trial.
"""

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from bompnas.training import augment
from bompnas.training.loss import Criterion


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


def train(
    model: keras.Model,
    criterion: Criterion,
    images: np.ndarray,
    labels: np.ndarray,
    phase: Phase,
    seed: int,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> list[float]:
    """Trains a model in place.

    Args:
        model: A functional model; its layers decide between training and inference by the `training` argument.
        criterion: Gives the loss.
        images: Shape (n, size, size, channels), uint8.
        labels: Shape (n, ...).
        phase: Epochs, optimizer, schedule, augmentation.
        seed: Of the order and the augmentation.
        progress: Told each epoch's number, from 1, and its mean loss.

    Returns:
        The mean training loss of each epoch.

    Raises:
        DivergedError: A loss is not finite.
    """
    if phase.epochs == 0:
        return []
    batch_size = min(phase.batch_size, len(images))
    steps = len(images) // batch_size
    optimizer = _optimizer(phase, steps * phase.epochs)
    optimizer.build(model.trainable_variables)
    run_epoch = _epoch(model, criterion, optimizer)
    losses = []
    for epoch in range(phase.epochs):
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(images))[: steps * batch_size].reshape(steps, batch_size)
        shown = augment.augmented(images, phase.augmentation, generator)
        loss = float(run_epoch(tf.constant(shown), tf.constant(labels), tf.constant(order)))
        if not np.isfinite(loss):
            raise DivergedError(f"the training loss became {loss} in epoch {epoch + 1}; a lower learning rate may help")
        losses.append(loss)
        progress(epoch + 1, loss)
    return losses


def evaluate(
    model: keras.Model, criterion: Criterion, images: np.ndarray, labels: np.ndarray, batch_size: int
) -> dict[str, float]:
    """Loss and metrics of a model in inference, over all images."""
    return criterion.measure(labels, predict(model, images, batch_size))


def predict(model: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Outputs for all images; the last batch is padded so that one shape is traced."""

    @tf.function(reduce_retracing=True)
    def infer(batch):
        return model(tf.cast(batch, tf.float32), training=False)

    batch_size = min(batch_size, len(images))
    return np.concatenate([np.asarray(infer(batch))[:count] for batch, count in _batches(images, batch_size)])


def _batches(images: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        missing = batch_size - len(batch)
        yield np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch, len(batch)


def _optimizer(phase: Phase, steps: int) -> keras.optimizers.Optimizer:
    rate = phase.learning_rate
    if phase.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    decay = phase.weight_decay or None
    if phase.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    else:
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _epoch(model: keras.Model, criterion: Criterion, optimizer: keras.optimizers.Optimizer) -> Callable:
    variables = model.trainable_variables

    @tf.function
    def run_epoch(images, labels, order):
        total = tf.constant(0.0)
        for batch in order:
            with tf.GradientTape() as tape:
                outputs = model(tf.cast(tf.gather(images, batch), tf.float32), training=True)
                loss = criterion.loss(tf.gather(labels, batch), outputs)
                loss += tf.add_n(model.losses) if model.losses else 0.0
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss
        return total / tf.cast(tf.shape(order)[0], tf.float32)

    return run_epoch
