"""Searches with a device in the loop, simulated."""

import dataclasses

import numpy as np
import pytest

from bompnas.hardware.bitfusion import BitFusion
from bompnas.hardware.costs import network_costs
from bompnas.hardware.quantities import FACTS
from bompnas.objectives import Constraint, Objective
from bompnas.search.bayesian import BayesianProposer
from bompnas.search.encoding import encoding
from bompnas.search.evolution import EvolutionSettings
from bompnas.search.random import RandomProposer
from bompnas.space.sampling import uniform

LATENCY = Objective("latency", "latency_ms", 1.0, maximize=False, transform="log10", factor=1e6)
PROPOSERS = {
    "bomp": BayesianProposer(4),
    "ehvi": BayesianProposer(4, acquisition="ehvi"),
    "parego": BayesianProposer(4, acquisition="parego"),
    "evolution": EvolutionSettings(population=4, sample=2).proposer(),
    "random": RandomProposer(),
}


@pytest.fixture(scope="module")
def on_device(digits_problem):
    """The digits' problem with a device named, which nothing asks for."""
    return dataclasses.replace(digits_problem, costs=network_costs(BitFusion()), facts=frozenset(FACTS))


def test_the_surrogate_sees_the_same_network_with_a_device_and_without(digits_problem, on_device):
    codes = uniform(digits_problem.space, np.random.default_rng(0), 20)
    for summaries in (True, False):
        plain, device = encoding(digits_problem, summaries), encoding(on_device, summaries)
        assert plain.group_names == device.group_names
        np.testing.assert_array_equal(plain(codes).rows, device(codes).rows)
    everything = encoding(dataclasses.replace(on_device, facts=None))
    assert "log latency_ms" in everything.group_names


@pytest.mark.parametrize("name", ["bomp", "evolution"])
def test_naming_a_device_changes_no_proposal(simulate, digits_problem, on_device, name):
    searches = [simulate(PROPOSERS[name], problem, seed=0).run(8) for problem in (digits_problem, on_device)]
    first, second = ([snapshot.proposal for snapshot in search.snapshots] for search in searches)
    assert first == second


@pytest.mark.parametrize("name", PROPOSERS)
def test_what_a_device_is_too_slow_for_is_never_proposed(simulate, on_device, name):
    space = on_device.space
    limit = 0.5 * on_device.cost(space.decode(space.seed))["latency_ms"]
    accuracy = on_device.objectives[0]
    problem = dataclasses.replace(
        on_device, objectives=(accuracy, LATENCY), constraints=(Constraint("latency_ms", limit),)
    )
    search = simulate(PROPOSERS[name], problem, seed=1).run(9)
    assert len(search.keys) == 9
    latencies = [BitFusion().cost(candidate.network).total["latency_ms"] for candidate in search.candidates]
    assert max(latencies) <= limit
    expected = search.candidates[0]
    assert expected.score == pytest.approx(
        expected.metrics["val_accuracy"] / 0.8 + 1 / np.log10(1e6 * latencies[0]), rel=1e-12
    )
