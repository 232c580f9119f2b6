import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.space import sampling
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import ARCHITECTURE, BITS, Gene

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def mixed():
    """An ordered gene of many values, a categorical one of many, and a conditional one."""
    return HyperSpace(
        name="mixed",
        genes=(
            Gene("units", tuple(range(40)), 0),
            Gene("colour", tuple("abcdefghijklmnopqrst"), "a", ordered=False),
            Gene("sixteen", tuple(range(16)), 3),
            Gene("extra", (0, 1, 2), 2, BITS, conditions=(("colour", frozenset("bc")),)),
        ),
    )


def canonical(space, codes):
    return np.array_equal(space.canonical_codes(codes), codes)


def encode(space, *genotypes):
    return space.encode(genotypes)


def columns(space, part):
    return np.array([gene.part == part for gene in space.genes])


@given(SEEDS, SEEDS)
def test_every_move_ends_in_canonical_genotypes_and_repeats_with_its_seed(random_space, space_seed, seed):
    space = random_space(space_seed)

    def moves():
        generator = np.random.default_rng(seed)
        a, b = sampling.uniform(space, generator, 3), sampling.uniform(space, generator, 3)
        mutants = sampling.mutate(space, a, generator, edits=3.0)
        tilted = sampling.tilted(space, generator, np.array([-8.0, 0.5, 64.0]))
        return np.concatenate([a, b, mutants, sampling.crossover(space, a, b, generator), tilted])

    codes = moves()
    np.testing.assert_array_equal(moves(), codes)
    assert canonical(space, codes)
    assert canonical(space, sampling.neighbours(space, codes[0]))
    assert ((codes >= 0) & (codes < space.sizes)).all()


def test_uniform_draws_every_value_equally_often(cifar10):
    codes = sampling.uniform(cifar10, np.random.default_rng(0), 6000)
    for column, gene in enumerate(cifar10.genes):
        if not gene.conditions:
            tally = np.bincount(codes[:, column], minlength=len(gene.values))
            expected = len(codes) / len(gene.values)
            chi_square = ((tally - expected) ** 2 / expected).sum()
            assert chi_square < 25  # at most 5 degrees of freedom: p = 1e-4


def test_a_tilt_favours_small_or_large_ordered_values_exponentially(mixed):
    generator, count = np.random.default_rng(0), 20_000
    edges = np.linspace(0, 1, 17)
    for tilt in (-3.0, 0.0, 5.0):
        codes = sampling.tilted(mixed, generator, np.full(count, tilt))
        below = np.expm1(tilt * edges) / np.expm1(tilt) if tilt else edges
        np.testing.assert_allclose(np.bincount(codes[:, 2], minlength=16) / count, np.diff(below), atol=0.01)
        np.testing.assert_allclose(np.bincount(codes[:, 1], minlength=20) / count, 1 / 20, atol=0.01)


def test_each_genotype_has_a_tilt_of_its_own(cifar10):
    codes = sampling.tilted(cifar10, np.random.default_rng(0), np.array([-300.0, 0.0, 300.0]))
    assert (codes[2] == cifar10.sizes - 1).all()
    np.testing.assert_array_equal(codes[0], cifar10.canonical_codes(np.zeros_like(codes[:1]))[0])
    assert 0 < (codes[1] == 0).mean() < 1


def test_mutation_changes_a_mean_number_of_active_genes(cifar10):
    start = np.repeat(cifar10.defaults[None], 4000, axis=0)
    changed = (sampling.mutate(cifar10, start, np.random.default_rng(0), edits=2.0) != start).sum(axis=1)
    assert changed.min() == 1
    assert changed.mean() == pytest.approx(2.0, abs=0.15)
    assert (changed == 1).mean() == pytest.approx(0.5, abs=0.05)


