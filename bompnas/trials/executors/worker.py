"""A worker process: its life, and the driver's hold on it."""

import contextlib
import ctypes
import dataclasses
import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import threadpoolctl

from bompnas.trials.executors import process
from bompnas.trials.executors.channel import Channel
from bompnas.trials.executors.contract import Failure, Tell

STARTED, TOLD, DONE = "started", "told", "done"
"""What a worker says: when it began with a task (`time.monotonic`), what the task tells, what came of it."""

GRACE = 1.0
"""How long a worker has to end by itself [s]."""

_LAST_WORDS = 8000  # [characters]
_PR_SET_PDEATHSIG = 1  # of Linux: the signal that comes when the thread ends that started this process


@dataclasses.dataclass(frozen=True)
class Worker:
    """The driver's hold on a worker.

    Attributes:
        process: The worker.
        channel: To the worker, with the other end in its hands alone: its death is the end of the messages.
        errors: The file that is its standard error.
    """

    process: BaseProcess
    channel: Channel
    errors: Path

    @property
    def id(self) -> int:
        """The process's id."""
        return self.process.pid

    def give(self, handle: int, message: bytes) -> None:
        """Hands over a pickled pair of a function and its task.

        Raises:
            ConnectionError: The worker is dead.
        """
        self.channel.send(pickle.dumps((handle, message)))

    def messages(self) -> Iterator[tuple[int, str, Any]]:
        """What a dead worker has said and nobody has heard yet."""
        with contextlib.suppress(Exception):  # it died in the middle of the last one
            while True:
                yield self.hear()

    def hear(self) -> tuple[int, str, Any]:
        """Waits for what the worker says: the task's handle, what kind of message it is, and its content."""
        return pickle.loads(self.channel.receive())

    def terminate(self) -> None:
        """Ends what the worker has started, and asks itself to end; it then writes where it was."""
        if self.process.exitcode is not None:  # its id may be another process's by now
            return
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.id).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        self.process.terminate()

    def end(self, grace: float = GRACE) -> int | None:
        """Makes sure that the worker has ended, within `grace` [s] or by force.

        Returns:
            Its exit status, negative for a signal; None if it had to be forced.
        """
        status = self._status_within(grace)
        if status is None:
            self.process.kill()
            self._status_within(GRACE)
        return status

    def last_words(self) -> str:
        """What the worker wrote to standard error since its task began: where it crashed, if it did."""
        try:
            text = self.errors.read_text(errors="replace")
        except OSError:
            return ""
        return text[-_LAST_WORDS:].strip()

    def release(self) -> None:
        """Gives back what the driver holds of a worker that has ended."""
        self.channel.close()
        self.errors.unlink(missing_ok=True)
        with contextlib.suppress(ValueError):  # the system has not yet let it end
            self.process.close()

    def _status_within(self, seconds: float) -> int | None:
        """The exit status; `Process.join` would wait for ever for a process that has closed all its files."""
        end = time.monotonic() + seconds
        while (status := self.process.exitcode) is None and time.monotonic() < end:
            time.sleep(0.01)
        return status


def start(folder: Path, environment: Mapping[str, str], threads: int, function: bytes) -> Worker:
    """Starts a worker; does not wait for it.

    Args:
        folder: For its files.
        environment: Variables that it sets before it loads anything else.
        threads: How many it may compute with.
        function: Pickled; loaded at once, so that what it needs is imported when the first task comes.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = theirs, folder, dict(environment), threads, function
    spawned = context.Process(target=_live, args=arguments, name="bompnas-worker", daemon=True)
    errors = folder / f"errors-{time.monotonic_ns()}"
    resource_tracker.ensure_running()  # starting it later would lift the mask
    # The worker inherits the mask: Ctrl-C reaches the whole process group, but the driver alone decides.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with errors.open("ab") as file, process.errors_to(file.fileno()):
            spawned.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
    return Worker(spawned, Channel(ours, folder), errors)


def cause_of_death(status: int | None) -> str:
    """Why a worker ended, by its exit status; None if it had to be forced."""
    if status is None:
        return "the worker process stopped answering"
    if status >= 0:
        return f"the worker process ended unexpectedly with exit status {status}"
    known = {each.value: each.name for each in signal.Signals}
    name = known.get(-status, f"signal {-status}")
    hint = ", which is what the system does when memory runs out" if name == "SIGKILL" else ""
    return f"the worker process was killed by {name}{hint}"


def nothing(task: Any, tell: Tell) -> None:
    """What a worker does to show that it can load a task."""


def _live(pipe: Any, folder: Path, environment: Mapping[str, str], threads: int, function: bytes) -> None:
    """A worker's life: load a task, run it, send its result, until the driver is gone."""
    _end_with_driver()
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGTERM, file=2, chain=True)
    process.prepare({**environment, "TMPDIR": str(folder)})  # what is left there goes when the pool does
    threadpoolctl.threadpool_limits(threads)
    with contextlib.suppress(Exception):  # shows when the first task is loaded
        pickle.loads(function)
    gc.collect()
    gc.freeze()  # every trial begins with a collection, which need not look at what was imported
    channel = Channel(pipe, folder)
    with contextlib.suppress(EOFError, ConnectionError):  # the driver is gone
        while True:
            _serve(channel)


def _serve(channel: Channel) -> None:
    handle, message = pickle.loads(channel.receive())

    def say(kind: str, content: Any) -> None:
        channel.send(pickle.dumps((handle, kind, content)))

    os.ftruncate(2, 0)
    try:
        function, task = pickle.loads(message)
    except Exception as error:
        say(DONE, process.failure(error))
        return

    def tell(event: Any) -> None:
        try:
            say(TOLD, event)
        except ConnectionError:
            raise
        except OSError as error:  # no space for a checkpoint on its way: the result matters more
            print(f"what the task told is lost: {error}", file=sys.stderr, flush=True)

    say(STARTED, time.monotonic())
    result = process.attempt(function, task, tell)
    try:
        say(DONE, result)
    except ConnectionError:
        raise
    except Exception as error:  # it cannot be pickled, or there is no space for it
        say(DONE, Failure(f"the result cannot be sent: {process.one_line(error)}"))


def _end_with_driver() -> None:
    """Lets this process end however the driver ends, even in code that holds the interpreter's lock."""
    with contextlib.suppress(AttributeError):  # Linux has it, and a worker elsewhere ends when it next speaks
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not multiprocessing.parent_process().is_alive():  # it ended before this was asked for
        os._exit(1)
