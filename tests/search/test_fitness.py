import dataclasses

import numpy as np
import pytest

from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.objectives import Constraint
from bompnas.search.fitness import fitness, ranked
from bompnas.search.random import RandomProposer
from bompnas.testing import problems
from bompnas.testing.search import search

TRIALS = problems.networks()
OBJECTIVES = problems.ACCURACY, problems.SIZE


@pytest.fixture(scope="module")
def candidates():
    return search(RandomProposer(), TRIALS, 8).candidates


def test_fitness_forms(candidates):
    candidate = dataclasses.replace(candidates[0], cost={"size_bits": 4000.0}, metrics={"val_accuracy": 0.6})
    assert fitness("score", candidate, None, None) == candidate.score
    assert fitness("limited", candidate, OBJECTIVES, 4000.0) == 0.6
    assert fitness("limited", candidate, OBJECTIVES, 1e6) == 0.6
    assert fitness("limited", candidate, OBJECTIVES, 1000.0) == pytest.approx(0.15)
    assert fitness("product", candidate, OBJECTIVES, 4000.0) == 0.6
    assert fitness("product", candidate, OBJECTIVES, 2000.0) == pytest.approx(0.6 * 2**-0.07)
    assert fitness("product", candidate, OBJECTIVES, 8000.0) == pytest.approx(0.6 * 2**0.07)
    assert fitness("product", candidate, OBJECTIVES, 1e9) == pytest.approx(0.6 * 100**0.07)


def test_without_a_target_costs_are_compared_with_the_mean_of_the_first_that_completed(candidates):
    failed = dataclasses.replace(candidates[0], state=State.FAILED, metrics={}, score=None, error="diverged")
    mean = np.mean([candidate.cost["size_bits"] for candidate in candidates[1:4]])
    found = ranked(TRIALS.problem, [failed, *candidates[1:]], "product", None, first=3)
    assert [parent.candidate for parent in found] == [*candidates[1:]]
    assert [parent.rank for parent in found] == [
        (True, fitness("product", candidate, OBJECTIVES, mean)) for candidate in candidates[1:]
    ]


def test_constraints_come_before_fitness(candidates):
    sizes = sorted(candidate.cost["size_kb"] for candidate in candidates)
    problem = dataclasses.replace(TRIALS.problem, constraints=(Constraint("size_kb", sizes[4], at_least=True),))
    found = sorted(ranked(problem, candidates, "score", None, first=4), key=lambda parent: parent.rank)
    assert [parent.candidate.cost["size_kb"] >= sizes[4] for parent in found] == [False] * 4 + [True] * 4
    scores = [parent.candidate.score for parent in found]
    assert scores == sorted(scores[:4]) + sorted(scores[4:])
    assert scores != sorted(scores)


def test_a_limit_on_what_nobody_measures_is_an_error(candidates):
    problem = dataclasses.replace(TRIALS.problem, constraints=(Constraint("latency", 1.0),))
    with pytest.raises(InputError, match=r"^constraints: latency is neither a cost nor measured, expected one of "):
        ranked(problem, candidates, "score", None, first=4)


@pytest.mark.parametrize(
    ("trials", "found"), [(problems.plain_genes, "max accuracy"), (problems.regression, "min mae")]
)
def test_two_objectives_are_weighed_or_it_is_an_error(trials, found):
    with pytest.raises(InputError, match=f"^method.fitness: product weighs .* the objectives are: {found}; expected"):
        ranked(trials().problem, (), "product", 1e4, first=4)
