"""What runs tasks, wherever that is: the contract of the executors.

An executor calls `function(task, tell)` for every task; `tell` sends an event to whoever waits for the result. What
goes wrong in a task, the death of its process included, comes back as a `Failure` and touches no other task.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from bompnas.training.image_files import ImageFiles

Arrays = dict[str, tuple[np.ndarray | ImageFiles, np.ndarray]]
"""Images, perhaps in their files, and labels by part of the data set."""

Tell = Callable[[Any], None]
"""Sends an event, small and picklable, to the driver."""

Function = Callable[[Any, Tell], Any]
"""What to do with a task; importable by workers."""

Listen = Callable[[int, Any], None]
"""Takes a task's handle and an event that it told."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a task has no result.

    Attributes:
        error: The reason in one line.
        traceback: The traceback where there was one, else empty.
        lost: Whether the task may be innocent: its process or machine went away under it.
    """

    error: str
    traceback: str = ""
    lost: bool = False


def unheard(handle: int, event: Any) -> None:
    """A `Listen` for those who do not care."""


class Executor(Protocol):
    """Runs tasks; a context manager whose exit stops whatever still runs.

    Attributes:
        slots: Number of tasks that run at the same time; no more may be submitted before one has finished.
    """

    slots: int

    def share(self, arrays: Arrays) -> "Shared":
        """Puts a data set where every task finds it, once; a task carries what is returned."""
        ...

    def check(self, task: Any) -> None:
        """Makes sure that tasks like this one can be handed over.

        Raises:
            InputError: They cannot; says why and what to do.
        """
        ...

    def submit(self, task: Any) -> int:
        """Hands over a task; returns its handle."""
        ...

    def next_finished(self, listen: Listen = unheard) -> tuple[int, Any]:
        """Waits for any submitted task; returns its handle and its result or `Failure`.

        Args:
            listen: Told what tasks tell meanwhile, in this thread.
        """
        ...

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *error: Any) -> None: ...


class Shared(Protocol):
    """A data set that an executor has shared; small to send."""

    def load(self) -> Arrays:
        """The arrays, where the task runs; read once per process."""
        ...


def ignore(event: Any) -> None:
    """A `Tell` for those who do not care."""
