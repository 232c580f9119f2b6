"""The covariance of two genotypes: Matern-5/2 of the root of their edit distance, and a linear part.

| symbol     | here              | meaning                                                                    |
|------------|-------------------|----------------------------------------------------------------------------|
| x          | `features`        | vector of a genotype, shape (F,); `bompnas.search.encoding`                |
| g(f)       | `groups`          | edit type and stage, or summary, that feature f belongs to, shape (F,)     |
| w_g        | `weights`         | positive weight of group g, shape (G,)                                     |
| D(x, y)    | `squared`         | edit distance, sum_f w_g(f) (x_f - y_f)^2                                  |
| m(D)       | `matern52`        | (1 + sqrt(5 D) + 5/3 D) exp(-sqrt(5 D))                                    |
| s^2        | `signal`          | variance of the Matern part                                                |
| a_e, a_s   | `linear`          | variances of the linear parts on edits and on summaries, shape (2,)        |
| k(x, y)    | `covariance`      | s^2 m(D) + a_e <x, y>_edits / c_e + a_s <x, y>_summaries / c_s             |
| c_e, c_s   | `lengths`         | mean squared lengths of both parts in the space, shape (2,)                |

D is a squared Euclidean distance, so m is positive definite for all non-negative weights (Schoenberg). The Matern
function of D itself, the literal reading of "a Matern kernel of the edit distance", is not.
"""

import dataclasses
import functools
import math

import numpy as np

ROOT5 = math.sqrt(5)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What the covariance and the noise depend on.

    Attributes:
        weights: Weight of each group of features, shape (G,).
        signal: Variance of the Matern part.
        linear: Variances of the linear parts on edits and on summaries, shape (2,); zeros for none.
        noise: Variance of an observation around the latent function.
    """

    weights: np.ndarray
    signal: float
    linear: np.ndarray
    noise: float


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Vectors of n genotypes.

    Attributes:
        rows: Shape (n, F).
        groups: Group of each feature, shape (F,).
        edits: How many of the features are edits.
        lengths: Mean squared lengths of edits and of summaries in the space.
    """

    rows: np.ndarray
    groups: np.ndarray
    edits: int
    lengths: tuple[float, float] = (1.0, 1.0)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | np.ndarray) -> "Features":
        return Features(self.rows[places], self.groups, self.edits, self.lengths)

    @functools.cached_property
    def grams(self) -> tuple[np.ndarray, np.ndarray]:
        """Inner products of all pairs by edits and by summaries, scaled as `parts`; two of shape (n, n)."""
        edits, summaries = self.parts
        return edits @ edits.T, summaries @ summaries.T

    def with_rows(self, rows: np.ndarray) -> "Features":
        """Other genotypes of the same encoding."""
        return Features(rows, self.groups, self.edits, self.lengths)

    @functools.cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Edits and summaries, each scaled to a mean squared length of 1 in the space."""
        halves = self.rows[:, : self.edits], self.rows[:, self.edits :]
        return tuple(half / math.sqrt(length or 1.0) for half, length in zip(halves, self.lengths, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """Vectors of n genotypes in whose coordinates a covariance is plain algebra.

    Attributes:
        signal: Variance of the Matern part.
        edits: Their squared distances are D, shape (n, F).
        norms: Squared lengths of `edits`, shape (n,).
        linear: Their inner products are the linear part, shape (n, F); None where there is none.
    """

    signal: float
    edits: np.ndarray
    norms: np.ndarray
    linear: np.ndarray | None


def place(features: Features, parameters: Parameters, dtype: type[np.floating] = np.float64) -> Placed:
    """Vectors under the parameters of a covariance, in a precision."""
    rows = features.rows.astype(dtype, copy=False)
    weighted = rows * np.sqrt(parameters.weights).astype(dtype)[features.groups]
    linear = None
    if parameters.linear.any():
        part = np.arange(rows.shape[1]) >= features.edits  # 0 for edits, 1 for summaries
        scales = np.sqrt(parameters.linear) / [math.sqrt(length or 1.0) for length in features.lengths]
        linear = rows * scales.astype(dtype)[part.astype(int)]
    return Placed(parameters.signal, weighted, np.einsum("nf,nf->n", weighted, weighted), linear)


def covariance(left: Placed, right: Placed) -> np.ndarray:
    """Covariance of the latent function at all pairs, n and m genotypes to shape (n, m)."""
    total = matern52(_squared(left.edits, left.norms, right.edits, right.norms))
    total *= left.signal
    if left.linear is not None:
        total += left.linear @ right.linear.T
    return total


def variance(features: Features, parameters: Parameters) -> np.ndarray:
    """Prior variance of the latent function at n genotypes, shape (n,)."""
    lengths = [(part**2).sum(axis=1) for part in features.parts]
    return parameters.signal + parameters.linear[0] * lengths[0] + parameters.linear[1] * lengths[1]


def squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs, shapes (n, F) and (m, F) to (n, m), as one matrix product."""
    return _squared(left, np.einsum("nf,nf->n", left, left), right, np.einsum("nf,nf->n", right, right))


def _squared(left: np.ndarray, left_norms: np.ndarray, right: np.ndarray, right_norms: np.ndarray) -> np.ndarray:
    squared = left @ right.T
    squared *= -2
    squared += left_norms[:, None]
    squared += right_norms
    return np.maximum(squared, 0, out=squared)


def matern52(squared: np.ndarray) -> np.ndarray:
    """Matern-5/2 correlation as a function of D (Rasmussen and Williams 2006, eq. 4.17); keeps the shape."""
    scaled = ROOT5 * np.sqrt(squared)
    polynomial = scaled / 3
    polynomial += 1
    polynomial *= scaled
    polynomial += 1
    return polynomial * np.exp(-scaled)


def matern52_slope(squared: np.ndarray) -> np.ndarray:
    """Derivative of `matern52` by D: smooth at zero, where the derivative of sqrt(D) itself is not."""
    scaled = ROOT5 * np.sqrt(squared)
    return -5 / 6 * (1 + scaled) * np.exp(-scaled)
