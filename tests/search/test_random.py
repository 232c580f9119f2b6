import collections

import pydantic
import pytest

from bompnas.search.random import RandomProposer, RandomSettings


def test_twelve_networks_then_exhausted(tiny_problem, simulate):
    simulation = simulate(RandomProposer(), tiny_problem, seed=0).run(20)
    assert len({candidate.network.key for candidate in simulation.candidates}) == 12
    assert len(simulation.snapshots) == 13
    assert simulation.snapshots[-1][2].genotype is None


def test_proposals_are_feasible_and_distinct(digits_problem, simulate):
    simulation = simulate(RandomProposer(), digits_problem, seed=1).run(40)
    assert len({candidate.network.key for candidate in simulation.candidates}) == 40
    assert max(candidate.cost["size_kb"] for candidate in simulation.candidates) <= 16


def test_pending_networks_are_not_proposed(tiny_problem, simulate):
    simulation = simulate(RandomProposer(), tiny_problem, seed=0).run(11)
    pending = simulation.pending(simulation.propose(), 12)
    assert simulation.propose(pending=[pending]).genotype is None


def test_networks_are_equally_likely(tiny_problem):
    proposals = [RandomProposer().propose(tiny_problem, (), (), seed, 0) for seed in range(1200)]
    counts = collections.Counter(tuple(proposal.genotype.values()) for proposal in proposals)
    assert len(counts) == 12
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 31.3  # chi-square, 11 degrees, 0.1 %


def test_replay_reproduces_every_proposal(digits_problem, simulate):
    simulation = simulate(RandomProposer(), digits_problem, seed=0).run(5)
    for index, (completed, pending, proposal) in enumerate(simulation.snapshots):
        assert RandomProposer().propose(digits_problem, completed, pending, 0, index) == proposal


def test_settings():
    assert RandomSettings(trials=3).proposer() == RandomProposer()
    for wrong in ({"trials": 0}, {"trials": 1.5}, {"trials": 3, "beta": 1.0}):
        with pytest.raises(pydantic.ValidationError):
            RandomSettings(**wrong)
