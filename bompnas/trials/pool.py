"""Tasks in worker processes: several at a time, each within its limits of time and memory."""

import contextlib
import dataclasses
import itertools
import logging
import pickle
import time
from collections import deque
from collections.abc import Mapping
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import Any

from bompnas.errors import InputError
from bompnas.trials import gpus, process, resources, worker
from bompnas.trials.executor import Arrays, Failure, Function, Listen, unheard
from bompnas.trials.folder import scratch
from bompnas.trials.shared import Mapped
from bompnas.trials.worker import Worker

LOOK = 1.0
"""Time between two looks at what the workers use [s]."""

START_LIMIT = 600.0
"""How long a worker may take to start and to load a task [s]."""

_LEAVING = 2.0  # [s]
_log = logging.getLogger(__name__)


class Pool:
    """Runs every task in one of several worker processes, which are started at once and live for several tasks.

    A worker that dies fails the task it had, with the reason; so does one that takes too long or too much memory,
    which is killed. A new one takes its place, as it does when a worker holds more than half of its memory after a
    task. Workers that find GPUs have one each, and share them if there are more workers. Workers end with their driver,
    however that ends.

    Args:
        function: What to do with a task; importable by the workers.
        workers: Number of worker processes.
        threads: Threads that TensorFlow or JAX may use in each.
        timeout: How long a task may take [s], loading it not counted; None for ever.
        memory: What a worker and all it has started may use [bytes]; None for an equal share of the machine's.
    """

    def __init__(
        self,
        function: Function,
        workers: int,
        threads: int,
        timeout: float | None = None,
        memory: float | None = None,
    ):
        self.slots = workers
        self._function = function
        self._threads = threads
        self._timeout = timeout
        self._memory = resources.memory_share(workers) if memory is None else memory
        self._handles = itertools.count()
        self._slots: list[_Slot] = []
        self._finished: deque[tuple[int, Any]] = deque()
        self._looked = 0.0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Pool":
        names = gpus.found()
        loaded = _pickled(worker.nothing, self._function)
        with contextlib.ExitStack() as stack:
            self._scratch = stack.enter_context(scratch())
            stack.callback(self._leave)
            for number in range(self.slots):
                environment = resources.environment(self._threads) | gpus.environment(number, names)
                self._slots.append(_Slot(environment, self._scratch, self._threads, loaded))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def share(self, arrays: Arrays) -> Mapped:
        """Writes the arrays to files that workers map into memory."""
        return Mapped.write(arrays, self._scratch)

    def check(self, task: Any) -> None:
        """Lets a worker load the task and the function, no more."""
        self._send(worker.nothing, (self._function, task))
        _, result = self.next_finished()
        if isinstance(result, Failure):
            said = f" ({result.traceback.splitlines()[-1]})" if result.lost and result.traceback else ""
            raise InputError(
                f"worker processes cannot load what they are to train: {result.error}{said}. Give the head as an "
                'import path of an installed module (and guard a script with `if __name__ == "__main__":`), or set '
                "`workers: 1`"
            )

    def submit(self, task: Any) -> int:
        """Sends the task to a free worker."""
        return self._send(self._function, task)

    def next_finished(self, listen: Listen = unheard) -> tuple[int, Any]:
        """Waits for the first worker that is done, dead, or beyond its limits."""
        while True:
            self._hear(0 if self._finished else LOOK, listen)
            self._watch(listen)
            if self._finished:
                return self._finished.popleft()

    def _send(self, function: Function, task: Any) -> int:
        message = _pickled(function, task)
        handle = next(self._handles)
        next(slot for slot in self._slots if slot.handle is None).give(handle, message)
        return handle

    def _hear(self, patience: float, listen: Listen) -> None:
        """Takes one message of each worker that has one, or has died; waits for the first."""
        busy = [slot for slot in self._slots if slot.handle is not None]
        ready = connection.wait([slot.worker.channel for slot in busy], patience)
        for slot in busy:
            if slot.worker.channel not in ready:
                continue
            try:
                message = slot.worker.hear()
            except (EOFError, OSError):  # the end of the stream, perhaps within a message
                self._replace(slot, worker.cause_of_death(slot.worker.end()), listen, lost=True)
            except Exception as error:
                reason = f"what the worker sent cannot be loaded: {process.one_line(error)}"
                self._replace(slot, reason, listen, lost=False)
            else:
                self._take(slot, message, listen)

    def _take(self, slot: "_Slot", message: tuple[int, str, Any], listen: Listen) -> None:
        handle, kind, content = message
        if kind == worker.TOLD:
            listen(handle, content)
        elif kind == worker.STARTED:
            slot.deadline = None if self._timeout is None else content + self._timeout
            slot.started = True
        else:
            self._finished.append((handle, content))
            slot.handle = None
            used = resources.memory_used([slot.worker.id]).get(slot.worker.id, 0)
            if used > self._memory / 2:
                _log.debug("worker %d is replaced: it holds %.2f GB after its task", slot.worker.id, used / 1e9)
                slot.renew()

    def _watch(self, listen: Listen) -> None:
        """Ends workers that are beyond their limits."""
        now = time.monotonic()
        for slot in self._slots:
            if slot.handle is not None and slot.deadline is not None and now > slot.deadline:
                self._replace(slot, self._overdue(slot), listen, lost=not slot.started)
        if now < self._looked + LOOK:
            return
        self._looked = now
        used = resources.memory_used([slot.worker.id for slot in self._slots if slot.handle is not None])
        for slot in self._slots:
            memory = used.get(slot.worker.id, 0)
            if slot.handle is not None and memory > self._memory:
                limit = f"{self._memory / 1e9:.2f} GB that a worker may use (worker_memory_gb)"
                self._replace(slot, f"used {memory / 1e9:.2f} GB of memory, more than the {limit}", listen, lost=False)

    def _overdue(self, slot: "_Slot") -> str:
        if slot.started:
            return f"took longer than trial_timeout ({self._timeout:g} s)"
        return f"the worker process did not begin within {START_LIMIT:g} s"

    def _replace(self, slot: "_Slot", reason: str, listen: Listen, lost: bool) -> None:
        """Ends a worker and the task it has, unless it has finished just now; a new worker takes its place."""
        handle, old = slot.handle, slot.worker
        old.terminate()
        old.end()
        result = Failure(reason, old.last_words(), lost)
        for _, kind, content in old.messages():
            if kind == worker.TOLD:
                listen(handle, content)
            elif kind == worker.DONE:
                result = content
        self._finished.append((handle, result))
        slot.handle = None
        slot.renew()

    def _leave(self) -> None:
        for slot in self._slots:
            slot.worker.terminate()
        end = time.monotonic() + _LEAVING
        for slot in self._slots:
            slot.worker.end(max(0, end - time.monotonic()))
            slot.worker.release()
        self._slots = []


