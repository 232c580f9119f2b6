import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.errors import InputError
from bompnas.hardware.counts import counts
from bompnas.problem import Problem
from bompnas.space import sampling

SEEDS = st.integers(0, 2**32 - 1)


def size_kb(space, genotype):
    return counts(space.decode(genotype))["size_kb"]


@given(SEEDS, SEEDS)
def test_every_move_ends_in_a_canonical_genotype_and_repeats_with_its_seed(random_space, space_seed, seed):
    space = random_space(space_seed)

    def moves():
        generator = np.random.default_rng(seed)
        a, b = sampling.uniform(space, generator), sampling.uniform(space, generator)
        return [a, b, sampling.mutate(space, a, generator, edits=3.0), sampling.crossover(space, a, b, generator)]

    genotypes = moves()
    assert moves() == genotypes
    for genotype in [*genotypes, *sampling.neighbours(space, genotypes[0])]:
        assert space.canonical(genotype) == genotype
        space.decode(genotype)


def test_uniform_draws_every_value_equally_often(cifar10):
    generator = np.random.default_rng(0)
    draws = [sampling.uniform(cifar10, generator) for _ in range(6000)]
    for gene in cifar10.genes:
        if not gene.conditions:
            tally = np.array([sum(draw[gene.name] == value for draw in draws) for value in gene.values])
            expected = len(draws) / len(gene.values)
            chi_square = ((tally - expected) ** 2 / expected).sum()
            assert chi_square < 25  # at most 5 degrees of freedom: p = 1e-4


def test_mutation_changes_a_mean_number_of_active_genes(cifar10):
    generator = np.random.default_rng(0)
    changed = []
    for _ in range(4000):
        child = sampling.mutate(cifar10, cifar10.seed, generator, edits=2.0)
        changed.append(sum(child[name] != cifar10.seed[name] for name in child))
    assert min(changed) == 1
    assert np.mean(changed) == pytest.approx(2.0, abs=0.15)
    assert np.mean(np.array(changed) == 1) == pytest.approx(0.5, abs=0.05)


def test_mutation_steps_to_neighbouring_values_more_often(cifar10):
    generator = np.random.default_rng(0)
    start = {**cifar10.seed, "last_conv.bits": 6}
    values = [sampling.mutate(cifar10, start, generator, edits=8.0)["last_conv.bits"] for _ in range(8000)]
    share = {value: np.mean([v == value for v in values if v != 6]) for value in (4, 5, 7, 8)}
    assert share[5] == pytest.approx(0.6 / 2 + 0.4 / 4, abs=0.04)
    assert share[7] == pytest.approx(0.4, abs=0.04)
    assert share[4] == pytest.approx(0.1, abs=0.03)


def test_mutation_never_spends_its_edits_on_inactive_genes(cifar10):
    generator = np.random.default_rng(0)
    absent = cifar10.canonical({**cifar10.seed, **{f"block{n}.repetitions": 0 for n in (2, 3, 4, 5, 6)}})
    for _ in range(300):
        child = sampling.mutate(cifar10, absent, generator, edits=1.0)
        (changed,) = [name for name in child if child[name] != absent[name]]
        assert changed.endswith(".repetitions") or not changed.startswith(tuple(f"block{n}." for n in (2, 3, 4, 5, 6)))


@given(SEEDS, SEEDS)
def test_crossover_takes_active_genes_from_its_parents(random_space, space_seed, seed):
    space, generator = random_space(space_seed), np.random.default_rng(seed)
    a, b = sampling.uniform(space, generator), sampling.uniform(space, generator)
    child = sampling.crossover(space, a, b, generator)
    for gene in space.genes:
        if gene.active(child):
            parents = [parent for parent in (a, b) if gene.active(parent)] or [a, b]
            assert child[gene.name] in [parent[gene.name] for parent in parents]
    assert sampling.crossover(space, a, a, generator) == a


