import math

import keras_tuner
import pytest

from bompnas.integrations.keras_tuner import BompOracle


def score(values):
    """Best (0) at a=4, b=1, c=1e-3."""
    return -abs(values["a"] - 4) / 10 - abs(values["b"] - 1) - 0.1 * abs(3 + math.log10(values["c"]))


@pytest.fixture
def evaluate():
    """The function that `run` takes unless told otherwise."""
    return score


@pytest.fixture
def table():
    """4 x 3 choices."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("a", ["w", "x", "y", "z"])
    hp.Choice("b", [1, 2, 3])
    return hp


@pytest.fixture
def mixed():
    """An integer, a stepped float, a float on a logarithmic scale and a constant."""
    hp = keras_tuner.HyperParameters()
    hp.Int("a", 0, 10)
    hp.Float("b", -1, 1, step=0.1)
    hp.Float("c", 1e-5, 1e-2, sampling="log")
    hp.Fixed("d", "constant")
    return hp


@pytest.fixture
def new_oracle(tmp_path):
    """Makes an oracle of a project that is the same at every call, unless named."""

    def make(hyperparameters=None, project="project", **settings):
        settings = {
            "objective": keras_tuner.Objective("score", "max"), "max_trials": 100, "num_initial_points": 4, "seed": 1
        } | settings  # fmt: skip
        oracle = BompOracle(hyperparameters=hyperparameters and hyperparameters.copy(), **settings)
        oracle._set_project_dir(tmp_path, project)
        oracle.verbose = 0
        return oracle

    return make


@pytest.fixture
def finish():
    """Ends a trial with a score, or with a status."""

    def end(oracle, trial, score=None, status="COMPLETED", message=None, **metrics):
        if score is not None or metrics:
            oracle.update_trial(trial.trial_id, {"score": score, **metrics} if score is not None else metrics)
        trial.status, trial.message = status, message
        oracle.end_trial(trial)

    return end


@pytest.fixture
def run(finish):
    """Runs some trials with the function above, one after the other; returns their values."""

    def go(oracle, count, function=score, tuner="tuner0"):
        found = []
        for _ in range(count):
            trial = oracle.create_trial(tuner)
            found.append(dict(trial.hyperparameters.values))
            if trial.status == "STOPPED":
                break
            finish(oracle, trial, function(trial.hyperparameters.values))
        return found

    return go
