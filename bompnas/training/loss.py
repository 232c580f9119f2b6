"""What a task's labels mean: the loss to train on and the metrics to report."""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from bompnas.networks.heads import CLASSIFICATION, Head

# Losses whose name alone does not say whether they take logits or probabilities. Labels are class ids here.
FROM_LOGITS = {
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
}


@dataclasses.dataclass(frozen=True)
class Criterion:
    """Loss and metrics of a head on a model's outputs.

    Attributes:
        head: The head whose loss and metrics are used.
        probabilities: Whether the model ends in a softmax or sigmoid, so that a loss of logits would be wrong.
        binary: Whether it has a single output, which tells two classes apart where it classifies.
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
        probabilities = type(last).__name__ in ("Softmax", "Sigmoid") or activation in ends
        return cls(head, probabilities, binary=model.outputs[0].shape[-1] == 1)

    def loss(self, labels, outputs):
        """Mean loss of a batch, a scalar tensor.

        Args:
            labels: Class ids, shape (batch,), or targets, shape (batch, outputs).
            outputs: The model's outputs.
        """
        loss = self._loss()
        return ops.mean(loss(self._encoded(labels, outputs, loss), outputs))

    def measure(self, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
        """Loss and metrics over a whole split: `loss`, and `accuracy` or `mae` and `mse`, and the head's own."""
        result = {"loss": float(self.loss(labels, outputs))}
        if self.head.task == CLASSIFICATION:
            result["accuracy"] = self.accuracy(labels, outputs)
        else:
            errors = outputs.reshape(len(labels), -1) - labels.reshape(len(labels), -1)
            result["mae"] = float(np.mean(np.abs(errors)))
            result["mse"] = float(np.mean(errors**2))
        for given in self.head.metrics:
            if given not in ("accuracy", "acc", *result):
                metric = keras.metrics.get(given)
                name = metric.name if isinstance(metric, keras.metrics.Metric) else metric.__name__
                result.setdefault(name, _value(metric, self._encoded(labels, outputs, metric), outputs))
        return result

    def accuracy(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """Share of images whose class is found; of a head that classifies."""
        return float(np.mean(self._classes(outputs) == labels.reshape(-1)))

    def _loss(self):
        given = self.head.loss
        if given is None:
            if self.head.task != CLASSIFICATION:
                return keras.losses.MeanSquaredError()
            given = "binary_crossentropy" if self.binary else "sparse_categorical_crossentropy"
        if (
            isinstance(given, str) and given in FROM_LOGITS
        ):  # by name: whether the outputs are logits shows in the model
            return FROM_LOGITS[given](from_logits=not self.probabilities)
        return keras.losses.get(given)

    def _classes(self, outputs: np.ndarray) -> np.ndarray:
        if self.binary:
            return (outputs.reshape(-1) > (0.5 if self.probabilities else 0.0)).astype(np.int64)
        return np.argmax(outputs, axis=-1)

    def _encoded(self, labels, outputs, consumer):
        """Labels as one of Keras' losses or metrics expects them; a user's own gets them as they are."""
        kind = consumer if callable(consumer) and hasattr(consumer, "__name__") else type(consumer)
        if self.head.task != CLASSIFICATION or not kind.__module__.startswith("keras."):
            return labels
        if self.binary:
            return ops.reshape(ops.cast(labels, "float32"), (-1, 1))
        return labels if "sparse" in kind.__name__.lower() else ops.one_hot(labels, outputs.shape[-1])


def _value(metric: Any, labels: Any, outputs: np.ndarray) -> float:
    if isinstance(metric, keras.metrics.Metric):
        metric = type(metric).from_config(metric.get_config())
        metric.update_state(labels, outputs)
        return float(metric.result())
    return float(np.mean(np.asarray(metric(labels, outputs))))
