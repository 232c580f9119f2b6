import json
import math

import keras
import keras_tuner
import numpy as np
import pytest
from sklearn.datasets import load_digits

from bompnas.integrations.keras_tuner import BompTuner, InfeasibleTrialError


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    return (images[:600], labels[:600]), (images[600:900], labels[600:900])


def build_model(hp):
    model = keras.Sequential([keras.Input((64,))])
    kind = hp.Choice("kind", ["linear", "mlp"], default="mlp")
    if kind == "mlp":
        with hp.conditional_scope("kind", "mlp"):
            model.add(keras.layers.Dense(hp.Int("units", 4, 64, step=2, sampling="log"), activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    optimizer = keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-1, sampling="log"))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Function(BompTuner):
    """Tunes a function without training; `told` is what it does with values."""

    def __init__(self, told, **settings):
        self.told = told
        self.seen = []
        super().__init__(**{"objective": keras_tuner.Objective("score", "max"), "seed": 1} | settings)

    def run_trial(self, trial, **arguments):
        self.seen.append(dict(trial.hyperparameters.values))
        return self.told(trial.hyperparameters)


@pytest.fixture
def function(table, tmp_path):
    def make(told, **settings):
        settings = {
            "hyperparameters": table,
            "max_trials": 50,
            "directory": tmp_path,
            "project_name": "function",
        } | settings
        return Function(told, **settings)

    return make


def test_searches_a_keras_model_and_reloads_the_best(digits, tmp_path):
    train, validation = digits
    settings = {"objective": "val_accuracy", "max_trials": 4, "num_initial_points": 2, "seed": 0, "directory": tmp_path}
    tuner = BompTuner(build_model, **settings)
    assert [entry.name for entry in tuner.oracle.get_space().space] == ["kind", "units", "rate"]
    tuner.search(*train, validation_data=validation, epochs=3, verbose=0)
    trials = list(tuner.oracle.trials.values())
    assert [trial.status for trial in trials] == ["COMPLETED"] * 4
    assert len({tuple(trial.hyperparameters.values.items()) for trial in trials}) == 4
    best = tuner.oracle.get_best_trials()[0]
    assert best.score == max(trial.score for trial in trials)
    assert best.hyperparameters.values == tuner.get_best_hyperparameters()[0].values

    again = BompTuner(build_model, **settings)  # the same project, in a new process
    model = again.get_best_models()[0]
    assert model.evaluate(*validation, verbose=0)[1] == pytest.approx(best.score, abs=1e-6)
    again.search(*train, validation_data=validation, epochs=3, verbose=0)
    assert len(again.oracle.trials) == 4


def test_ends_when_the_space_is_exhausted(function, capsys):
    tuner = function(lambda hp: hp["b"] / 10)
    tuner.search(verbose=0)
    assert len(tuner.seen) == 12
    assert len({tuple(values.items()) for values in tuner.seen}) == 12
    tuner.results_summary(1)
    tuner.search_space_summary()
    printed = capsys.readouterr().out
    assert "Score: 0.3" in printed
    assert "'values': [1, 2, 3]" in printed


def test_hyperparameters_named_in_the_trial(function):
    tuner = function(lambda hp: float(hp.Boolean("one") + hp.Boolean("two")), hyperparameters=None)
    tuner.search(verbose=0)
    assert len(tuner.oracle.trials) == 4
    assert tuner.oracle.get_best_trials()[0].score == 2


def test_infeasible_trials_do_not_end_the_search(function):
    def told(hp):
        if hp["a"] in "xyz":
            raise InfeasibleTrialError("does not fit the device")
        return float(hp["b"])

    tuner = function(told, max_retries_per_trial=3)
    tuner.search(verbose=0)
    assert len(tuner.seen) == 12
    statuses = [trial.status for trial in tuner.oracle.trials.values()]
    assert statuses.count("INVALID") == 9
    assert statuses.count("COMPLETED") == 3
    invalid = next(trial for trial in tuner.oracle.trials.values() if trial.status == "INVALID")
    assert "does not fit the device" in invalid.message


