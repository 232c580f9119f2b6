"""What a method works with: the problem, the run's record, and trials to start and to finish."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from bompnas import objectives, pareto
from bompnas.candidate import Candidate, State
from bompnas.objectives import Objective
from bompnas.problem import Problem
from bompnas.trials.executor import Failure
from bompnas.trials.jobs import Jobs
from bompnas.trials.progress import Progress, describe
from bompnas.trials.record import Record

_log = logging.getLogger(__name__)


class Run:
    """One experiment being carried out.

    A method reads what is known from `record`, adds the candidates of a new trial to it as pending, and hands them to
    `start` while `busy < slots`; `finish` waits for any started trial and records what it found. A trial that fails
    is recorded as failed and raises nothing.

    Args:
        problem: What is searched.
        record: The run's record, opened for writing.
        jobs: Where trials run.
        make_task: Turns the candidates of one trial, which share an architecture, and what to go on from, into the
            executor's task; the result has `outcomes` (one per candidate), `seconds` and `curves`.
        seed: Of the run; a method derives all its random numbers from it.
        progress: Shows the user what goes on.
        changed: Called after every change of the record, to redraw the record's views.
    """

    def __init__(
        self,
        problem: Problem,
        record: Record,
        jobs: Jobs,
        make_task: Callable[[Sequence[Candidate], bytes | None], Any],
        seed: int,
        progress: Progress,
        changed: Callable[[], None],
    ):
        self.problem = problem
        self.record = record
        self.seed = seed
        self.slots = jobs.slots
        self._jobs = jobs
        self._make_task = make_task
        self._progress = progress
        self._changed = changed
        self._running: dict[str, tuple[Candidate, ...]] = {}

    @property
    def busy(self) -> int:
        """Number of trials that were started and not yet finished."""
        return len(self._running)

    def start(self, candidates: Sequence[Candidate]) -> None:
        """Starts the trial of these pending candidates, which the record already holds."""
        self._progress.started(candidates[0].trial, describe(candidates[0]))
        name = f"trial {candidates[0].trial}"
        self._jobs.start(name, functools.partial(self._make_task, candidates))
        self._running[name] = tuple(candidates)

    def finish(self) -> tuple[Candidate, ...]:
        """Waits for a started trial and records it; returns its candidates, now completed or failed."""
        name, result = self._jobs.next_finished()
        started = self._running.pop(name)
        trial = started[0].trial
        measurements = measure(result, started, self.problem.objectives)
        finished = tuple(
            dataclasses.replace(
                candidate,
                state=State.FAILED if measured.error else State.COMPLETED,
                metrics=measured.metrics,
                seconds=measured.seconds,
                score=measured.score,
                error=measured.error,
            )
            for candidate, measured in zip(started, measurements, strict=True)
        )
        self.record.finish(name, finished, getattr(result, "curves", {}))
        self._jobs.settle(name)
        shown = [item.key for item in (*self.problem.objectives, *self.problem.constraints)]
        self._progress.finished(
            trial, "; ".join(measured.verdict(shown) for measured in measurements), self._standing()
        )
        self._changed()
        return finished

    def _standing(self) -> str:
        kept = [candidate for candidate in self.record.candidates if self.problem.admits(candidate.values)]
        front = pareto.front_of(kept, self.problem.objectives)
        if not front:
            return "none completed" + (" within the limits" if self.problem.constraints else "")
        return f"best score {max(candidate.score for candidate in front):.4f}, front {len(front)}"


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one candidate's training came to.

    Attributes:
        metrics: What was measured.
        seconds: Wall time of each phase [s]; what candidates of one trial share is counted with the first.
        score: The scalarized objectives; None if it failed.
        error: Why it failed; None otherwise.
    """

    metrics: dict[str, float]
    seconds: dict[str, float]
    score: float | None
    error: str | None

    def verdict(self, shown: Sequence[str]) -> str:
        """The outcome in a few words: of the metrics, those to be shown."""
        if self.error:
            return f"failed: {self.error}"
        metrics = [f"{key} {self.metrics[key]:.4f}" for key in dict.fromkeys(shown) if key in self.metrics]
        return ", ".join([*metrics, f"score {self.score:.4f}"])


def measure(result: Any, candidates: Sequence[Candidate], over: Sequence[Objective]) -> list[Measured]:
    """Judges a trial's result, or its `Failure`, for each of its candidates.

    A candidate also fails when one of its objectives' values is not a finite number.
    """
    if isinstance(result, Failure):
        _log.debug("%s", result.traceback or result.error)
        return [Measured({}, {}, None, result.error) for _ in candidates]
    measured = []
    shared = dict(result.seconds)
    for candidate, outcome in zip(candidates, result.outcomes, strict=True):
        metrics = {name: float(value) for name, value in outcome.metrics.items()}
        seconds = {
            phase: float(shared.get(phase, 0.0) + outcome.seconds.get(phase, 0.0))
            for phase in shared | dict(outcome.seconds)
        }
        shared = {}
        score, error = None, outcome.error
        if error is None:
            try:
                score = _score(over, {**candidate.cost, **metrics})
            except ValueError as unusable:
                error = str(unusable)
        measured.append(Measured(metrics, seconds, score, error))
    return measured


def _score(over: Sequence[Objective], values: dict[str, float]) -> float:
    for objective in over:
        value = values.get(objective.key)
        if value is None or not math.isfinite(value):
            raise ValueError(f"{objective.key} {'was not measured' if value is None else f'is {value}'}")
    return objectives.score(over, values)
