import dataclasses
import itertools
import math
import re

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.counts import counts
from bompnas.objectives import Constraint
from bompnas.problem import Problem, no_costs
from bompnas.search import feasible, optimize
from bompnas.space import sampling
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import Gene
from bompnas.testing import problems


def sizes_kb(problem, codes):
    return problem.costs(problem.space.batch(codes))["size_kb"]


def cheapest(space):
    return space.canonical_codes(np.zeros((1, len(space.genes)), dtype=np.intp))


def distinct(space, codes):
    return len(set(space.batch(codes).keys))


@pytest.mark.parametrize("limit", [2.2, 3.0, 10.0, 100.0])
def test_feasible_samples_keep_the_limit_and_differ(cifar10, problem_of, limit):
    problem = problem_of(cifar10, limit)
    codes = feasible.sample(problem, np.random.default_rng(0), 30)
    assert codes.shape == (30, len(cifar10.genes))
    assert sizes_kb(problem, codes).max() <= limit
    assert distinct(cifar10, codes) == 30
    np.testing.assert_array_equal(cifar10.canonical_codes(codes), codes)


def test_without_constraints_a_feasible_sample_is_uniform(cifar10, problem_of):
    problem = problem_of(cifar10)
    for seed in range(3):
        found = feasible.sample(problem, np.random.default_rng(seed), 4)
        np.testing.assert_array_equal(found, sampling.uniform(cifar10, np.random.default_rng(seed), 4))


def test_where_feasible_ones_are_common_the_sample_is_uniform_over_them(tiny_problem, problem_of):
    space = tiny_problem.space
    every = space.encode(
        dict(zip([gene.name for gene in space.genes], values, strict=True))
        for values in itertools.product(*(gene.values for gene in space.genes))
    )
    limit = np.sort(sizes_kb(tiny_problem, every))[5].item()
    codes = feasible.sample(problem_of(space, limit), np.random.default_rng(0), 1200)
    counts = np.unique(codes, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 200) ** 2 / 200).sum() < 20.5  # 5 degrees, 0.1 %


def test_a_measured_limit_restricts_no_sample(digits):
    problem = Problem(digits, counts, (), (Constraint("val_accuracy", 0.9, at_least=True),))
    assert problem.known_limits == ()
    codes = feasible.sample(problem, np.random.default_rng(0), 3)
    np.testing.assert_array_equal(codes, sampling.uniform(digits, np.random.default_rng(0), 3))


@pytest.mark.parametrize(("name", "limit"), [("cifar10", math.inf), ("cifar10", 16.0), ("digits", 16.0)])
def test_a_stratified_sample_spreads_over_the_sizes(name, limit, request, problem_of):
    space = request.getfixturevalue(name)
    problem = problem_of(space, limit)
    codes = feasible.stratified(problem, 8, np.random.default_rng(0))
    np.testing.assert_array_equal(codes, feasible.stratified(problem, 8, np.random.default_rng(0)))
    sizes = np.log(sizes_kb(problem, codes))
    assert len(codes) == distinct(space, codes) == 8
    assert list(sizes) == sorted(sizes)
    smallest, largest = np.log(sizes_kb(problem, np.concatenate([cheapest(space), space.sizes[None] - 1])))
    largest = min(largest, math.log(limit))
    width = (largest - smallest) / 8
    assert sizes[-1] <= largest
    assert sizes[0] - smallest < 1.1 * width
    assert largest - sizes[-1] < 1.3 * width
    assert np.diff(sizes).max() < 2.2 * width


def test_a_stratified_sample_of_a_tiny_space_is_the_whole_space(random_space, problem_of):
    spaces = (random_space(seed) for seed in itertools.count())
    space = next(s for s in spaces if 1 < s.count_architectures() * s.count_policies() < 20)
    keys = set()
    for values in itertools.product(*(gene.values for gene in space.genes)):
        keys.add(space.decode(dict(zip([gene.name for gene in space.genes], values, strict=True))).key)
    codes = feasible.stratified(problem_of(space), 40, np.random.default_rng(0))
    assert {space.decode(genotype).key for genotype in space.genotypes(codes)} == keys
    assert len(codes) == len(keys)


def test_a_stratified_sample_of_networks_of_one_size_has_no_network_twice(digits):
    problem = Problem(digits, lambda batch: {"size_bits": np.full(len(batch), 1000)}, ())
    codes = feasible.stratified(problem, 6, np.random.default_rng(0))
    assert len(codes) == distinct(digits, codes) == 6


def test_where_no_size_is_known_a_stratified_sample_is_random_and_distinct():
    space = HyperSpace(name="plain", genes=tuple(Gene(name, tuple(range(4)), 0) for name in "abc"))
    problem = Problem(space, no_costs, ())
    codes = feasible.stratified(problem, 60, np.random.default_rng(0))
    assert len(codes) == distinct(space, codes) == 60
    assert len(feasible.stratified(problem, 100, np.random.default_rng(0))) == 64
    first = [feasible.stratified(problem, 1, np.random.default_rng(seed))[0, 0] for seed in range(200)]
    assert np.bincount(first, minlength=4).min() > 30


