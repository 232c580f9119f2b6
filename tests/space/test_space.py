import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.errors import InputError
from bompnas.space.sampling import uniform

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, SEEDS)
def test_canonical_genotypes_decode_to_the_same_network(random_space, space_seed, seed):
    space, generator = random_space(space_seed), np.random.default_rng(seed)
    genotype = {gene.name: gene.values[generator.integers(len(gene.values))] for gene in space.genes}
    canonical = space.canonical(dict(reversed(genotype.items())))
    assert space.decode(canonical) == space.decode(genotype)
    assert list(canonical) == [gene.name for gene in space.genes]
    assert space.canonical(canonical) == canonical


@given(SEEDS, SEEDS)
def test_a_gene_is_active_exactly_when_the_network_depends_on_it(random_space, space_seed, seed):
    space = random_space(space_seed)
    (genotype,) = space.genotypes(uniform(space, np.random.default_rng(seed), 1))
    key = space.decode(genotype).key
    for gene in space.genes:
        others = [value for value in gene.values if value != genotype[gene.name]]
        keys = {space.decode({**genotype, gene.name: value}).key for value in others}
        if not gene.active(genotype):
            assert keys == {key}
        elif not gene.name.endswith(".width"):  # two widths may round to the same channels
            assert len(keys - {key}) == len(others)


@given(SEEDS, SEEDS)
def test_codes_and_genotypes_say_the_same(random_space, space_seed, seed):
    space, generator = random_space(space_seed), np.random.default_rng(seed)
    codes = generator.integers(space.sizes, size=(5, len(space.genes)))
    genotypes = space.genotypes(codes)
    np.testing.assert_array_equal(space.encode(genotypes), codes)
    np.testing.assert_array_equal(space.encode(dict(reversed(one.items())) for one in genotypes), codes)
    assert space.genotypes(space.canonical_codes(codes)) == [space.canonical(genotype) for genotype in genotypes]
    np.testing.assert_array_equal(
        space.active(codes), [[gene.active(genotype) for gene in space.genes] for genotype in genotypes]
    )


def test_missing_genes_take_their_default_and_unknown_ones_are_left_out(digits):
    genotype = {**digits.seed, "block2.kernel": 5}
    partial = {name: value for name, value in genotype.items() if not name.endswith("bits")} | {"block9.kernel": 3}
    assert digits.genotypes(digits.encode([partial, {}])) == [genotype, digits.seed]
    assert digits.encode([]).shape == (0, len(digits.genes))
    assert digits.genotypes(digits.defaults[None]) == [digits.seed]


@pytest.mark.parametrize("value", [6, None, "3", [3], float("nan")])
def test_encode_names_a_value_that_is_no_choice(digits, value):
    with pytest.raises(InputError, match=r"genotype: block2\.kernel is .*, expected one of \[2, 3, 4, 5\]") as caught:
        digits.encode([digits.seed, {**digits.seed, "block2.kernel": value}])
    assert repr(value) in str(caught.value)


def test_inactive_genes_take_their_default(cifar10):
    genotype = {**cifar10.seed, "block4.repetitions": 0, "block4.kernel": 7, "block4.project_bits": 4}
    assert cifar10.canonical(genotype) == {**cifar10.seed, "block4.repetitions": 0}


def test_twins_have_one_key_and_one_architecture_key_without_bits(cifar10):
    thin, thinner = ({**cifar10.seed, "block1.width": width} for width in (0.05, 0.01))  # both: one channel
    assert cifar10.decode(thin).key == cifar10.decode(thinner).key
    other_bits = cifar10.decode({**cifar10.seed, "block6.expand_bits": 4})
    seed = cifar10.decode(cifar10.seed)
    assert other_bits.key != seed.key
    assert other_bits.architecture_key == seed.architecture_key


def test_the_seed_is_every_default_and_decodes_to_the_declared_types(digits):
    assert digits.seed == {gene.name: gene.default for gene in digits.genes}
    as_floats = {name: float(value) for name, value in digits.seed.items()}
    assert digits.decode(as_floats).key == digits.decode(digits.seed).key


def test_counts_are_products_of_choices(digits):
    blocks = (4 * 4) * (4 * 4 * 4 * 3) ** 2 * (4 * 4 * 4)
    assert digits.count_architectures() == blocks * 4
    assert digits.count_policies() == 5 ** (1 + 2 + 3 * 3 + 1 + 1)
