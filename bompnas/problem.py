"""The problem: all that a proposer may look at besides the record."""

import dataclasses
from collections.abc import Callable, Mapping

from bompnas import objectives
from bompnas.objectives import Constraint, Objective
from bompnas.space.network import Network
from bompnas.space.space import SearchSpace


@dataclasses.dataclass(frozen=True)
class Problem:
    """Space, costs, objectives and constraints.

    Attributes:
        space: What may be chosen.
        cost: Analytic cost of a network; keys carry their unit.
        objectives: What the score is made of.
        constraints: Limits on costs.
    """

    space: SearchSpace
    cost: Callable[[Network], Mapping[str, float]]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    def feasible(self, network: Network) -> bool:
        """Whether the network keeps every constraint."""
        if not self.constraints:
            return True
        cost = self.cost(network)
        return all(constraint.satisfied(cost) for constraint in self.constraints)

    def score(self, values: Mapping[str, float]) -> float:
        """Eq. (1) for a candidate's values."""
        return objectives.score(self.objectives, values)
