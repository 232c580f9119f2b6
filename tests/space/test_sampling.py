import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.hardware.counts import counts
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
