"""Objectives, constraints and their scalarization (BOMP-NAS, eq. 1).

score = sum over maximized objectives of value / reference + sum over minimized ones of reference / transform(value)

With accuracy as a fraction, its reference 0.8, and the size in bits through log10 with reference 8 this is eq. (1) of
the paper; its published networks score 2.49 to 2.61.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping

SMALLEST_SHARE = 0.01
"""A minimized value below this share of its reference counts as that: a loss of 0 must not be infinitely good."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """A metric or a cost with a direction and a reference.

    Attributes:
        name: What the user calls it in an experiment (`accuracy`, `size`).
        key: Where its value is found among a candidate's values (`val_accuracy`, `size_bits`).
        reference: Positive; the larger a maximized objective's (the smaller a minimized one's), the less it weighs.
        maximize: Whether more is better.
        transform: For minimized objectives: `log10` or `identity`.
    """

    name: str
    key: str
    reference: float
    maximize: bool
    transform: str = "identity"

    def term(self, value: float) -> float:
        """This objective's part of the score.

        Raises:
            ValueError: A minimized objective's transformed value is not positive, so that eq. (1) has no meaning.
        """
        if self.maximize:
            return value / self.reference
        transformed = self.transformed(value)
        if not transformed > 0:
            raise ValueError(
                f"objective {self.name!r}: {self.transform}({value:g}) is not positive; a minimized objective needs a "
                "unit in which its transform stays positive"
            )
        return self.reference / transformed

    def transformed(self, value: float) -> float:
        """The value on the scale of the score's denominator."""
        if self.transform == "identity":
            return value if value < 0 else max(value, SMALLEST_SHARE * self.reference)
        return math.log10(value) if value > 0 else -math.inf


@dataclasses.dataclass(frozen=True)
class Constraint:
    """An upper limit on a cost, exact and known before training.

    Attributes:
        key: The cost (`size_kb`).
        limit: Its largest allowed value.
    """

    key: str
    limit: float

    def satisfied(self, values: Mapping[str, float]) -> bool:
        """Whether the values keep the limit."""
        return values[self.key] <= self.limit


def score(objectives: Iterable[Objective], values: Mapping[str, float]) -> float:
    """The scalarized objectives of eq. (1); larger is better."""
    return sum(objective.term(values[objective.key]) for objective in objectives)
