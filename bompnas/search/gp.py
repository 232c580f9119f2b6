"""An exact Gaussian process on embedded networks, with hyper-parameters at their posterior mode.

| symbol  | here              | meaning                                                        | shape  |
|---------|-------------------|----------------------------------------------------------------|--------|
| X       | `features`        | weighted embeddings of the observed networks                   | (n, F) |
| y       | `targets`         | standardized observations                                      | (n,)   |
| X*      | `features`        | weighted embeddings to predict at                              | (m, F) |
| l       | `length_scale`    | length-scale, in units of sqrt(D)                              |        |
| s^2     | `signal_variance` | prior variance of the latent function                          |        |
| v       | `noise_variance`  | variance of an observation around it                           |        |
| K       | `covariance`      | s^2 m(D / l^2), Matern-5/2 (`bompnas.search.kernel`)           | (n, n) |
| L       | `factor`          | lower Cholesky factor, L L^T = K + v I                         | (n, n) |
| z       | `whitened`        | L^-1 y                                                         | (n,)   |
| V       |                   | L^-1 K(X, X*)                                                  | (n, m) |
| theta   | `HyperParameters` | l, s^2, v; fitted as logarithms                                | (3,)   |

mean = V^T z and variance = s^2 - diag(V^T V) (Rasmussen and Williams 2006, eqs. 2.25 and 2.26, whitened). A further
observation appends one row to L and one entry to z; one at its own posterior mean appends a zero to z, and so changes
no mean.
"""

import dataclasses
import math

import numpy as np
from scipy import linalg, optimize

from bompnas.search import kernel

JITTERS = (0.0, *(10.0**power for power in range(-10, -3)))
TYPICAL_DISTANCE = 1.4
"""Median of the prior of the mean pairwise D / l^2 among the observed networks."""
ITERATIONS = 100


@dataclasses.dataclass(frozen=True)
class HyperParameters:
    """What the covariance depends on besides the networks.

    Attributes:
        length_scale: In units of sqrt(D).
        signal_variance: Prior variance of the latent function, in squared units of the targets.
        noise_variance: Variance of an observation around it, in squared units of the targets.
    """

    length_scale: float
    signal_variance: float
    noise_variance: float

    @property
    def logarithms(self) -> np.ndarray:
        """The parameters as the optimizer sees them, shape (3,)."""
        return np.log(dataclasses.astuple(self))

    @classmethod
    def from_logarithms(cls, logarithms: np.ndarray) -> "HyperParameters":
        """Inverse of `logarithms`."""
        return cls(*np.exp(logarithms).tolist())


@dataclasses.dataclass(frozen=True)
class Prior:
    """Independent normal priors of the logarithms of the hyper-parameters.

    Attributes:
        mode: The most probable hyper-parameters; the fit starts there.
        deviations: Standard deviations of the logarithms, shape (3,).
    """

    mode: HyperParameters
    deviations: np.ndarray = dataclasses.field(default_factory=lambda: np.array([0.5, 0.7, 1.2]))


