"""Where tasks run: in this process, or in a pool of worker processes.

Both follow the contract of `bompnas.trials.executor`.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from multiprocessing import connection, resource_tracker
from types import TracebackType
from typing import Any

from bompnas.errors import InputError
from bompnas.trials.executor import Arrays, Executor, Failure, Function, Listen, Tell, unheard
from bompnas.trials.folder import scratch
from bompnas.trials.shared import Held, Mapped


class InProcess:
    """Runs tasks in this process, in the order of their submission, when their result is asked for.

    Args:
        function: What to do with a task.
        threads: Threads that TensorFlow may use; too late if the process already uses it.
    """

    slots = 1

    def __init__(self, function: Function, threads: int):
        self._function = function
        self._environment = _environment(threads)
        self._handles = itertools.count()
        self._waiting: deque[tuple[int, Any]] = deque()

    def __enter__(self) -> "InProcess":
        _prepare_tensorflow(self._environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()

    def check(self, task: Any) -> None:
        """Accepts any task."""

    def submit(self, task: Any) -> int:
        """Queues the task."""
        handle = next(self._handles)
        self._waiting.append((handle, task))
        return handle

    def share(self, arrays: Arrays) -> Held:
        """Holds the arrays themselves."""
        return Held(arrays)

    def next_finished(self, listen: Listen = unheard) -> tuple[int, Any]:
        """Runs the task that was submitted first."""
        handle, task = self._waiting.popleft()
        return handle, _attempt(self._function, task, functools.partial(listen, handle))


class Pool:
    """Runs every task in one of several worker processes, which are started when needed and live for several tasks.

    A worker that dies fails the task it had, with the reason; the next task gets a new one. Workers end with their
    driver, however that ends.

    Args:
        function: What to do with a task; importable by the workers.
        workers: Number of worker processes.
        threads: Threads that TensorFlow may use in each.
    """

    def __init__(self, function: Function, workers: int, threads: int):
        self.slots = workers
        self._function = function
        self._environment = _environment(threads)
        self._handles = itertools.count()
        self._idle: list[_Worker] = []
        self._busy: dict[connection.Connection, tuple[int, _Worker]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Pool":
        self._scratch = self._stack.enter_context(scratch())
        return self

    def share(self, arrays: Arrays) -> Mapped:
        """Writes the arrays to files that workers map into memory."""
        return Mapped.write(arrays, self._scratch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        workers = self._idle + [worker for _, worker in self._busy.values()]
        self._idle, self._busy = [], {}
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(timeout=3)
            worker.process.kill()
            worker.connection.close()
        self._stack.close()

    def check(self, task: Any) -> None:
        """Starts a worker and lets it load the task and the function, no more."""
        self._send(_nothing, (self._function, task))
        _, result = self.next_finished()
        if isinstance(result, Failure):
            raise InputError(
                f"worker processes cannot load what they are to train: {result.error}. Give the head as an import path "
                'of an installed module (and guard a script with `if __name__ == "__main__":`), or set `workers: 1`'
            )

    def submit(self, task: Any) -> int:
        """Sends the task to a free worker."""
        return self._send(self._function, task)

    def next_finished(self, listen: Listen = unheard) -> tuple[int, Any]:
        """Waits for the first worker that is done, or dead."""
        while True:
            ready = connection.wait(list(self._busy))[0]
            handle, worker = self._busy[ready]
            try:
                is_result, content = ready.recv()
            except (EOFError, OSError):
                del self._busy[ready]
                worker.process.join()
                ready.close()
                return handle, Failure(_cause_of_death(worker.process.exitcode), lost=True)
            if is_result:
                del self._busy[ready]
                self._idle.append(worker)
                return handle, content
            listen(handle, content)

    def _send(self, function: Function, task: Any) -> int:
        try:
            message = pickle.dumps((function, task))
        except Exception as error:
            raise InputError(
                f"the task cannot be sent to a worker process: {_one_line(error)}. Give the head as an import path, "
                "or set `workers: 1`"
            ) from error
        worker = self._give(message)
        handle = next(self._handles)
        self._busy[worker.connection] = (handle, worker)
        return handle

    def _give(self, message: bytes) -> "_Worker":
        while self._idle:
            worker = self._idle.pop()
            try:
                worker.connection.send_bytes(message)
                return worker
            except OSError:  # it died while it had nothing to do
                worker.connection.close()
        worker = _start_worker(self._environment)
        with contextlib.suppress(OSError):  # the death of a new worker shows when its result is waited for
            worker.connection.send_bytes(message)
        return worker


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Keeps back what TensorFlow's native code writes to standard error at import, unless the import fails."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def local(function: Function, workers: int, threads: int) -> Executor:
    """The executor for this machine: in this process for one worker, where it can be debugged, else a pool."""
    return InProcess(function, threads) if workers == 1 else Pool(function, workers, threads)


def threads_per_worker(workers: int) -> int:
    """An equal share of the cores that this process may use, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // workers)


@dataclasses.dataclass(frozen=True)
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: connection.Connection


def _start_worker(environment: dict[str, str]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, environment), name="bompnas-worker", daemon=True)
    # The worker inherits the mask: Ctrl-C reaches the whole process group, but the driver alone decides.
    resource_tracker.ensure_running()  # starting it later would lift the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    theirs.close()  # the worker holds the only other end, so that its death is the end of the stream
    return _Worker(process, ours)


def _work(driver: connection.Connection, environment: dict[str, str]) -> None:
    """A worker's life: load a task, run it, send its result, until the driver is gone."""
    threading.Thread(target=_end_with_driver, daemon=True).start()
    _prepare_tensorflow({"TF_FORCE_GPU_ALLOW_GROWTH": "true", **environment})  # workers may share a GPU
    while True:
        try:
            message = driver.recv_bytes()
        except EOFError:
            return
        try:
            with quiet_imports():
                function, task = pickle.loads(message)
        except Exception as error:
            result = _failure(error)
        else:
            result = _attempt(function, task, lambda event: driver.send((False, event)))
        driver.send((True, result))


def _end_with_driver() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _attempt(function: Function, task: Any, tell: Tell) -> Any:
    try:
        return function(task, tell)
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> Failure:
    return Failure(_one_line(error), traceback.format_exc())


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"the worker process ended unexpectedly with exit status {exit_code}"
    name = signal.Signals(-exit_code).name
    hint = ", which is what the system does when memory runs out" if name == "SIGKILL" else ""
    return f"the worker process was killed by {name}{hint}"


def _prepare_tensorflow(environment: dict[str, str]) -> None:
    """What TensorFlow reads when it is first used."""
    os.environ.update(environment)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new network's tracing


def _environment(threads: int) -> dict[str, str]:
    return {name: str(threads) for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")}


def _nothing(task: Any, tell: Tell) -> None:
    """What a worker does to show that it can load a task."""
