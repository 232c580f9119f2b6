import keras
import numpy as np
import pytest

from bompnas.networks.heads import HeadSource, from_object
from bompnas.training.loss import Criterion

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 4.0], [5.0, 0.5, 0.0]], "float32")
LABELS = np.array([0, 1, 2, 1])
CROSS_ENTROPY = float(np.mean(np.log(np.exp(LOGITS).sum(1)) - LOGITS[np.arange(4), LABELS]))


def dense_head(activation, outputs=3, loss=None):
    def build(features):
        return keras.layers.Dense(outputs, activation=activation)(features)

    return from_object(build, loss=loss)


def criterion(head):
    inputs = keras.Input((5,))
    return Criterion.of(head, keras.Model(inputs, head.apply(inputs)))


def softmax(values):
    return np.exp(values) / np.exp(values).sum(-1, keepdims=True)


@pytest.mark.parametrize("loss", [None, "sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_classification_on_probabilities(loss):
    measured = criterion(dense_head("softmax", loss=loss)).measure(LABELS, softmax(LOGITS))
    assert measured["loss"] == pytest.approx(CROSS_ENTROPY, rel=1e-5)
    assert measured["accuracy"] == 0.75


@pytest.mark.parametrize("loss", [None, "sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_classification_on_logits(loss):
    measured = criterion(dense_head(None, loss=loss)).measure(LABELS, LOGITS)
    assert measured["loss"] == pytest.approx(CROSS_ENTROPY, rel=1e-5)
    assert set(measured) == {"loss", "accuracy"}


def test_a_keras_loss_object_of_the_user():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    measured = criterion(dense_head(None, loss=loss)).measure(LABELS, LOGITS)
    expected = float(np.mean(loss(np.eye(3)[LABELS], LOGITS)))
    assert measured["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_loss_function_of_the_user_gets_the_labels_as_they_are():
    def loss(labels, outputs):
        return keras.ops.cast(labels, "float32") + outputs[:, 0] * 0

    assert criterion(dense_head(None, loss=loss)).measure(LABELS, LOGITS)["loss"] == 1.0


@pytest.mark.parametrize(("activation", "loss"), [("sigmoid", "binary_crossentropy"), ("sigmoid", None), (None, None)])
def test_binary_classification(activation, loss):
    probabilities = np.array([[0.9], [0.2], [0.6], [0.4]], "float32")
    labels = np.array([1, 0, 0, 1])
    outputs = probabilities if activation else np.log(probabilities / (1 - probabilities))
    measured = criterion(dense_head(activation, 1, loss)).measure(labels, outputs)
    expected = -np.mean(np.log([0.9, 0.8, 0.4, 0.4]))
    assert measured["loss"] == pytest.approx(expected, rel=1e-4)
    assert measured["accuracy"] == 0.5


def test_a_metric_of_the_user_does_not_replace_what_is_searched_for():
    class Head:
        loss = None
        metrics = (keras.metrics.Accuracy(),)

        def build(self, hp, inputs):
            return keras.layers.Dense(3)(inputs)

    assert criterion(from_object(Head())).measure(LABELS, LOGITS)["accuracy"] == 0.75


def test_regression():
    head = HeadSource("regression", 2).head()
    targets = np.array([[0.0, 1.0], [2.0, 3.0]], "float32")
    measured = criterion(head).measure(targets, targets + np.array([[1.0, -1.0], [3.0, 0.0]], "float32"))
    assert measured == {
        "loss": pytest.approx(11 / 4),
        "mae": pytest.approx(5 / 4),
        "mse": pytest.approx(11 / 4),
    }


def test_the_head_s_own_metrics_are_measured():
    class Head:
        loss = "sparse_categorical_crossentropy"
        metrics = (
            "acc",
            "categorical_accuracy",
            keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2"),
            keras.metrics.TopKCategoricalAccuracy(1, name="top_1"),
        )

        def build(self, hp, inputs):
            return keras.layers.Dense(3, activation="softmax")(inputs)

    measured = criterion(from_object(Head())).measure(LABELS, softmax(LOGITS))
    assert set(measured) == {"loss", "accuracy", "categorical_accuracy", "top_1", "top_2"}
    assert measured["top_2"] == 1.0
    assert measured["top_1"] == measured["categorical_accuracy"] == measured["accuracy"] == 0.75
