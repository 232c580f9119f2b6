import dataclasses
import json

import keras
import numpy as np
import pytest
from PIL import Image

from bompnas import experiment as experiments
from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.training import data
from bompnas.trials import setup

DOCUMENT = {
    "name": "test",
    "data": {"dataset": "digits"},
    "space": "search_spaces/mobilenetv2_digits.yaml",
    "method": {"name": "random", "trials": 2},
    "training": {"epochs": 3, "qaft_epochs": 2, "learning_rate": 0.02, "qaft_learning_rate": 0.002, "batch_size": 32},
    "final": {"epochs": 5, "qaft_epochs": 4},
}


def prepared(given=None, **changes):
    return setup.prepare(experiments.parse({**DOCUMENT, **changes}), given)


def candidates_of(problem, *bits):
    network = problem.space.decode(problem.space.seed)
    return [
        Candidate(id, 7, network.with_bits(width), None, State.PENDING, problem.cost(network))
        for id, width in enumerate(bits, start=1)
    ]


@pytest.fixture(scope="module")
def digits():
    return prepared()


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
def test_modes_decide_where_networks_are_fine_tuned(digits, tmp_path, quantization, in_trials, finally_):
    experiment = experiments.parse({**DOCUMENT, "quantization": quantization})
    changed = dataclasses.replace(digits, experiment=experiment)
    candidates = candidates_of(digits.problem, 8)
    assert changed.trial_task(candidates, tmp_path).qaft.epochs == in_trials
    assert changed.final_task(candidates, tmp_path).qaft.epochs == finally_


def test_seeds_differ_between_trials_stages_and_runs(digits, tmp_path):
    def seeds(parts):
        candidates = candidates_of(parts.problem, 8)
        other = [dataclasses.replace(candidates[0], trial=8)]
        return {
            parts.trial_task(candidates, tmp_path).seed,
            parts.trial_task(other, tmp_path).seed,
            parts.final_task(candidates, tmp_path).seed,
        }

    other = dataclasses.replace(digits, experiment=experiments.parse({**DOCUMENT, "seed": 1}))
    assert seeds(digits) == seeds(digits)
    assert len(seeds(digits) | seeds(other)) == 6


def test_the_spaces_head_fits_the_classes(digits):
    (layer,) = digits.problem.space.decode(digits.problem.space.seed).head
    assert (layer.name, layer.kind, layer.out_channels) == ("head_dense", "dense", 10)


def test_homogeneous_bits_reach_every_layer():
    network = prepared(quantization={"bits": 5}).problem.space
    assert {layer.weight_bits for layer in network.decode(network.seed).layers} == {5}


def test_a_head_from_python_brings_its_layers():
    def two_layers(features):
        return keras.layers.Dense(10)(keras.layers.Dense(6, activation="relu")(features))

    parts = prepared(two_layers)
    names = [(layer.name, layer.out_channels) for layer in parts.problem.space.decode(parts.problem.space.seed).head]
    assert names == [("head_dense", 6), ("head_dense_2", 10)]
    assert parts.meta(1)["experiment"]["head"]["class"].endswith(
        ":test_a_head_from_python_brings_its_layers.<locals>.two_layers"
    )


def test_a_head_with_another_number_of_outputs_is_refused():
    with pytest.raises(InputError, match=r"its output has shape \(7,\) for an image, but the data has 10 classes"):
        prepared(keras.layers.Dense(7))


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
def test_data_from_python_that_does_not_fit_is_refused(size, task, message):
    with pytest.raises(InputError, match=message):
        setup.prepare(experiments.parse(DOCUMENT), dataset=arrays(size, task))


def test_a_constraint_that_nothing_keeps_is_refused():
    with pytest.raises(InputError, match="size_kb"):
        prepared(constraints={"size_kb": 0.01})


