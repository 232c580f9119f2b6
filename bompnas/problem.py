"""The problem: all that a proposer may look at besides the record."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bompnas import objectives
from bompnas.objectives import Constraint, Objective
from bompnas.space.space import Batch, SearchSpace


def no_costs(batch: Batch) -> dict[str, np.ndarray]:
    """Costs of things about which nothing is known before they are tried."""
    return {}


@dataclasses.dataclass(frozen=True)
class Problem:
    """Space, costs, objectives and constraints.

    Attributes:
        space: What may be chosen.
        costs: Analytic costs of a batch of the space, name -> shape (n,); names carry their unit.
        objectives: What the score is made of.
        constraints: Limits on costs and on metrics.
        facts: Those costs that are facts about the network itself, of which a surrogate learns; None for all. What a
            device charges for a network says nothing more about its accuracy.
    """

    space: SearchSpace
    costs: Callable[[Any], Mapping[str, np.ndarray]]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    facts: frozenset[str] | None = None

    @functools.cached_property
    def analytic(self) -> frozenset[str]:
        """Names of what is known exactly before any training; all else is measured."""
        return frozenset(self.costs(self.space.batch(self.space.defaults[None])))

    @property
    def known_limits(self) -> tuple[Constraint, ...]:
        """The constraints on analytic costs."""
        return tuple(constraint for constraint in self.constraints if constraint.key in self.analytic)

    def cost(self, point: Any) -> dict[str, float]:
        """Analytic costs of one decoded genotype."""
        return {key: values[0].item() for key, values in self.costs(self.space.collect([point])).items()}

    def feasible(self, costs: Mapping[str, np.ndarray], count: int) -> np.ndarray:
        """Which of `count` rows of costs keep every constraint on them, shape (count,)."""
        feasible = np.ones(count, dtype=bool)
        for constraint in self.known_limits:
            feasible &= constraint.satisfied(costs)
        return feasible

    def keeps(self, point: Any) -> bool:
        """Whether one decoded genotype keeps every constraint on analytic costs."""
        cost = self.cost(point) if self.known_limits else {}
        return all(constraint.satisfied(cost) for constraint in self.known_limits)

    def admits(self, values: Mapping[str, float]) -> bool:
        """Whether a candidate's values, known and measured, keep every constraint."""
        return objectives.admits(self.constraints, values)

    def score(self, values: Mapping[str, float]) -> float:
        """Eq. (1) for a candidate's values."""
        return objectives.score(self.objectives, values)
