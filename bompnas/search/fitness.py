"""How fit a completed candidate is: the score of eq. (1), or accuracy against size as JASQ weighs them."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.objectives import SMALLEST_SHARE, Objective
from bompnas.problem import Problem

EXPONENT = -0.07
"""Of the fitness `product`; JASQ's code has it from MnasNet (Tan et al. 2019), where 5 % of accuracy pays for a factor
of two."""

Fitness = Literal["score", "limited", "product"]


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A candidate that may have children.

    Attributes:
        candidate: It completed, has a genotype and a finite fitness.
        rank: Whether it keeps the constraints, those on metrics too, then its fitness; larger is better.
    """

    candidate: Candidate
    rank: tuple[bool, float]


def ranked(
    problem: Problem, candidates: Sequence[Candidate], form: Fitness, target: float | None, first: int
) -> list[Ranked]:
    """Those candidates that may have children, with their ranks, in their order.

    Args:
        problem: Objectives and constraints.
        candidates: Completed and failed candidates, ordered by id.
        form: Form of the fitness.
        target: T of the forms `limited` and `product`; None for the mean over the `first` candidates that completed.
        first: Size of the first population.

    Raises:
        InputError: The form weighs two objectives and the problem has others, or a constraint is on something that is
            not measured.
    """
    objectives = None if form == "score" else _two_objectives(problem, form)
    able = [c for c in candidates if c.state is State.COMPLETED and c.genotype is not None]
    if objectives is not None and target is None:
        costs = np.array([candidate.values[objectives[1].key] for candidate in able])
        known = costs[np.isfinite(costs)][:first]
        target = max(known.mean().item(), sys.float_info.min) if len(known) else 1.0
    values = [fitness(form, candidate, objectives, target) for candidate in able]
    return [
        Ranked(candidate, (_keeps(problem, candidate), value))
        for candidate, value in zip(able, values, strict=True)
        if math.isfinite(value)
    ]


def fitness(
    form: Fitness, candidate: Candidate, objectives: tuple[Objective, Objective] | None, target: float | None
) -> float:
    """How fit a completed candidate is; larger is better.

    With the maximized objective's value A (accuracy), the minimized one's C (size) and the target T:

        score      eq. (1) of BOMP-NAS, over all objectives
        limited    A (C / T)^gamma, gamma = 0 if C <= T, else -1    (JASQ's paper, as others quote it)
        product    A (C / T)^-0.07                                  (JASQ's code)

    As in eq. (1), a cost below a hundredth of what it is compared with counts as that hundredth.

    Args:
        form: Which of the three.
        candidate: A completed candidate.
        objectives: The maximized and the minimized objective; None for `score`.
        target: T, in the unit of C; None for `score`.
    """
    if form == "score":
        return candidate.score
    gain, cost = (candidate.values[objective.key] for objective in objectives)
    if form == "limited":
        return gain / max(cost / target, 1.0)
    return gain * max(cost / target, SMALLEST_SHARE) ** EXPONENT


def _two_objectives(problem: Problem, form: Fitness) -> tuple[Objective, Objective]:
    """The maximized and the minimized objective of a problem that has one of each."""
    objectives = sorted(problem.objectives, key=lambda objective: not objective.maximize)
    if [objective.maximize for objective in objectives] != [True, False]:
        found = ", ".join(f"{'max' if objective.maximize else 'min'} {objective.name}" for objective in objectives)
        raise InputError(
            f"method.fitness: {form} weighs one maximized objective against one minimized one, such as accuracy and "
            f"size; the objectives are: {found}; expected fitness score, or two such objectives"
        )
    return objectives[0], objectives[1]


def _keeps(problem: Problem, candidate: Candidate) -> bool:
    """Whether a completed candidate keeps every constraint, those on metrics too."""
    for limit in problem.constraints:
        if limit.key not in candidate.values:
            known_keys = ", ".join(sorted(candidate.values))
            raise InputError(f"constraints: {limit.key} is neither a cost nor measured, expected one of {known_keys}")
        if not limit.satisfied(candidate.values):
            return False
    return True
