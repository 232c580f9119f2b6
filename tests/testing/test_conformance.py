"""Proposers with one fault each: the conformance tests must find it."""

import dataclasses
import random

import numpy as np
import pytest

from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.search.proposer import Proposal
from bompnas.search.random import RandomProposer
from bompnas.testing import problems
from bompnas.testing.conformance import ProposerConformance

RANDOM = RandomProposer(policies=2)


class Flawed:
    """Random proposals, changed by a function of the proposal and of the arguments it was made from."""

    def __init__(self, flaw):
        self._flaw = flaw
        self.calls = 0

    def propose(self, problem, completed, pending, seed, index, fits=()):
        self.calls += 1
        try:
            sound = RANDOM.propose(problem, completed, pending, seed, index, fits)
        except InputError:
            sound = Proposal((), {})
        return self._flaw(self, sound, problem, completed, pending, seed, index)


def forgets_pending(self, sound, problem, completed, pending, seed, index):
    return RANDOM.propose(problem, completed, (), seed, len(completed))


def forgets_failed(self, sound, problem, completed, pending, seed, index):
    done = [candidate for candidate in completed if candidate.state is State.COMPLETED]
    return RANDOM.propose(problem, done, pending, seed, len(done) + len(pending))


def ignores_constraints(self, sound, problem, completed, pending, seed, index):
    return RANDOM.propose(dataclasses.replace(problem, constraints=()), completed, pending, seed, index)


def ignores_the_seed(self, sound, problem, completed, pending, seed, index):
    return RANDOM.propose(problem, completed, pending, 0, index)


def takes_zero_for_no_seed(self, sound, problem, completed, pending, seed, index):
    return RANDOM.propose(problem, completed, pending, seed or 1, index)


def counts_its_calls(self, sound, *arguments):
    return dataclasses.replace(sound, details={"calls": self.calls})


def draws_globally(self, sound, *arguments):
    np.random.random()
    return sound


def draws_from_random(self, sound, *arguments):
    random.random()
    return sound


def changes_its_arguments(self, sound, problem, completed, *arguments):
    if isinstance(completed, list):
        completed.clear()
    return sound


def gives_up(self, sound, problem, completed, *arguments):
    return sound if len(completed) < 5 else Proposal((), {})


def never_ends(self, sound, problem, completed, *arguments):
    return sound if sound.genotypes else Proposal((completed[0].genotype,), {})


def reverses_genes(self, sound, *arguments):
    return dataclasses.replace(sound, genotypes=tuple(dict(reversed(g.items())) for g in sound.genotypes))


def keeps_inactive_genes(self, sound, problem, *arguments):
    loud = {gene.name: gene.values[-1] for gene in problem.space.genes if gene.conditions}
    return dataclasses.replace(sound, genotypes=tuple(dict(genotype) | loud for genotype in sound.genotypes))


def mixes_architectures(self, sound, problem, completed, pending, seed, index):
    other = RandomProposer().propose(problem, completed, pending, seed, index + 1000)
    return dataclasses.replace(sound, genotypes=sound.genotypes[:1] + other.genotypes)


def details_infinite(self, sound, *arguments):
    return dataclasses.replace(sound, details={"expected": float("nan")})


def fit_is_a_tuple(self, sound, *arguments):
    return dataclasses.replace(sound, fit={"weights": (1.0, 2.0)})


def needs_observations(self, sound, problem, completed, *arguments):
    best = max((candidate.score for candidate in completed if candidate.score is not None), default=None)
    return sound if best is not None or len(completed) < 4 else Proposal((), {})


def needs_every_gene(self, sound, problem, completed, *arguments):
    whole = [len(candidate.genotype) == len(problem.space.genes) for candidate in completed]
    return dataclasses.replace(sound, details={"whole": sum(whole)})


def knows_genotypes_alone(self, sound, problem, completed, pending, seed, index):
    return RANDOM.propose(problem, [c for c in completed if c.genotype is not None], pending, seed, index)


def counts_candidates_by_its_index(self, sound, problem, completed, pending, seed, index):
    return sound if len(completed) + len(pending) >= index else Proposal((), {})


def proposes_the_infeasible(self, sound, problem, completed, pending, seed, index):
    return RANDOM.propose(dataclasses.replace(problem, constraints=()), completed, pending, seed, index)


FLAWS = [
    (forgets_pending, "no_network_is_proposed_twice", problems.regression),
    (forgets_pending, "pending_candidates_alone_are_no_obstacle", problems.regression),
    (forgets_failed, "a_small_space_is_searched_to_its_end", problems.twelve_points),
    (ignores_constraints, "constraints_on_costs_are_kept", problems.networks),
    (ignores_the_seed, "every_seed_has_its_own_search", problems.networks),
    (takes_zero_for_no_seed, "every_seed_has_its_own_search", problems.networks),
    (counts_its_calls, "every_proposal_can_be_replayed", problems.networks),
    (draws_globally, "arguments_and_global_random_numbers_are_left_alone", problems.networks),
    (draws_from_random, "arguments_and_global_random_numbers_are_left_alone", problems.networks),
    (changes_its_arguments, "arguments_and_global_random_numbers_are_left_alone", problems.networks),
    (gives_up, "a_large_space_is_not_given_up", problems.networks),
    (never_ends, "a_small_space_is_searched_to_its_end", problems.twelve_networks),
    (reverses_genes, "genotypes_are_canonical_and_decode", problems.networks),
    (keeps_inactive_genes, "genotypes_are_canonical_and_decode", problems.plain_genes),
    (mixes_architectures, "the_policies_of_a_proposal_share_an_architecture", problems.networks),
    (details_infinite, "details_and_fit_survive_the_record", problems.regression),
    (fit_is_a_tuple, "details_and_fit_survive_the_record", problems.regression),
    (needs_observations, "failures_alone_are_no_obstacle", problems.regression),
    (needs_every_gene, "genes_added_later_take_their_default", problems.networks),
    (knows_genotypes_alone, "networks_without_a_genotype_are_not_proposed", problems.twelve_networks),
    (proposes_the_infeasible, "nothing_feasible_is_an_error_or_the_end", None),
    (
        counts_candidates_by_its_index,
        "a_search_can_go_on_with_other_candidates_than_its_own",
        problems.networks,
    ),
]


@pytest.mark.parametrize(("flaw", "test", "problem"), FLAWS, ids=[f"{flaw.__name__}-{test}" for flaw, test, _ in FLAWS])
def test_a_fault_is_found(flaw, test, problem):
    class Tests(ProposerConformance):
        policies = 2

        def proposer(self):
            return Flawed(flaw)

    arguments = [argument for argument in (problem,) if argument is not None]
    if test.startswith("a_small_space"):
        arguments.append(3)
    with pytest.raises(AssertionError):
        getattr(Tests(), f"test_{test}")(*arguments)
