"""Tasks in this process, one after the other, where they can be debugged."""

import itertools
from collections import deque
from types import TracebackType
from typing import Any

from bompnas.trials.executors import process, resources
from bompnas.trials.executors.contract import Arrays, Function, Listen, unheard
from bompnas.trials.executors.shared import Held


class InProcess:
    """Runs tasks in this process, in the order of their submission, when their result is asked for.

    Args:
        function: What to do with a task.
        threads: Threads that TensorFlow may use; too late if the process already uses it.
    """

    slots = 1

    def __init__(self, function: Function, threads: int):
        self._function = function
        self._environment = resources.environment(threads)
        self._handles = itertools.count()
        self._waiting: deque[tuple[int, Any]] = deque()

    def __enter__(self) -> "InProcess":
        process.prepare(self._environment)
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

        def tell(event: Any) -> None:
            try:
                listen(handle, event)
            except Exception as error:
                raise _ListenerError(error) from error

        try:
            return handle, process.attempt(self._function, task, tell)
        except _ListenerError as failed:
            raise failed.error from None


class _ListenerError(BaseException):
    """Carries an error of the driver's own, such as a full disk's, past the task, whose failure it is not."""

    def __init__(self, error: Exception):
        super().__init__(error)
        self.error = error
