"""What a method works with: the problem, the run's record, and trials to start and to finish."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bompnas import objectives, pareto
from bompnas.candidate import Candidate, State
from bompnas.objectives import Objective
from bompnas.problem import Problem
from bompnas.space.space import Genotype
from bompnas.trials.executors.contract import Failure, Shared
from bompnas.trials.jobs import Jobs, MakeTask
from bompnas.trials.record import Record, StoredProposal
from bompnas.trials.watching.progress import Progress, describe

if TYPE_CHECKING:
    from bompnas.trials.setup import Setup

DECIDED = "decided"
"""Source of what a method decided for: it is finally trained even where others dominate it."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Material:
    """What methods work with that train something of their own.

    Attributes:
        setup: The experiment's parts.
        data: The data set, as the executor shares it.
        folder: The run's folder.
    """

    setup: "Setup"
    data: Shared
    folder: Path


@dataclasses.dataclass(frozen=True)
class Found:
    """A network that a method found and measured without a trial.

    Attributes:
        source: What the method says of where it comes from.
        genotype: Its genes.
        metrics: What was measured.
        seconds: Wall time of what led to it and to no other candidate [s], by phase.
    """

    source: str
    genotype: Genotype
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]


class Run:
    """One experiment being carried out.

    A method reads what is known from `record`, adds the candidates of a new trial to it as pending, and hands them to
    `start` while `busy < slots`; `finish` waits for any started trial and records what it found. A trial that fails
    is recorded as failed and raises nothing. A method that trains something of its own instead lets `carry_out` do it,
    and hands over what came of it to `adopt`.

    Args:
        problem: What is searched.
        record: The run's record, opened for writing.
        jobs: Where trials run.
        make_task: Turns the candidates of one trial, which share an architecture, and what to go on from, into the
            executor's task; the result has `outcomes` (one per candidate), `seconds` and `curves`.
        seed: Of the run; a method derives all its random numbers from it.
        progress: Shows the user what goes on.
        changed: Called after every change of the record, to redraw the record's views.
        material: For methods that train something of their own; None where there are none.
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
        material: Material | None = None,
    ):
        self.material = material
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

    def carry_out(self, name: str, make_task: MakeTask, description: str) -> Any:
        """Runs a job that is no trial; returns its result, or the `Failure` that was noted in the record.

        Args:
            name: Of the job; its checkpoint is kept until `adopt` settles it.
            make_task: Makes its task from a checkpoint, or from None.
            description: What it is, for the user.
        """
        self._progress.started(1, description, name)
        self._jobs.start(name, make_task)
        _, result = self._jobs.next_finished()
        failed = isinstance(result, Failure)
        if failed:
            _log.debug("%s", result.traceback or result.error)
            self.record.note(name, result.error)
        self._progress.finished(1, f"failed: {result.error}" if failed else "finished", job=name)
        return result

    def adopt(self, found: Sequence[Found], job: str) -> None:
        """Records what a job found as candidates of one training, all of them at once.

        Args:
            found: Those of one source one after the other.
            job: Whose checkpoint is not needed any more.
        """
        networks = [self.problem.space.decode(each.genotype) for each in found]
        candidates = [
            _judged(Candidate(number, 1, network, each.genotype, State.PENDING, self.problem.cost(network)), each, self)
            for number, (each, network) in enumerate(zip(found, networks, strict=True), start=1)
        ]
        sources = dict.fromkeys(each.source for each in found)
        proposals = [
            StoredProposal(
                index, 1, tuple(each.genotype for each in found if each.source == source), (), (), {"source": source}
            )
            for index, source in enumerate(sources)
        ]
        self.record.add(candidates, *proposals)
        self._jobs.settle(job)
        self._changed()

    def _standing(self) -> str:
        kept = [candidate for candidate in self.record.candidates if self.problem.admits(candidate.values)]
        front = pareto.front_of(kept, self.problem.objectives)
        if not front:
            return "none completed" + (" within the limits" if self.problem.constraints else "")
        return f"best score {max(candidate.score for candidate in front):.4f}, front {len(front)}"


def _judged(candidate: Candidate, found: Found, run: Run) -> Candidate:
    """The candidate with what was measured of it, failed where that is no number."""
    metrics, score, error = dict(found.metrics), None, None
    try:
        score = _score(run.problem.objectives, {**candidate.cost, **metrics})
    except ValueError as unusable:
        error = str(unusable)
    state = State.FAILED if error else State.COMPLETED
    return dataclasses.replace(
        candidate, state=state, metrics=metrics, seconds=dict(found.seconds), score=score, error=error
    )


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
