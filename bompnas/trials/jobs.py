"""Trials and final trainings as jobs: their checkpoints are kept, and what died with its worker is started again."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bompnas.trials.events import Checkpoint, Lost, Note
from bompnas.trials.executors.contract import Executor, Failure
from bompnas.whole_files import replacing

MakeTask = Callable[[bytes | None], Any]
"""Makes the executor's task, which goes on from a checkpoint if there is one."""

_log = logging.getLogger(__name__)


class Jobs:
    """Jobs on an executor, by name (`trial 3`, `final 3`).

    Checkpoints lie in `folder`, one file a job, until `settle` says that the job's result is recorded.

    Args:
        executor: Where they run.
        folder: Of the checkpoints; made when the first one comes.
        retries: How often a job is started again whose worker died.
        listen: Told each job's name with every event but checkpoints, and when it is lost with its worker (`Lost`).
        idle: Called before jobs are waited for: what takes its time then keeps no worker waiting.
    """

    def __init__(
        self,
        executor: Executor,
        folder: Path,
        retries: int,
        listen: Callable[[str, Any], None],
        idle: Callable[[], None] = lambda: None,
    ):
        self._executor = executor
        self._folder = folder
        self._retries = retries
        self._listen = listen
        self._idle = idle
        self._running: dict[int, _Job] = {}

    @property
    def slots(self) -> int:
        """Number of jobs that run at the same time."""
        return self._executor.slots

    def start(self, name: str, make_task: MakeTask) -> None:
        """Starts a job, from its checkpoint if there is one."""
        self._submit(_Job(name, make_task, self._retries))

    def next_finished(self) -> tuple[str, Any]:
        """Waits for any job; returns its name and its result or `Failure`."""
        self._idle()
        while True:
            handle, result = self._executor.next_finished(self._hear)
            job = self._running.pop(handle)
            if not (isinstance(result, Failure) and result.lost):
                return job.name, result
            self._listen(job.name, Lost(f"{result.error}; {'started again' if job.retries else 'given up'}"))
            if not job.retries:
                return job.name, result
            _log.warning("%s: %s; it is started again", job.name, result.error)
            _log.debug("%s", result.traceback)
            self._submit(dataclasses.replace(job, retries=job.retries - 1))

    def settle(self, name: str) -> None:
        """Forgets the checkpoint of a job whose result is recorded."""
        self._checkpoint(name).unlink(missing_ok=True)

    def _submit(self, job: "_Job") -> None:
        path = self._checkpoint(job.name)
        state = path.read_bytes() if path.exists() else None
        self._running[self._executor.submit(job.make_task(state))] = job

    def _hear(self, handle: int, event: Any) -> None:
        name = self._running[handle].name
        if isinstance(event, Note):
            _log.warning("%s: %s", name, event.text)
            return
        if not isinstance(event, Checkpoint):
            self._listen(name, event)
            return
        try:
            self._folder.mkdir(exist_ok=True)
            with replacing(self._checkpoint(name), durable=True) as draft:
                draft.write_bytes(event.state)
        except OSError as error:  # the training goes on: its result matters more
            _log.warning("%s: its checkpoint was not written (%s)", name, error)

    def _checkpoint(self, name: str) -> Path:
        return self._folder / f"{name.replace(' ', '_')}.npz"


@dataclasses.dataclass(frozen=True)
class _Job:
    name: str
    make_task: MakeTask
    retries: int
