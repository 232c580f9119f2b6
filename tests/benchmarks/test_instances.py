import dataclasses

import numpy as np
import pytest
from quality import instances

FROZEN = {  # seed network, with 4 bits everywhere, uniform genotypes 0 to 2
    0: [0.810260974216, 0.775279848977, 0.744250127801, 0.829256686759, 0.785079471416],
    19: [0.830315373994, 0.723962549585, 0.737079851654, 0.795725374283, 0.75760117787],
    100: [0.87538735992, 0.795699279348, 0.748604140369, 0.853297957179, 0.801880337062],
}


@pytest.fixture(scope="module")
def space():
    return instances.table_space()


@pytest.fixture(scope="module")
def instance():
    return instances.Instance(0)


@pytest.fixture(scope="module")
def genotypes(space):
    generator = np.random.default_rng(7)
    drawn = [{gene.name: generator.choice(gene.values).item() for gene in space.genes} for _ in range(60)]
    fours = {gene.name: 4 if gene.part == "bits" else gene.default for gene in space.genes}
    return [space.seed, fours, *drawn]


@pytest.fixture(scope="module")
def networks(space, genotypes):
    return [space.decode(genotype) for genotype in genotypes]


def columns_of_genotypes(space, genotypes):
    return instances.Columns.of_values(space, np.array([list(genotype.values()) for genotype in genotypes]))


def test_the_generator_is_frozen(networks):
    for seed, expected in FROZEN.items():
        instance = instances.Instance(seed)
        found = [instance.accuracy(network) for network in networks[: len(expected)]]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_columns_of_genotypes_equal_columns_of_their_networks(space, genotypes, networks):
    by_values, by_layers = columns_of_genotypes(space, genotypes), instances.Columns.of_networks(networks)
    for field in dataclasses.fields(by_values):
        np.testing.assert_array_equal(getattr(by_values, field.name), getattr(by_layers, field.name), field.name)


def test_accuracy_at_once_equals_accuracy_one_by_one(space, instance, genotypes, networks):
    together = instance.accuracies(columns_of_genotypes(space, genotypes))
    np.testing.assert_allclose(together, [instance.accuracy(network) for network in networks], atol=1e-12)


def test_genotypes_of_one_network_have_one_accuracy(space, instance):
    block = {"kernel": 5, "expansion": 3, "expand_bits": 5, "depthwise_bits": 6, "project_bits": 7}
    empty = {**space.seed, **{f"block{number}.repetitions": 0 for number in range(2, 7)}}
    early = {**empty, **{f"block2.{name}": value for name, value in block.items()}, "block2.repetitions": 2}
    late = {**empty, **{f"block3.{name}": value for name, value in block.items()}, "block3.repetitions": 2}
    early["block2.width"], late["block3.width"] = 0.1, 0.05  # two channels either way
    first, second = space.decode(early), space.decode(late)
    assert first.key == second.key
    assert instance.accuracy(first) == instance.accuracy(second)
    assert instance.observe(first, 3) == instance.observe(second, 3)


def test_noise_has_its_deviation_and_is_the_same_when_asked_again(instance, networks):
    network = networks[0]
    observed = np.array([instance.observe(network, replicate) for replicate in range(400)])
    assert observed[3] == instance.observe(network, 3)
    assert abs(observed.mean() - instance.accuracy(network)) < 4 * instances.OBSERVATION / 20
    assert 0.9 < observed.std() / instances.OBSERVATION < 1.1


def test_few_bits_cost_accuracy(space, instance, networks):
    eight = [instance.accuracy(network.with_bits(8)) for network in networks]
    four = [instance.accuracy(network.with_bits(4)) for network in networks]
    assert 0.03 < np.mean(eight) - np.mean(four) < 0.13


def test_instances_differ(networks):
    a, b = (instances.Instance(seed) for seed in (0, 1))
    columns = instances.Columns.of_networks(networks)
    assert 0.3 < np.corrcoef(a.accuracies(columns), b.accuracies(columns))[0, 1] < 0.97
