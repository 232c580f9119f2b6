import dataclasses

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

from bompnas.search import gp, kernel
from bompnas.search.kernel import Features, Parameters

GROUPS = np.array([0, 1, 1, 2, 3])
EDITS = 3
MODELS = [gp.Model(tied=tied, linear=linear) for tied in (False, True) for linear in (False, True)]
THETA = Parameters(np.array([0.4, 1.3, 0.7, 0.2]), signal=0.8, linear=np.array([0.3, 0.6]), noise=0.03)

SINGLE = 2e-6
"""Predictions come from covariances in single precision."""

SCALES = [part.item(0) for part in Features(np.ones((1, 5)), GROUPS, EDITS).parts]


def make_features(generator, count):
    return Features(generator.normal(size=(count, 5)), GROUPS, EDITS)


def make_data(seed=0, count=30):
    generator = np.random.default_rng(seed)
    features = make_features(generator, count)
    rows = features.rows
    targets = np.sin(rows[:, 0]) + 0.5 * rows[:, 1] + 0.1 * generator.normal(size=count)
    return features, (targets - targets.mean()) / targets.std()


def some_extra(count, seed=0):
    return 0.5 * (np.random.default_rng(seed).random(count) < 0.2)


def posterior(features, targets, extra, parameters=THETA):
    factor = gp.factorize(features, extra, parameters)
    return gp.Posterior(factor, factor.whiten(targets))


def test_prediction_agrees_with_scikit_learn():
    """Equal weights and no linear part: a kernel that scikit-learn has."""
    features, targets = make_data()
    extra, queries = some_extra(30), make_features(np.random.default_rng(1), 50)
    parameters = Parameters(np.full(4, 1 / 1.3**2), 0.8, np.zeros(2), 0.03)
    regressor = GaussianProcessRegressor(ConstantKernel(0.8) * Matern(1.3, nu=2.5), alpha=0.03 + extra, optimizer=None)
    expected = regressor.fit(features.rows, targets).predict(queries.rows, return_std=True)
    found = posterior(features, targets, extra, parameters).predict(queries)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=SINGLE)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=SINGLE)


class Ours(Matern):
    """Our covariance as a kernel of scikit-learn, from its own Matern and dot products."""

    def __call__(self, X, Y=None, eval_gradient=False):  # noqa: N803
        Y = X if Y is None else Y  # noqa: N806
        root = np.sqrt(THETA.weights)[GROUPS]
        edits, summaries = DotProduct(0.0), DotProduct(0.0)
        return (
            THETA.signal * Matern(1.0, nu=2.5)(X * root, Y * root)
            + THETA.linear[0] * SCALES[0] ** 2 * edits(X[:, :EDITS], Y[:, :EDITS])
            + THETA.linear[1] * SCALES[1] ** 2 * summaries(X[:, EDITS:], Y[:, EDITS:])
        )

    def diag(self, X):  # noqa: N803
        return np.diag(self(X)).copy()


def test_prediction_with_weights_and_linear_parts_agrees_with_scikit_learn():
    features, targets = make_data()
    extra, queries = some_extra(30), make_features(np.random.default_rng(1), 50)
    regressor = GaussianProcessRegressor(Ours(nu=2.5), alpha=THETA.noise + extra, optimizer=None)
    expected = regressor.fit(features.rows, targets).predict(queries.rows, return_std=True)
    found = posterior(features, targets, extra).predict(queries)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=SINGLE)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=SINGLE)
    assert found[1].max() > 1.5 * found[1].min()