def test_failing_trials_end_the_search(function):
    def told(hp):
        raise keras_tuner.errors.FailedTrialError("diverged")

    tuner = function(told)
    with pytest.raises(RuntimeError, match=r"(?s)consecutive failures .* 3; .*diverged"):
        tuner.search(verbose=0)
    assert len(tuner.seen) == 3


def test_crashing_trials_are_retried(function):
    crashes = iter([True, False, True, True] + [False] * 100)

    def told(hp):
        if next(crashes):
            raise ArithmeticError
        return 1.0

    tuner = function(told, max_retries_per_trial=1, max_trials=3)
    tuner.search(verbose=0)
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert tuner.seen[0] == tuner.seen[1]
    assert tuner.seen[2] == tuner.seen[3]


def test_fatal_errors_are_not_swallowed(function):
    tuner = function(lambda hp: {"score": 1.0}, constraints={"latency": 3.0})
    with pytest.raises(keras_tuner.errors.FatalValueError, match="latency"):
        tuner.search(verbose=0)


def test_a_search_killed_in_its_first_trial_is_found_again(function):
    def killed(hp):
        raise KeyboardInterrupt

    first = function(killed, seed=None)
    with pytest.raises(KeyboardInterrupt):
        first.search(verbose=0)
    second = function(lambda hp: 1.0, max_trials=2, seed=None)
    second.search(verbose=0)
    assert second.oracle.seed == first.oracle.seed
    assert second.seen[0] == first.seen[0]
    assert len(second.oracle.trials) == 2


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(function, mixed, evaluate):
    settings = {"hyperparameters": mixed, "max_trials": 12, "num_initial_points": 4}
    undisturbed = function(evaluate, **settings, project_name="undisturbed")
    undisturbed.search(verbose=0)

    countdown = iter(range(7, -1, -1))

    def dies(hp):
        if not next(countdown):
            raise KeyboardInterrupt
        return evaluate(hp)

    first = function(dies, **settings)
    with pytest.raises(KeyboardInterrupt):
        first.search(verbose=0)
    second = function(evaluate, **settings)
    second.search(verbose=0)
    assert first.seen[:-1] + second.seen == undisturbed.seen


def test_state_file_of_the_tuner_is_written_whole(function, tmp_path):
    tuner = function(lambda hp: 1.0, max_trials=1)
    tuner.search(verbose=0)
    assert json.loads((tmp_path / "function" / "tuner0.json").read_text()) == {}
    assert not list((tmp_path / "function").rglob(".*"))


def test_models_over_the_size_are_infeasible(tmp_path):
    def build(hp):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.Int("units", 1, 6), name="only")])
        model.compile("sgd", "mse")
        return model

    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
    tuner = BompTuner(build, objective="loss", max_trials=6, max_model_size=10, directory=tmp_path, seed=0)
    tuner.search(x, y, verbose=0)
    ended = {trial.hyperparameters.get("units"): trial.status for trial in tuner.oracle.trials.values()}
    assert ended == {1: "COMPLETED", 2: "COMPLETED", **dict.fromkeys([3, 4, 5, 6], "INVALID")}


def test_a_list_of_objectives_over_epochs(tmp_path):
    def build(hp):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(hp.Choice("rate", [0.01, 0.1])), "mse", metrics=["mae"])
        return model

    x = np.linspace(-1, 1, 16, dtype="float32")[:, None]
    tuner = BompTuner(build, objective=["loss", "mae"], max_trials=2, directory=tmp_path, seed=0)
    tuner.search(x, 2 * x + 1, epochs=3, verbose=0)
    for trial in tuner.oracle.trials.values():
        metrics = trial.metrics
        assert trial.score == pytest.approx(metrics.get_best_value("loss") + metrics.get_best_value("mae"))
        assert math.isfinite(trial.score)
