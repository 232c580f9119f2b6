import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.space import embedding as embedding_module
from bompnas.space.distance import edit_distance
from bompnas.space.embedding import Embedding
from bompnas.space.network import Network
from bompnas.space.sampling import mutate, uniform

SEEDS = st.integers(0, 2**32 - 1)


def some_networks(space, generator, count):
    genotypes = [uniform(space, generator) for _ in range(count // 2)]
    genotypes += [mutate(space, genotype, generator) for genotype in genotypes]  # near neighbours are the hard part
    return [space.decode(genotype) for genotype in genotypes]


def squared_distances(embedding, networks, weights):
    features = embedding.features(networks) * np.sqrt(weights)[embedding.groups]
    return ((features[:, None] - features[None, :]) ** 2).sum(axis=-1)


def assert_embedding_is_exact(space, seed, count):
    generator = np.random.default_rng(seed)
    networks = some_networks(space, generator, count)
    embedding = space.embedding
    weights = generator.exponential(size=len(embedding.group_names))
    weights[generator.random(len(weights)) < 0.1] = 0.0
    named = dict(zip(embedding.group_names, weights.tolist(), strict=True))
    expected = np.array([[edit_distance(space.stages, a, b, named) for b in networks] for a in networks])
    found = squared_distances(embedding, networks, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    return networks, found


@given(SEEDS, SEEDS)
@settings(max_examples=60)
def test_squared_distances_are_edit_distances_on_random_spaces(random_space, space_seed, seed):
    assert_embedding_is_exact(random_space(space_seed), seed, 8)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits"])
def test_squared_distances_are_edit_distances_on_the_shipped_spaces(name, request):
    assert_embedding_is_exact(request.getfixturevalue(name), 0, 12)


@given(SEEDS, SEEDS, st.floats(0.05, 20))
@settings(max_examples=60)
def test_matern_of_the_root_is_positive_semi_definite(random_space, space_seed, seed, length):
    _, distances = assert_embedding_is_exact(random_space(space_seed), seed, 16)
    scaled = np.sqrt(5 * distances / length)
    kernel = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    assert np.linalg.eigvalsh(kernel)[0] >= -1e-9
    assert np.linalg.eigvalsh(np.exp(-distances / length))[0] >= -1e-9


def test_shapes_and_groups(cifar10):
    embedding = cifar10.embedding
    features = embedding.features([cifar10.decode(cifar10.seed)] * 3)
    assert features.shape == (3, len(embedding.groups))
    assert features.dtype == np.float64
    assert set(embedding.groups) == set(range(len(embedding.group_names)))
    assert embedding.features([]).shape == (0, len(embedding.groups))
    assert cifar10.embedding is embedding


def test_a_network_read_back_from_json_has_the_same_vector(cifar10):
    network = cifar10.decode(uniform(cifar10, np.random.default_rng(0)))
    fresh = Embedding(cifar10.stages)
    again = fresh.features([Network.from_json(network.to_json())])
    np.testing.assert_array_equal(again, cifar10.embedding.features([network]))


def test_remembered_vectors_stay_right_when_memory_is_full(digits, monkeypatch):
    monkeypatch.setattr(embedding_module, "REMEMBERED", 4)
    networks = some_networks(digits, np.random.default_rng(0), 20)
    small = Embedding(digits.stages)
    np.testing.assert_array_equal(small.features(networks), digits.embedding.features(networks))
    np.testing.assert_array_equal(small.features(networks[::-1])[::-1], digits.embedding.features(networks))


def test_a_network_of_another_space_is_refused(cifar10, digits):
    with pytest.raises(ValueError, match="block"):
        digits.embedding.features([cifar10.decode(cifar10.seed)])
    with pytest.raises(ValueError, match=r"stem has bits 3, the space allows \[4, 5, 6, 7, 8\]"):
        digits.embedding.features([digits.decode(digits.seed).with_bits(3)])


def test_a_network_that_stands_in_another_block_has_a_vector_of_its_own(digits):
    """24 channels are width 1 of block 2 and width 0.75 of block 3: equal networks, unequal places."""
    common = {**digits.seed, "block3.kernel": 3, "block2.kernel": 3}
    absent = {"block2.repetitions": 0, "block3.repetitions": 0}
    first = digits.decode({**common, **absent, "block2.repetitions": 1, "block2.width": 1.0, "block2.expansion": 2})
    second = digits.decode({**common, **absent, "block3.repetitions": 1, "block3.width": 0.75, "block3.expansion": 2})
    assert first.key == second.key
    weights = np.ones(len(digits.embedding.group_names))
    for order in ([first, second], [second, first]):
        embedding = Embedding(digits.stages)
        distances = squared_distances(embedding, order, weights)
        named = dict.fromkeys(embedding.group_names, 1.0)
        assert distances[0, 1] == pytest.approx(edit_distance(digits.stages, first, second, named))
        assert distances[0, 1] > 0
