import math

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from bompnas.errors import InputError
from bompnas.integrations.mixed_precision import Images, MixedPrecisionTuner
from bompnas.objectives import Objective
from bompnas.space.head import DenseHead
from bompnas.space.mobilenetv2 import Block, MobileNetV2Space, Stem
from bompnas.space.space import Choices


@pytest.fixture(scope="module")
def tiny():
    """One small block: trials of seconds."""
    block = Block(8, 2, Choices((3,), 3), Choices((0.5, 1.0), 0.5), Choices((1, 2), 2), Choices((1,), 1))
    return MobileNetV2Space(
        name="tiny", input_size=8, input_channels=1, head=DenseHead(10), stem=Stem(4, 3, 1), blocks=(block,),
        last_filters=Choices((16,), 16), bits=Choices((4, 8), 8), divisor=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def images():
    found = load_digits()
    return (found.images * 15).astype("uint8"), found.target


@pytest.fixture
def make(tiny, tmp_path):
    def tuner(**settings):
        training = {"epochs": 2, "qaft_epochs": 1, "batch_size": 32}
        place = {"directory": tmp_path, "project_name": "mixed"}
        return MixedPrecisionTuner(tiny, **{"outputs": 10, "training": training, "seed": 0, **place, **settings})

    return tuner


def test_searches_scores_by_eq_1_and_reloads_the_best_exactly(make, images, capsys):
    x, y = images
    validation = x[400:600], y[400:600]
    tuner = make(max_trials=3, num_initial_points=2, constraints={"size_kb": 0.9})
    tuner.search(x[:400], y[:400], validation_data=validation, verbose=0)
    trials = list(tuner.oracle.trials.values())
    assert [trial.status for trial in trials] == ["COMPLETED"] * 3
    assert len({tuner.network(trial).key for trial in trials}) == 3
    for trial in trials:
        values = {name: trial.metrics.get_best_value(name) for name in ("val_accuracy", "size_bits", "size_kb")}
        assert values["size_bits"] == tuner.oracle.problem.cost(tuner.network(trial))["size_bits"]
        assert values["size_kb"] <= 0.9
        score = values["val_accuracy"] / 0.8 + 8 / math.log10(values["size_bits"])
        assert trial.score == pytest.approx(score, rel=1e-12)

    again = make(max_trials=3, constraints={"size_kb": 0.9})  # the same project, in a new process
    best = again.oracle.get_best_trials()[0]
    model = again.get_best_models()[0]
    reached = np.mean(model.predict(validation[0], verbose=0).argmax(axis=1) == validation[1])
    assert reached == best.metrics.get_best_value("val_accuracy")
    layers = {layer.name: layer for layer in model.layers if hasattr(layer, "integer_weights")}
    for layer in again.network(best).backbone:
        assert layers[layer.name].weight_quantizer.bits == layer.weight_bits
    assert again.get_best_hyperparameters()[0].values == best.hyperparameters.values
    again.results_summary()
    assert f"Score: {best.score}" in capsys.readouterr().out


def test_resumed_search_is_the_undisturbed_one(make, images):
    x, y = images[0][:160], images[1][:160]
    undisturbed = make(max_trials=3, num_initial_points=1, project_name="undisturbed")
    undisturbed.search(x, y, validation_split=0.25, epochs=1, verbose=0)
    for trials in (1, 3):
        tuner = make(max_trials=trials, num_initial_points=1)
        tuner.search(x, y, validation_split=0.25, epochs=1, verbose=0)

    def told(searched):
        return [(trial.hyperparameters.values, trial.score) for trial in searched.oracle.trials.values()]

    assert told(tuner) == told(undisturbed)


def test_regression(make, images):
    x, y = images
    objective = [
        Objective("mse", "val_mse", 0.1, maximize=False),
        Objective("size", "size_bits", 8.0, maximize=False, transform="log10"),
    ]
    tuner = make(outputs=1, head="regression", objective=objective, max_trials=1)
    tuner.search(x[:100], y[:100] / 9, validation_split=0.2, epochs=1, batch_size=16, verbose=0)
    (trial,) = tuner.oracle.trials.values()
    mse, size = (trial.metrics.get_best_value(name) for name in ("val_mse", "size_bits"))
    assert trial.score == pytest.approx(0.1 / max(mse, 0.001) + 8 / math.log10(size))
    assert tuner.get_best_models()[0].output_shape == (None, 1)


def test_a_head_and_an_objective_of_ones_own(make, images):
    def head(features):
        return keras.layers.Dense(10)(keras.layers.Dense(4, activation="relu")(features))

    tuner = make(head=head, objective="val_accuracy", max_trials=1)
    tuner.search(images[0][:100], images[1][:100], epochs=1, batch_size=16, verbose=0)
    (trial,) = tuner.oracle.trials.values()
    assert trial.score == trial.metrics.get_best_value("val_accuracy")
    assert len(tuner.network(trial).head) == 2


def test_a_diverging_trial_fails_and_the_search_goes_on(make, images):
    x, y = images[0][:64], images[1][:64]
    tuner = make(max_trials=1, training={"epochs": 3, "learning_rate": 1e30, "optimizer": "sgd", "batch_size": 16})
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    (trial,) = tuner.oracle.trials.values()
    assert trial.status == "FAILED"
    assert "DivergedError" in trial.message


def test_impossible_limits_are_told_before_any_training(make, images):
    with pytest.raises(InputError, match=r"size_kb [\d.]+ where 0\.01 is allowed"):
        make(constraints={"size_kb": 0.01}).search(*images, verbose=0)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"training": {"epoch": 3}}, "training.epoch"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"head": "regression", "outputs": 2}, "objective"),
        ({"acquisition": "luck"}, "acquisition"),
        ({"head": lambda features: keras.layers.Dense(3)(features)}, "output has shape"),
    ],
)
def test_wrong_settings_are_told(make, settings, match):
    with pytest.raises(InputError, match=match):
        make(**settings)


class TestImages:
    def test_a_share_is_held_out_stratified(self, tiny, images):
        found = Images.of(tiny, "classification", *images, validation_split=0.25, seed=3)
        assert len(found.train[1]) + len(found.validation[1]) == len(images[1])
        assert abs(len(found.validation[1]) - 0.25 * len(images[1])) < 1
        assert set(found.validation[1]) == set(range(10))
        again = Images.of(tiny, "classification", *images, validation_split=0.25, seed=3)
        np.testing.assert_array_equal(found.train[0], again.train[0])

    def test_floats_become_bytes(self, tiny, images):
        x, y = images[0][:20] / np.float32(255), images[1][:20]
        found = Images.of(tiny, "classification", x, y, (x, y))
        np.testing.assert_array_equal(found.validation[0][..., 0], images[0][:20])
        assert found.train[0].dtype == np.uint8

    @pytest.mark.parametrize(
        ("validation", "match"),
        [
            ((np.zeros((5, 9, 9), "uint8"), np.zeros(5, int)), "validation_data: images of shape"),
            ((np.zeros((5, 8, 8), "uint8"), np.zeros(4, int)), "5 images and 4 labels"),
            ((np.zeros((5, 8, 8), "uint8"), np.full(5, 10)), "validation_data: class 10 found, expected 0 to 9"),
        ],
    )
    def test_what_does_not_fit_is_told(self, make, images, validation, match):
        with pytest.raises(InputError, match=match):
            make().search(*images, validation_data=validation)
