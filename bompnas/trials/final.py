"""Final training of a front."""

import functools
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bompnas.candidate import Candidate
from bompnas.objectives import Objective
from bompnas.trials.context import Measured, measure
from bompnas.trials.jobs import Jobs
from bompnas.trials.record import Final, Record
from bompnas.trials.watching.progress import Watch, describe
from bompnas.whole_files import replacing


def train(
    front: Sequence[Candidate],
    objectives: Sequence[Objective],
    record: Record,
    folder: Path,
    jobs: Jobs,
    make_task: Callable[[Sequence[Candidate], bytes | None], Any],
    watch: Watch,
    changed: Callable[[], None],
) -> None:
    """Trains the candidates of a front from fresh weights and records the outcome.

    Candidates that share an architecture share one float training and are one task. What an earlier session has
    finished is not trained again; what has failed is tried once more.

    Args:
        front: Candidates to train.
        objectives: What scores the trained networks.
        record: The run's record, opened for writing.
        folder: The run's folder.
        jobs: Where the trainings run.
        make_task: Turns candidates of one architecture, and what to go on from, into the executor's task; its result's
            outcomes hold the models.
        watch: Shows the user what goes on.
        changed: Called after every change of the record.
    """
    groups = _unfinished(front, record, folder)
    shown = [key for objective in objectives for key in (objective.key, objective.key.replace("val_", "test_"))]
    (folder / "models").mkdir(exist_ok=True)
    running: dict[str, int] = {}
    waiting = deque(range(len(groups)))
    with watch.stage("final training", len(groups)) as progress:
        while waiting or running:
            while waiting and len(running) < jobs.slots:
                number = waiting.popleft()
                name = f"final {groups[number][0].id}"
                progress.started(number + 1, "; ".join(map(describe, groups[number])), name)
                jobs.start(name, functools.partial(make_task, groups[number]))
                running[name] = number
            name, result = jobs.next_finished()
            number = running.pop(name)
            group = groups[number]
            measurements = measure(result, group, objectives)
            _save(result, group, folder)
            finals = [_final(candidate, measured) for candidate, measured in zip(group, measurements, strict=True)]
            record.finish_finals(name, finals, getattr(result, "curves", {}))
            jobs.settle(name)
            progress.finished(number + 1, "; ".join(measured.verdict(shown) for measured in measurements), job=name)
            changed()


def model_path(candidate: int) -> str:
    """Where a finally trained model lies within its run's folder."""
    return f"models/{candidate}.keras"


def _unfinished(front: Sequence[Candidate], record: Record, folder: Path) -> list[list[Candidate]]:
    """What is left to train, candidates of one architecture together; a model that is gone is trained again."""
    finished = {final.candidate for final in record.finals if final.model and (folder / final.model).exists()}
    groups: dict[str, list[Candidate]] = {}
    for candidate in front:
        if candidate.id not in finished:
            groups.setdefault(candidate.network.architecture_key, []).append(candidate)
    return list(groups.values())


def _save(result: Any, group: Sequence[Candidate], folder: Path) -> None:
    """Writes the models that came back; what is recorded after that is there."""
    for candidate, outcome in zip(group, getattr(result, "outcomes", [None] * len(group)), strict=True):
        if outcome is not None and outcome.model is not None:
            with replacing(folder / model_path(candidate.id), durable=True) as draft:
                draft.write_bytes(outcome.model)


def _final(candidate: Candidate, measured: Measured) -> Final:
    model = None if measured.error else model_path(candidate.id)
    return Final(candidate.id, measured.metrics, measured.seconds, measured.score, model, measured.error)
