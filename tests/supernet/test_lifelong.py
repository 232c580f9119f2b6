"""Searches, and experiments, that go on with what an earlier one learned."""

import dataclasses

import keras
import numpy as np
import pytest

from bompnas import experiment as experiments
from bompnas import run
from bompnas.errors import InputError
from bompnas.networks.heads import HeadSource
from bompnas.supernet import checkpoint, hqnas, search, thresholds
from bompnas.supernet.checkpoint import Knowledge
from bompnas.supernet.search import SearchTask
from bompnas.supernet.settings import HqnasSettings
from bompnas.supernet.single_path import Supernet
from bompnas.training.loop import Phase
from bompnas.trials import setup
from bompnas.trials.events import Values
from bompnas.trials.executors.shared import Held
from bompnas.trials.identity import record_meta

# --- A search goes on with it -----------------------------------------------------------------------------------------

CLASSES = tuple("abcd")
NOTHING = 1e-12
"""A learning rate at which nothing is learned."""


@pytest.fixture
def task(problem):
    """A function that makes a search of one epoch on random images, which learns nothing."""
    labels = np.arange(96) % 4
    images = np.random.default_rng(1).integers(0, 256, (96, 8, 8, 1), dtype=np.uint8)

    def make(classes, warm_up=1, begin=None):
        taken = labels < classes
        arrays = dict.fromkeys(("train", "validation", "test"), (images[taken], labels[taken]))
        settings = HqnasSettings(
            name="hqnas",
            accuracy_threshold=0.9,
            cost="size_kb",
            cost_threshold=1.0,
            warm_up=warm_up,
            samples=2,
            threshold_learning_rate=NOTHING,
            candidates=2,
        )
        return SearchTask(
            problem=problem,
            settings=settings,
            phase=Phase(1, NOTHING, batch_size=16, optimizer="sgd"),
            head=HeadSource("classification", classes),
            data=Held(arrays),
            class_names=CLASSES[:classes],
            seed=8,
            begin=begin,
        )

    return make


@pytest.fixture(scope="module")
def learned(small):
    """A supernet of three classes with decided thresholds."""
    keras.utils.set_random_seed(3)
    arrays = Supernet(small, HeadSource("classification", 3).head()).arrays
    spread = np.random.default_rng(2).uniform(-0.9, 0.9, small.chains.gates)
    decided = thresholds.relative_norms(small, arrays) + spread
    return checkpoint.pack(Knowledge(arrays, checkpoint.decisions(small.chains), decided, CLASSES[:3], (0, 1, 0)))


def test_a_search_begins_with_what_was_learned(task, learned, small):
    told = []
    result = task(4, warm_up=5, begin=learned).run(told.append)
    old, new = checkpoint.unpack(learned), checkpoint.unpack(result.knowledge)
    assert (new.classes, new.decisions) == (CLASSES, old.decisions)
    assert (old.searches, new.searches) == ((0, 1, 0), (0, 1, 0, 2))
    assert new.arrays["head_dense/kernel"].shape[-1] == 4
    for name, array in new.arrays.items():
        kept = array[..., :3] if name.startswith("head") else array
        np.testing.assert_allclose(kept, old.arrays[name], atol=1e-6)

    # Decisions are half way back to open ones, and the thresholds learn at once.
    norms = thresholds.relative_norms(small, old.arrays)
    np.testing.assert_allclose(new.thresholds - norms, (old.thresholds - norms) / 2, atol=1e-5)
    (values,) = (event.values for event in told if isinstance(event, Values))
    assert np.isfinite(values["reward"])


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_later_searches_divide_the_images_of_known_classes_as_the_first_did(share):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [31, 22, 17, 28, 9]))
    places = np.arange(len(labels))
    division = {}
    for classes, searches in ((3, (0, 0, 0)), (4, (0, 0, 0, 1)), (5, (0, 0, 0, 1, 2))):
        taken = places[labels < classes]
        found = [set(taken[each].tolist()) for each in search.divided(labels[taken], share, 7, searches)]
        assert found[0] | found[1] == set(taken.tolist())
        assert not found[0] & found[1]
        for earlier in division.values():
            assert earlier[0] <= found[0]
            assert earlier[1] <= found[1]
        division[classes] = found
        for label in range(classes):
            count = np.count_nonzero(labels == label)
            assert abs(np.count_nonzero(labels[list(found[1])] == label) - share * count) < 1


def test_a_new_class_of_one_image_is_trained_on():
    weights, rewarding = search.divided(np.array([0] * 6 + [1]), 0.5, 0, (0, 1))
    assert (len(weights), len(rewarding)) == (4, 3)
    assert 6 in weights


def test_a_search_from_an_unfit_checkpoint_fails(task, learned):
    other = dataclasses.replace(checkpoint.unpack(learned), classes=("a", "b", "z"))
    with pytest.raises(InputError, match="it knows class 'z', which the data does not have"):
        task(4, begin=checkpoint.pack(other)).run()


# --- Experiments ------------------------------------------------------------------------------------------------------

