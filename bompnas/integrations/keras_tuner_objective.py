"""What a KerasTuner user calls objective, for KerasTuner and for the search engine."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras_tuner
from keras_tuner.src.engine import objective as objective_module

from bompnas.objectives import Constraint, Objective

SCORE = "score"
MINIMIZED = "-"
"""Begins the name of a negated value: the engine maximizes what KerasTuner minimizes."""


class ScoreObjective(objective_module.MultiObjective):
    """The score of eq. (1), maximized, as an objective of KerasTuner.

    During a training only measured values change, so that the best epoch is told by their part of the score.

    Args:
        objectives: What the score is made of.
        known: Names of the costs, which a trial does not report.
    """

    def __init__(self, objectives: Sequence[Objective], known: Collection[str]):
        measured = [objective for objective in objectives if raw(objective.key) not in known]
        super().__init__([keras_tuner.Objective(raw(objective.key), _direction(objective)) for objective in measured])
        self.name = SCORE
        self.direction = "max"
        self._measured = measured

    def get_value(self, logs: Mapping[str, float]) -> float:
        """The measured objectives' part of the score; those that are not there are left out."""
        values = signed(logs)
        return sum(objective.term(values[objective.key]) for objective in self._measured if objective.key in values)


def resolve(given: Any, known: Collection[str] = ()) -> tuple[keras_tuner.Objective, tuple[Objective, ...]]:
    """The objective for KerasTuner, and the engine's.

    Args:
        given: A name, a `keras_tuner.Objective`, a `bompnas.objectives.Objective`, a list of these, or None.
        known: Names of the costs.

    Returns:
        KerasTuner's own objective, and one that the engine maximizes for each of KerasTuner's; a list that names a cost
        or one of ours becomes a `ScoreObjective`.

    Raises:
        ValueError: KerasTuner cannot tell whether to minimize or maximize a name.
        TypeError: Something else was given.
    """
    items = given if isinstance(given, list | tuple) else [given]
    ours = any(isinstance(item, Objective) for item in items)
    single = [item if isinstance(item, Objective) else objective_module.create_objective(item) for item in items]
    engine = tuple(item if isinstance(item, Objective) else _engine(item) for item in single)
    if ours or any(raw(objective.key) in known for objective in engine):
        return ScoreObjective(engine, known), engine
    return objective_module.create_objective(list(given) if isinstance(given, tuple) else given), engine


def resolve_constraints(given: Mapping[str, float] | Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Limits from a mapping name -> largest value, or as they are."""
    if isinstance(given, Mapping):
        return tuple(Constraint(key, limit) for key, limit in given.items())
    return tuple(given)


def signed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values and, under their names with a minus, the negated ones."""
    return {**values, **{MINIMIZED + name: -value for name, value in values.items()}}


def raw(key: str) -> str:
    """The name of a value without the sign."""
    return key.removeprefix(MINIMIZED)


def _engine(objective: keras_tuner.Objective) -> Objective:
    key = objective.name if objective.direction == "max" else MINIMIZED + objective.name
    # Never just the name: "score" is taken by the engine's own.
    return Objective(f"{objective.direction} {objective.name}", key, 1.0, maximize=True)


def _direction(objective: Objective) -> str:
    return "max" if objective.maximize and not objective.key.startswith(MINIMIZED) else "min"
