import dataclasses
import itertools

import numpy as np
import pytest

from bompnas.objectives import Constraint
from bompnas.problem import Problem, no_costs
from bompnas.search import feasible, optimize
from bompnas.space import sampling
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import Gene


def smallness(codes, batch, costs):
    return -costs["size_bits"].astype(float)


def largeness(codes, batch, costs):
    return costs["size_bits"].astype(float)


def generator(seed=0):
    return np.random.default_rng(seed)


def maximize(problem, acquisition, tried, taken, seed=0):
    return optimize.maximize(problem, acquisition, tried, taken, generator(seed), feasible.sample)


def nothing(problem):
    return problem.space.encode([])


def cost(problem, code, name):
    return problem.costs(problem.space.batch(code[None]))[name].item()


def key(problem, code):
    return problem.space.batch(code[None]).keys[0]


def cheapest(space):
    return space.canonical_codes(np.zeros((1, len(space.genes)), dtype=np.intp))


def test_small_space_is_searched_exactly(tiny_problem):
    taken, sizes = set(), []
    for _ in range(12):
        found = maximize(tiny_problem, smallness, nothing(tiny_problem), taken)
        assert key(tiny_problem, found) not in taken
        taken.add(key(tiny_problem, found))
        sizes.append(cost(tiny_problem, found, "size_bits"))
    assert sizes == sorted(sizes)
    assert maximize(tiny_problem, smallness, nothing(tiny_problem), taken) is None


def test_small_space_keeps_constraints(tiny_problem):
    genes = tiny_problem.space.genes
    codes = np.array(list(itertools.product(*(range(len(gene.values)) for gene in genes))))
    limit = np.sort(tiny_problem.costs(tiny_problem.space.batch(codes))["size_kb"])[4].item()
    problem = dataclasses.replace(tiny_problem, constraints=(Constraint("size_kb", limit),))
    best = maximize(problem, largeness, nothing(problem), ())
    assert cost(problem, best, "size_kb") == limit


def test_a_small_space_that_keeps_no_constraint_holds_nothing(tiny_problem):
    problem = dataclasses.replace(tiny_problem, constraints=(Constraint("size_kb", 0.01),))
    assert maximize(problem, largeness, nothing(problem), ()) is None


def test_conditional_genes_are_enumerated_once():
    child = Gene("b", (0, 1, 2), 0, conditions=(("a", frozenset({1})),))
    space = HyperSpace(name="x", genes=(Gene("a", (0, 1), 0), child))
    problem = Problem(space, no_costs, ())
    seen = []

    def acquisition(codes, batch, costs):
        seen.extend(map(tuple, codes.tolist()))
        return codes.sum(axis=1).astype(float)

    assert maximize(problem, acquisition, nothing(problem), ()).tolist() == [1, 2]
    assert sorted(seen) == [(0, 0), (1, 0), (1, 1), (1, 2)]


def test_the_one_point_of_a_space_without_genes_is_found_once():
    problem = Problem(HyperSpace(name="nothing", genes=()), no_costs, ())

    def zero(codes, batch, costs):
        return np.zeros(len(codes))

    found = maximize(problem, zero, nothing(problem), ())
    assert found.shape == (0,)
    assert maximize(problem, zero, nothing(problem), {key(problem, found)}) is None


def test_large_space_reaches_the_optimum_of_a_separable_acquisition(digits_problem):
    found = maximize(digits_problem, smallness, digits_problem.space.defaults[None], ())
    least = cheapest(digits_problem.space)[0]
    assert cost(digits_problem, found, "size_bits") == cost(digits_problem, least, "size_bits")


def test_large_space_of_categories_reaches_the_optimum():
    """Every gene has its own best category, which neither order nor neighbourhood tells."""
    genes = tuple(Gene(f"g{n}", tuple("abcdefgh"), "a", ordered=False) for n in range(12))
    problem = Problem(HyperSpace(name="categories", genes=genes), no_costs, ())
    worth = np.random.default_rng(5).permuted(np.tile(np.arange(8.0), (12, 1)), axis=1)

    def acquisition(codes, batch, costs):
        return worth[np.arange(12), codes].sum(axis=1)

    found = maximize(problem, acquisition, nothing(problem), ())
    np.testing.assert_array_equal(found, worth.argmax(axis=1))


def test_proposed_networks_are_feasible_and_new(digits_problem):
    taken, tried = set(), nothing(digits_problem)
    for seed in range(5):
        found = maximize(digits_problem, largeness, tried, taken, seed=seed)
        assert key(digits_problem, found) not in taken
        assert 15 < cost(digits_problem, found, "size_kb") <= 16
        taken.add(key(digits_problem, found))
        tried = np.concatenate([tried, found[None]])


