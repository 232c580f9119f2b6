import dataclasses
import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bompnas.errors import InputError
from bompnas.objectives import Constraint
from bompnas.supernet import checkpoint, search
from bompnas.supernet.search import SearchTask
from bompnas.supernet.settings import HqnasSettings
from bompnas.training.loop import DivergedError, Phase
from bompnas.trials.events import Checkpoint, Epoch, Note, Values
from bompnas.trials.executors.shared import Held

CLASSES = tuple("0123456789")
SETTINGS = HqnasSettings(
    name="hqnas", accuracy_threshold=0.9, cost_threshold=6.0, cost="size_kb", warm_up=1, samples=3, candidates=4
)
PHASE = Phase(4, 0.02, "cosine", 64, "adam", 3e-4, "shift")


@pytest.fixture(scope="module")
def arrays():
    digits = load_digits()
    images, labels = (digits.images[..., None] * 15.9375).astype(np.uint8), digits.target
    return {"train": (images[:384], labels[:384]), "validation": (images[384:484], labels[384:484])}


@pytest.fixture
def task(problem, head, arrays):
    return SearchTask(problem, SETTINGS, PHASE, head, Held(arrays), CLASSES, seed=3)


@pytest.fixture
def run(task):
    """A function that carries out the task with some fields changed; returns its result and events."""

    def carry_out(**changes):
        events = []
        return dataclasses.replace(task, **changes).run(events.append), events

    return carry_out


@pytest.fixture(scope="module")
def whole(problem, head, arrays):
    """The result and the events of an undisturbed search."""
    events = []
    task = SearchTask(problem, SETTINGS, PHASE, head, Held(arrays), CLASSES, seed=3)
    return task.run(events.append), events


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_an_epoch_tells_how_the_search_stands(whole, small):
    result, events = whole
    assert [type(event) for event in events] == [Epoch, Values, Checkpoint] * 4
    assert [event.number for event in of_kind(events, Epoch)] == [1, 2, 3, 4]
    first, *others = [event.values for event in of_kind(events, Values)]
    assert math.isnan(first["reward"])  # thresholds rest in the first epoch
    assert all(np.isfinite(list(values.values())).all() for values in others)
    assert set(first) == {
        "loss", "val_accuracy", "size_kb", "reward", *small.chains.shares(np.zeros(small.chains.gates)),
    }  # fmt: skip
    assert others[-1]["loss"] < first["loss"]
    assert result.decided is not None
    assert set(result.seconds) == {"search"}


def test_the_search_ends_with_different_networks_of_the_space(whole, problem):
    result, _ = whole
    found = [result.decided, *result.sampled]
    networks = [problem.space.decode(each.genotype) for each in found]
    assert len({network.key for network in networks}) == len(networks)
    assert 1 <= len(result.sampled) <= SETTINGS.candidates
    for each in found:
        assert set(each.metrics) == {"val_accuracy", "val_loss"}
        correct = 100 * each.metrics["val_accuracy"]
        assert correct == pytest.approx(round(correct))  # every one of 100 images counts once


def test_the_thresholds_decide(whole, small):
    result, events = whole
    last = of_kind(events, Values)[-1].values
    for chain in small.chains.chains:
        probabilities = [last[f"p({chain.gene}={value})"] for value in chain.values]
        if chain.needs is None:
            going_on = [sum(probabilities[place:]) for place in range(1, len(probabilities))]
            place = 0
            while place < len(going_on) and going_on[place] >= 0.5 * sum(probabilities[place:]):
                place += 1
            assert result.decided.genotype[chain.gene] == chain.values[place]


def test_a_seed_fixes_the_search(run, whole):
    first, events = whole
    again, repeated = run()
    other, _ = run(seed=4, phase=dataclasses.replace(PHASE, epochs=2))
    assert [event.values for event in of_kind(events, Values)[1:]] == [
        event.values for event in of_kind(repeated, Values)[1:]
    ]
    assert (first.decided, first.sampled) == (again.decided, again.sampled)
    known, unlike = (checkpoint.unpack(result.knowledge).arrays["stem/kernel"] for result in (first, other))
    assert (known == checkpoint.unpack(again.knowledge).arrays["stem/kernel"]).all()
    assert (known != unlike).any()


