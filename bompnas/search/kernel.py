"""The covariance of two networks: Matern-5/2 of the root of their edit distance.

| symbol     | here              | meaning                                                                    |
|------------|-------------------|----------------------------------------------------------------------------|
| phi(x)     | `features`        | embedding of network x, shape (n, F); `bompnas.space.embedding`            |
| g(f)       | `groups`          | edit type and stage that feature f belongs to, shape (F,)                  |
| w_g        | `weights`         | non-negative weight of the edits of group g, shape (G,)                    |
| phi_w(x)   | `weigh(...)`      | sqrt(w_g(f)) phi_f(x)                                                      |
| D(x, y)    | `squared`         | edit distance, sum_f w_g(f) (phi_f(x) - phi_f(y))^2                        |
| r          |                   | sqrt(D) / length-scale, the argument of the Matern function                |
| m(r^2)     | `matern52`        | (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r), written as a function of r^2    |

D is a squared Euclidean distance, so m is positive definite for all non-negative weights (Schoenberg). The Matern
function of D itself, the literal reading of "a Matern kernel of the edit distance", is not.
"""

import math

import numpy as np

ROOT5 = math.sqrt(5)


def weigh(features: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Embeddings in whose coordinates the weighted edit distance is the squared Euclidean distance.

    Args:
        features: Embeddings, shape (n, F).
        groups: Group of each feature, shape (F,).
        weights: Non-negative weight of each group, shape (G,).

    Returns:
        Weighted embeddings, shape (n, F).
    """
    return features * np.sqrt(weights)[groups]


def squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs, shapes (n, F) and (m, F) to (n, m), as one matrix product."""
    centre = left.mean(axis=0) if len(left) else 0.0  # keeps the norms small, and with them the cancellation
    left, right = left - centre, right - centre
    squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    return np.maximum(squared, 0, out=squared)


def matern52(squared: np.ndarray) -> np.ndarray:
    """Matern-5/2 correlation as a function of r^2 (Rasmussen and Williams 2006, eq. 4.17); keeps the shape."""
    scaled = ROOT5 * np.sqrt(squared)
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)


def matern52_slope(squared: np.ndarray) -> np.ndarray:
    """Derivative of `matern52` by r^2: smooth at zero, where the derivative of r itself is not."""
    scaled = ROOT5 * np.sqrt(squared)
    return -5 / 6 * (1 + scaled) * np.exp(-scaled)
