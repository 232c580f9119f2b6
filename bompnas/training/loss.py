"""What a task's labels mean: the loss to train on and the metrics to report."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from bompnas.networks.heads import CLASSIFICATION, Head


@dataclasses.dataclass(frozen=True)
class Criterion:
    """Loss and metrics of a head on a model's outputs.

    Attributes:
        head: The head whose loss and metrics are used.
        probabilities: Whether the model ends in a softmax or sigmoid, so that a loss of logits would be wrong.
        binary: Whether it has a single output, which tells two classes apart.
    """

    head: Head
    probabilities: bool
    binary: bool

    @classmethod
    def of(cls, head: Head, model: keras.Model) -> "Criterion":
        """The criterion for a model with this head."""
        last = model.outputs[0]._keras_history.operation
        activation = getattr(last, "activation", None)
        ends = (keras.activations.softmax, keras.activations.sigmoid)
        probabilities = isinstance(last, keras.layers.Softmax) or activation in ends
        return cls(head, probabilities, binary=model.outputs[0].shape[-1] == 1)

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
            result["accuracy"] = float(np.mean(self._classes(outputs) == labels.reshape(-1)))
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
        if isinstance(given, (str, Mapping)):
            return keras.losses.get(given)
        if given is not None:
            return given
        if self.head.task != CLASSIFICATION:
            return keras.losses.MeanSquaredError()
        kind = keras.losses.BinaryCrossentropy if self.binary else keras.losses.SparseCategoricalCrossentropy
        return kind(from_logits=not self.probabilities)

    def _classes(self, outputs: np.ndarray) -> np.ndarray:
        if self.binary:
            return (outputs.reshape(-1) > (0.5 if self.probabilities else 0.0)).astype(np.int64)
        return np.argmax(outputs, axis=-1)

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


def _name(loss: Any) -> str:
    name = getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
    return name.replace("_", "").lower()


def _value(metric: Any, labels: np.ndarray, outputs: np.ndarray) -> float:
    if isinstance(metric, keras.metrics.Metric):
        metric = type(metric).from_config(metric.get_config())
        metric.update_state(labels, outputs)
        return float(metric.result())
    return float(np.mean(np.asarray(metric(labels, outputs))))
