import numpy as np
import pytest
from scipy import optimize
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from bompnas.search import gp, kernel

THETA = gp.HyperParameters(length_scale=1.3, signal_variance=0.8, noise_variance=0.03)


def make_data(seed=0, count=30):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 4))
    targets = np.sin(features[:, 0]) + 0.5 * features[:, 1] + 0.1 * generator.normal(size=count)
    return features, (targets - targets.mean()) / targets.std()


def test_prediction_agrees_with_scikit_learn():
    features, targets = make_data()
    queries = np.random.default_rng(1).normal(size=(50, 4))
    oracle = GaussianProcessRegressor(ConstantKernel(0.8) * Matern(1.3, nu=2.5), alpha=0.03, optimizer=None)
    expected_mean, expected_deviation = oracle.fit(features, targets).predict(queries, return_std=True)
    mean, deviation = gp.posterior(features, targets, THETA).predict(queries)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(deviation, expected_deviation, rtol=1e-8)


def test_log_density_without_prior_is_scikit_learns_marginal_likelihood():
    features, targets = make_data()
    squared = kernel.squared_distances(features, features)
    value, _ = gp.log_density(THETA, squared, targets, gp.Prior(THETA))  # at the mode the prior adds nothing
    oracle = GaussianProcessRegressor(ConstantKernel(0.8) * Matern(1.3, nu=2.5), alpha=0.03, optimizer=None)
    assert value == pytest.approx(oracle.fit(features, targets).log_marginal_likelihood_value_, rel=1e-12)


def test_gradient_agrees_with_finite_differences():
    features, targets = make_data()
    squared = kernel.squared_distances(features, features)
    prior = gp.default_prior(squared)

    def density(logarithms):
        return gp.log_density(gp.HyperParameters.from_logarithms(logarithms), squared, targets, prior)

    for seed in range(5):
        point = np.random.default_rng(seed).normal(scale=0.7, size=3)
        numeric = optimize.approx_fprime(point, lambda x: density(x)[0], 1e-6)
        np.testing.assert_allclose(density(point)[1], numeric, rtol=1e-4, atol=1e-4)


def test_fit_is_a_stationary_point_and_beats_its_start():
    features, targets = make_data()
    squared = kernel.squared_distances(features, features)
    prior = gp.default_prior(squared)
    value, gradient = gp.log_density(gp.fit(features, targets), squared, targets, prior)
    assert np.abs(gradient).max() < 0.01
    assert value > gp.log_density(prior.mode, squared, targets, prior)[0] + 1


def test_fit_finds_the_noise():
    features, _ = make_data(count=120)
    smooth = np.sin(features[:, 0])
    noise = np.random.default_rng(2).normal(size=120)
    quiet, loud = (gp.fit(features, smooth + scale * noise).noise_variance for scale in (0.05, 0.7))
    assert quiet < 0.02
    assert 0.25 < loud < 0.75


def test_fit_is_pure():
    features, targets = make_data()
    assert gp.fit(features, targets) == gp.fit(features.copy(), targets.copy())


def test_fit_takes_identical_networks():
    hyper_parameters = gp.fit(np.ones((4, 3)), np.array([-1.0, 1.0, -1.0, 1.0]))
    assert np.isfinite(hyper_parameters.logarithms).all()


@pytest.mark.parametrize("rows", [1, 5])
def test_condition_equals_the_posterior_from_scratch(rows):
    features, targets = make_data()
    grown = gp.posterior(features[:-rows], targets[:-rows], THETA).condition(features[-rows:], targets[-rows:])
    whole = gp.posterior(features, targets, THETA)
    np.testing.assert_allclose(grown.factor, whole.factor, atol=1e-12)
    np.testing.assert_allclose(grown.whitened, whole.whitened, atol=1e-11)


def test_condition_on_pending_networks_keeps_the_mean_and_shrinks_the_deviation():
    features, targets = make_data()
    pending, queries = np.random.default_rng(3).normal(size=(2, 6, 4))
    before = gp.posterior(features, targets, THETA)
    after = before.condition(pending)
    believed = before.condition(pending, before.predict(pending)[0])
    np.testing.assert_allclose(after.predict(queries), believed.predict(queries), atol=1e-12)
    np.testing.assert_allclose(after.predict(queries)[0], before.predict(queries)[0], atol=1e-12)
    assert (after.predict(queries)[1] <= before.predict(queries)[1]).all()
    assert (after.predict(pending)[1] < 0.9 * before.predict(pending)[1]).all()


def test_duplicates_without_noise_need_jitter_and_keep_every_row():
    features, targets = make_data(count=10)
    theta = gp.HyperParameters(1.0, 1.0, 0.0)
    twice = gp.posterior(np.concatenate([features, features]), np.concatenate([targets, targets]), theta)
    assert len(twice.features) == 20
    np.testing.assert_allclose(twice.predict(features)[0], targets, atol=1e-3)


def test_cholesky_refuses_what_is_no_covariance():
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        gp.cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))