def test_regression_targets_set_the_outputs(digits, tmp_path):
    images = np.zeros((60, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "targets.npz", x_train=images, y_train=np.random.default_rng(0).normal(size=(60, 3)))
    parts = prepared(
        data={"dataset": "npz", "path": str(tmp_path / "targets.npz")},
        head={"class": "regression"},
        objectives={"mae": {"reference": 1.0}, "size": {"reference": 8}},
    )
    assert parts.problem.space.decode(parts.problem.space.seed).head[-1].out_channels == 3


def test_what_identifies_a_run_is_content(digits):
    meta = digits.meta(threads=2)
    assert json.loads(json.dumps(meta)) == meta
    identity = meta["identity"]
    assert identity["space"]["family"] == "mobilenetv2"
    assert "workers" not in identity
    free = {"workers": 4, "export": {"format": "none", "io": "float"}}
    same = dataclasses.replace(digits, experiment=experiments.parse({**DOCUMENT, **free}))
    assert same.meta(1)["identity"] == identity
    train = dataclasses.replace(digits.dataset.train, images=digits.dataset.train.images.copy())
    train.images[0, 0, 0] ^= 1
    other = dataclasses.replace(digits, dataset=dataclasses.replace(digits.dataset, train=train))
    assert other.meta(1)["identity"]["data"]["fingerprint"] != identity["data"]["fingerprint"]


def test_streamed_images_are_known_by_the_names_and_sizes_of_their_files(tmp_path):
    for number in range(24):
        (tmp_path / f"class{number % 2}").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 10 * number).save(tmp_path / f"class{number % 2}" / f"{number}.bmp")

    def identity(**options):
        return prepared(data={"dataset": "folder", "path": str(tmp_path), **options}).meta(1)["identity"]["data"]

    read, streamed = identity(stream=False), identity(stream=True)
    assert read == identity()
    assert "stream" not in read  # as in records of before
    assert streamed["stream"] is True
    assert streamed["fingerprint"] != read["fingerprint"]
    Image.new("L", (8, 8), 7).save(tmp_path / "class0" / "2.bmp")
    assert identity(stream=True) == streamed
    assert identity()["fingerprint"] != read["fingerprint"]
    Image.new("L", (8, 9), 7).save(tmp_path / "class0" / "2.bmp")
    assert identity(stream=True)["fingerprint"] != streamed["fingerprint"]


def test_the_resolved_experiment_can_be_run_again(digits):
    resolved = digits.meta(threads=2)["experiment"]
    assert experiments.parse(resolved).model_dump() == {**digits.experiment.model_dump(), "space": resolved["space"]}


class Softmax:
    def __init__(self, units=16, loss="sparse_categorical_crossentropy", metrics=()):
        self.units, self.loss, self.metrics = units, loss, metrics

    def build(self, hp, inputs):
        hidden = keras.layers.Dense(self.units, activation="relu")(inputs * 2.0)
        return keras.layers.Dense(10, activation="softmax")(hidden)


def test_heads_of_one_class_with_other_arguments_are_other_experiments():
    identities = [prepared(Softmax(units)).meta(1)["identity"] for units in (16, 16, 64)]
    assert identities[0] == identities[1]
    assert identities[0] != identities[2]


def test_a_user_s_head_is_taken_through_quantization_before_the_run():
    prepared(Softmax(metrics=["acc", "top_k_categorical_accuracy", keras.metrics.AUC(name="auc")]))
    with pytest.raises(InputError, match=r"head: .*failed .*no_such_metric"):
        prepared(Softmax(metrics=["no_such_metric"]))
    with pytest.raises(InputError, match=r"head: .*no Lambda"):
        prepared(lambda features: keras.layers.Dense(10)(keras.layers.Lambda(lambda x: x + 1)(features)))


@dataclasses.dataclass
class Plain:
    units: int = 10

    def build(self, hp, inputs):
        return keras.layers.Dense(self.units)(inputs)


def test_a_head_need_not_be_hashable():
    assert prepared(Plain()).problem.space.decode(prepared(Plain()).problem.space.seed).head[0].out_channels == 10


def test_objectives_must_be_measured_by_the_head():
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
def test_losses_that_do_not_exist_or_fit_are_refused(head, message):
    with pytest.raises(InputError, match=message):
        prepared(head=head)


def test_data_from_python_are_recorded_as_such():
    images, labels = np.zeros((60, 8, 8, 1), "uint8"), np.arange(60) % 3
    dataset = data.from_arrays(images, labels, input_size=8, input_channels=1, name="my photos")
    meta = setup.prepare(experiments.parse(DOCUMENT), dataset=dataset).meta(1)
    assert meta["experiment"]["data"] == {"dataset": "my photos"}
