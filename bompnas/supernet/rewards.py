"""What HQNAS maximizes, eqs. (2) and (3), for sampled networks."""

import dataclasses

import numpy as np

from bompnas.hardware import rewards
from bompnas.problem import Problem
from bompnas.supernet.chains import Chains
from bompnas.supernet.settings import HqnasSettings

PERCENT = 100.0


@dataclasses.dataclass(frozen=True)
class Judge:
    """Costs and rewards of networks given by their gates.

    Attributes:
        problem: Space, costs and limits.
        settings: Weights, thresholds and units.
        chains: The gates.
    """

    problem: Problem
    settings: HqnasSettings
    chains: Chains

    def costs(self, gates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What networks cost before any training.

        Args:
            gates: Shape (n, gates).

        Returns:
            Lat(s), shape (n,); and by how much each breaks the experiment's limits in all [% of them], shape (n,).
        """
        space = self.problem.space
        costs = self.problem.costs(space.batch(space.encode(self.chains.genotypes(gates))))
        excess = np.zeros(len(gates))
        for limit in self.problem.known_limits:
            above = (costs[limit.key] - limit.limit) / limit.limit
            excess += PERCENT * np.maximum(-above if limit.at_least else above, 0)
        return np.asarray(costs[self.settings.cost], dtype=float), excess

    def rewards(self, accuracies: np.ndarray, costs: np.ndarray, excess: np.ndarray) -> np.ndarray:
        """R(s) of eq. (2) with both terms softened as in eq. (3).

        A limit of the experiment, which the paper does not have, takes away what it is broken by [%].

        Args:
            accuracies: As fractions, shape (n,).
            costs: In their own unit, shape (n,).
            excess: As `costs` returns it, shape (n,).
        """
        settings = self.settings
        wanted, allowed = PERCENT * settings.accuracy_threshold, settings.cost_threshold
        quality = PERCENT * accuracies
        if settings.units == "relative":
            quality, costs = PERCENT * quality / wanted, PERCENT * costs / allowed
            wanted = allowed = PERCENT
        form = "printed" if settings.literal else "sensible"
        cost = rewards.soften_cost(costs, allowed, settings.slope, form)
        softened = rewards.soften_quality(quality, wanted, settings.slope, form)
        return rewards.hqnas_reward(cost, softened, settings.cost_weight) - excess
