import dataclasses

import numpy as np
import pydantic
import pytest

from bompnas.candidate import State
from bompnas.search.evolution import EvolutionProposer, EvolutionSettings
from bompnas.search.fitness import fitness
from bompnas.search.random import RandomProposer
from bompnas.testing import problems
from bompnas.testing.search import finished, search

TRIALS = problems.networks()
OBJECTIVES = problems.ACCURACY, problems.SIZE


def scored(candidates, scores):
    return [dataclasses.replace(candidate, score=score) for candidate, score in zip(candidates, scores, strict=True)]


def ids(candidates):
    return [candidate.id for candidate in candidates]


@pytest.fixture(scope="module")
def random_candidates():
    """Thirty completed candidates, one a trial."""
    return search(RandomProposer(), TRIALS, 30).candidates


def test_the_youngest_are_the_population(random_candidates):
    proposer = EvolutionProposer(population=5, sample=3)
    assert ids(proposer.survivors(TRIALS.problem, random_candidates, 0)) == [26, 27, 28, 29, 30]
    assert ids(proposer.survivors(TRIALS.problem, random_candidates[:3], 0)) == [1, 2, 3]


def test_the_worst_of_the_whole_population_leaves_before_the_newcomer_joins(random_candidates):
    scores = [0.5, 0.1, 0.9, 0.7, 0.05, 0.6, 0.65]
    candidates = scored(random_candidates[:7], scores)
    proposer = EvolutionProposer(population=3, sample=3, removal="worst")
    survivors = [ids(proposer.survivors(TRIALS.problem, candidates[:count], 0)) for count in range(2, 8)]
    assert survivors == [[1, 2], [1, 2, 3], [1, 3, 4], [3, 4, 5], [3, 4, 6], [3, 4, 7]]


def test_the_worst_of_the_tournament_leaves_that_its_parent_won(random_candidates):
    """In a search without parallel trials: the child of a proposal takes the place of a loser of its tournament."""
    proposer = EvolutionProposer(population=6, sample=2, removal="worst")
    searched = search(proposer, TRIALS, 40, seed=3)
    generations = 0
    for snapshot in searched.snapshots[6:]:
        before = proposer.survivors(TRIALS.problem, snapshot.completed, 3)
        child = searched.candidates[snapshot.index]
        after = proposer.survivors(TRIALS.problem, (*snapshot.completed, child), 3)
        (gone,) = set(ids(before)) - set(ids(after))
        parent = snapshot.proposal.details["parent"]
        score = {candidate.id: candidate.score for candidate in before}
        assert gone != parent
        assert score[gone] <= score[parent]
        assert ids(after)[-1] == child.id
        drawn = np.random.default_rng([3, snapshot.index]).choice(6, 2, replace=False)
        assert {ids(before)[place] for place in drawn} == {gone, parent}
        generations += 1
    assert generations == 34


def test_a_late_candidate_joins_at_the_place_of_its_id(random_candidates):
    proposer = EvolutionProposer(population=3, sample=3)
    late = [candidate for candidate in random_candidates[:8] if candidate.id != 7]
    assert ids(proposer.survivors(TRIALS.problem, late, 0)) == [5, 6, 8]
    assert ids(proposer.survivors(TRIALS.problem, random_candidates[:8], 0)) == [6, 7, 8]


def test_the_winner_of_a_sample_of_everybody_is_the_best(random_candidates):
    best = max(random_candidates, key=lambda candidate: candidate.score)
    proposer = EvolutionProposer(population=30, sample=30, removal="worst", edits=1.0)
    for index in range(30, 40):
        proposal = proposer.propose(TRIALS.problem, random_candidates, (), 0, index)
        assert proposal.details == {"source": "mutation", "parent": best.id, "parent fitness": best.score}
        (child,) = proposal.genotypes
        changed = [name for name in child if child[name] != best.genotype[name]]
        switched_off = [
            gene.name for gene in TRIALS.problem.space.genes if not gene.active(child) or not gene.active(best.genotype)
        ]
        assert len(set(changed) - set(switched_off)) <= 1
        assert changed


def test_aging_samples_with_replacement(random_candidates):
    """A tournament of as many as the population holds does not always hold the best."""
    proposer = EvolutionProposer(population=30, sample=30)
    parents = {proposer.propose(TRIALS.problem, random_candidates, (), 0, i).details["parent"] for i in range(30, 60)}
    assert 1 < len(parents) < 10


def test_the_first_population_is_random_and_counts_what_is_in_training(random_candidates):
    proposer = EvolutionProposer(population=5, sample=2)
    waiting = [dataclasses.replace(c, state=State.PENDING, metrics={}, score=None) for c in random_candidates[:5]]

    def source(completed, pending):
        return proposer.propose(TRIALS.problem, completed, pending, 0, 5).details["source"]

    assert source((), waiting) == "random"
    assert source(random_candidates[:3], waiting[3:4]) == "random"
    assert source(random_candidates[:3], waiting[3:5]) == "mutation"


def test_failed_candidates_are_no_parents_and_do_not_fill_the_population(random_candidates):
    failed = [
        dataclasses.replace(c, state=State.FAILED, metrics={}, score=None, error="diverged") for c in random_candidates
    ]
    proposer = EvolutionProposer(population=4, sample=4, removal="worst")
    mixed = [*failed[:8], *random_candidates[8:11]]
    assert proposer.propose(TRIALS.problem, mixed, (), 0, 11).details["source"] == "random"
    mixed.append(random_candidates[11])
    assert ids(proposer.survivors(TRIALS.problem, [*mixed, *failed[12:]], 0)) == [9, 10, 11, 12]
    assert proposer.propose(TRIALS.problem, mixed, (), 0, 12).details["parent"] in {9, 10, 11, 12}


