import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process.kernels import Matern

from bompnas.search import kernel
from bompnas.search.kernel import Features, Parameters
from bompnas.space.distance import edit_distance
from bompnas.space.sampling import mutate, uniform

SEEDS = st.integers(0, 2**32 - 1)


def covariance(left, right, parameters):
    return kernel.covariance(kernel.place(left, parameters), kernel.place(right, parameters))


def test_matern52_is_scikit_learns():
    left, right = np.random.default_rng(0).normal(size=(2, 20, 7))
    ours = kernel.matern52(kernel.squared_distances(left, right) / 1.7**2)
    np.testing.assert_allclose(ours, Matern(length_scale=1.7, nu=2.5)(left, right), rtol=1e-12)


def test_matern52_slope_is_the_derivative_by_the_squared_distance():
    squared = np.geomspace(1e-3, 30, 50)
    step = 1e-6 * squared
    numeric = (kernel.matern52(squared + step) - kernel.matern52(squared - step)) / (2 * step)
    np.testing.assert_allclose(kernel.matern52_slope(squared), numeric, rtol=1e-6)


def test_matern52_slope_is_finite_at_zero():
    assert kernel.matern52(np.zeros(1)) == 1
    assert kernel.matern52_slope(np.zeros(1)) == -5 / 6


def test_squared_distances_are_the_sums_over_pairs():
    generator = np.random.default_rng(1)
    left, right = generator.normal(size=(6, 9)) + 3, generator.normal(size=(4, 9)) + 3
    pairs = ((left[:, None] - right[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(kernel.squared_distances(left, right), pairs, rtol=1e-10)


def test_squared_distances_are_never_negative():
    rows = np.random.default_rng(2).normal(size=(50, 30)) * 1e3
    assert kernel.squared_distances(rows, rows).min() >= 0


def random_features(generator, count=12):
    rows = generator.normal(size=(count, 7))
    return Features(rows, np.array([0, 1, 0, 2, 2, 3, 4]), edits=5)


def random_parameters(generator, groups=5):
    return Parameters(generator.exponential(size=groups), 1.3, generator.exponential(size=2), 0.1)


def test_covariance_by_its_definition():
    generator = np.random.default_rng(3)
    left, right, parameters = random_features(generator, 4), random_features(generator, 3), random_parameters(generator)
    found = covariance(left, right, parameters)
    assert found.shape == (4, 3)
    for i, x in enumerate(left.rows):
        for j, y in enumerate(right.rows):
            squared = sum(parameters.weights[g] * (x[f] - y[f]) ** 2 for f, g in enumerate(left.groups))
            root = np.sqrt(5 * squared)
            expected = 1.3 * (1 + root + root**2 / 3) * np.exp(-root)
            for variance, here, there in zip(parameters.linear, left.parts, right.parts, strict=True):
                expected += variance * (here[i] @ there[j])
            assert found[i, j] == pytest.approx(expected, rel=1e-12)


def test_parts_are_the_edits_and_the_summaries_each_on_a_scale_of_its_own():
    features = random_features(np.random.default_rng(3))
    edits, summaries = features.parts
    for part, rows in ((edits, features.rows[:, :5]), (summaries, features.rows[:, 5:])):
        np.testing.assert_allclose(part / rows, np.full(rows.shape, part[0, 0] / rows[0, 0]))


def test_variance_is_the_diagonal_of_the_covariance():
    generator = np.random.default_rng(4)
    features, parameters = random_features(generator), random_parameters(generator)
    diagonal = covariance(features, features, parameters).diagonal()
    np.testing.assert_allclose(kernel.variance(features, parameters), diagonal, rtol=1e-9)


def test_without_linear_parts_and_without_summaries():
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(6, 3))
    features = Features(rows, np.array([0, 1, 1]), edits=3)
    parameters = Parameters(np.array([1.0, 2.0]), 0.7, np.zeros(2), 0.1)
    root = np.sqrt([1.0, 2.0, 2.0])
    expected = 0.7 * kernel.matern52(kernel.squared_distances(rows * root, rows * root))
    np.testing.assert_allclose(covariance(features, features, parameters), expected, rtol=1e-12)
    np.testing.assert_array_equal(kernel.variance(features, parameters), np.full(6, 0.7))


def test_weights_scale_the_squared_differences_of_their_group():
    features = Features(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]), np.array([0, 1, 0]), edits=3)
    parameters = Parameters(np.array([10.0, 0.5]), 1.0, np.zeros(2), 0.1)
    found = covariance(features[:1], features[1:], parameters).item()
    assert found == pytest.approx(kernel.matern52(np.array(10 * 1 + 0.5 * 4 + 10 * 9)).item(), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.01, 100))
def test_a_covariance_of_random_weights_is_positive_semi_definite(seed, scale):
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 2, size=(40, 25)).astype(float)
    features = Features(rows, generator.integers(0, 6, size=25), edits=20)
    weights = scale * generator.exponential(size=6) * (generator.random(6) < 0.8)
    matrix = covariance(features, features, Parameters(weights, 1.0, generator.exponential(size=2), 0.0))
    assert np.linalg.eigvalsh(matrix).min() >= -1e-9


@settings(max_examples=40, deadline=None)
@given(SEEDS, SEEDS, st.floats(0.05, 20))
def test_the_kernel_of_random_spaces_is_that_of_edit_distances(random_space, space_seed, seed, scale):
    space, generator = random_space(space_seed), np.random.default_rng(seed)
    codes = uniform(space, generator, 6)
    codes = np.concatenate([codes, mutate(space, codes, generator)])
    embedding = space.embedding
    weights = scale * generator.exponential(size=len(embedding.group_names))
    features = Features(embedding.features(codes), embedding.groups, len(embedding.groups))
    matrix = covariance(features, features, Parameters(weights, 1.0, np.zeros(2), 0.0))
    assert np.linalg.eigvalsh(matrix).min() >= -1e-9
    named = dict(zip(embedding.group_names, weights.tolist(), strict=True))
    networks = [space.decode(genotype) for genotype in space.genotypes(codes)]
    distances = np.array([[edit_distance(space.stages, a, b, named) for b in networks] for a in networks])
    np.testing.assert_allclose(matrix, kernel.matern52(distances), atol=1e-10)
