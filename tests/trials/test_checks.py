import keras
import numpy as np
import pytest

from bompnas import experiment as experiments
from bompnas.errors import InputError
from bompnas.training import data
from bompnas.trials import setup


def arrays(size, task):
    images = np.zeros((60, size, size, 1), np.uint8)
    return data.from_arrays(images, np.arange(60) % 3, input_size=size, input_channels=1, task=task)


@pytest.mark.parametrize(
    ("size", "task", "message"),
    [
        (9, "classification", r"images of shape \(9, 9, 1\) .* expects \(8, 8, 1\)"),
        (8, "regression", "labels are for regression, but the head is for classification"),
    ],
)
def test_data_from_python_that_does_not_fit_is_refused(document, size, task, message):
    with pytest.raises(InputError, match=message):
        setup.prepare(experiments.parse(document), dataset=arrays(size, task))


class Softmax:
    def __init__(self, loss="sparse_categorical_crossentropy", metrics=()):
        self.loss, self.metrics = loss, metrics

    def build(self, hp, inputs):
        hidden = keras.layers.Dense(16, activation="relu")(inputs * 2.0)
        return keras.layers.Dense(10, activation="softmax")(hidden)


def test_a_user_s_head_is_taken_through_quantization_before_the_run(prepared):
    prepared(Softmax(metrics=["acc", "top_k_categorical_accuracy", keras.metrics.AUC(name="auc")]))
    with pytest.raises(InputError, match=r"head: .*failed .*no_such_metric"):
        prepared(Softmax(metrics=["no_such_metric"]))
    with pytest.raises(InputError, match=r"head: .*no Lambda"):
        prepared(lambda features: keras.layers.Dense(10)(keras.layers.Lambda(lambda x: x + 1)(features)))


def test_objectives_must_be_measured_by_the_head(prepared):
    regression = Softmax(loss="mean_squared_error")
    with pytest.raises(InputError, match=r"the head is for regression .* measures no accuracy; choose among loss, mae"):
        prepared(regression)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"loss": "nonsense"}, "Keras has no loss 'nonsense'"),
        ({"class": "classification", "loss": "mean_squared_error"}, "is no loss for a classification head"),
    ],
)
def test_losses_that_do_not_exist_or_fit_are_refused(prepared, head, message):
    with pytest.raises(InputError, match=message):
        prepared(head=head)
