import itertools

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.search import feasible
from bompnas.space.space import BITS
from bompnas.testing import problems
from bompnas.testing.conformance import LARGE, SMALL


@pytest.mark.parametrize("make", SMALL)
def test_small_spaces_hold_what_they_say(make):
    space = make().problem.space
    grid = np.array(list(itertools.product(*map(range, space.sizes))), dtype=int)
    assert len(set(space.batch(grid).keys)) == SMALL[make]
    if make is problems.twelve_points:
        assert len(grid) == 20


@pytest.mark.parametrize("make", LARGE)
def test_scores_of_large_spaces_are_spread(make):
    trials = make()
    problem, generator = trials.problem, np.random.default_rng(0)
    codes = feasible.sample(problem, generator, 200)
    scores = []
    for genotype in problem.space.genotypes(codes):
        metrics = trials.measure(genotype)
        assert metrics == trials.measure(genotype)
        assert all(0.1 < value < 0.9 for value in metrics.values())
        scores.append(problem.score(problem.cost(problem.space.decode(genotype)) | metrics))
    assert np.std(scores) > 0.05
    assert len({tuple(row) for row in codes.tolist()}) > 150


def test_networks_have_the_bits_of_jasq_and_a_limit_that_holds_many_back():
    problem = problems.networks().problem
    assert {gene.values for gene in problem.space.genes if gene.part == BITS} == {(4, 8, 16)}
    codes = np.random.default_rng(0).integers(problem.space.sizes, size=(500, len(problem.space.genes)))
    assert 0.1 < np.mean(problem.feasible(problem.costs(problem.space.batch(codes)), 500)) < 0.9


def test_no_network_is_feasible():
    with pytest.raises(InputError, match=r"^constraints: no network of space 'twelve_networks'"):
        feasible.sample(problems.no_network().problem, np.random.default_rng(0), 1)
