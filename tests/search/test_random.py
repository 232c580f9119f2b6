import collections
import dataclasses

import numpy as np
import pydantic
import pytest

from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.objectives import Constraint
from bompnas.problem import Problem, no_costs
from bompnas.search import random
from bompnas.search.random import RandomProposer, RandomSettings, keys, random_policies
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import BITS


def test_twelve_networks_then_exhausted(tiny_problem, simulate):
    simulation = simulate(RandomProposer(), tiny_problem, seed=0).run(20)
    assert len(simulation.keys) == len(simulation.candidates) == 12
    assert len(simulation.snapshots) == 13
    assert simulation.snapshots[-1].proposal.genotypes == ()


def test_proposals_are_feasible_and_distinct(digits_problem, simulate):
    simulation = simulate(RandomProposer(), digits_problem, seed=1).run(40)
    assert len(simulation.keys) == 40
    assert max(candidate.cost["size_kb"] for candidate in simulation.candidates) <= 16


def test_pending_networks_are_not_proposed(tiny_problem, simulate):
    simulation = simulate(RandomProposer(), tiny_problem, seed=0).run(11)
    pending = simulation.pending(simulation.propose(), 12)
    assert simulation.propose(pending=pending).genotypes == ()


def test_networks_are_equally_likely(tiny_problem):
    proposals = [RandomProposer().propose(tiny_problem, (), (), seed, 0) for seed in range(1200)]
    counts = collections.Counter(tuple(proposal.genotypes[0].values()) for proposal in proposals)
    assert len(counts) == 12
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 31.3  # chi-square, 11 degrees, 0.1 %


@pytest.mark.parametrize("policies", [1, 3])
def test_replay_reproduces_every_proposal(digits_problem, simulate, replays, policies):
    simulation = simulate(RandomProposer(policies), digits_problem, seed=0).run(5)
    replays(simulation, RandomProposer(policies))


def test_policies_share_an_architecture_and_are_new(digits_problem, simulate):
    simulation = simulate(RandomProposer(policies=3), digits_problem, seed=0).run(12)
    assert len(simulation.keys) == len(simulation.candidates) == 36
    assert all(digits_problem.keeps(candidate.network) for candidate in simulation.candidates)
    for snapshot in simulation.snapshots:
        genotypes = snapshot.proposal.genotypes
        assert len(genotypes) == 3
        assert len({digits_problem.space.decode(genotype).architecture_key for genotype in genotypes}) == 1
        assert all(digits_problem.space.canonical(genotype) == genotype for genotype in genotypes)


def test_the_bits_of_further_policies_are_uniform(cifar_problem, monkeypatch):
    monkeypatch.setattr(random, "ATTEMPTS", 2)  # saves pricing those that are not needed
    space = cifar_problem.space
    found = np.array(random_policies(cifar_problem, space.defaults, set(), 300, np.random.default_rng(0)))
    assert found.shape == (300, len(space.genes))
    for column, gene in enumerate(space.genes):
        if gene.part == BITS:
            tally = np.bincount(found[:, column], minlength=5)
            assert ((tally - 60) ** 2 / 60).sum() < 25  # 4 degrees: p = 5e-5
        else:
            assert (found[:, column] == space.defaults[column]).all()


def test_without_bits_to_choose_there_is_one_policy(tiny_problem, simulate):
    simulation = simulate(RandomProposer(policies=3), tiny_problem, seed=0).run(20)
    assert len(simulation.keys) == len(simulation.candidates) == 12
    assert len(simulation.snapshots) == 13


def test_keys_of_candidates_with_and_without_genotypes_agree(digits_problem, simulate):
    candidates = simulate(RandomProposer(), digits_problem, seed=0).run(4).candidates
    bare = [dataclasses.replace(candidate, genotype=None) for candidate in candidates]
    assert keys(digits_problem, bare) == keys(digits_problem, candidates)
    assert len(keys(digits_problem, [*candidates[:2], *bare[1:]])) == 4


def test_failed_candidates_are_not_proposed_again(tiny_problem, simulate):
    simulation = simulate(RandomProposer(), tiny_problem, seed=0, fails=lambda network: True).run(20)
    assert len(simulation.keys) == 12
    assert {candidate.state for candidate in simulation.candidates} == {State.FAILED}


def test_a_space_without_genes_holds_one_proposal(simulate):
    problem = Problem(HyperSpace(name="nothing", genes=()), no_costs, ())
    simulation = simulate(RandomProposer(), problem, seed=0, measure=lambda *_: {}).run(5)
    assert [snapshot.proposal.genotypes for snapshot in simulation.snapshots] == [({},), ()]


def test_limits_that_no_network_keeps_are_an_input_error(tiny_problem):
    problem = dataclasses.replace(tiny_problem, constraints=(Constraint("size_kb", 0.01),))
    with pytest.raises(
        InputError, match=r"constraints: no network of space 'tiny' .* size_kb .* where 0.01 is allowed"
    ):
        RandomProposer().propose(problem, (), (), 0, 0)


def test_settings():
    assert RandomSettings(trials=3).proposer() == RandomProposer()
    assert RandomSettings(trials=3, policies_per_network=2).proposer() == RandomProposer(2)
    for wrong in ({"trials": 0}, {"trials": 1.5}, {"trials": 3, "beta": 1.0}, {"policies_per_network": 0}):
        with pytest.raises(pydantic.ValidationError):
            RandomSettings(**wrong)
