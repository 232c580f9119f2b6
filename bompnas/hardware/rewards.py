"""Accuracy and cost in one number: the reward of HQNAS, the losses of ProxylessNAS.

Pure functions of numbers or arrays that broadcast; a cost is in any unit, the same throughout one call. Where a paper's
formula cannot be meant as it is printed, `form` chooses: `sensible` (the default) or `printed`.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from bompnas.errors import InputError

Form = Literal["sensible", "printed"]


def soften_cost(cost: ArrayLike, threshold: float, slope: float = 0.5, form: Form = "sensible") -> np.ndarray:
    """How far a cost is above its threshold (negative: below), one of the sides flattened; HQNAS, eq. (3).

    As printed, the excess counts by half and what is saved in full: a network 10 ms too slow loses 5, one 10 ms faster
    than needed wins 10, although the text likens it to a leaky ReLU that guides the search to qualified networks. The
    sensible form has the sides exchanged: an excess counts in full, what is saved beyond the threshold by `slope`.

    Args:
        cost: Latency, or any cost that is to be small.
        threshold: Lat_the, where both sides are 0.
        slope: Of the flattened side; 0 in the sensible form makes saving beyond the threshold worthless.
        form: Which side is flattened.
    """
    excess = np.asarray(cost, dtype=np.float64) - threshold
    flattened = excess < 0 if _checked(form) == "sensible" else excess >= 0
    return np.where(flattened, slope * excess, excess)


def soften_quality(quality: ArrayLike, threshold: float, slope: float = 0.5, form: Form = "sensible") -> np.ndarray:
    """How far a quality is above its threshold (negative: below), one of the sides flattened.

    HQNAS takes a threshold of the accuracy (Algorithm 1) and gives no formula: this is eq. (3) mirrored. Sensible: what
    is missing counts in full, what is gained beyond the threshold by `slope`; printed: the reverse.

    Args:
        quality: Accuracy, or anything that is to be large.
        threshold: Acc_the, where both sides are 0.
        slope: Of the flattened side.
        form: Which side is flattened.
    """
    return -soften_cost(-np.asarray(quality, dtype=np.float64), -threshold, slope, form)


def hqnas_reward(cost: ArrayLike, quality: ArrayLike, cost_weight: float) -> np.ndarray:
    """R = -mu * Lat + nu * Acc with mu + nu = 1, to be maximized; HQNAS, eq. (2).

    Cost and quality must be of comparable size: the paper's thresholds are in ms and percent (20 ms, 96.8 %), while an
    accuracy as a fraction would vanish beside milliseconds. Softened ones (`soften_cost`, `soften_quality`) take the
    places of the plain ones where the paper has thresholds.

    Args:
        cost: Lat [ms].
        quality: Acc [%].
        cost_weight: mu, 0 to 1; the paper has 0.2 (accuracy first), 0.8 (latency first) and 0.5 (ImageNet).

    Raises:
        InputError: The weight is not from 0 to 1.
    """
    if not 0 <= cost_weight <= 1:
        raise InputError(f"hqnas_reward: cost_weight is {cost_weight}; expected 0 to 1")
    return (1 - cost_weight) * np.asarray(quality) - cost_weight * np.asarray(cost)


def added_cost_loss(cross_entropy: ArrayLike, expected_cost: ArrayLike, weight: float) -> np.ndarray:
    """L = CE + lambda * E[LAT], to be minimized: the plain latency regularization of ProxylessNAS.

    Its code has CE + lambda' (E[LAT] - ref) / ref: the same gradient for lambda = lambda' / ref, with lambda' = 0.1.

    Args:
        cross_entropy: CE.
        expected_cost: E[LAT], as from `bompnas.hardware.expected`.
        weight: lambda, by unit of the cost.
    """
    return np.asarray(cross_entropy) + weight * np.asarray(expected_cost)


def scaled_cost_loss(
    cross_entropy: ArrayLike,
    expected_cost: ArrayLike,
    reference: float,
    alpha: float = 0.2,
    beta: float = 0.3,
    form: Form = "sensible",
) -> np.ndarray:
    """Cross-entropy scaled by a logarithm of the expected cost, to be minimized; ProxylessNAS.

    Printed, eq. (3) of "Design Automation for Efficient Deep Learning Computing": CE * alpha * log(E / ref)^beta, which
    is 0 at the reference and undefined (NaN here) below it. Sensible, as the authors' code has it:
    CE * alpha * (log E / log ref)^beta, which needs a unit in which E and ref are above 1.

    Args:
        cross_entropy: CE.
        expected_cost: E[LAT].
        reference: LAT_ref; 80 ms for the paper's phone.
        alpha: Factor; default of the authors' program.
        beta: Exponent; default of the authors' program.
        form: Ratio of logarithms, or logarithm of the ratio.

    Raises:
        InputError: The sensible form with a cost or a reference that is not above 1.
    """
    expected = np.asarray(expected_cost, dtype=np.float64)
    if _checked(form) == "printed":
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(cross_entropy) * alpha * np.log(expected / reference) ** beta
    if reference <= 1 or (expected <= 1).any():
        raise InputError(
            f"scaled_cost_loss: cost {expected.min()}, reference {reference}; expected both above 1, in a smaller unit"
        )
    return np.asarray(cross_entropy) * alpha * (np.log(expected) / np.log(reference)) ** beta


def power_reward(quality: ArrayLike, cost: ArrayLike, target: float, exponent: float = -0.1) -> np.ndarray:
    """R = Acc * (LAT / T)^w, to be maximized; ProxylessNAS with REINFORCE, after MnasNet.

    Args:
        quality: Acc, 0 to 1.
        cost: LAT, above 0.
        target: T.
        exponent: w; ProxylessNAS' code has -0.1, MnasNet's paper -0.07.
    """
    return np.asarray(quality) * (np.asarray(cost, dtype=np.float64) / target) ** exponent


def _checked(form: str) -> str:
    if form not in get_args(Form):
        raise InputError(f"form is {form!r}; expected one of {', '.join(get_args(Form))}")
    return form
