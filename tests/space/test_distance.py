import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.space.distance import edit_distance, edit_names, slots
from bompnas.space.sampling import mutate, uniform

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def distance(cifar10):
    """A function from genotype changes and weights to the distance from the seed; other weights are 0."""

    def measure(changes, **weights):
        known = dict.fromkeys(edit_names(cifar10.stages), 0.0)
        weights = {name.replace("__", "."): weight for name, weight in weights.items()}
        assert set(weights) <= set(known)
        a, b = cifar10.decode(cifar10.seed), cifar10.decode({**cifar10.seed, **changes})
        return edit_distance(cifar10.stages, a, b, known | weights)

    return measure


def test_one_weight_for_every_edit_of_a_stage(cifar10):
    names = edit_names(cifar10.stages)
    assert names[:6] == (
        "stem.bits",
        "block1.kernel",
        "block1.channels",
        "block1.depthwise_bits",
        "block1.project_bits",
        "block2.insert",
    )
    assert names[-3:] == ("last_conv.filters", "last_conv.bits", "head.bits")
    assert len(names) == len(set(names)) == 1 + 4 + 5 * 7 + 6 + 2 + 1


def test_an_attributes_edit_costs_its_scaled_difference_in_every_slot(distance):
    both = 1 + 1 / math.sqrt(2)  # block2 of the seed has two slots
    assert distance({"block2.kernel": 7}, block2__kernel=3.0) == pytest.approx(3.0 * 4 / 5 * both)
    assert distance({"block2.expand_bits": 4}, block2__expand_bits=1.0) == pytest.approx(both)
    assert distance({"block2.width": 0.3}, block2__channels=1.0) == pytest.approx(
        math.log2(7 / 2) / math.log2(7) * both
    )
    assert distance({"last_conv.filters": 128}, last_conv__filters=2.0) == pytest.approx(2.0)
    assert distance({"stem.bits": 7}, stem__bits=1.0) == pytest.approx(1 / 4)
    assert distance({"dense.bits": 6}, head__bits=1.0) == pytest.approx(1 / 2)
    assert distance({"block2.kernel": 7}, block3__kernel=1.0) == 0.0


def test_a_repetition_costs_its_insertion_and_half_of_each_attribute(distance):
    third, fourth = 1 / math.sqrt(3), 1 / math.sqrt(4)
    assert distance({"block2.repetitions": 4}, block2__insert=1.0) == pytest.approx(third + fourth)
    assert distance({"block2.repetitions": 3}, block2__kernel=1.0) == pytest.approx(third / 2)
    assert distance({"block2.repetitions": 3}, block2__expand_bits=1.0) == pytest.approx(third / 2)
    assert distance({"block2.repetitions": 0}, block2__insert=1.0) == pytest.approx(1 + 1 / math.sqrt(2))


def test_bits_of_an_expand_conv_that_only_one_network_has_cost_half(distance):
    both = 1 + 1 / math.sqrt(2)
    assert distance({"block2.expansion": 1}, block2__expand_bits=1.0) == pytest.approx(both / 2)
    assert distance({"block2.expansion": 1}, block2__expansion=1.0) == pytest.approx(both)
    assert distance({"block2.expansion": 3}, block2__expansion=1.0) == pytest.approx(both / math.log2(6))


def test_slots_describe_a_network_stage_by_stage(digits):
    network = digits.decode({**digits.seed, "block2.expansion": 1, "block2.repetitions": 2, "block3.repetitions": 0})
    block2 = {"expansion": 1, "kernel": 3, "depthwise_bits": 8, "channels": 12, "project_bits": 8}
    assert slots(network)["block2"] == [block2, block2]
    assert slots(network)["last_conv"] == [{"filters": 64, "bits": 8}]
    assert slots(network)["head"] == [{"bits": 8}]
    assert "block3" not in slots(network)


@given(SEEDS, SEEDS)
def test_it_is_a_metric(random_space, space_seed, seed):
    space, generator = random_space(space_seed), np.random.default_rng(seed)
    names = edit_names(space.stages)
    weights = dict(zip(names, generator.exponential(size=len(names)).tolist(), strict=True))
    start = uniform(space, generator, 1)
    codes = np.concatenate([start, mutate(space, start.repeat(3, axis=0), generator), uniform(space, generator, 3)])
    networks = [space.decode(genotype) for genotype in space.genotypes(codes)]
    distances = np.array([[edit_distance(space.stages, a, b, weights) for b in networks] for a in networks])
    same = np.array([[a.key == b.key for b in networks] for a in networks])
    assert (distances == distances.T).all()
    assert (distances[same] == 0).all()
    assert (distances[~same] > 0).all()
    longest_gain = distances[:, None, :] - distances[:, :, None] - distances[None, :, :]
    assert longest_gain.max() <= 1e-12
