"""An exact Gaussian process on vectors of genotypes, with parameters at their posterior mode.

| symbol  | here              | meaning                                                        | shape  |
|---------|-------------------|----------------------------------------------------------------|--------|
| X       | `features`        | vectors of the observed genotypes                              | (n, F) |
| y       | `targets`         | standardized observations                                      | (n,)   |
| X*      | `features`        | vectors to predict at                                          | (m, F) |
| v       | `noise`           | variance of an observation around the latent function          |        |
| e       | `extra`           | further variance of single observations                        | (n,)   |
| K       | `covariance`      | `bompnas.search.kernel`                                        | (n, n) |
| L       | `factor`          | lower Cholesky factor, L L^T = K + v I + diag(e)               | (n, n) |
| z       | `whitened`        | L^-1 y                                                         | (n,)   |
| V       |                   | L^-1 K(X, X*)                                                  | (n, m) |

mean = V^T z and variance = k(x*, x*) - diag(V^T V) (Rasmussen and Williams 2006, eqs. 2.25 and 2.26, whitened). A
further observation appends one row to L and one entry to z; one at its own posterior mean appends a zero to z, and so
changes no mean.
"""

import dataclasses
import functools
import math

import numpy as np
from scipy import linalg, optimize

from bompnas.search import kernel
from bompnas.search.kernel import Features, Parameters

JITTERS = (0.0, *(10.0**power for power in range(-10, -3)))
EDIT_DISTANCE, SUMMARY_DISTANCE = 0.7, 0.7
"""Modes of the prior of the mean pairwise D among the observed genotypes, by edits and by summaries."""
COLD_ITERATIONS, WARM_ITERATIONS = 40, 10


@dataclasses.dataclass(frozen=True)
class Model:
    """Which parameters are learned.

    Attributes:
        tied: Whether all groups share one weight.
        linear: Whether the covariance has linear parts.
    """

    tied: bool = False
    linear: bool = True


@dataclasses.dataclass(frozen=True)
class Factor:
    """The observed genotypes of a Gaussian process, in the form that predictions need.

    Attributes:
        parameters: Those of the covariance.
        features: Observed genotypes, n.
        lower: Lower Cholesky factor of the covariance of the observations, shape (n, n).
    """

    parameters: Parameters
    features: Features
    lower: np.ndarray

    @functools.cached_property
    def _single(self) -> kernel.Placed:
        return kernel.place(self.features, self.parameters, np.float32)

    def append(self, features: Features, extra: np.ndarray) -> "Factor":
        """Further observed genotypes, m of them with extra noise of shape (m,): O(n^2) for a few."""
        placed = kernel.place(features, self.parameters)
        cross = self._whitened(kernel.covariance(kernel.place(self.features, self.parameters), placed))
        schur = kernel.covariance(placed, placed) - cross.T @ cross
        corner = cholesky(schur + np.diag(self.parameters.noise + extra))
        n, m = len(self.features), len(features)
        lower = np.zeros((n + m, n + m))
        lower[:n, :n], lower[n:, :n], lower[n:, n:] = self.lower, cross.T, corner
        rows = np.concatenate([self.features.rows, features.rows])
        return Factor(self.parameters, self.features.with_rows(rows), lower)

    def whiten(self, targets: np.ndarray) -> np.ndarray:
        """z, shape (n,)."""
        return linalg.solve_triangular(self.lower, targets, lower=True, check_finite=False)

    def whitened_covariance(self, features: Features) -> np.ndarray:
        """V, shape (n, m), from covariances in single precision: their products are most of a proposal's time."""
        placed = kernel.place(features, self.parameters, np.float32)
        return self._whitened(kernel.covariance(self._single, placed).astype(float))

    def _whitened(self, cross: np.ndarray) -> np.ndarray:
        return linalg.solve_triangular(self.lower, cross, lower=True, check_finite=False, overwrite_b=True)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A Gaussian process given its observations.

    Attributes:
        factor: The observed genotypes.
        whitened: Targets in the factor's coordinates, shape (n,).
    """

    factor: Factor
    whitened: np.ndarray

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the latent function at m genotypes, noise not included; two of shape (m,)."""
        cross = self.factor.whitened_covariance(features)
        variance = kernel.variance(features, self.factor.parameters) - np.einsum("nm,nm->m", cross, cross)
        return cross.T @ self.whitened, np.sqrt(np.maximum(variance, 0))

    def believing(self, features: Features) -> "Posterior":
        """The process after m genotypes were observed at their posterior mean.

        It stands for genotypes in training: the deviation around them shrinks, and every mean stays as it is.
        """
        factor = self.factor.append(features, np.zeros(len(features)))
        return Posterior(factor, np.concatenate([self.whitened, np.zeros(len(features))]))