def test_crossover_mixes_evenly(cifar10):
    generator = np.random.default_rng(0)
    low, high = ({gene.name: pick(gene.values) for gene in cifar10.genes} for pick in (min, max))
    low |= {name: 1 for name in low if name.endswith((".repetitions", ".expansion"))}
    children = [sampling.crossover(cifar10, low, high, generator) for _ in range(500)]
    share = np.mean([[child[name] == 8 for name in ("stem.bits", "dense.bits")] for child in children])
    assert share == pytest.approx(0.5, abs=0.05)


@given(SEEDS, SEEDS)
def test_neighbours_are_all_exchanges_of_one_active_gene(random_space, space_seed, seed):
    space = random_space(space_seed)
    genotype = sampling.uniform(space, np.random.default_rng(seed))
    expected = [space.canonical({**genotype, gene.name: value}) for gene in space.genes for value in gene.values]
    found = sampling.neighbours(space, genotype)
    assert all(neighbour in expected for neighbour in found)
    assert all(neighbour in found for neighbour in expected if neighbour != genotype)
    assert genotype not in found
    assert len({tuple(neighbour.items()) for neighbour in found}) == len(found)


@pytest.mark.parametrize("limit", [2.2, 3.0, 10.0, 100.0])
def test_feasible_samples_keep_the_limit_and_differ(cifar10, problem_of, limit):
    problem, generator = problem_of(cifar10, limit), np.random.default_rng(0)
    sample = [sampling.feasible_sample(problem, generator) for _ in range(30)]
    assert max(size_kb(cifar10, genotype) for genotype in sample) <= limit
    assert len({cifar10.decode(genotype).key for genotype in sample}) == 30


def test_without_constraints_a_feasible_sample_is_uniform(cifar10, problem_of):
    problem = problem_of(cifar10)
    for seed in range(3):
        sample = sampling.feasible_sample(problem, np.random.default_rng(seed))
        assert sample == sampling.uniform(cifar10, np.random.default_rng(seed))


@pytest.mark.parametrize(("name", "limit"), [("cifar10", math.inf), ("cifar10", 16.0), ("digits", 16.0)])
def test_a_stratified_sample_spreads_over_the_sizes(name, limit, request, problem_of):
    space = request.getfixturevalue(name)
    problem = problem_of(space, limit)
    genotypes = sampling.stratified(problem, 8, np.random.default_rng(0))
    assert genotypes == sampling.stratified(problem, 8, np.random.default_rng(0))
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
    genotypes = sampling.stratified(problem_of(space), 40, np.random.default_rng(0))
    assert {space.decode(genotype).key for genotype in genotypes} == keys
    assert len(genotypes) == len(keys)


def test_a_stratified_sample_of_networks_of_one_size_has_no_network_twice(digits):
    problem = Problem(digits, lambda network: {"size_bits": 1000}, ())
    genotypes = sampling.stratified(problem, 6, np.random.default_rng(0))
    assert len({digits.decode(genotype).key for genotype in genotypes}) == 6


@pytest.mark.parametrize("sample", [sampling.feasible_sample, lambda p, g: sampling.stratified(p, 3, g)])
def test_an_unreachable_limit_names_the_cheapest_network(digits, problem_of, sample):
    cheapest = size_kb(digits, {gene.name: min(gene.values) for gene in digits.genes})
    with pytest.raises(InputError, match=f"the cheapest found has size_kb {cheapest:g} where 0.5 is allowed"):
        sample(problem_of(digits, 0.5), np.random.default_rng(0))


def test_a_limit_that_only_the_cheapest_network_keeps_is_met(digits, problem_of):
    cheapest = {gene.name: min(gene.values) for gene in digits.genes}
    problem = problem_of(digits, size_kb(digits, cheapest))
    (genotype,) = sampling.stratified(problem, 1, np.random.default_rng(0))
    assert size_kb(digits, genotype) == problem.constraints[0].limit