def test_mutation_steps_to_neighbouring_values_more_often(cifar10):
    start = np.repeat(encode(cifar10, {**cifar10.seed, "last_conv.bits": 6}), 8000, axis=0)
    column = cifar10.places["last_conv.bits"]
    values = sampling.mutate(cifar10, start, np.random.default_rng(0), edits=8.0)[:, column] + 4
    share = {value: np.mean(values[values != 6] == value) for value in (4, 5, 7, 8)}
    assert share[5] == pytest.approx(0.6 / 2 + 0.4 / 4, abs=0.04)
    assert share[7] == pytest.approx(0.4, abs=0.04)
    assert share[4] == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("end", [0, 39])
def test_mutation_at_an_end_steps_inwards(mixed, end):
    start = np.repeat(encode(mixed, {**mixed.seed, "units": end}), 4000, axis=0)
    values = sampling.mutate(mixed, start, np.random.default_rng(0), edits=1.0)[:, 0]
    moved = values[values != end]
    assert np.mean(np.abs(moved - end) == 1) == pytest.approx(0.6 + 0.4 / 39, abs=0.04)


def test_categories_are_mutated_to_any_other_alike(mixed):
    start = np.repeat(encode(mixed, {**mixed.seed, "colour": "k"}), 12_000, axis=0)
    values = sampling.mutate(mixed, start, np.random.default_rng(0), edits=1.0)[:, 1]
    tally = np.bincount(values[values != 10], minlength=20)
    assert tally[10] == 0
    expected = tally.sum() / 19
    assert ((tally - expected)[np.arange(20) != 10] ** 2 / expected).sum() < 42.3  # 18 degrees, 0.1 %


def test_mutation_never_spends_its_edits_on_inactive_genes(cifar10):
    absent = cifar10.canonical({**cifar10.seed, **{f"block{n}.repetitions": 0 for n in (2, 3, 4, 5, 6)}})
    start = np.repeat(encode(cifar10, absent), 300, axis=0)
    children = sampling.mutate(cifar10, start, np.random.default_rng(0), edits=1.0)
    for child in cifar10.genotypes(children):
        (changed,) = [name for name in child if child[name] != absent[name]]
        assert changed.endswith(".repetitions") or not changed.startswith(tuple(f"block{n}." for n in (2, 3, 4, 5, 6)))


@pytest.mark.parametrize("part", [ARCHITECTURE, BITS])
def test_moves_of_one_part_keep_the_other(digits, part):
    generator = np.random.default_rng(0)
    start = np.repeat(sampling.uniform(digits, generator, 20), 20, axis=0)
    mutants = sampling.mutate(digits, start, generator, edits=4.0, part=part)
    changed = mutants != start
    if part == BITS:
        assert not changed[:, columns(digits, ARCHITECTURE)].any()
    else:  # bits of what is gone fall back to their default, all others stay
        still = digits.active(start) & digits.active(mutants) & columns(digits, BITS)
        assert not (changed & still).any()
    assert changed[:, columns(digits, part)].any(axis=1).all()
    found = sampling.neighbours(digits, start[0], part)
    every = sampling.neighbours(digits, start[0])
    own = [row for row in every if (row != start[0])[columns(digits, ARCHITECTURE)].any() == (part == ARCHITECTURE)]
    np.testing.assert_array_equal(found, own)
    assert 0 < len(found) < len(every)


def test_without_genes_to_change_nothing_moves(mixed):
    generator = np.random.default_rng(0)
    start = mixed.defaults[None].repeat(3, axis=0)  # its only bits are inactive
    np.testing.assert_array_equal(sampling.mutate(mixed, start, generator, part=BITS), start)
    assert sampling.neighbours(mixed, start[0], BITS).shape == (0, 4)
    none = HyperSpace(name="none", genes=())
    codes = sampling.uniform(none, generator, 3)
    assert codes.shape == sampling.mutate(none, codes, generator).shape == (3, 0)
    assert sampling.crossover(none, codes, codes, generator).shape == (3, 0)
    assert sampling.neighbours(none, codes[0]).shape == (0, 0)


