"""What every proposer must do, as tests to inherit.

    from bompnas.testing.conformance import ProposerConformance

    class TestClimb(ProposerConformance):
        def proposer(self):
            return ClimbProposer(initial=4)

pytest then asks the proposer in simulated searches of small problems (`bompnas.testing.problems`); nothing is trained.
"""

import copy
import dataclasses
import functools
import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.search.proposer import Proposal, Proposer
from bompnas.space.space import ARCHITECTURE, Gene
from bompnas.testing import problems
from bompnas.testing.problems import Trials
from bompnas.testing.search import Search, Snapshot, ask, finished, pending, search

Make = Callable[[], Trials]

LARGE: tuple[Make, ...] = (problems.networks, problems.plain_genes, problems.regression)
SMALL: dict[Make, int] = {
    problems.twelve_networks: 12,
    problems.twelve_policies: 12,
    problems.twelve_points: 12,
    problems.one_network: 1,
}
COUNT = 12
"""Float trainings of a simulated search."""


class ProposerConformance:
    """Tests that any `Proposer` must pass; a class of yours named `Test...` inherits them.

    Attributes:
        policies: The most genotypes that one proposal holds.
        needs_costs: Whether the method only works where an objective is an analytic cost, such as the size; it is then
            spared the problems without one.
    """

    policies: int = 1
    needs_costs: bool = False

    def proposer(self) -> Proposer:
        """A new proposer, which has not been asked yet; its start should be shorter than ten proposals."""
        raise NotImplementedError("a class that inherits ProposerConformance defines proposer()")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Runs tests of an argument `large` or `small` on each problem of that kind."""
        for name, kind in (("large", LARGE), ("small", SMALL)):
            if name in metafunc.fixturenames:
                chosen = [make for make in kind if make().problem.analytic or not self.needs_costs]
                metafunc.parametrize(name, chosen, ids=[make.__name__ for make in chosen])

    def test_genotypes_are_canonical_and_decode(self, large: Make) -> None:
        """A genotype has its space's genes in order, with allowed values, inactive ones at their default."""
        space = large().problem.space
        for snapshot in self._searched(large).snapshots:
            for genotype in snapshot.proposal.genotypes:
                space.decode(genotype)
                canonical = space.canonical(genotype)
                assert list(genotype.items()) == list(canonical.items()), f"{genotype} found, expected {canonical}"

    def test_no_network_is_proposed_twice(self, large: Make) -> None:
        """What completed, failed or is in training is not proposed again, nor anything twice at once."""
        keys = [candidate.network.key for candidate in self._searched(large).candidates]
        assert len(set(keys)) == len(keys), f"{len(keys)} proposed, {len(set(keys))} of them different"

    def test_a_large_space_is_not_given_up(self, large: Make) -> None:
        """There is a proposal as long as the space holds an untried network."""
        snapshots = self._searched(large).snapshots
        assert len(snapshots) == COUNT, f"exhausted after {len(snapshots) - 1} proposals"
        assert all(snapshot.proposal.genotypes for snapshot in snapshots), "an empty proposal"

    def test_constraints_on_costs_are_kept(self, large: Make) -> None:
        """A network that breaks a limit that is known before training is not proposed."""
        problem = large().problem
        for candidate in self._searched(large).candidates:
            assert problem.keeps(candidate.network), f"{candidate.genotype} costs {candidate.cost}"

    def test_the_policies_of_a_proposal_share_an_architecture(self, large: Make) -> None:
        """One float training serves all genotypes of a proposal: they differ in bits alone."""
        genes = [gene.name for gene in large().problem.space.genes if gene.part == ARCHITECTURE]
        for snapshot in self._searched(large).snapshots:
            genotypes = snapshot.proposal.genotypes
            assert len(genotypes) <= self.policies, f"{len(genotypes)} genotypes, expected at most {self.policies}"
            architectures = {tuple(genotype[name] for name in genes) for genotype in genotypes}
            assert len(architectures) == 1, f"{len(architectures)} architectures in proposal {snapshot.index}"

    def test_details_and_fit_survive_the_record(self, large: Make) -> None:
        """Details are finite numbers and texts; a fit is JSON."""
        for snapshot in self._searched(large).snapshots:
            for name, value in snapshot.proposal.details.items():
                fine = isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))
                assert fine, f"detail {name!r} is {value!r}, expected a finite number or a text"
            fit = snapshot.proposal.fit
            assert _json(fit) == fit, f"fit {fit} is not what JSON makes of it"

    def test_every_proposal_can_be_replayed(self, large: Make) -> None:
        """A proposal is a function of its arguments: asked anew, or again and in another order, it is the same."""
        searched = self._searched(large)
        used = self.proposer()
        for snapshot in reversed(searched.snapshots):
            for who, proposer in (("a new proposer", self.proposer()), ("one that was asked before", used)):
                again = _replay(proposer, searched, snapshot)
                assert again == snapshot.proposal, f"{who} says {again} to proposal {snapshot.index}"

    def test_arguments_and_global_random_numbers_are_left_alone(self, large: Make) -> None:
        """Asking changes nothing but what it returns."""
        searched = self._searched(large)
        snapshot = searched.snapshots[-1]
        arguments = ([*snapshot.completed], [*snapshot.pending], searched.seed, snapshot.index, [*snapshot.fits])
        before = copy.deepcopy(arguments)
        numbers = random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]
        self.proposer().propose(searched.trials.problem, *arguments)
        assert arguments == before, "the arguments are not what they were"
        after = random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]
        assert after == numbers, "global random numbers were drawn; take numpy.random.default_rng([seed, index])"

    def test_every_seed_has_its_own_search(self, large: Make) -> None:
        """0 is a seed like any other."""
        searches = [search(self.proposer(), large(), 6, seed=seed) for seed in (0, 1, 2)]
        found = {tuple(candidate.network.key for candidate in searched.candidates) for searched in searches}
        assert len(found) == 3, f"{len(found)} different searches from the seeds 0, 1 and 2"

    def test_failures_alone_are_no_obstacle(self, large: Make) -> None:
        """Where nothing completes, new networks are proposed."""
        searched = search(self.proposer(), large(), 12, workers=2, fails=lambda id: True)
        assert len({candidate.network.key for candidate in searched.candidates}) >= 12, "fewer than 12 networks"

    def test_pending_candidates_alone_are_no_obstacle(self, large: Make) -> None:
        """Where nothing has finished yet, new networks are proposed."""
        searched = search(self.proposer(), large(), 12, workers=12)
        assert all(not snapshot.completed for snapshot in searched.snapshots)
        assert len({candidate.network.key for candidate in searched.candidates}) >= 12, "fewer than 12 networks"

    def test_genes_added_later_take_their_default(self, large: Make) -> None:
        """Candidates of a time when their space had a gene less count with its default."""
        searched = self._searched(large)
        snapshot = searched.snapshots[-1]
        candidates = (*snapshot.completed, *snapshot.pending)
        genes = searched.trials.problem.space.genes
        old = [_without(candidate, max(genes, key=_defaults_among(candidates))) for candidate in candidates]
        assert [dict(candidate.genotype) for candidate in old] != [dict(c.genotype) for c in candidates]
        fits = snapshot.fits
        proposal = ask(self.proposer(), searched.trials, tuple(old), fits, searched.seed, snapshot.index).proposal
        assert proposal == snapshot.proposal, f"{proposal} found, expected {snapshot.proposal}"

    @pytest.mark.parametrize("workers", [1, 3])
    def test_a_small_space_is_searched_to_its_end(self, small: Make, workers: int) -> None:
        """Every network is tried once, then the proposal is empty."""
        searched = search(self.proposer(), small(), 20, workers=workers, fails=_some)
        keys = {candidate.network.key for candidate in searched.candidates}
        assert len(keys) == len(searched.candidates) == SMALL[small], f"{len(keys)} networks, expected {SMALL[small]}"
        assert searched.exhausted, "expected an empty proposal when every network was tried"

    def test_networks_without_a_genotype_are_not_proposed(self, small: Make) -> None:
        """Candidates that other methods found without genes are known by their networks."""
        trials = small()
        tried = search(self.proposer(), trials, 20).candidates
        known = tuple(dataclasses.replace(candidate, genotype=None) for candidate in tried)
        left = ask(self.proposer(), trials, known[:-1], (), 0, 0)
        keys = [candidate.network.key for candidate in pending(trials, left)]
        assert keys == [tried[-1].network.key], f"{keys} found, expected the only network that is left"
        assert not ask(self.proposer(), trials, known, (), 0, 0).proposal.genotypes, "expected an empty proposal"

    def test_nothing_feasible_is_an_error_or_the_end(self) -> None:
        """Where no network keeps the constraints, none is proposed."""
        try:
            genotypes = ask(self.proposer(), problems.no_network(), (), (), 0, 0).proposal.genotypes
        except InputError:
            return
        assert not genotypes, f"{genotypes} found, expected InputError or an empty proposal"

    def test_a_search_can_go_on_with_other_candidates_than_its_own(self, large: Make) -> None:
        """An index does not promise that all earlier proposals are among the candidates, nor that these are its own."""
        trials = large()
        (own,) = pending(trials, ask(self.proposer(), trials, (), (), 5, 0))[:1]
        alone = finished(trials, own)
        proposal = ask(self.proposer(), trials, (alone,), (), 0, 12).proposal
        assert proposal.genotypes, "an empty proposal"
        assert own.network.key not in {trials.problem.space.decode(genotype).key for genotype in proposal.genotypes}

    def _searched(self, large: Make) -> Search:
        """A search of a large problem with parallel trials, of which some fail."""
        return _searched(type(self), large)