def test_tried_networks_that_break_the_limit_are_no_obstacle(digits_problem):
    """The acquisition wants what the limit forbids; tried networks that break it do not matter."""
    space = digits_problem.space
    tried = space.sizes[None] - 1
    assert cost(digits_problem, tried[0], "size_kb") > 16
    found = maximize(digits_problem, largeness, tried, ())
    assert 15 < cost(digits_problem, found, "size_kb") <= 16


def test_maximize_is_pure(digits_problem):
    tried = digits_problem.space.defaults[None]
    first, second = (maximize(digits_problem, smallness, tried, (), seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_every_network_is_valued_once(digits_problem):
    seen = []

    def counting(codes, batch, costs):
        assert len(codes) == len(batch) == len(costs["size_bits"])
        seen.extend(batch.keys)
        return largeness(codes, batch, costs)

    maximize(digits_problem, counting, digits_problem.space.defaults[None], ())
    assert 1000 < len(set(seen)) < 5000


def test_where_all_values_are_equal_a_feasible_network_is_found(digits_problem):
    def zero(codes, batch, costs):
        return np.zeros(len(codes))

    found = maximize(digits_problem, zero, digits_problem.space.defaults[None], ())
    assert digits_problem.keeps(digits_problem.space.decode(*digits_problem.space.genotypes(found[None])))


@pytest.fixture
def narrow_problem(digits_problem):
    """A large space of which the constraint leaves a handful of networks."""
    limit = cost(digits_problem, cheapest(digits_problem.space)[0], "size_bits") + 40
    return dataclasses.replace(digits_problem, constraints=(Constraint("size_bits", limit),))


def test_few_feasible_networks_of_a_large_space_are_all_found(narrow_problem):
    space = narrow_problem.space
    reachable, frontier = {}, [cheapest(space)[0]]
    while frontier:
        code = frontier.pop()
        batch = space.batch(code[None])
        if batch.keys[0] not in reachable and narrow_problem.feasible(narrow_problem.costs(batch), 1)[0]:
            reachable[batch.keys[0]] = code
            frontier += list(sampling.neighbours(space, code))
    assert 5 <= len(reachable) <= 60

    taken, tried = set(), nothing(narrow_problem)
    while (found := maximize(narrow_problem, smallness, tried, taken)) is not None:
        taken.add(key(narrow_problem, found))
        tried = np.concatenate([tried, found[None]])
    assert taken == set(reachable)


class TestPolicies:
    def bits(self, problem):
        return np.array([gene.part == "bits" for gene in problem.space.genes])

    def test_a_policy_keeps_the_architecture_and_is_the_best_one(self, digits_problem):
        space, bits = digits_problem.space, self.bits(digits_problem)
        best = space.canonical_codes(np.where(bits, 0, space.defaults)[None])[0]
        start = best.copy()
        start[np.flatnonzero(bits)[::2]] = 4
        found = optimize.maximize_policy(digits_problem, smallness, start, {key(digits_problem, start)})
        np.testing.assert_array_equal(found, best)

    def test_a_policy_keeps_the_constraints(self, digits_problem):
        space = digits_problem.space
        small = space.canonical_codes(np.where(self.bits(digits_problem), 0, space.defaults)[None])[0]
        limit = cost(digits_problem, small, "size_bits") + 500
        problem = dataclasses.replace(digits_problem, constraints=(Constraint("size_bits", limit),))
        found = optimize.maximize_policy(problem, largeness, small, {key(problem, small)})
        assert cost(problem, small, "size_bits") < cost(problem, found, "size_bits") <= limit

    def test_policies_are_new_until_all_around_are_taken(self, digits_problem):
        start = digits_problem.space.defaults
        around = digits_problem.space.batch(sampling.neighbours(digits_problem.space, start, "bits")).keys
        taken = {key(digits_problem, start)}
        for _ in range(5):
            found = optimize.maximize_policy(digits_problem, smallness, start, taken)
            assert key(digits_problem, found) not in taken
            taken.add(key(digits_problem, found))
        assert optimize.maximize_policy(digits_problem, smallness, start, taken | set(around)) is None

    def test_without_bits_there_is_no_further_policy(self, tiny_problem):
        start = tiny_problem.space.defaults
        assert optimize.maximize_policy(tiny_problem, smallness, start, {key(tiny_problem, start)}) is None