def test_moves_of_no_genotypes_are_none(mixed):
    generator = np.random.default_rng(0)
    codes = sampling.uniform(mixed, generator, 0)
    assert codes.shape == sampling.mutate(mixed, codes, generator).shape == (0, 4)
    assert sampling.crossover(mixed, codes, codes, generator).shape == (0, 4)


@given(SEEDS, SEEDS)
def test_crossover_takes_active_genes_from_its_parents(random_space, space_seed, seed):
    space, generator = random_space(space_seed), np.random.default_rng(seed)
    a, b = sampling.uniform(space, generator, 4), sampling.uniform(space, generator, 4)
    children = sampling.crossover(space, a, b, generator)
    active_a, active_b = space.active(a), space.active(b)
    either = (children == a) & (active_a | ~active_b) | (children == b) & (active_b | ~active_a)
    assert (either | ~space.active(children)).all()
    np.testing.assert_array_equal(sampling.crossover(space, a, a, generator), a)


def test_crossover_mixes_evenly(cifar10):
    low, high = ({gene.name: pick(gene.values) for gene in cifar10.genes} for pick in (min, max))
    low |= {name: 1 for name in low if name.endswith((".repetitions", ".expansion"))}
    a, b = (np.repeat(encode(cifar10, genotype), 500, axis=0) for genotype in (low, high))
    children = sampling.crossover(cifar10, a, b, np.random.default_rng(0))
    for name in ("stem.bits", "dense.bits"):
        assert (children[:, cifar10.places[name]] == 4).mean() == pytest.approx(0.5, abs=0.07)


def test_genes_are_crossed_independently_in_every_row(cifar10):
    a, b = (np.repeat(encode(cifar10, {**cifar10.seed, "stem.bits": n, "dense.bits": n}), 400, axis=0) for n in (4, 8))
    children = sampling.crossover(cifar10, a, b, np.random.default_rng(0))
    stem, dense = (children[:, cifar10.places[name]] for name in ("stem.bits", "dense.bits"))
    assert (stem == dense).mean() == pytest.approx(0.5, abs=0.1)


@given(SEEDS, SEEDS)
def test_neighbours_are_all_exchanges_of_one_active_gene(random_space, space_seed, seed):
    space = random_space(space_seed)
    (genotype,) = space.genotypes(codes := sampling.uniform(space, np.random.default_rng(seed), 1))
    expected = [space.canonical({**genotype, gene.name: value}) for gene in space.genes for value in gene.values]
    found = space.genotypes(sampling.neighbours(space, codes[0]))
    assert all(neighbour in expected for neighbour in found)
    assert all(neighbour in found for neighbour in expected if neighbour != genotype)
    assert genotype not in found
    assert len({tuple(neighbour.items()) for neighbour in found}) == len(found)


def test_long_ordered_genes_are_exchanged_by_powers_of_two(mixed):
    start = encode(mixed, {**mixed.seed, "units": 5, "colour": "b"})[0]
    found = sampling.neighbours(mixed, start)
    changed = [found[found[:, column] != start[column], column] for column in range(3)]
    assert sorted(changed[0]) == [1, 3, 4, 6, 7, 9, 13, 21, 37]
    assert sorted(changed[1]) == [place for place in range(20) if place != 1]  # categories have no near ones
    assert sorted(changed[2]) == [place for place in range(16) if place != 3]  # sixteen values are few
    assert sorted(found[found[:, 1] == 1][:, 3]) == [0, 1] + [2] * (9 + 15)


def test_steps_of_powers_of_two_lead_everywhere(mixed):
    reached, frontier = set(), [mixed.defaults]
    while frontier:
        code = frontier.pop()
        if code[0] not in reached:
            reached.add(code[0].item())
            frontier += [row for row in sampling.neighbours(mixed, code) if row[0] != code[0]]
    assert reached == set(range(40))