@dataclasses.dataclass
class _Slot:
    """A place for a worker, with its own environment.

    Attributes:
        environment: Of its workers.
        folder: For their files.
        threads: Of each.
        loaded: What they load when they start, pickled.
        worker: The one that is there now.
        handle: Of the task that it has; None if it is free.
        started: Whether it has begun with the task.
        deadline: When the task, or until then its loading, has taken too long (`time.monotonic`); None for never.
    """

    environment: Mapping[str, str]
    folder: Path
    threads: int
    loaded: bytes
    worker: Worker = dataclasses.field(init=False)
    handle: int | None = None
    started: bool = False
    deadline: float | None = None

    def __post_init__(self):
        self.worker = self._start()

    def give(self, handle: int, message: bytes) -> None:
        """Gives the worker a task; one that died while it had none is replaced."""
        try:
            self.worker.give(handle, message)
        except BrokenPipeError:
            self.renew()
            with contextlib.suppress(BrokenPipeError):  # the death of a new worker shows when its result is waited for
                self.worker.give(handle, message)
        self.handle, self.started, self.deadline = handle, False, time.monotonic() + START_LIMIT

    def renew(self) -> None:
        """Ends the worker and starts another."""
        self.worker.terminate()
        self.worker.end()
        self.worker.release()
        self.worker = self._start()

    def _start(self) -> Worker:
        return worker.start(self.folder, self.environment, self.threads, self.loaded)


def _pickled(function: Function, task: Any) -> bytes:
    try:
        return pickle.dumps((function, task))
    except Exception as error:
        raise InputError(
            f"the task cannot be sent to a worker process: {process.one_line(error)}. Give the head as an import path, "
            "or set `workers: 1`"
        ) from error
