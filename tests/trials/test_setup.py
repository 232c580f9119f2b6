import dataclasses

import keras
import numpy as np
import pytest

from bompnas import experiment as experiments
from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.trials.identity import record_meta


def candidates_of(problem, *bits):
    network = problem.space.decode(problem.space.seed)
    return [
        Candidate(id, 7, network.with_bits(width), None, State.PENDING, problem.cost(network))
        for id, width in enumerate(bits, start=1)
    ]


def test_trial_tasks_follow_the_training_settings(digits, tmp_path):
    candidates = candidates_of(digits.problem, 8, 4)
    task = digits.trial_task(candidates, tmp_path)
    assert task.networks == tuple(candidate.network for candidate in candidates)
    assert (task.early.epochs, task.early.learning_rate, task.early.batch_size) == (3, 0.02, 32)
    assert (task.qaft.epochs, task.qaft.learning_rate) == (2, 0.002)
    assert (task.data, task.test, task.keep_models) == (tmp_path, False, False)


def test_final_tasks_are_tested_and_saved(digits, tmp_path):
    task = digits.final_task(candidates_of(digits.problem, 8, 4), tmp_path)
    assert (task.early.epochs, task.qaft.epochs, task.early.schedule) == (5, 4, "cosine")
    assert task.test
    assert task.keep_models


@pytest.mark.parametrize(
    ("quantization", "in_trials", "finally_"),
    [
        ({"mode": "qaft"}, 2, 4),
        ({"mode": "ptq"}, 0, 0),
        ({"mode": "none"}, 0, 0),
        ({"mode": "ptq", "final": "qaft"}, 0, 4),
    ],
)
def test_modes_decide_where_networks_are_fine_tuned(document, digits, tmp_path, quantization, in_trials, finally_):
    experiment = experiments.parse({**document, "quantization": quantization})
    changed = dataclasses.replace(digits, experiment=experiment)
    candidates = candidates_of(digits.problem, 8)
    assert changed.trial_task(candidates, tmp_path).qaft.epochs == in_trials
    assert changed.final_task(candidates, tmp_path).qaft.epochs == finally_


def test_seeds_differ_between_trials_stages_and_runs(document, digits, tmp_path):
    def seeds(parts):
        candidates = candidates_of(parts.problem, 8)
        other = [dataclasses.replace(candidates[0], trial=8)]
        return {
            parts.trial_task(candidates, tmp_path).seed,
            parts.trial_task(other, tmp_path).seed,
            parts.final_task(candidates, tmp_path).seed,
        }

    other = dataclasses.replace(digits, experiment=experiments.parse({**document, "seed": 1}))
    assert seeds(digits) == seeds(digits)
    assert len(seeds(digits) | seeds(other)) == 6


def test_the_spaces_head_fits_the_classes(digits):
    (layer,) = digits.problem.space.decode(digits.problem.space.seed).head
    assert (layer.name, layer.kind, layer.out_channels) == ("head_dense", "dense", 10)


def test_homogeneous_bits_reach_every_layer(prepared):
    network = prepared(quantization={"bits": 5}).problem.space
    assert {layer.weight_bits for layer in network.decode(network.seed).layers} == {5}


def test_a_head_from_python_brings_its_layers(prepared):
    def two_layers(features):
        return keras.layers.Dense(10)(keras.layers.Dense(6, activation="relu")(features))

    parts = prepared(two_layers)
    names = [(layer.name, layer.out_channels) for layer in parts.problem.space.decode(parts.problem.space.seed).head]
    assert names == [("head_dense", 6), ("head_dense_2", 10)]
    assert record_meta(parts, 1)["experiment"]["head"]["class"].endswith(
        ":test_a_head_from_python_brings_its_layers.<locals>.two_layers"
    )


def test_a_head_with_another_number_of_outputs_is_refused(prepared):
    with pytest.raises(InputError, match=r"its output has shape \(7,\) for an image, but the data has 10 classes"):
        prepared(keras.layers.Dense(7))


def test_a_constraint_that_nothing_keeps_is_refused(prepared):
    with pytest.raises(InputError, match="size_kb"):
        prepared(constraints={"size_kb": 0.01})


def test_regression_targets_set_the_outputs(prepared, digits, tmp_path):
    images = np.zeros((60, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "targets.npz", x_train=images, y_train=np.random.default_rng(0).normal(size=(60, 3)))
    parts = prepared(
        data={"dataset": "npz", "path": str(tmp_path / "targets.npz")},
        head={"class": "regression"},
        objectives={"mae": {"reference": 1.0}, "size": {"reference": 8}},
    )
    assert parts.problem.space.decode(parts.problem.space.seed).head[-1].out_channels == 3


@dataclasses.dataclass
class Plain:
    units: int = 10

    def build(self, hp, inputs):
        return keras.layers.Dense(self.units)(inputs)


def test_a_head_need_not_be_hashable(prepared):
    assert prepared(Plain()).problem.space.decode(prepared(Plain()).problem.space.seed).head[0].out_channels == 10
