import itertools
import math

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.counts import counts
from bompnas.problem import Problem
from bompnas.search import feasible
from bompnas.space import sampling


def size_kb(space, genotype):
    return counts(space.decode(genotype))["size_kb"]


@pytest.mark.parametrize("limit", [2.2, 3.0, 10.0, 100.0])
def test_feasible_samples_keep_the_limit_and_differ(cifar10, problem_of, limit):
    problem, generator = problem_of(cifar10, limit), np.random.default_rng(0)
    sample = [feasible.sample(problem, generator) for _ in range(30)]
    assert max(size_kb(cifar10, genotype) for genotype in sample) <= limit
    assert len({cifar10.decode(genotype).key for genotype in sample}) == 30


def test_without_constraints_a_feasible_sample_is_uniform(cifar10, problem_of):
    problem = problem_of(cifar10)
    for seed in range(3):
        sample = feasible.sample(problem, np.random.default_rng(seed))
        assert sample == sampling.uniform(cifar10, np.random.default_rng(seed))


@pytest.mark.parametrize(("name", "limit"), [("cifar10", math.inf), ("cifar10", 16.0), ("digits", 16.0)])
def test_a_stratified_sample_spreads_over_the_sizes(name, limit, request, problem_of):
    space = request.getfixturevalue(name)
    problem = problem_of(space, limit)
    genotypes = feasible.stratified(problem, 8, np.random.default_rng(0))
    assert genotypes == feasible.stratified(problem, 8, np.random.default_rng(0))
    sizes = np.log([size_kb(space, genotype) for genotype in genotypes])
    assert len({space.decode(genotype).key for genotype in genotypes}) == 8
    assert list(sizes) == sorted(sizes)
    smallest = math.log(size_kb(space, {gene.name: min(gene.values) for gene in space.genes}))
    largest = math.log(size_kb(space, {gene.name: max(gene.values) for gene in space.genes}))
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
    genotypes = feasible.stratified(problem_of(space), 40, np.random.default_rng(0))
    assert {space.decode(genotype).key for genotype in genotypes} == keys
    assert len(genotypes) == len(keys)


def test_a_stratified_sample_of_networks_of_one_size_has_no_network_twice(digits):
    problem = Problem(digits, lambda network: {"size_bits": 1000}, ())
    genotypes = feasible.stratified(problem, 6, np.random.default_rng(0))
    assert len({digits.decode(genotype).key for genotype in genotypes}) == 6


@pytest.mark.parametrize("sample", [feasible.sample, lambda p, g: feasible.stratified(p, 3, g)])
def test_an_unreachable_limit_names_the_cheapest_network(digits, problem_of, sample):
    cheapest = size_kb(digits, {gene.name: min(gene.values) for gene in digits.genes})
    with pytest.raises(InputError, match=f"the cheapest found has size_kb {cheapest:g} where 0.5 is allowed"):
        sample(problem_of(digits, 0.5), np.random.default_rng(0))


def test_a_limit_that_only_the_cheapest_network_keeps_is_met(digits, problem_of):
    cheapest = {gene.name: min(gene.values) for gene in digits.genes}
    problem = problem_of(digits, size_kb(digits, cheapest))
    (genotype,) = feasible.stratified(problem, 1, np.random.default_rng(0))
    assert size_kb(digits, genotype) == problem.constraints[0].limit
