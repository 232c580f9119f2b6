import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from bompnas.networks.heads import HeadSource
from bompnas.space import loader
from bompnas.space.head import DenseHead
from bompnas.training import feed, image_files, loop
from bompnas.training.loop import DivergedError, Phase
from bompnas.training.state import State, pack
from bompnas.trials.events import Checkpoint, Epoch, Note
from bompnas.trials.executors.shared import Mapped
from bompnas.trials.trial import TrialTask, run_trial


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Arrays of scikit-learn's digits as workers see them."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * 255 / 16).astype("uint8")[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    train, validation, test = np.split(order, [1080, 1440])
    directory = tmp_path_factory.mktemp("digits")
    parts = {"train": train, "validation": validation, "test": test}
    return Mapped.write({part: (images[rows], bunch.target[rows]) for part, rows in parts.items()}, directory)


@pytest.fixture(scope="module")
def network():
    space = loader.load("search_spaces/mobilenetv2_digits.yaml", head=DenseHead(10))
    return space.decode(space.seed)


@pytest.fixture(scope="module")
def task(digits, network):
    return TrialTask((network,), HeadSource("classification", 10), digits, Phase(8, 0.003), Phase(1, 0.0003), seed=0)


def test_a_trial_trains_quantizes_and_measures(task, network, tmp_path):
    """Eight bits lose at most a point without fine-tuning; the saved model computes what was scored."""
    task = dataclasses.replace(
        task,
        networks=(network.with_bits(8), network.with_bits(4)),
        qaft=Phase(0, 0.0003),
        test=True,
        keep_models=True,
    )
    result = run_trial(task)
    eight, four = (outcome.metrics for outcome in result.outcomes)
    assert eight["float_val_accuracy"] > 0.85
    assert eight["val_accuracy"] >= eight["float_val_accuracy"] - 0.01
    assert four["float_val_accuracy"] == eight["float_val_accuracy"]
    assert set(eight) == {
        f"{prefix}{part}_{name}"
        for prefix in ("float_", "")
        for part in ("val", "test")
        for name in ("accuracy", "loss")
    }
    assert set(result.seconds) == {"build", "train", "evaluate", "quantize"}
    assert all(set(outcome.seconds) == {"quantize", "qaft", "evaluate"} for outcome in result.outcomes)
    assert len(result.curves["float_loss"]) == 8
    images, labels = task.data.load()["test"]
    for outcome in result.outcomes:
        metrics, path = outcome.metrics, tmp_path / "model.keras"
        path.write_bytes(outcome.model)
        reloaded = keras.models.load_model(path)
        predicted = loop.predict(reloaded, images, 64).argmax(-1)
        assert np.mean(predicted == labels) == metrics["test_accuracy"]


def test_the_same_task_gives_the_same_numbers(task):
    task = dataclasses.replace(task, early=Phase(2, 0.003))
    first, second = run_trial(task), run_trial(task)
    assert first.outcomes[0].metrics == second.outcomes[0].metrics
    assert first.curves == second.curves
    other = run_trial(dataclasses.replace(task, seed=1))
    assert other.curves != first.curves


def test_a_trial_on_images_in_files_is_that_on_arrays(task, digits, tmp_path, monkeypatch):
    parts, streamed = digits.load(), {}
    for part, (images, labels) in parts.items():
        (tmp_path / part / "all").mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(tmp_path / part / "all" / f"{number:04}.png")
        streamed[part] = image_files.find(tmp_path / part, 8, 1)[0], labels
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(feed, "CHUNK", 300 * 10 * 10)
    task = dataclasses.replace(task, early=Phase(2, 0.003, augmentation="shift"), test=True)
    expected = run_trial(task)
    found = run_trial(dataclasses.replace(task, data=Mapped.write(streamed, tmp_path / "scratch")))
    assert found.curves == expected.curves
    assert found.outcomes[0].metrics == expected.outcomes[0].metrics
    assert found.outcomes[0].error is None


