import dataclasses

import numpy as np
import pytest

from bompnas.objectives import Constraint
from bompnas.search import optimize
from bompnas.space import sampling


def smallness(problem):
    return lambda networks: np.array([-problem.cost(network)["size_bits"] for network in networks], dtype=float)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_small_space_is_searched_exactly(tiny_problem):
    space, acquisition, taken = tiny_problem.space, smallness(tiny_problem), set()
    values = []
    for _ in range(12):
        network = space.decode(optimize.maximize(tiny_problem, acquisition, [], taken, generator()))
        assert network.key not in taken
        taken.add(network.key)
        values.append(acquisition([network]).item())
    assert values == sorted(values, reverse=True)
    assert optimize.maximize(tiny_problem, acquisition, [], taken, generator()) is None


def test_small_space_keeps_constraints(tiny_problem):
    sizes = [tiny_problem.cost(tiny_problem.space.decode(genotype))["size_kb"] for genotype in all_tiny(tiny_problem)]
    limit = sorted(sizes)[4]
    problem = dataclasses.replace(tiny_problem, constraints=(Constraint("size_kb", limit),))
    best = optimize.maximize(problem, lambda networks: -smallness(problem)(networks), [], (), generator())
    assert problem.cost(problem.space.decode(best))["size_kb"] == limit


def all_tiny(problem):
    kernel, filters = problem.space.genes
    return [{kernel.name: size, filters.name: count} for size in kernel.values for count in filters.values]


def test_large_space_reaches_the_optimum_of_a_separable_acquisition(digits_problem):
    found = optimize.maximize(digits_problem, smallness(digits_problem), [digits_problem.space.seed], (), generator())
    cheapest = {gene.name: min(gene.values) for gene in digits_problem.space.genes}
    assert smallness(digits_problem)([digits_problem.space.decode(found)]) == smallness(digits_problem)(
        [digits_problem.space.decode(cheapest)]
    )


def test_proposed_networks_are_feasible_and_new(digits_problem):
    space, taken, tried = digits_problem.space, set(), []

    def largeness(networks):
        return -smallness(digits_problem)(networks)

    for seed in range(5):
        genotype = optimize.maximize(digits_problem, largeness, tried, taken, generator(seed))
        network = space.decode(genotype)
        assert network.key not in taken
        assert 15 < digits_problem.cost(network)["size_kb"] <= 16
        taken.add(network.key)
        tried.append(genotype)


def test_maximize_is_pure(digits_problem):
    tried = [digits_problem.space.seed]
    first, second = (
        optimize.maximize(digits_problem, smallness(digits_problem), tried, (), generator(7)) for _ in range(2)
    )
    assert first == second


@pytest.fixture
def narrow_problem(digits_problem):
    """A large space of which the constraint leaves a handful of networks."""
    space = digits_problem.space
    cheapest = {gene.name: min(gene.values) for gene in space.genes}
    limit = digits_problem.cost(space.decode(cheapest))["size_bits"] + 40
    return dataclasses.replace(digits_problem, constraints=(Constraint("size_bits", limit),))


def test_few_feasible_networks_of_a_large_space_are_all_found(narrow_problem):
    space = narrow_problem.space
    start = space.canonical({gene.name: min(gene.values) for gene in space.genes})
    reachable, frontier = {}, [start]
    while frontier:
        genotype = frontier.pop()
        network = space.decode(genotype)
        if network.key not in reachable and narrow_problem.feasible(network):
            reachable[network.key] = genotype
            frontier += sampling.neighbours(space, genotype)
    assert 5 <= len(reachable) <= 60

    taken, tried = set(), []
    while (
        genotype := optimize.maximize(narrow_problem, smallness(narrow_problem), tried, taken, generator())
    ) is not None:
        taken.add(space.decode(genotype).key)
        tried.append(genotype)
    assert taken == set(reachable)
