"""What a genotype promises: functions of the surrogate's predictions and of the exact costs.

Three of them: an upper confidence bound of the score, the expected hypervolume improvement of the Pareto front, and
random scalarizations. In all of them a genotype that breaks a measured constraint, as far as the surrogate knows, is
worth less.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from bompnas import pareto
from bompnas.errors import InputError
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem
from bompnas.search.surrogate import SCORE, Surrogate
from bompnas.space.space import Batch

Acquisition = Literal["ucb", "ehvi", "parego"]
PENALTY = 10.0
"""Worth of an excess over a measured limit by one standard deviation of the observations."""
AUGMENTATION = 0.05

Predictions = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class UpperConfidenceBound:
    """The score of eq. (1) if the measured values are better than expected (GP-UCB, Srinivas et al. 2010).

    Attributes:
        problem: Whose score.
        surrogate: Predicts the measured values.
        beta: Standard deviations of optimism; 2.576 bounds a normal variable with probability 0.995.
    """

    problem: Problem
    surrogate: Surrogate
    beta: float

    def __call__(self, codes: np.ndarray, batch: Batch, costs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Values of m genotypes, shape (m,); see `bompnas.search.optimize.Acquisition`."""
        predicted = self.surrogate.predict(self.surrogate.features(codes, batch, costs))
        total = np.zeros(len(codes))
        for objective in self.problem.objectives:
            if objective.name in predicted:
                total += objective.optimistic_term(*predicted[objective.name], self.beta)
            else:
                total += objective.term(costs[objective.key].astype(float))
        return total - _penalty(self.problem, self.surrogate, predicted)


