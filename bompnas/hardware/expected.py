"""Expected cost of a network whose layers are still undecided, as differentiable search needs it.

Notation: m places of a network, each with k alternatives (operators, or whole blocks); c_ij what alternative j at place
i costs; p_ij its probability. A place with fewer alternatives has columns of probability 0 and cost 0.
"""

import dataclasses

import numpy as np

from bompnas.errors import InputError

_SUM_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class ExpectedCost:
    """An expected cost and how it changes.

    Attributes:
        total: E = fixed + sum_i sum_j p_ij c_ij.
        places: Each place's part, shape (m,).
        by_probabilities: dE / dp_ij = c_ij, shape (m, k).
        by_logits: dE / da_ij = p_ij (c_ij - sum_l p_il c_il), where p_i = softmax(a_i), shape (m, k).
    """

    total: float
    places: np.ndarray
    by_probabilities: np.ndarray
    by_logits: np.ndarray


def expected_cost(probabilities: np.ndarray, costs: np.ndarray, fixed: float = 0.0) -> ExpectedCost:
    """Expected cost under probabilities of alternatives, with its gradients.

    E[LAT] = sum_i sum_j p_ij F(o_ij): eq. (2) of "Design Automation for Efficient Deep Learning Computing", which is
    the latency model of ProxylessNAS. In its two-path mode the probabilities are those of the two sampled paths,
    0 elsewhere. An alternative that leaves its place out costs 0.

    Args:
        probabilities: p, shape (m, k); not negative, each row's sum is 1.
        costs: c, shape (m, k), all in one unit.
        fixed: Cost of the layers that are decided, in the same unit.

    Raises:
        InputError: The shapes differ, a row is no probability distribution, or a cost is not finite.
    """
    probabilities, costs = np.asarray(probabilities, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape != costs.shape:
        raise InputError(
            f"expected cost: probabilities have shape {probabilities.shape} and costs {costs.shape}; "
            "expected one shape (places, alternatives)"
        )
    if not np.isfinite(costs).all():
        place, alternative = np.argwhere(~np.isfinite(costs))[0].tolist()
        raise InputError(
            f"expected cost: alternative {alternative} at place {place} costs {costs[place, alternative]}; "
            "expected a finite number"
        )
    sums = probabilities.sum(axis=1)
    is_distribution = (probabilities >= 0).all(axis=1) & (np.abs(sums - 1) <= _SUM_TOLERANCE)
    if not is_distribution.all():
        place = int(np.argmin(is_distribution))
        raise InputError(
            f"expected cost: the probabilities at place {place} are {probabilities[place].tolist()}; "
            "expected numbers of at least 0 whose sum is 1"
        )
    places = (probabilities * costs).sum(axis=1)
    by_logits = probabilities * (costs - places[:, None])
    return ExpectedCost(fixed + float(places.sum()), places, costs, by_logits)