def test_an_unknown_size_beside_a_known_cost_keeps_its_limit():
    space = HyperSpace(name="plain", genes=tuple(Gene(name, tuple(range(4)), 0) for name in "abc"))

    def costs(batch):
        return {"sum": batch.codes.sum(axis=1)}

    problem = Problem(space, costs, (), (Constraint("sum", 3),))
    codes = feasible.stratified(problem, 100, np.random.default_rng(0))
    assert len(codes) == 20  # all of a sum of at most 3
    assert codes.sum(axis=1).max() == 3


@pytest.mark.parametrize("sample", [lambda p, g: feasible.sample(p, g, 1), lambda p, g: feasible.stratified(p, 3, g)])
def test_an_unreachable_limit_names_the_cheapest_network(digits, problem_of, sample):
    least = sizes_kb(problem_of(digits), cheapest(digits)).item()
    with pytest.raises(InputError, match=f"the nearest found has size_kb {least:g} where 0.5 is allowed"):
        sample(problem_of(digits, 0.5), np.random.default_rng(0))


def test_an_unreachable_limit_tells_by_how_much(digits, problem_of):
    message = re.escape("was found that keeps them, by a search that proves nothing; the nearest found has size_kb ")
    with pytest.raises(InputError, match=message + r"[\d.]+ where 0.5 is allowed, [\d.]+ \([\d.]+ %\) too much"):
        feasible.sample(problem_of(digits, 0.5), np.random.default_rng(0), 1)


def test_of_a_small_space_every_network_proves_that_there_is_none():
    problem = problems.no_network().problem
    every = optimize._enumerate(problem.space)
    least = sizes_kb(problem, every).min()
    message = f"proves; the nearest has size_kb {least:g} where 0.01 is allowed, {least - 0.01:.3g} "
    with pytest.raises(InputError, match=message):
        feasible.sample(problem, np.random.default_rng(0), 1)


def test_limits_that_pull_apart_are_met_where_no_tilt_meets_them(cifar10):
    limits = (Constraint("size_kb", 16.0), Constraint("macs", 10_934_784, at_least=True))
    problem = Problem(cifar10, counts, (), limits)
    assert feasible._feasible_tilt(problem) is None
    codes = feasible.sample(problem, np.random.default_rng(0), 20)
    assert distinct(cifar10, codes) == 20
    assert problem.feasible(problem.costs(cifar10.batch(codes)), 20).all()
    np.testing.assert_array_equal(codes, feasible.sample(problem, np.random.default_rng(0), 20))


def test_the_only_network_within_the_limits_is_repeated_where_more_are_asked_for():
    problem = problems.twelve_networks().problem
    every = optimize._enumerate(problem.space)
    sizes, macs = (problem.costs(problem.space.batch(every))[name] for name in ("size_kb", "macs"))
    middle = np.argsort(sizes)[6]
    limits = [
        Constraint(name, values[middle].item(), at_least)
        for name, values in (("size_kb", sizes), ("macs", macs))
        for at_least in (False, True)
    ]
    alone = dataclasses.replace(problem, constraints=tuple(limits))
    np.testing.assert_array_equal(
        feasible._around(alone, every[middle], np.random.default_rng(0), 5), every[[middle] * 5]
    )


def test_an_unreachable_least_cost_names_the_nearest_network(digits):
    dearest = Problem(digits, counts, ()).costs(digits.batch(digits.sizes[None] - 1))["macs"].item()
    problem = Problem(digits, counts, (), (Constraint("macs", 1e9, at_least=True),))
    message = re.escape(f"the nearest found has macs {dearest:g} where at least 1e+09 is allowed")
    with pytest.raises(InputError, match=message):
        feasible.sample(problem, np.random.default_rng(0), 1)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_least_cost_that_few_networks_reach_is_met(digits, share):
    dearest = Problem(digits, counts, ()).costs(digits.batch(digits.sizes[None] - 1))["macs"].item()
    problem = Problem(digits, counts, (), (Constraint("macs", share * dearest, at_least=True),))
    for codes in (
        feasible.sample(problem, np.random.default_rng(0), 10),
        feasible.stratified(problem, 10, np.random.default_rng(0)),
    ):
        assert distinct(digits, codes) == 10
        assert (problem.costs(digits.batch(codes))["macs"] >= share * dearest).all()


def test_a_limit_of_nothing_is_an_input_error(digits):
    problem = Problem(digits, counts, (), (Constraint("macs", 0),))
    with pytest.raises(InputError, match=r"the nearest found has macs .* where 0 is allowed"):
        feasible.sample(problem, np.random.default_rng(0), 1)


def test_a_limit_that_only_the_cheapest_network_keeps_is_met(digits, problem_of):
    problem = problem_of(digits, sizes_kb(problem_of(digits), cheapest(digits)).item())
    codes = feasible.stratified(problem, 1, np.random.default_rng(0))
    assert sizes_kb(problem, codes).item() == problem.constraints[0].limit
