"""What a task's labels mean: the loss to train on and the metrics to report."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from bompnas.errors import InputError
from bompnas.networks.heads import CLASSIFICATION, Head


@dataclasses.dataclass(frozen=True)
class Criterion:
    """Loss and metrics of a head on a model's outputs.

    Attributes:
        head: The head whose loss and metrics are used.
        probabilities: Whether the model ends in a softmax or sigmoid, so that a loss of logits would be wrong.
    """

    head: Head
    probabilities: bool

    @classmethod
    def of(cls, head: Head, model: keras.Model) -> "Criterion":
        """The criterion for a model with this head."""
        last = model.outputs[0]._keras_history.operation
        activation = getattr(last, "activation", None)
        ends = (keras.activations.softmax, keras.activations.sigmoid)
        return cls(head, isinstance(last, keras.layers.Softmax) or activation in ends)

    def loss(self, labels, outputs):
        """Mean loss of a batch, a scalar tensor.

        Args:
            labels: Class ids, shape (batch,), or targets, shape (batch, outputs).
            outputs: The model's outputs.
        """
        loss = self._loss()
        return ops.mean(loss(self._shaped(labels, outputs, loss), outputs))

    def measure(self, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
        """Loss and metrics over a whole split: `loss`, and `accuracy` or `mae` and `mse`, and the head's own."""
        result = {"loss": float(self.loss(labels, outputs))}
        if self.head.task == CLASSIFICATION:
            result["accuracy"] = float(np.mean(_classes(outputs) == labels.reshape(-1)))
        else:
            errors = outputs.reshape(len(labels), -1) - labels.reshape(len(labels), -1)
            result["mae"] = float(np.mean(np.abs(errors)))
            result["mse"] = float(np.mean(errors**2))
        for given in self.head.metrics:
            metric = keras.metrics.get(given)
            name = metric.name if isinstance(metric, keras.metrics.Metric) else metric.__name__
            if name not in result and given not in ("accuracy", "acc"):
                result[name] = _value(metric, labels, outputs)
        return result

    def _loss(self):
        given = self.head.loss
        if given is None:
            if self.head.task == CLASSIFICATION:
                return keras.losses.SparseCategoricalCrossentropy(from_logits=not self.probabilities)
            return keras.losses.MeanSquaredError()
        return keras.losses.get(given) if isinstance(given, (str, Mapping)) else given

    def _shaped(self, labels, outputs, loss):
        """Labels in the shape that a loss expects."""
        if self.head.task != CLASSIFICATION:
            return labels
        name = _name(loss)
        if name == "categoricalcrossentropy":
            return ops.one_hot(labels, outputs.shape[-1])
        if name.startswith("binary"):
            return ops.reshape(ops.cast(labels, outputs.dtype), (-1, 1))
        return labels


def check_outputs(head: Head, shape: tuple[int | None, ...], classes: int | None, targets: tuple[int, ...]) -> None:
    """Refuses labels that do not fit a head's output.

    Args:
        head: The head.
        shape: Shape of its output without the batch axis.
        classes: Number of classes of the data set, for classification.
        targets: Shape of a regression target.

    Raises:
        InputError: Too few outputs for the classes, or another shape than the targets.
    """
    if head.task == CLASSIFICATION:
        enough = len(shape) == 1 and (shape[0] >= classes or (shape[0] == 1 and classes == 2))
        if not enough:
            raise InputError(
                f"head: found an output of shape {shape}, expected ({classes},): one value for each of the data set's "
                f"{classes} classes"
            )
    elif shape != tuple(targets):
        raise InputError(f"head: found an output of shape {shape}, expected {tuple(targets)}, the shape of a target")


def _name(loss: Any) -> str:
    name = getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
    return name.replace("_", "").lower()


def _classes(outputs: np.ndarray) -> np.ndarray:
    if outputs.shape[-1] == 1:  # one sigmoid output; a logit's threshold is 0, and `measure` sees probabilities
        return (outputs.reshape(-1) > 0.5).astype(np.int64)
    return np.argmax(outputs.reshape(len(outputs), -1), axis=-1)


def _value(metric: Any, labels: np.ndarray, outputs: np.ndarray) -> float:
    if isinstance(metric, keras.metrics.Metric):
        metric = type(metric).from_config(metric.get_config())
        metric.update_state(labels, outputs)
        return float(metric.result())
    return float(np.mean(np.asarray(metric(labels, outputs))))