@pytest.mark.parametrize("extra", [np.zeros(30), some_extra(30)], ids=["plain", "extra"])
def test_log_density_without_prior_is_scikit_learns_marginal_likelihood(extra):
    features, targets = make_data()
    prior = gp.Prior(features, gp.Model(linear=True))
    prior.mode = prior.logarithms(THETA)  # at the mode the prior adds nothing
    value, _ = gp.log_density(prior.mode, features, targets, extra, prior)
    regressor = GaussianProcessRegressor(Ours(nu=2.5), alpha=THETA.noise + extra, optimizer=None)
    assert value == pytest.approx(regressor.fit(features.rows, targets).log_marginal_likelihood_value_, rel=1e-10)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_gradient_agrees_with_finite_differences(model):
    features, targets = make_data()
    extra = some_extra(30)
    prior = gp.Prior(features, model)

    def density(logarithms):
        return gp.log_density(logarithms, features, targets, extra, prior)

    for seed in range(4):
        generator = np.random.default_rng(seed)
        point = prior.mode + generator.normal(scale=0.7, size=len(prior.mode))
        gradient, step = density(point)[1], 1e-5
        moves = step * np.eye(len(point))
        numeric = np.array([(density(point + move)[0] - density(point - move)[0]) / (2 * step) for move in moves])
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_logarithms_and_parameters_are_inverse(model):
    prior = gp.Prior(make_data()[0], model)
    point = prior.mode + np.random.default_rng(0).normal(size=len(prior.mode))
    np.testing.assert_allclose(prior.logarithms(prior.parameters(point)), point, rtol=1e-12)
    assert prior.parameters(point).weights.shape == (4,)
    assert model.tied == (len(set(prior.parameters(point).weights.tolist())) == 1)
    assert model.linear == bool(prior.parameters(point).linear.any())


def test_the_prior_follows_the_scale_of_the_features():
    """Multiplied features change no prior distance, and so no prediction."""
    features, targets = make_data()
    larger = features.with_rows(10 * features.rows)
    ours, theirs = (gp.Prior(one, gp.Model(linear=False)) for one in (features, larger))
    np.testing.assert_allclose(theirs.mode[:4], ours.mode[:4] - np.log(100))
    found = [
        gp.log_density(prior.mode, one, targets, np.zeros(30), prior)[0]
        for one, prior in ((features, ours), (larger, theirs))
    ]
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_fit_beats_its_start_and_a_warm_one_stays(model):
    features, targets = make_data()
    prior = gp.Prior(features, model)

    def density(parameters):
        return gp.log_density(prior.logarithms(parameters), features, targets, np.zeros(30), prior)

    cold = gp.fit(features, targets, np.zeros(30), model)
    value, gradient = density(cold)
    assert value > density(prior.parameters(prior.mode))[0] + 1
    assert np.abs(gradient).max() < 0.5
    warm = density(gp.fit(features, targets, np.zeros(30), model, start=cold))[0]
    assert value - 1e-9 <= warm < value + 0.5


def test_fit_finds_the_groups_that_matter():
    generator = np.random.default_rng(0)
    features = make_features(generator, 150)
    targets = np.sin(2 * features.rows[:, 0]) + 0.02 * generator.normal(size=150)
    weights = gp.fit(features, (targets - targets.mean()) / targets.std(), np.zeros(150), gp.Model()).weights
    assert weights[0] > 10 * weights[1:].max()


def test_fit_finds_the_noise():
    features, _ = make_data(count=120)
    smooth = np.sin(features.rows[:, 0])
    noise = np.random.default_rng(2).normal(size=120)
    quiet, loud = (gp.fit(features, smooth + scale * noise, np.zeros(120), gp.Model()).noise for scale in (0.05, 0.7))
    assert quiet < 0.02
    assert 0.25 < loud < 0.75


def test_fit_is_pure():
    features, targets = make_data()
    first = gp.fit(features, targets, some_extra(30), gp.Model())
    again = gp.fit(features.with_rows(features.rows.copy()), targets.copy(), some_extra(30), gp.Model())
    np.testing.assert_array_equal(first.weights, again.weights)
    np.testing.assert_array_equal(first.linear, again.linear)
    assert (first.signal, first.noise) == (again.signal, again.noise)


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("targets", [np.array([-1.0, 1.0, -1.0, 1.0]), np.zeros(4)], ids=["contradictory", "equal"])
def test_fit_takes_identical_networks_and_equal_observations(model, targets):
    features = Features(np.ones((4, 5)), GROUPS, EDITS)
    parameters = gp.fit(features, targets, np.zeros(4), model)
    found = np.concatenate([parameters.weights, parameters.linear, [parameters.signal, parameters.noise]])
    assert np.isfinite(found).all()
    mean, deviation = posterior(features, targets, np.zeros(4), parameters).predict(features)
    np.testing.assert_allclose(mean, 0, atol=1e-6)
    assert np.isfinite(deviation).all()


