import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.space.distance import edit_distance, edit_names
from bompnas.space.embedding import Embedding, Site
from bompnas.space.network import Layer
from bompnas.space.sampling import mutate, uniform

SEEDS = st.integers(0, 2**32 - 1)


def some_codes(space, generator, count):
    codes = uniform(space, generator, count // 2)
    return np.concatenate([codes, mutate(space, codes, generator)])  # near neighbours are the hard part


def squared_distances(embedding, codes, weights):
    features = embedding.features(codes) * np.sqrt(weights)[embedding.groups]
    return ((features[:, None] - features[None, :]) ** 2).sum(axis=-1)


def assert_embedding_is_exact(space, seed, count):
    generator = np.random.default_rng(seed)
    codes = some_codes(space, generator, count)
    embedding = space.embedding
    weights = generator.exponential(size=len(embedding.group_names))
    weights[generator.random(len(weights)) < 0.1] = 0.0
    named = dict(zip(embedding.group_names, weights.tolist(), strict=True))
    networks = [space.decode(genotype) for genotype in space.genotypes(codes)]
    expected = np.array([[edit_distance(space.stages, a, b, named) for b in networks] for a in networks])
    found = squared_distances(embedding, codes, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    return found


@given(SEEDS, SEEDS)
@settings(max_examples=60)
def test_squared_distances_are_edit_distances_on_random_spaces(random_space, space_seed, seed):
    assert_embedding_is_exact(random_space(space_seed), seed, 8)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits"])
def test_squared_distances_are_edit_distances_on_the_shipped_spaces(name, request):
    assert_embedding_is_exact(request.getfixturevalue(name), 0, 12)


@given(SEEDS)
@settings(max_examples=20)
def test_squared_distances_are_edit_distances_behind_a_head_of_floats(random_space, space_seed):
    def floats(features):
        return (Layer("head_norm", "float", 1, 1, 2, features, 1, 1, 32, 32, "linear", "head", bias=False),)

    assert_embedding_is_exact(dataclasses.replace(random_space(space_seed), head=floats), 0, 8)


@given(SEEDS)
def test_weights_have_the_names_of_the_edits(random_space, space_seed):
    space = random_space(space_seed)
    assert set(space.embedding.group_names) == set(edit_names(space.stages))


@given(SEEDS, SEEDS, st.floats(0.05, 20))
@settings(max_examples=60)
def test_matern_of_the_root_is_positive_semi_definite(random_space, space_seed, seed, length):
    distances = assert_embedding_is_exact(random_space(space_seed), seed, 16)
    scaled = np.sqrt(5 * distances / length)
    kernel = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    assert np.linalg.eigvalsh(kernel)[0] >= -1e-9
    assert np.linalg.eigvalsh(np.exp(-distances / length))[0] >= -1e-9


@given(SEEDS, SEEDS)
@settings(max_examples=40)
def test_inactive_genes_do_not_show(random_space, space_seed, seed):
    space, generator = random_space(space_seed), np.random.default_rng(seed)
    codes = generator.integers(space.sizes, size=(6, len(space.genes)))
    features = space.embedding.features
    np.testing.assert_array_equal(features(codes), features(space.canonical_codes(codes)))


def test_shapes_and_groups(cifar10):
    embedding = cifar10.embedding
    features = embedding.features(np.repeat(cifar10.defaults[None], 3, axis=0))
    assert features.shape == (3, len(embedding.groups))
    assert features.dtype == np.float64
    assert set(embedding.groups) == set(range(len(embedding.group_names)))
    assert embedding.features(cifar10.encode([])).shape == (0, len(embedding.groups))
    assert cifar10.embedding is embedding


def test_a_network_that_stands_in_another_block_has_a_vector_of_its_own(digits):
    """24 channels are width 1 of block 2 and width 0.75 of block 3: equal networks, unequal places."""
    common = {**digits.seed, "block3.kernel": 3, "block2.kernel": 3}
    absent = {"block2.repetitions": 0, "block3.repetitions": 0}
    genotypes = [
        {**common, **absent, "block2.repetitions": 1, "block2.width": 1.0, "block2.expansion": 2},
        {**common, **absent, "block3.repetitions": 1, "block3.width": 0.75, "block3.expansion": 2},
    ]
    first, second = (digits.decode(genotype) for genotype in genotypes)
    assert first.key == second.key
    embedding = digits.embedding
    distances = squared_distances(embedding, digits.encode(genotypes), np.ones(len(embedding.group_names)))
    named = dict.fromkeys(embedding.group_names, 1.0)
    assert distances[0, 1] == pytest.approx(edit_distance(digits.stages, first, second, named))
    assert distances[0, 1] > 0


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        # rows and columns: absent, then the gene's values
        (Site("a", None, presence=((0, frozenset({1})),), share=0.3), [[0, 0.3], [0.3, 0]]),
        (
            Site("a", 1, (0.0, 0.25, 1.0), presence=((0, frozenset({1})),)),
            [[0, 0.5, 0.5, 0.5], [0.5, 0, 0.25, 1], [0.5, 0.25, 0, 0.75], [0.5, 1, 0.75, 0]],
        ),
        (
            Site("a", 1, categories=3, presence=((0, frozenset({1})),), share=0.5),
            [[0, 0.25, 0.25, 0.25], [0.25, 0, 0.5, 0.5], [0.25, 0.5, 0, 0.5], [0.25, 0.5, 0.5, 0]],
        ),
    ],
)
def test_the_distances_of_one_site_by_hand(site, expected):
    codes = np.array([[0, 0], *([1, value] for value in range(len(expected) - 1))])
    np.testing.assert_allclose(squared_distances(Embedding([site]), codes, np.ones(1)), expected, atol=1e-15)


def test_sites_of_one_edit_share_its_weight():
    embedding = Embedding([Site("a", 0, (0.0, 1.0)), Site("b", 1, (0.0, 1.0)), Site("a", 1, (0.0, 0.5), share=0.5)])
    assert embedding.group_names == ("a", "b")
    distances = squared_distances(embedding, np.array([[0, 0], [1, 1]]), np.array([2.0, 5.0]))
    assert distances[0, 1] == pytest.approx(2 * (1 + 0.5 * 0.5) + 5)
