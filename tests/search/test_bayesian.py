import dataclasses
import math

import numpy as np
import pydantic
import pytest

from bompnas.candidate import State
from bompnas.objectives import Constraint
from bompnas.search.bayesian import BayesianProposer, BompSettings, embed, fit_surrogate, initial_design
from bompnas.search.random import RandomProposer

PROPOSER = BayesianProposer(initial=6, beta=2.576)


@pytest.fixture(scope="module")
def simulation(digits_problem, simulate):
    """A short run that every test may read."""
    return simulate(PROPOSER, digits_problem, seed=0).run(12)


def test_start_is_the_seed_network_then_sizes_spread_evenly(digits_problem, simulation):
    start = simulation.candidates[:6]
    assert start[0].genotype == digits_problem.space.seed
    assert all(proposal.details == {"source": "start"} for _, _, proposal in simulation.snapshots[:6])
    sizes = sorted(math.log(candidate.cost["size_kb"]) for candidate in start[1:])
    assert sizes[-1] - sizes[0] > math.log(5)
    assert max(np.diff(sizes)) < 0.6 * (sizes[-1] - sizes[0])


def test_start_depends_on_the_seed_only(digits_problem):
    assert initial_design(digits_problem, 6, seed=3) == initial_design(digits_problem, 6, seed=3)
    assert initial_design(digits_problem, 6, seed=3)[1:] != initial_design(digits_problem, 6, seed=4)[1:]


def test_infeasible_seed_network_is_not_proposed(digits_problem):
    problem = dataclasses.replace(digits_problem, constraints=(Constraint("size_kb", 4),))
    assert not problem.feasible(problem.space.decode(problem.space.seed))
    design = [problem.space.decode(genotype) for genotype in initial_design(problem, 6, seed=0)]
    assert len({network.key for network in design}) == 6
    assert all(problem.feasible(network) for network in design)


def test_after_the_start_the_surrogate_proposes_feasible_new_networks(digits_problem, simulation):
    assert {proposal.details["source"] for _, _, proposal in simulation.snapshots[6:]} == {"surrogate"}
    assert len({candidate.network.key for candidate in simulation.candidates}) == 12
    assert all(digits_problem.feasible(candidate.network) for candidate in simulation.candidates)


def test_details_hold_what_the_surrogate_expected(digits_problem, simulation):
    completed, pending, proposal = simulation.snapshots[-1]
    network = digits_problem.space.decode(proposal.genotype)
    mean, deviation = fit_surrogate(digits_problem.space, completed, pending).predict([network])
    assert proposal.details["mean"] == mean.item()
    assert proposal.details["deviation"] == deviation.item()
    assert {"beta", "length_scale", "signal_variance", "noise_variance"} < set(proposal.details)


def test_replay_reproduces_every_proposal(digits_problem, simulation):
    for index, (completed, pending, proposal) in enumerate(simulation.snapshots):
        assert PROPOSER.propose(digits_problem, completed, pending, 0, index) == proposal


def test_twelve_networks_then_exhausted(tiny_problem, simulate):
    simulation = simulate(BayesianProposer(initial=4, beta=2.576), tiny_problem, seed=0).run(20)
    assert len({candidate.network.key for candidate in simulation.candidates}) == 12
    assert simulation.snapshots[-1][2].genotype is None


def test_start_longer_than_the_space_goes_on_until_exhausted(tiny_problem, simulate):
    simulation = simulate(BayesianProposer(initial=14, beta=2.576), tiny_problem, seed=0).run(20)
    assert len({candidate.network.key for candidate in simulation.candidates}) == 12
    assert simulation.snapshots[-1][2].genotype is None


def test_surrogate_is_on_the_scale_of_the_scores(digits_problem, simulation):
    networks = [candidate.network for candidate in simulation.candidates]
    scores = np.array([candidate.score for candidate in simulation.candidates])
    mean, deviation = fit_surrogate(digits_problem.space, simulation.candidates, []).predict(networks)
    assert np.corrcoef(mean, scores)[0, 1] > 0.9
    assert abs(mean.mean() - scores.mean()) < scores.std()
    assert (deviation < scores.std()).all()


def test_pending_networks_lower_the_deviation_and_are_not_proposed_again(digits_problem, simulation):
    completed, _, proposal = simulation.snapshots[-1]
    pending = [simulation.pending(proposal, 99)]
    network = [pending[0].network]
    space = digits_problem.space
    free, waiting = fit_surrogate(space, completed, []), fit_surrogate(space, completed, pending)
    np.testing.assert_allclose(waiting.predict(network)[0], free.predict(network)[0])
    assert waiting.predict(network)[1] < 0.9 * free.predict(network)[1]
    second = PROPOSER.propose(digits_problem, completed, pending, 0, 11)
    assert space.decode(second.genotype).key != network[0].key


def test_failed_candidates_count_as_the_worst_score(digits_problem, simulation):
    best = max(simulation.candidates, key=lambda candidate: candidate.score)
    failed = dataclasses.replace(best, state=State.FAILED, score=None, metrics={}, error="diverged")
    candidates = [failed if candidate is best else candidate for candidate in simulation.candidates]
    worst = min(candidate.score for candidate in candidates if candidate.score is not None)
    told = [
        dataclasses.replace(best, score=worst) if candidate is best else candidate
        for candidate in simulation.candidates
    ]
    networks = [candidate.network for candidate in candidates]
    space = digits_problem.space
    np.testing.assert_array_equal(
        fit_surrogate(space, candidates, []).predict(networks), fit_surrogate(space, told, []).predict(networks)
    )


def test_with_too_few_completed_candidates_proposals_are_random(digits_problem, simulate):
    simulation = simulate(PROPOSER, digits_problem, seed=0, fails=lambda network: True).run(8)
    assert [proposal.details["source"] for _, _, proposal in simulation.snapshots[6:]] == ["random", "random"]
    assert len({candidate.network.key for candidate in simulation.candidates}) == 8


def test_equal_scores_are_no_obstacle(tiny_problem, simulate):
    simulation = simulate(BayesianProposer(initial=3, beta=2.576), tiny_problem, seed=0).run(3)
    flat = [dataclasses.replace(candidate, score=2.0) for candidate in simulation.candidates]
    mean, deviation = fit_surrogate(tiny_problem.space, flat, []).predict([flat[0].network])
    assert mean == pytest.approx(2)
    assert np.isfinite(deviation)


def test_embedding_counts_every_edit_the_same(digits_problem, simulation):
    networks = [candidate.network for candidate in simulation.candidates]
    np.testing.assert_array_equal(
        embed(digits_problem.space, networks), digits_problem.space.embedding.features(networks)
    )


def test_search_beats_random_search(digits_problem, simulate):
    advantages = []
    for seed in range(3):
        ours, random = (
            simulate(proposer, digits_problem, seed).run(18).best for proposer in (PROPOSER, RandomProposer())
        )
        advantages.append(ours - random)
    assert np.mean(advantages) > 0.03  # 0.05 +- 0.02 over ten seeds


def test_settings():
    settings = BompSettings(trials=16, initial=6)
    assert settings.beta == 2.576
    assert settings.proposer() == BayesianProposer(6, 2.576)
    for wrong in ({"trials": 0}, {"initial": 0}, {"beta": -1.0}, {"beta": math.nan}, {"trials": "9"}, {"betas": 2.0}):
        with pytest.raises(pydantic.ValidationError):
            BompSettings(**wrong)
