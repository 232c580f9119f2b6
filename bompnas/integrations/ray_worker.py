"""What runs on the nodes of a Ray cluster: a task that sends what it tells, and at last its result, in small pieces."""

import concurrent.futures
import dataclasses
import functools
import importlib.metadata
import logging
import pickle
import queue
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

import bompnas
from bompnas.trials.executors.contract import Arrays, Failure, Function, Tell
from bompnas.trials.executors.process import failure

PIECE = 80 * 1024  # bytes; what is smaller than 100 kB Ray hands to the driver at once, so that no node's end loses it
AHEAD = 64  # messages and pieces that may wait for the driver, so that a slow one bounds the memory of its tasks
PACKAGES = "tensorflow", "jax", "keras", "qkeras-v3", "numpy", "scipy", "scikit-learn"

# Tasks of a process share a thread, as they would the main one; that one is busy sending.
_thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="trial")
_references: dict[str, ray.ObjectRef] = {}


@dataclasses.dataclass(frozen=True)
class Started:
    """The task is loaded and begins."""


@dataclasses.dataclass(frozen=True)
class Told:
    """What a task told."""

    event: Any


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a task returned, or its `Failure`."""

    result: Any


@dataclasses.dataclass(frozen=True)
class InStore:
    """Arrays in Ray's object store, from which all processes of a node map them."""

    key: str

    def load(self) -> Arrays:
        """The arrays, read only, fetched once per process."""
        return _loaded(self.key)


def work(message: bytes, references: Mapping[str, ray.ObjectRef]) -> Iterator[tuple[bool, bytes]]:
    """Carries out a task.

    Args:
        message: The pickled function and task.
        references: Where to find what is shared, by key.

    Yields:
        Pieces of pickled `Started`, `Told` and `Finished` messages, and whether a piece ends its message.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new network's tracing
    _references.update(references)
    try:
        function, task = _thread.submit(pickle.loads, message).result()
    except Exception as error:
        yield from _pieces(pickle.dumps(Finished(_failure(error))))
        return
    yield from _pieces(pickle.dumps(Started()))  # before the task can hold the interpreter's lock
    ready: queue.Queue[bytes | None] = queue.Queue(AHEAD)
    result = _thread.submit(_attempt, function, task, lambda event: ready.put(pickle.dumps(Told(event))))
    result.add_done_callback(lambda _: ready.put(None))
    while (content := ready.get()) is not None:
        yield from _pieces(content)
    yield from _pieces(result.result())


def versions(message: bytes) -> dict[str, str | None] | Failure:
    """Loads a task and its function, no more; returns what this node has installed, or why they cannot be loaded."""
    try:
        pickle.loads(message)
    except Exception as error:
        return _failure(error)
    return installed()


def installed() -> dict[str, str | None]:
    """The versions on which results depend; None for a package that is not there."""
    found: dict[str, str | None] = {"bompnas": bompnas.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _attempt(function: Function, task: Any, tell: Tell) -> bytes:
    try:
        return pickle.dumps(Finished(function(task, tell)))
    except Exception as error:
        return pickle.dumps(Finished(_failure(error)))


def _failure(error: Exception) -> Failure:
    return dataclasses.replace(failure(error), lost=isinstance(error, RayError))  # Ray's own are no task's fault


def _pieces(content: bytes) -> Iterator[tuple[bool, bytes]]:
    for start in range(0, len(content), PIECE):
        yield start + PIECE >= len(content), content[start : start + PIECE]


@functools.lru_cache(maxsize=1)
def _loaded(key: str) -> Arrays:
    return ray.get(_references[key])