@dataclasses.dataclass(frozen=True)
class ScoreConfidenceBound:
    """The upper confidence bound of a score that is modelled as one black box, as the paper does.

    Attributes:
        surrogate: Predicts the score.
        beta: Standard deviations of optimism.
    """

    surrogate: Surrogate
    beta: float

    def __call__(self, codes: np.ndarray, batch: Batch, costs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Values of m genotypes, shape (m,); see `bompnas.search.optimize.Acquisition`."""
        mean, deviation = self.surrogate.predict(self.surrogate.features(codes, batch, costs))[SCORE.name]
        return mean + self.beta * deviation


class HypervolumeImprovement:
    """Expected growth of the hypervolume of the Pareto front, in closed form as costs are exact (Emmerich et al. 2011).

    With one measured objective a of mean mu and deviation sigma, and exact costs c: let l_1 < ... < l_k be the measured
    values on the front, l_0 the reference, and V_j(c) the volume of cost that c adds to the front's members of at least
    l_j. Then EHVI = sum_j V_j(c) (E(l_{j-1}) - E(l_j)) + V_{k+1}(c) E(l_k), with E(l) the expected excess of a over l.
    The front is denoised: its measured values are the surrogate's means.

    Args:
        problem: One measured objective, and one or two exact ones.
        surrogate: Predicts the measured objective.

    Raises:
        InputError: The problem has other objectives.
    """

    def __init__(self, problem: Problem, surrogate: Surrogate):
        exact = [objective for objective in problem.objectives if objective.key in problem.analytic]
        measured = [objective for objective in problem.objectives if objective.key not in problem.analytic]
        if len(measured) != 1 or len(exact) not in (1, 2):
            raise InputError(
                f"method.acquisition: ehvi found {len(measured)} measured and {len(exact)} exact objectives, expected "
                "one measured one and one or two costs; use parego"
            )
        self._problem, self._surrogate = problem, surrogate
        self._measured, self._exact = measured[0], exact
        codes = surrogate.observed[surrogate.succeeded]
        batch = problem.space.batch(codes)
        costs = problem.costs(batch)
        predicted = surrogate.predict(surrogate.features(codes, batch, costs))
        values = self._gains(self._measured.expected(*predicted[self._measured.name])[0])
        losses = self._losses(costs)
        # The worst that was seen, and a little more, so that the ends of the front count too.
        self._worst = losses.max(axis=0) + 0.1 * np.ptp(losses, axis=0)
        floor = values.min() - 0.1 * np.ptp(values)
        good = _likely(problem, predicted) > 0.5 if len(values) else np.zeros(0, dtype=bool)
        values, losses = values[good], losses[good]
        kept = pareto.front(np.column_stack([values, losses]), [True] + [False] * losses.shape[1])
        order = kept[np.argsort(values[kept], kind="stable")]
        self._levels = np.concatenate([[floor], values[order]])
        self._front = losses[order]

    def __call__(self, codes: np.ndarray, batch: Batch, costs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Values of m genotypes, shape (m,); see `bompnas.search.optimize.Acquisition`."""
        predicted = self._surrogate.predict(self._surrogate.features(codes, batch, costs))
        mean, deviation = self._measured.expected(*predicted[self._measured.name])
        excess = _expected_excess(self._gains(mean)[:, None], deviation[:, None], self._levels)
        slabs = np.column_stack([excess[:, :-1] - excess[:, 1:], excess[:, -1]])
        losses = self._losses(costs)
        volumes = [self._added(losses, self._front[place:]) for place in range(len(self._levels))]
        improvement = (slabs * np.column_stack(volumes)).sum(axis=1)
        return improvement * _likely(self._problem, predicted)

    def _gains(self, values: np.ndarray) -> np.ndarray:
        return values if self._measured.maximize else -values

    def _losses(self, costs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Exact objectives as costs to minimize, shape (m, exact)."""
        return np.column_stack([_loss(objective, costs[objective.key]) for objective in self._exact])

    def _added(self, losses: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Volume below the worst that each row of losses dominates and no member does, shape (m,)."""
        if losses.shape[1] == 1:
            return np.maximum(members.min(initial=self._worst[0]) - losses[:, 0], 0)
        # Between two members, in the order of the first loss, the best second loss so far is the front's height.
        members = members[np.lexsort(members.T[::-1])]
        ends = np.concatenate([np.minimum(members[:, 0], self._worst[0]), [self._worst[0]]])
        starts = np.concatenate([[-math.inf], ends[:-1]])
        heights = np.minimum.accumulate(np.concatenate([[self._worst[1]], members[:, 1]]))
        widths = np.maximum(ends - np.maximum(starts, losses[:, :1]), 0)
        return (widths * np.maximum(heights - losses[:, 1:], 0)).sum(axis=1)


class RandomScalarization:
    """Augmented Chebyshev distance to the ideal point under random weights (ParEGO, Knowles 2006), optimistic.

    Args:
        problem: Any objectives.
        surrogate: Predicts the measured ones.
        beta: Standard deviations of optimism.
        generator: Draws the weights, uniform on the simplex.
    """

    def __init__(self, problem: Problem, surrogate: Surrogate, beta: float, generator: np.random.Generator):
        self._problem, self._surrogate, self._beta = problem, surrogate, beta
        self._weights = generator.dirichlet(np.ones(len(problem.objectives)))
        codes = surrogate.observed[surrogate.succeeded]
        batch = problem.space.batch(codes)
        costs = problem.costs(batch)
        losses = self._losses(surrogate.predict(surrogate.features(codes, batch, costs)), costs, 0.0)
        self._ideal, self._range = losses.min(axis=0), np.ptp(losses, axis=0)
        self._range[self._range == 0] = 1.0

    def __call__(self, codes: np.ndarray, batch: Batch, costs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Values of m genotypes, shape (m,); see `bompnas.search.optimize.Acquisition`."""
        predicted = self._surrogate.predict(self._surrogate.features(codes, batch, costs))
        losses = (self._losses(predicted, costs, self._beta) - self._ideal) / self._range * self._weights
        distance = losses.max(axis=1) + AUGMENTATION * losses.sum(axis=1)
        return -distance - _penalty(self._problem, self._surrogate, predicted)

    def _losses(self, predicted: Predictions, costs: Mapping[str, np.ndarray], beta: float) -> np.ndarray:
        columns = []
        for objective in self._problem.objectives:
            if objective.name in predicted:
                mean, deviation = objective.expected(*predicted[objective.name])
                columns.append((-mean if objective.maximize else mean) - beta * deviation)
            else:
                columns.append(_loss(objective, costs[objective.key]))
        return np.column_stack(columns)


def _loss(objective: Objective, values: np.ndarray) -> np.ndarray:
    transformed = objective.transformed(values.astype(float))
    return -transformed if objective.maximize else transformed


def _expected_excess(mean: np.ndarray, deviation: np.ndarray, level: np.ndarray) -> np.ndarray:
    """E max(a - level, 0) of a normal a: the expected improvement over a level."""
    deviation = np.maximum(deviation, 1e-12)
    standard = (mean - level) / deviation
    density = np.exp(-0.5 * standard**2) / math.sqrt(2 * math.pi)
    return deviation * (standard * stats.norm.cdf(standard) + density)


def _measured_limits(problem: Problem) -> Sequence[Constraint]:
    return [constraint for constraint in problem.constraints if constraint.key not in problem.analytic]


def _excess(constraint: Constraint, mean: np.ndarray) -> np.ndarray:
    return constraint.limit - mean if constraint.at_least else mean - constraint.limit


def _penalty(problem: Problem, surrogate: Surrogate, predicted: Predictions) -> np.ndarray | float:
    """What genotypes lose that break a measured limit even if they are a deviation better than expected."""
    total = 0.0
    for constraint in _measured_limits(problem):
        mean, deviation = predicted[f"constraint {constraint.key}"]
        scale = surrogate.processes[f"constraint {constraint.key}"].deviation
        total += PENALTY * np.maximum(_excess(constraint, mean) - deviation, 0) / scale
    return total


def _likely(problem: Problem, predicted: Predictions) -> np.ndarray | float:
    """Probability that the measured limits are kept."""
    likely = np.ones(len(next(iter(predicted.values()))[0]))
    for constraint in _measured_limits(problem):
        mean, deviation = predicted[f"constraint {constraint.key}"]
        likely = likely * stats.norm.cdf(-_excess(constraint, mean) / np.maximum(deviation, 1e-12))
    return likely
