"""The course of one run's search: what it had reached after every trial."""

import dataclasses

import numpy as np

from bompnas import pareto
from bompnas.candidate import Candidate, State
from bompnas.report.view import RunView


@dataclasses.dataclass(frozen=True)
class Course:
    """What a run had reached after every finished trial, in the order of sampling.

    A trial is one float training, however many policies it was quantized by; a failed one counts.

    Attributes:
        seconds: Computing time up to there, all phases of all candidates [s], (t,).
        hypervolume: Of the candidates up to there, (t,).
        score: The best up to there; NaN before the first, (t,).
    """

    seconds: np.ndarray
    hypervolume: np.ndarray
    score: np.ndarray

    @property
    def trials(self) -> np.ndarray:
        """Numbers of the finished trials, from 1, (t,)."""
        return np.arange(1, len(self.seconds) + 1)


def course(view: RunView) -> Course:
    """The course of a run's search."""
    trials: dict[int, list[Candidate]] = {}
    for candidate in view.candidates:
        trials.setdefault(candidate.trial, []).append(candidate)
    finished = [
        trials[number] for number in sorted(trials) if all(item.state is not State.PENDING for item in trials[number])
    ]
    best: list[Candidate] = []
    seconds, volumes, scores = [], [], []
    for trial in finished:
        seconds.append(sum(sum(candidate.seconds.values()) for candidate in trial))
        best = pareto.front_of([*best, *trial], view.objectives)
        volumes.append(pareto.hypervolume_of(best, view.objectives))
        scores.append(max((item.score for item in trial if item.score is not None), default=np.nan))
    return Course(np.cumsum(seconds), np.array(volumes), np.fmax.accumulate(np.array(scores, dtype=np.float64)))


def at(places: np.ndarray, values: np.ndarray, wanted: np.ndarray | float) -> np.ndarray:
    """What had been reached at the wanted places: the last value at or before each; NaN before the first."""
    index = np.searchsorted(places, wanted, side="right") - 1
    return np.where(index >= 0, values[np.maximum(index, 0)], np.nan)