def test_candidates_of_no_finite_fitness_are_no_parents(random_candidates):
    candidates = scored(random_candidates[:4], [float("nan"), 1.0, float("-inf"), 2.0])
    survivors = EvolutionProposer(population=4, sample=1).survivors(TRIALS.problem, candidates, 0)
    assert ids(survivors) == [2, 4]


def test_who_breaks_a_measured_limit_is_less_fit_than_all_who_keep_it():
    trials = problems.plain_genes()
    candidates = search(RandomProposer(), trials, 12).candidates
    keeping = [candidate.metrics["val_loss"] <= 0.6 for candidate in candidates]
    assert 2 <= sum(keeping) <= 10
    scores = [candidate.score + (0 if keeps else 9) for candidate, keeps in zip(candidates, keeping, strict=True)]
    best = max(
        (candidate for candidate, keeps in zip(candidates, keeping, strict=True) if keeps), key=lambda c: c.score
    )
    proposer = EvolutionProposer(population=12, sample=12, removal="worst")
    assert proposer.propose(trials.problem, scored(candidates, scores), (), 0, 12).details["parent"] == best.id


@pytest.mark.parametrize("form", ["limited", "product"])
def test_without_a_target_sizes_are_compared_with_the_first_population(random_candidates, form):
    mean = float(np.mean([candidate.cost["size_bits"] for candidate in random_candidates[:6]]))
    free = EvolutionProposer(population=6, sample=6, removal="worst", fitness=form)
    given = dataclasses.replace(free, target=mean)
    other = dataclasses.replace(free, target=mean / 8)
    details = [
        proposer.propose(TRIALS.problem, random_candidates, (), 0, 30).details for proposer in (free, given, other)
    ]
    assert details[0] == details[1]
    assert details[0]["parent fitness"] != details[2]["parent fitness"]


def test_further_policies_are_mutants_of_the_bits_of_the_child(random_candidates):
    proposal = EvolutionProposer(population=5, sample=3, policies=4, edits=1.0).propose(
        TRIALS.problem, random_candidates, (), 0, 30
    )
    child, *others = proposal.genotypes
    assert len(others) == 3
    for other in others:
        changed = [name for name in child if child[name] != other[name]]
        assert len(changed) == 1
        assert changed[0].endswith("bits")


def test_when_no_mutant_is_left_it_goes_on_elsewhere():
    """All but one of twelve networks tried: mutants around the best are taken, and the last one is found."""
    trials = problems.twelve_networks()
    tried = search(RandomProposer(), trials, 12).candidates
    for left in tried:
        others = [candidate for candidate in tried if candidate is not left]
        proposal = EvolutionProposer(population=4, sample=2).propose(trials.problem, others, (), 0, 11)
        assert [dict(genotype) for genotype in proposal.genotypes] == [dict(left.genotype)]


@pytest.mark.parametrize(
    "proposer",
    [
        EvolutionProposer(population=10, sample=5),
        EvolutionProposer(population=10, sample=10, removal="worst"),
        EvolutionProposer(population=10, sample=10, removal="worst", fitness="limited", target=1.6e4),
    ],
    ids=["oldest", "worst", "limited"],
)
def test_evolution_finds_fitter_networks_than_random_search(proposer):
    problem = dataclasses.replace(TRIALS.problem, constraints=())
    trials = dataclasses.replace(TRIALS, problem=problem)
    objectives = None if proposer.fitness == "score" else OBJECTIVES

    def best(who, seed):
        candidates = search(who, trials, 60, seed=seed).candidates
        return max(fitness(proposer.fitness, candidate, objectives, proposer.target) for candidate in candidates)

    advantages = [best(proposer, seed) - best(RandomProposer(), seed) for seed in range(5)]
    assert np.mean(advantages) > 0.01
    assert sum(advantage > 0 for advantage in advantages) >= 4


def test_a_search_with_parallel_trials_and_failures_goes_on(random_candidates):
    proposer = EvolutionProposer(population=6, sample=3, policies=2)
    searched = search(proposer, TRIALS, 20, workers=4, fails=lambda id: id % 6 == 0)
    sources = [snapshot.proposal.details["source"] for snapshot in searched.snapshots]
    assert sources.count("mutation") >= 12
    assert finished(TRIALS, searched.candidates[0]).score == searched.candidates[0].score


def test_settings():
    assert EvolutionSettings().proposer() == EvolutionProposer()
    assert EvolutionSettings(population=3).proposer() == EvolutionProposer(population=3, sample=3)
    settings = EvolutionSettings(
        population=8, sample=8, removal="worst", fitness="limited", target=3.6e4, edits=1.5, policies_per_network=2
    )
    assert settings.proposer() == EvolutionProposer(8, 8, "worst", "limited", 3.6e4, 1.5, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"population": 4, "sample": 5}, "sample: 5 found, expected at most the population, which is 4"),
        ({"target": 1e4}, "target: fitness score has none"),
        ({"fitness": "product", "target": 0.0}, "greater than 0"),
        ({"edits": 0.5}, "greater than or equal to 1"),
        ({"removal": "youngest"}, "'oldest' or 'worst'"),
        ({"population": 0}, "greater than or equal to 1"),
        ({"initial": 4}, "Extra inputs"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        EvolutionSettings(**wrong)