def factorize(features: Features, extra: np.ndarray, parameters: Parameters) -> Factor:
    """The factor of n observed genotypes with extra noise of shape (n,)."""
    placed = kernel.place(features, parameters)
    total = kernel.covariance(placed, placed) + np.diag(parameters.noise + extra)
    return Factor(parameters, features, cholesky(total))


def fit(
    features: Features, targets: np.ndarray, extra: np.ndarray, model: Model, start: Parameters | None = None
) -> Parameters:
    """Maximum a posteriori parameters: L-BFGS with the analytic gradient.

    A pure function: the same observations give the same parameters.

    Args:
        features: Observed genotypes, n >= 2.
        targets: Standardized observations, shape (n,).
        extra: Extra noise of single observations, shape (n,).
        model: Which parameters are learned.
        start: Parameters of an earlier fit, from which a few steps suffice; the mode of the prior if None.
    """
    prior = Prior(features, model)
    initial = prior.mode if start is None else np.clip(prior.logarithms(start), prior.low, prior.high)

    def loss(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = log_density(logarithms, features, targets, extra, prior)
        return -value, -gradient

    iterations = COLD_ITERATIONS if start is None else WARM_ITERATIONS
    result = optimize.minimize(
        loss,
        initial,
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(prior.low, prior.high),
        options={"maxiter": iterations},
    )
    return prior.parameters(result.x)


class Prior:
    """Independent normal priors of the logarithms of the parameters, for standardized targets.

    The vector of logarithms holds the weights (one if tied), signal, noise and, if the model has them, the two linear
    variances. The weights' mode follows the observed distances, so that the mean pairwise D has a typical value.

    Attributes:
        model: Which parameters are learned.
        mode: The most probable logarithms, shape (P,).
        deviations: Standard deviations of the logarithms, shape (P,).
        low: Lower bounds, five deviations away; they only keep a line search from overflowing.
        high: Upper bounds.
    """

    def __init__(self, features: Features, model: Model):
        self.model = model
        self._groups = int(features.groups.max(initial=-1)) + 1
        spreads = 2 * features.rows.var(axis=0)  # the mean of all squared distances, by feature
        edits = _weight(EDIT_DISTANCE, spreads[: features.edits].sum())
        summaries = _weight(SUMMARY_DISTANCE, spreads[features.edits :].sum())
        is_edit = np.arange(self._groups) < int(features.groups[: features.edits].max(initial=-1)) + 1
        modes = [edits] if model.tied else np.where(is_edit, edits, summaries).tolist()
        tail = [(0.0, 0.7), (math.log(0.05), 1.2)] + [(0.0, 1.0)] * (2 if model.linear else 0)
        self.mode = np.array(modes + [mode for mode, _ in tail])
        self.deviations = np.array([1.0] * len(modes) + [deviation for _, deviation in tail])
        self.low, self.high = self.mode - 5 * self.deviations, self.mode + 5 * self.deviations

    def parameters(self, logarithms: np.ndarray) -> Parameters:
        """The parameters that logarithms stand for."""
        values = np.exp(logarithms)
        count = 1 if self.model.tied else self._groups
        weights = np.repeat(values[:count], self._groups) if self.model.tied else values[:count]
        linear = values[count + 2 :] if self.model.linear else np.zeros(2)
        return Parameters(weights, values[count].item(), linear, values[count + 1].item())

    def logarithms(self, parameters: Parameters) -> np.ndarray:
        """Inverse of `parameters`."""
        weights = parameters.weights[:1] if self.model.tied else parameters.weights
        linear = parameters.linear if self.model.linear else []
        return np.log(np.concatenate([weights, [parameters.signal, parameters.noise], linear]))

    def gradient(self, weights: np.ndarray, signal: float, noise: float, linear: np.ndarray) -> np.ndarray:
        """A gradient by the logarithms from its parts by all weights, signal, noise and linear variances."""
        return np.concatenate(
            [[weights.sum()] if self.model.tied else weights, [signal, noise], linear if self.model.linear else []]
        )


def _weight(distance: float, spread: float) -> float:
    """Logarithm of the weight that gives distances of a mean."""
    return math.log(distance / spread) if spread > 0 else 0.0


def log_density(
    logarithms: np.ndarray, features: Features, targets: np.ndarray, extra: np.ndarray, prior: Prior
) -> tuple[float, np.ndarray]:
    """Log marginal likelihood plus log prior, up to a constant of the prior (Rasmussen and Williams 2006, eq. 5.8).

    The gradient by the weights of all groups costs one matrix product: with W the symmetric matrix of dvalue/dD,
    sum_ij W_ij (x_if - x_jf)^2 = 2 (sum_i r_i x_if^2 - sum_i x_if (W X)_if) for every feature f, r = W 1.

    Args:
        logarithms: Where to evaluate, shape (P,).
        features: Observed genotypes, n.
        targets: Observations, shape (n,).
        extra: Extra noise of single observations, shape (n,).
        prior: Of the parameters.

    Returns:
        The value, and its gradient by the logarithms, shape (P,) (eq. 5.9).
    """
    parameters = prior.parameters(logarithms)
    root = np.sqrt(parameters.weights)[features.groups]
    weighted = features.rows * root
    squared = kernel.squared_distances(weighted, weighted)
    correlation = kernel.matern52(squared)
    grams = features.grams if prior.model.linear else ()
    total = parameters.signal * correlation + sum(a * k for a, k in zip(parameters.linear, grams, strict=False))
    factor = cholesky(total + np.diag(parameters.noise + extra))
    inverse = _inverse(factor)
    dual = inverse @ targets
    value = -0.5 * targets @ dual - np.log(factor.diagonal()).sum() - 0.5 * len(targets) * math.log(2 * math.pi)
    sensitivity = 0.5 * (np.outer(dual, dual) - inverse)  # d value / d covariance
    slope = sensitivity * kernel.matern52_slope(squared) * parameters.signal
    rows = features.rows
    by_feature = 2 * (slope.sum(axis=1) @ rows**2 - np.einsum("nf,nf->f", rows, slope @ rows))
    by_weight = np.bincount(features.groups, by_feature, minlength=len(parameters.weights)) * parameters.weights
    gradient = prior.gradient(
        by_weight,
        (sensitivity * correlation).sum() * parameters.signal,
        sensitivity.trace() * parameters.noise,
        np.array([np.vdot(sensitivity, k) * a for a, k in zip(parameters.linear, grams, strict=False)]),
    )
    standard = (logarithms - prior.mode) / prior.deviations
    return value - 0.5 * standard @ standard, gradient - standard / prior.deviations


def _inverse(factor: np.ndarray) -> np.ndarray:
    """The inverse of a matrix from its lower Cholesky factor."""
    half, _ = linalg.lapack.dpotri(factor, lower=True)
    return np.tril(half) + np.tril(half, -1).T


def cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor, with the least jitter that makes the matrix numerically positive definite.

    Args:
        matrix: Symmetric, shape (n, n).

    Raises:
        numpy.linalg.LinAlgError: Even a jitter of 1e-4 of the mean diagonal does not suffice: it is no covariance.
    """
    scale = matrix.diagonal().mean()
    for jitter in JITTERS:
        try:
            return linalg.cholesky(matrix + jitter * scale * np.eye(len(matrix)), lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError(f"a matrix of shape {matrix.shape} is not positive definite, even with jitter")
