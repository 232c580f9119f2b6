"""Objectives, constraints and their scalarization (BOMP-NAS, eq. 1).

score = sum over maximized objectives of value / reference + sum over minimized ones of reference / transform(value)

With accuracy as a fraction, its reference 0.8, and the size in bits through log10 with reference 8 this is eq. (1) of
the paper; its published networks score 2.49 to 2.61.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from scipy import special

Values = TypeVar("Values", float, np.ndarray)

SMALLEST_SHARE = 0.01
"""A minimized value below this share of its reference counts as that: a loss of 0 must not be infinitely good."""
EXTREME = 0.005
"""Shares closer to 0 or 1 are predicted as that close."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """A metric or a cost with a direction and a reference.

    Attributes:
        name: What the user calls it in an experiment (`accuracy`, `size`).
        key: Where its value is found among a candidate's values (`val_accuracy`, `size_bits`).
        reference: Positive; the larger a maximized objective's (the smaller a minimized one's), the less it weighs.
        maximize: Whether more is better.
        transform: For minimized objectives: `log10` or `identity`.
        share: Whether values lie between 0 and 1; what predicts them then predicts their log-odds.
        factor: Multiplies the value before the transform, so that its logarithm stays positive: 1e6 scores ms as ns.
    """

    name: str
    key: str
    reference: float
    maximize: bool
    transform: str = "identity"
    share: bool = False
    factor: float = 1.0

    def term(self, value: Values) -> Values:
        """This objective's part of the score, of one value or of an array of them.

        Raises:
            ValueError: A minimized objective's transformed value is not positive, so that eq. (1) has no meaning.
        """
        if self.maximize:
            return value / self.reference
        transformed = self.transformed(value)
        if not np.all(transformed >= 0 if self.transform == "identity" else transformed > 0):
            raise ValueError(
                f"objective {self.name!r}: {self.transform}({self.factor * np.min(value):g}) is not positive; a "
                "minimized objective needs a unit in which its transform stays positive"
            )
        return self.reference / self._bounded(transformed)

    def transformed(self, value: Values) -> Values:
        """The value on the scale of the score: in its own unit, or the logarithm in the unit that `factor` leads to."""
        if self.transform == "identity":
            return value
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = np.where(np.asarray(value) > 0, np.log10(self.factor * value), -math.inf)
        return logarithm if logarithm.ndim else logarithm.item()

    def modelled(self, value: Values) -> Values:
        """The value on the scale on which it is predicted: log-odds of a share, else `transformed`."""
        return special.logit(np.clip(value, EXTREME, 1 - EXTREME)) if self.share else self.transformed(value)

    def expected(self, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the transformed value from those of the modelled one, to first order."""
        if not self.share:
            return mean, deviation
        share = special.expit(mean)
        return share, share * (1 - share) * deviation

    def optimistic_term(self, mean: np.ndarray, deviation: np.ndarray, beta: float) -> np.ndarray:
        """This objective's part of the score if its transformed value is better than expected.

        Args:
            mean: Of the modelled value, shape (m,).
            deviation: Of the modelled value, shape (m,).
            beta: How many deviations better.

        Returns:
            Shape (m,); a minimized value is kept positive.
        """
        better = mean + (beta if self.maximize else -beta) * deviation
        if self.share:
            better = special.expit(better)
        return better / self.reference if self.maximize else self.reference / self._bounded(better)

    def _bounded(self, transformed: Values) -> Values:
        bounded = np.maximum(transformed, SMALLEST_SHARE * self.reference)
        return bounded if bounded.ndim else bounded.item()


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A limit on a cost, exact and known before training, or on a metric.

    Attributes:
        key: The cost (`size_kb`) or metric (`val_loss`).
        limit: Its largest allowed value, or its smallest.
        at_least: Whether the limit is the smallest allowed value.
    """

    key: str
    limit: float
    at_least: bool = False

    def satisfied(self, values: Mapping[str, Values]) -> Any:
        """Whether the values keep the limit: a bool, or an array of them."""
        return values[self.key] >= self.limit if self.at_least else values[self.key] <= self.limit


def score(objectives: Iterable[Objective], values: Mapping[str, float]) -> float:
    """The scalarized objectives of eq. (1); larger is better."""
    return sum(objective.term(values[objective.key]) for objective in objectives)


def admits(constraints: Iterable[Constraint], values: Mapping[str, float]) -> bool:
    """Whether a candidate's values, known and measured, keep every constraint."""
    return all(constraint.key in values and constraint.satisfied(values) for constraint in constraints)