DOCUMENT = {
    "name": "later",
    "data": {"dataset": "digits", "classes": 3},
    "space": "space.yaml",
    "method": {
        "name": "hqnas",
        "accuracy_threshold": 0.9,
        "cost": "size_kb",
        "cost_threshold": 1.0,
        "checkpoint": "earlier/supernet.npz",
    },
    "training": {"epochs": 5},
}


@pytest.fixture
def later(tmp_path, small_text, small):
    """A function that prepares an experiment which goes on from a checkpoint of the digits 0 and 1."""
    (tmp_path / "space.yaml").write_text(small_text)
    (tmp_path / "earlier").mkdir()

    def write(**changes):
        keras.utils.set_random_seed(0)
        supernet = Supernet(small, HeadSource("classification", 2).head())
        known = Knowledge(
            supernet.arrays, checkpoint.decisions(small.chains), np.zeros(small.chains.gates), ("0", "1"), (0, 0)
        )
        known = dataclasses.replace(known, **changes)
        (tmp_path / "earlier" / "supernet.npz").write_bytes(checkpoint.pack(known))

    write()

    def make(*overrides):
        return experiments.parse(DOCUMENT, overrides, directory=tmp_path)

    make.write = write
    return make


def checked(experiment):
    hqnas.check(experiment.method, setup.prepare(experiment))


def test_an_experiment_that_goes_on_needs_no_warm_up(later):
    checked(later("training.epochs=5", "method.warm_up=20"))
    with pytest.raises(InputError, match=r"method.warm_up: 20 of 5 epochs \(training.epochs\) leave none"):
        checked(later("training.epochs=5", "method.warm_up=20", "method.checkpoint=null"))


PLACE = "method.checkpoint: earlier/supernet.npz: "
UNFIT = [
    (["data.classes=[1, 2]"], PLACE + "it knows class '0', which the data does not have; expected all of its 2"),
    (["space=other.yaml"], PLACE + "it is of another search space; found block1.expansion: 3, 6, expected block1.exp"),
    (["space=wider.yaml"], PLACE + "it has last_conv/kernel of shape (1, 1, 6, 12), this search last_conv/kernel of"),
    (["head={class: tests_heads:Wide}"], PLACE + "it has head_dense/kernel of shape (12, 2), this search head_dense"),
]


@pytest.mark.parametrize(("overrides", "message"), UNFIT)
def test_an_experiment_that_its_checkpoint_does_not_fit(later, tmp_path, monkeypatch, small_text, overrides, message):
    (tmp_path / "other.yaml").write_text(small_text.replace("expansion: [3, 6]", "expansion: [2, 6]"))
    (tmp_path / "wider.yaml").write_text(small_text.replace("channels: 6", "channels: 7"))
    (tmp_path / "tests_heads.py").write_text(WIDE)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as caught:
        checked(later(*overrides))
    assert str(caught.value).startswith(message)


WIDE = """
import keras

class Wide:
    loss = "sparse_categorical_crossentropy"

    def build(self, hp, inputs):
        return keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(9)(inputs))
"""


def test_nothing_is_created_where_the_checkpoint_does_not_fit(later, tmp_path):
    out = tmp_path / "runs" / "later"
    later.write(classes=("0", "9"))
    with pytest.raises(InputError, match=r"^method\.checkpoint: earlier/supernet\.npz: it knows class '9'"):
        run.run(later(), out=out)
    (tmp_path / "earlier" / "supernet.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"^method\.checkpoint: earlier/supernet\.npz: not a supernet's checkpoint"):
        run.run(later(), out=out)
    assert not out.parent.exists()


def test_a_checkpoint_is_looked_for_like_all_files(later, tmp_path, monkeypatch):
    """From the experiment's folder, else from the working directory."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    expected = tmp_path / "earlier" / "supernet.npz"
    assert later().method.checkpoint_file == expected
    (elsewhere / "mine.npz").write_bytes(expected.read_bytes())
    assert later("method.checkpoint=mine.npz").method.checkpoint_file == elsewhere / "mine.npz"
    with pytest.raises(InputError, match=r"method.checkpoint: none.npz does not exist; looked for .*elsewhere/none"):
        later("method.checkpoint=none.npz")
    with pytest.raises(InputError, match=r"method.checkpoint: expected the supernet.npz of a run; earlier is a folder"):
        later("method.checkpoint=earlier")


def test_a_run_is_known_by_the_content_of_its_checkpoint(later, tmp_path):
    prepared = setup.prepare(later())
    meta = record_meta(prepared, 1)
    file = tmp_path / "earlier" / "supernet.npz"
    assert meta["experiment"]["method"]["checkpoint"] == str(file)
    again = experiments.parse(meta["experiment"])
    assert again.method.checkpoint_file == file
    file.rename(tmp_path / "moved.npz")
    moved = dataclasses.replace(prepared, experiment=later("method.checkpoint=moved.npz"))
    assert record_meta(moved, 1)["identity"] == meta["identity"]
    later.write(thresholds=np.ones(len(checkpoint.read(tmp_path / "moved.npz").thresholds)))
    assert record_meta(prepared, 1)["identity"] != meta["identity"]
    assert "checkpoint" not in record_meta(setup.prepare(later("method.checkpoint=null")), 1)["identity"]["method"]