@dataclasses.dataclass(frozen=True)
class Posterior:
    """A Gaussian process given its observations.

    Attributes:
        hyper_parameters: Those of the covariance.
        features: Observed networks, shape (n, F).
        factor: Lower Cholesky factor of the covariance of the observations, shape (n, n).
        whitened: Targets in the factor's coordinates, shape (n,).
    """

    hyper_parameters: HyperParameters
    features: np.ndarray
    factor: np.ndarray
    whitened: np.ndarray

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the latent function, noise not included.

        Args:
            features: Networks to predict at, shape (m, F).

        Returns:
            Two arrays of shape (m,).
        """
        cross = self._whitened_covariance(features)
        variance = self.hyper_parameters.signal_variance - (cross**2).sum(axis=0)
        return cross.T @ self.whitened, np.sqrt(np.maximum(variance, 0))

    def condition(self, features: np.ndarray, targets: np.ndarray | None = None) -> "Posterior":
        """The same process with further observations: appends to the Cholesky factor, O(n^2) for a few rows.

        Args:
            features: New networks, shape (m, F).
            targets: What was observed, shape (m,); None stands for the posterior mean, which shrinks the deviation
                around networks still in training and leaves every mean as it is.
        """
        theta = self.hyper_parameters
        cross = self._whitened_covariance(features)
        schur = covariance(kernel.squared_distances(features, features), theta) - cross.T @ cross
        corner = cholesky(schur + theta.noise_variance * np.eye(len(features)))
        if targets is None:
            new = np.zeros(len(features))
        else:
            new = linalg.solve_triangular(corner, targets - cross.T @ self.whitened, lower=True)
        factor = np.block([[self.factor, np.zeros_like(cross)], [cross.T, corner]])
        return Posterior(theta, np.concatenate([self.features, features]), factor, np.concatenate([self.whitened, new]))

    def _whitened_covariance(self, features: np.ndarray) -> np.ndarray:
        squared = kernel.squared_distances(self.features, features)
        return linalg.solve_triangular(self.factor, covariance(squared, self.hyper_parameters), lower=True)


def posterior(features: np.ndarray, targets: np.ndarray, hyper_parameters: HyperParameters) -> Posterior:
    """The Gaussian process given observations, shapes (n, F) and (n,), n >= 1."""
    squared = kernel.squared_distances(features, features)
    factor = cholesky(_observed_covariance(squared, hyper_parameters))
    return Posterior(hyper_parameters, features, factor, linalg.solve_triangular(factor, targets, lower=True))


def fit(features: np.ndarray, targets: np.ndarray) -> HyperParameters:
    """Maximum a posteriori hyper-parameters: L-BFGS with the analytic gradient, from the mode of the prior.

    A pure function: the same observations give the same hyper-parameters.

    Args:
        features: Weighted embeddings, shape (n, F), n >= 2.
        targets: Standardized observations, shape (n,).
    """
    squared = kernel.squared_distances(features, features)
    prior = default_prior(squared)
    start = prior.mode.logarithms

    def loss(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = log_density(HyperParameters.from_logarithms(logarithms), squared, targets, prior)
        return -value, -gradient

    # The prior is the regularizer; the bounds, five deviations away, only keep a line search from overflowing.
    bounds = optimize.Bounds(start - 5 * prior.deviations, start + 5 * prior.deviations)
    result = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS})
    return HyperParameters.from_logarithms(result.x)


def default_prior(squared: np.ndarray) -> Prior:
    """Prior for standardized targets: the length-scale follows the observed distances, shape (n, n)."""
    pairs = squared[np.triu_indices_from(squared, k=1)]
    mean = pairs.mean() if pairs.any() else TYPICAL_DISTANCE
    return Prior(HyperParameters(math.sqrt(mean / TYPICAL_DISTANCE), 1.0, 0.05))


def log_density(
    hyper_parameters: HyperParameters, squared: np.ndarray, targets: np.ndarray, prior: Prior
) -> tuple[float, np.ndarray]:
    """Log marginal likelihood plus log prior, up to a constant of the prior (Rasmussen and Williams 2006, eq. 5.8).

    Args:
        hyper_parameters: Where to evaluate.
        squared: Squared distances of the observed networks, shape (n, n).
        targets: Observations, shape (n,).
        prior: Of the hyper-parameters.

    Returns:
        The value, and its gradient by the logarithms of the hyper-parameters, shape (3,) (eq. 5.9).
    """
    theta = hyper_parameters
    factor = cholesky(_observed_covariance(squared, theta))
    inverse = linalg.cho_solve((factor, True), np.eye(len(targets)))
    dual = inverse @ targets
    value = -0.5 * targets @ dual - np.log(factor.diagonal()).sum() - 0.5 * len(targets) * math.log(2 * math.pi)
    sensitivity = 0.5 * (np.outer(dual, dual) - inverse)  # d value / d covariance
    scaled = squared / theta.length_scale**2
    by_length_scale = theta.signal_variance * kernel.matern52_slope(scaled) * -2 * scaled
    gradient = np.array(
        [
            (sensitivity * by_length_scale).sum(),
            (sensitivity * covariance(squared, theta)).sum(),
            sensitivity.trace() * theta.noise_variance,
        ]
    )
    standard = (theta.logarithms - prior.mode.logarithms) / prior.deviations
    return value - 0.5 * standard @ standard, gradient - standard / prior.deviations


def covariance(squared: np.ndarray, hyper_parameters: HyperParameters) -> np.ndarray:
    """Covariance of the latent function at two networks, from their squared distances; keeps the shape."""
    return hyper_parameters.signal_variance * kernel.matern52(squared / hyper_parameters.length_scale**2)


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
            return linalg.cholesky(matrix + jitter * scale * np.eye(len(matrix)), lower=True)
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError(f"a matrix of shape {matrix.shape} is not positive definite, even with jitter")


def _observed_covariance(squared: np.ndarray, hyper_parameters: HyperParameters) -> np.ndarray:
    return covariance(squared, hyper_parameters) + hyper_parameters.noise_variance * np.eye(len(squared))
