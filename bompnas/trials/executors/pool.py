"""Tasks in worker processes: several at a time, each within its limits of time and memory."""

import contextlib
import itertools
import logging
import pickle
import time
from collections import deque
from multiprocessing import connection
from types import TracebackType
from typing import Any

from bompnas.errors import InputError
from bompnas.trials.executors import gpus, process, resources, worker
from bompnas.trials.executors.contract import Arrays, Failure, Function, Listen, unheard
from bompnas.trials.executors.scratch import scratch
from bompnas.trials.executors.shared import Mapped
from bompnas.trials.executors.slot import START_LIMIT, Slot

GROWTH = 1.2
"""A worker is replaced when it holds more than so many times what it held after its first task: else a new one would
soon hold as much."""
LOOK = 1.0
"""Time between two looks at what the workers use [s]."""

_LEAVING = 2.0  # [s]
_log = logging.getLogger(__name__)


class Pool:
    """Runs every task in one of several worker processes, which are started at once and live for several tasks.

    A worker that dies fails the task it had, with the reason; so does one that takes too long or too much memory,
    which is killed. A new one takes its place, as it does when a worker holds more than half of its memory after a
    task, or of its share of the machine's if it has grown since its first one. Each has a GPU, if there are any, and
    shares it if there are more workers. Workers end with their driver, however that ends.

    Args:
        function: What to do with a task; importable by the workers.
        workers: Number of worker processes.
        threads: Threads that TensorFlow or JAX may use in each.
        timeout: How long a task may take [s], loading it not counted; None for ever.
        memory: What a worker and all it has started may use [bytes]; None for no limit until all together use too much
            of the machine's memory: then the task of the largest is lost.
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
        self._memory = memory
        self._share = resources.memory_share(workers)
        self._handles = itertools.count()
        self._slots: list[Slot] = []
        self._finished: deque[tuple[int, Any]] = deque()
        self._looked = 0.0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Pool":
        names = gpus.found()
        if names:
            gpus.share()  # the driver builds models too, and must leave the memory to its workers
        loaded = _pickled(worker.nothing, self._function)
        with contextlib.ExitStack() as stack:
            self._scratch = stack.enter_context(scratch())
            stack.callback(self._leave)
            for number in range(self.slots):
                environment = resources.environment(self._threads) | gpus.environment(number, names)
                self._slots.append(Slot(environment, self._scratch, self._threads, loaded))
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

    def _take(self, slot: Slot, message: tuple[int, str, Any], listen: Listen) -> None:
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
            slot.settled = slot.settled or used
            if used > (self._memory / 2 if self._memory else max(self._share / 2, GROWTH * slot.settled)):
                _log.debug("worker %d is replaced: it holds %s after its task", slot.worker.id, _gb(used))
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
        self._watch_memory(listen)

    def _watch_memory(self, listen: Listen) -> None:
        used = resources.memory_used([slot.worker.id for slot in self._slots])
        slots = [slot for slot in self._slots if slot.handle is not None and slot.worker.id in used]
        if self._memory is not None:
            for slot in slots:
                memory = used[slot.worker.id]
                if memory > self._memory:
                    limit = f"{_gb(self._memory)} that a worker may use (worker_memory_gb)"
                    self._replace(slot, f"used {_gb(memory)} of memory, more than the {limit}", listen, lost=False)
        elif slots and sum(used.values()) > self._share * self.slots:
            largest = max(slots, key=lambda slot: used[slot.worker.id])
            reason = (
                f"used {_gb(used[largest.worker.id])} of memory, the most of all workers when together they used more "
                f"than {_gb(self._share * self.slots)}; use fewer workers"
            )
            self._replace(largest, reason, listen, lost=True)

    def _overdue(self, slot: Slot) -> str:
        if slot.started:
            return f"took longer than trial_timeout ({self._timeout:g} s)"
        return f"the worker process did not begin within {START_LIMIT:g} s"

    def _replace(self, slot: Slot, reason: str, listen: Listen, lost: bool) -> None:
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


def _pickled(function: Function, task: Any) -> bytes:
    try:
        return pickle.dumps((function, task))
    except Exception as error:
        raise InputError(
            f"the task cannot be sent to a worker process: {process.one_line(error)}. Give the head as an import path, "
            "or set `workers: 1`"
        ) from error


def _gb(memory: float) -> str:
    return f"{memory / 1e9:.2f} GB"