@functools.lru_cache(maxsize=64)  # most tests read the same search
def _searched(tests: type[ProposerConformance], large: Make) -> Search:
    return search(tests().proposer(), large(), COUNT, workers=3, fails=_some)


def _some(id: int) -> bool:
    """Whether a trial fails: every fifth."""
    return id % 5 == 3


def _replay(proposer: Proposer, searched: Search, snapshot: Snapshot) -> Proposal:
    """A proposal made again from what the record would hold."""
    candidates = sorted((*snapshot.completed, *snapshot.pending), key=lambda candidate: candidate.id)
    read = tuple(_read(candidate) for candidate in candidates)
    fits = tuple(_json(fit) for fit in snapshot.fits)
    return ask(proposer, searched.trials, read, fits, searched.seed, snapshot.index).proposal


def _read(candidate: Candidate) -> Candidate:
    """The candidate with all its mappings as the record gives them back."""
    mappings = {name: _json(dict(getattr(candidate, name))) for name in ("genotype", "cost", "metrics", "seconds")}
    return dataclasses.replace(candidate, state=State(str(candidate.state)), score=_json(candidate.score), **mappings)


def _defaults_among(candidates: Sequence[Candidate]) -> Callable[[Gene], int]:
    """Gene -> how many candidates have its default."""
    return lambda gene: sum(candidate.genotype[gene.name] == gene.default for candidate in candidates)


def _without(candidate: Candidate, gene: Gene) -> Candidate:
    """The candidate without a gene that is at its default."""
    kept = {name: value for name, value in candidate.genotype.items() if name != gene.name}
    return dataclasses.replace(candidate, genotype=kept) if candidate.genotype[gene.name] == gene.default else candidate


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))
