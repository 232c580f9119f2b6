"""A place for a worker: what is there when one worker dies and another comes."""

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from bompnas.trials.executors import worker
from bompnas.trials.executors.worker import Worker

START_LIMIT = 600.0
"""How long a worker may take to start and to load a task [s]."""


@dataclasses.dataclass
class Slot:
    """A place for a worker, with its own environment.

    Attributes:
        environment: Of its workers.
        folder: For their files.
        threads: Of each.
        loaded: What they load when they start, pickled.
        worker: The one that is there now.
        handle: Of the task that it has; None if it is free.
        settled: What its worker held after the first task [bytes]; 0 before.
        started: Whether it has begun with the task.
        deadline: When the task, or until then its loading, has taken too long (`time.monotonic`); None for never.
    """

    environment: Mapping[str, str]
    folder: Path
    threads: int
    loaded: bytes
    worker: Worker = dataclasses.field(init=False)
    handle: int | None = None
    settled: float = 0.0
    started: bool = False
    deadline: float | None = None

    def __post_init__(self):
        self.worker = self._start()

    def give(self, handle: int, message: bytes) -> None:
        """Gives the worker a task; one that died while it had none is replaced."""
        try:
            self.worker.give(handle, message)
        except ConnectionError:
            self.renew()
            with contextlib.suppress(ConnectionError):  # the death of a new worker shows when its result is waited for
                self.worker.give(handle, message)
        self.handle, self.started, self.deadline = handle, False, time.monotonic() + START_LIMIT

    def renew(self) -> None:
        """Ends the worker and starts another."""
        old = self.worker
        old.terminate()
        old.end()
        self.worker, self.settled = self._start(), 0.0
        old.release()  # last: an interrupt meanwhile finds a worker that can be ended

    def _start(self) -> Worker:
        return worker.start(self.folder, self.environment, self.threads, self.loaded)