@pytest.mark.parametrize("rows", [1, 5])
def test_append_equals_the_factor_from_scratch(rows):
    features, targets = make_data()
    extra = some_extra(30)
    grown = gp.factorize(features[:-rows], extra[:-rows], THETA).append(features[-rows:], extra[-rows:])
    whole = gp.factorize(features, extra, THETA)
    np.testing.assert_allclose(grown.lower, whole.lower, atol=1e-10)
    np.testing.assert_allclose(grown.whiten(targets), whole.whiten(targets), atol=1e-10)
    np.testing.assert_array_equal(grown.features.rows, features.rows)


def test_appending_all_one_by_one_equals_the_factor_from_scratch():
    features, _ = make_data()
    extra = some_extra(30)
    factor = gp.factorize(features[:1], extra[:1], THETA)
    for place in range(1, 30):
        factor = factor.append(features[place : place + 1], extra[place : place + 1])
    np.testing.assert_allclose(factor.lower, gp.factorize(features, extra, THETA).lower, atol=1e-10)


def test_believing_keeps_the_mean_and_shrinks_the_deviation():
    features, targets = make_data()
    generator = np.random.default_rng(3)
    pending, queries = make_features(generator, 6), make_features(generator, 6)
    before = posterior(features, targets, np.zeros(30))
    after = before.believing(pending)
    np.testing.assert_allclose(after.predict(queries)[0], before.predict(queries)[0], atol=1e-12)
    assert (after.predict(queries)[1] <= before.predict(queries)[1] + 1e-12).all()
    assert (after.predict(pending)[1] < 0.9 * before.predict(pending)[1]).all()


def test_believing_is_observing_the_mean():
    features, targets = make_data()
    generator = np.random.default_rng(3)
    pending, queries = make_features(generator, 6), make_features(generator, 6)
    before = posterior(features, targets, np.zeros(30))
    rows = np.concatenate([features.rows, pending.rows])
    told = posterior(features.with_rows(rows), np.concatenate([targets, before.predict(pending)[0]]), np.zeros(36))
    np.testing.assert_allclose(before.believing(pending).predict(queries), told.predict(queries), atol=1e-10)


def test_extra_noise_makes_an_observation_count_less():
    features, targets = make_data()
    targets[0] += 3
    plain = posterior(features, targets, np.zeros(30)).predict(features[:1])
    doubted = posterior(features, targets, np.array([5.0] + [0.0] * 29)).predict(features[:1])
    assert doubted[0] < plain[0] - 0.5
    assert doubted[1] > plain[1]


def test_duplicates_without_noise_need_jitter_and_keep_every_row():
    features, targets = make_data(count=10)
    theta = dataclasses.replace(THETA, weights=np.ones(4), noise=0.0)
    rows = np.concatenate([features.rows, features.rows])
    twice = posterior(features.with_rows(rows), np.concatenate([targets, targets]), np.zeros(20), theta)
    assert len(twice.factor.features) == 20
    np.testing.assert_allclose(twice.predict(features)[0], targets, atol=1e-3)
    assert np.isfinite(twice.predict(features)[1]).all()


def test_cholesky_refuses_what_is_no_covariance():
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        gp.cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))


def test_cholesky_of_a_good_matrix_has_no_jitter():
    features, _ = make_data()
    placed = kernel.place(features, THETA)
    total = kernel.covariance(placed, placed) + np.eye(30)
    lower = gp.cholesky(total)
    np.testing.assert_allclose(lower @ lower.T, total, rtol=1e-13, atol=1e-13)