def test_fine_tuning_recovers_accuracy_at_four_bits(task, network):
    low = (network.with_bits(4),)
    plain = run_trial(dataclasses.replace(task, networks=low, qaft=Phase(0, 0.0003)))
    tuned = run_trial(dataclasses.replace(task, networks=low, qaft=Phase(3, 0.001)))
    assert tuned.outcomes[0].metrics["val_loss"] < plain.outcomes[0].metrics["val_loss"]
    assert len(tuned.curves["qaft_loss"]) == 3


def test_a_diverging_training_raises(task):
    with pytest.raises(DivergedError):
        run_trial(dataclasses.replace(task, early=Phase(3, 1e30, optimizer="sgd")))


def test_one_failing_policy_spares_the_others(task, network):
    broken = dataclasses.replace(
        network, layers=tuple(dataclasses.replace(layer, weight_bits=99) for layer in network.layers)
    )
    early = Phase(1, 0.003)
    result = run_trial(dataclasses.replace(task, networks=(broken, network), early=early, qaft=Phase(0, 1.0)))
    failed, fine = result.outcomes
    assert failed.error == "ValueError: weight bits must be 2 to 16, found 99"
    assert fine.error is None
    assert "val_accuracy" in fine.metrics


def test_mixed_precision_is_left_behind_with_the_float_training(task):
    early = Phase(2, 0.003)
    result = run_trial(dataclasses.replace(task, early=early, precision="bfloat16", keep_models=True))
    plain = run_trial(dataclasses.replace(task, early=early, precision="float32"))
    assert result.curves["float_loss"] != plain.curves["float_loss"]
    np.testing.assert_allclose(result.curves["float_loss"], plain.curves["float_loss"], rtol=0.1)
    assert keras.config.dtype_policy().name == "float32"
    outcome = result.outcomes[0]
    assert outcome.error is None
    assert outcome.metrics["val_accuracy"] >= outcome.metrics["float_val_accuracy"] - 0.05


def test_precision_is_full_on_a_cpu(task):
    early = Phase(1, 0.003)
    auto, full = (run_trial(dataclasses.replace(task, early=early, precision=name)) for name in ("auto", "float32"))
    assert auto.curves == full.curves


def test_a_trial_goes_on_from_its_checkpoints(task, network):
    """Whatever the checkpoint, the result is that of the undisturbed trial."""
    policies = (network.with_bits(8), network.with_bits(4))
    task = dataclasses.replace(
        task, networks=policies, early=Phase(3, 0.003), qaft=Phase(2, 0.001), checkpoint_every=2, keep_models=True
    )
    told = []
    whole = run_trial(task, told.append)
    checkpoints = [event.state for event in told if isinstance(event, Checkpoint)]
    epochs = [(event.phase, event.policy, event.number) for event in told if isinstance(event, Epoch)]
    assert epochs == [("float", 0, 1), ("float", 0, 2), ("float", 0, 3)] + [
        ("qaft", policy, number) for policy in (0, 1) for number in (1, 2)
    ]
    assert len(checkpoints) == 4
    for number, checkpoint in enumerate(checkpoints):
        again = []
        found = run_trial(dataclasses.replace(task, checkpoint=checkpoint), again.append)
        assert [outcome.metrics for outcome in found.outcomes] == [outcome.metrics for outcome in whole.outcomes]
        assert found.curves == whole.curves
        assert len([event for event in again if isinstance(event, Epoch)]) == [5, 4, 2, 0][number]


def test_a_checkpoint_that_does_not_fit_is_left_aside(task):
    early = Phase(1, 0.003)
    whole = run_trial(dataclasses.replace(task, early=early))
    other = pack({"float 0": State((0.5,), (np.zeros(7, "float32"), np.zeros(3, "float32")))})
    for checkpoint, reason in ((b"PK no archive", "is damaged"), (other, "is of another version")):
        told = []
        found = run_trial(dataclasses.replace(task, early=early, checkpoint=checkpoint), told.append)
        assert found.curves == whole.curves
        assert [reason in event.text for event in told if isinstance(event, Note)] == [True]