@pytest.mark.parametrize("stopped", [1, 3, 4])
def test_a_search_goes_on_from_its_last_epoch(run, whole, stopped):
    result, events = whole
    content = of_kind(events, Checkpoint)[stopped - 1].state
    rest, later = run(checkpoint=content)
    assert [event.number for event in of_kind(later, Epoch)] == list(range(stopped + 1, 5))
    assert [event.values for event in of_kind(later, Values)] == [
        event.values for event in of_kind(events, Values)[stopped:]
    ]
    assert (rest.decided, rest.sampled) == (result.decided, result.sampled)
    first, second = (checkpoint.unpack(result.knowledge) for result in (result, rest))
    np.testing.assert_array_equal(first.thresholds, second.thresholds)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array)
    assert rest.seconds["search"] > 0


def test_a_damaged_checkpoint_is_told_and_left(run, whole):
    result, events = whole
    again, later = run(checkpoint=of_kind(events, Checkpoint)[0].state[:500])
    assert "its checkpoint is damaged, the search begins anew" in of_kind(later, Note)[0].text
    assert again.decided == result.decided


def test_a_checkpoint_of_another_space_is_told_and_left(run, whole, problem, read_space, small_text):
    _, events = whole
    other = dataclasses.replace(problem, space=read_space(small_text.replace("filters: 12", "filters: 16")))
    _, later = run(
        problem=other, checkpoint=of_kind(events, Checkpoint)[0].state, phase=dataclasses.replace(PHASE, epochs=2)
    )
    assert of_kind(later, Note)[0].text == "its checkpoint is of another version, the search begins anew"
    assert len(of_kind(later, Epoch)) == 2


def test_networks_keep_the_limits_of_the_experiment(run, problem):
    limited = dataclasses.replace(problem, constraints=(Constraint("size_kb", 3.2),))
    result, _ = run(problem=limited)
    for each in [result.decided, *result.sampled]:
        assert limited.keeps(limited.space.decode(each.genotype))
    impossible = dataclasses.replace(problem, constraints=(Constraint("size_kb", 0.1),))
    result, _ = run(problem=impossible, phase=dataclasses.replace(PHASE, epochs=2))
    assert result.decided is None
    assert result.sampled == ()


def test_a_later_search_starts_from_what_an_earlier_one_learned(run):
    first, fresh = run(phase=dataclasses.replace(PHASE, epochs=12))
    _, known = run(phase=dataclasses.replace(PHASE, epochs=1), begin=first.knowledge)
    losses = [of_kind(events, Epoch)[0].loss for events in (known, fresh)]
    assert losses[0] < 0.9 * losses[1]
    assert np.isfinite(of_kind(known, Values)[0].values["reward"])  # no first epochs to drop parts in


def test_the_rewarded_side_becomes_more_probable(run, small):
    """With the cost alone in the reward, small kernels, narrow expansions and few bits."""
    settings = SETTINGS.model_copy(update={"cost_weight": 1.0, "threshold_learning_rate": 0.1, "samples": 8})
    result, events = run(settings=settings, phase=dataclasses.replace(PHASE, epochs=10))
    first, last = (of_kind(events, Values)[place].values for place in (0, -1))
    assert last["size_kb"] < 0.7 * first["size_kb"]
    for group in ("block1", "block2"):
        for gene, value in (("expansion", 3), ("bits", 4)):
            assert last[f"p({group}.{gene}={value})"] > first[f"p({group}.{gene}={value})"]
    assert result.decided.genotype["block2.expansion"] == 3


def test_a_loss_that_is_no_number_ends_the_search(run):
    with pytest.raises(DivergedError, match=r"supernet's loss became .* in epoch 1; try a lower learning rate"):
        run(phase=dataclasses.replace(PHASE, learning_rate=1e30))


def test_images_are_divided_by_class():
    labels = np.repeat(np.arange(4), [40, 20, 20, 20])
    together = (0,) * 4
    weights, thresholds = search.divided(labels, 0.25, 0, together)
    assert sorted([*weights, *thresholds]) == list(range(100))
    assert np.bincount(labels[thresholds]).tolist() == [10, 5, 5, 5]
    assert len(search.divided(labels, 30, 0, together)[1]) == 30
    assert (search.divided(labels, 30, 1, together)[1] != search.divided(labels, 30, 0, together)[1]).any()
    with pytest.raises(InputError, match=r"method.reward_images: 100 of 100 training images leave none"):
        search.divided(labels, 100, 0, together)
