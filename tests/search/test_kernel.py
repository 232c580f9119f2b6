import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process.kernels import Matern

from bompnas.search import kernel


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


def test_squared_distances_are_the_sums_over_pairs_even_far_from_the_origin():
    generator = np.random.default_rng(1)
    left, right = generator.normal(size=(6, 9)) + 1000, generator.normal(size=(4, 9)) + 1000
    pairs = ((left[:, None] - right[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(kernel.squared_distances(left, right), pairs, rtol=1e-10)


def test_weights_scale_the_squared_differences_of_their_group():
    features = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    groups, weights = np.array([0, 1, 0]), np.array([10.0, 0.5])
    squared = kernel.squared_distances(*np.split(kernel.weigh(features, groups, weights), 2))
    assert squared.item() == np.float64(10 * 1 + 0.5 * 4 + 10 * 9)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length_scale=st.floats(0.1, 10))
def test_matern_of_the_root_of_a_weighted_distance_is_positive_semi_definite(seed, length_scale):
    generator = np.random.default_rng(seed)
    features = generator.integers(0, 2, size=(40, 25)).astype(float)
    weighted = kernel.weigh(features, generator.integers(0, 6, size=25), generator.exponential(size=6))
    matrix = kernel.matern52(kernel.squared_distances(weighted, weighted) / length_scale**2)
    assert np.linalg.eigvalsh(matrix).min() >= -1e-9
