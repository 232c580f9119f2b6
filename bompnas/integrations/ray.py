"""Trials on the machines of a Ray cluster: the executor for `cluster: {engine: ray}`.

The driver, which alone writes the run's folder, sends tasks and the data set to the nodes. Each task is a Ray task that
streams its events and its result back.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import os
import pickle
import re
import sys
import time
import uuid
from typing import Any

from bompnas.errors import InputError
from bompnas.experiment.sections import ClusterSettings
from bompnas.trials.executors import gpus, resources
from bompnas.trials.executors.contract import Arrays, Failure, Function, Listen, unheard
from bompnas.trials.executors.process import one_line

try:
    import ray
    from ray import exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from bompnas.integrations import ray_nodes, ray_worker
except ModuleNotFoundError as error:
    raise InputError(
        f"cluster: engine ray needs a package that is not installed ({error}); run `pip install 'bompnas[ray]'`"
    ) from error

PATIENCE = 60.0  # seconds without any task at work until the user is told

REASONS = {
    exceptions.WorkerCrashedError: "the worker process ended unexpectedly, which is what happens when memory runs out",
    exceptions.OutOfMemoryError: "the worker process was ended, as its node was short of memory",
    exceptions.NodeDiedError: "the node is dead or cannot be reached",
}
"""What losses are called."""

_log = logging.getLogger(__name__)


class RayCluster:
    """Runs every task as a Ray task, which waits for free resources and runs in a process that is used again.

    How many run at a time is settled when the cluster is entered: as many as its nodes have room for.

    Args:
        function: What to do with a task; importable on the nodes.
        settings: Which cluster, and what a task needs.
        limit: Number of tasks that may run at the same time; None for as many as there is room for.
        threads: Threads that TensorFlow may use in each.
        timeout: How long a task may take [s], waiting and loading it not counted; None for ever.
    """

    slots: int

    def __init__(
        self,
        function: Function,
        settings: ClusterSettings,
        limit: int | None,
        threads: int,
        timeout: float | None = None,
    ):
        self._function = function
        self._settings = settings
        self._limit = limit
        self._threads = threads
        self._timeout = timeout
        self._handles = itertools.count()
        self._references: dict[str, ray.ObjectRef] = {}
        self._running: dict[ray.ObjectRefGenerator, _Attempt] = {}
        self._told_to_wait = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "RayCluster":
        if self._settings.gpus:
            gpus.share()  # the driver builds models too, perhaps where trials run
        self._stack.enter_context(ray_nodes.connected(self._settings.address))
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            room = sum(ray_nodes.room(node, self._settings) for node in nodes)
            if not room:
                raise InputError(ray_nodes.no_room(nodes, self._settings))
        except BaseException:
            self._stack.close()
            raise
        self.slots = room if self._limit is None else min(room, self._limit)
        self._tasks_per_process = ray_nodes.tasks_per_process(nodes, self._settings.gpus)
        return self

    def __exit__(self, *error: Any) -> None:
        for stream in self._running:
            _end(stream)
        self._running, self._references = {}, {}
        self._stack.close()

    def share(self, arrays: Arrays) -> ray_worker.InStore:
        """Puts the arrays into the object store, from which each node fetches them once."""
        key = uuid.uuid4().hex
        try:
            self._references[key] = ray.put(arrays)
        except Exception as error:  # Ray's own, and the disk's that it spills to
            raise InputError(
                f"cluster: the data set does not fit into Ray's object store ({one_line(error)}); start this machine's "
                "node with a larger --object-store-memory"
            ) from error
        return ray_worker.InStore(key)

    def check(self, task: Any) -> None:
        """Lets every node load the task and the function, and compares what is installed there and here."""
        message = self._pickled(task)
        here = ray_worker.installed()
        load = ray.remote(num_cpus=0, max_retries=3, runtime_env={"env_vars": self._environment})(ray_worker.versions)
        nodes = [node for node in ray.nodes() if node["Alive"] and ray_nodes.room(node["Resources"], self._settings)]
        loading = [
            load.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(message)
            for node in nodes
        ]
        for node, reference in zip(nodes, loading, strict=True):
            try:
                there = ray.get(reference)
            except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError):
                _log.warning("node %s of the cluster is gone", node["NodeManagerAddress"])
                continue
            except exceptions.RayError as error:
                there = _failure(error)
            if isinstance(there, Failure):
                raise InputError(
                    f"cluster: node {node['NodeManagerAddress']} cannot load what it is to train: {there.error}. "
                    "Install bompnas and the module of the head on every node, or submit the run with "
                    "`ray job submit --working-dir`"
                )
            different = [name for name in here if here[name] != there[name]]
            if different:
                raise InputError(
                    f"cluster: node {node['NodeManagerAddress']} has "
                    + ", ".join(f"{name} {there[name] or 'missing'} (here {here[name]})" for name in different)
                    + "; results depend on it, so install the same versions on every node"
                )

    def submit(self, task: Any) -> int:
        """Hands the task to Ray, which finds a node for it."""
        handle = next(self._handles)
        self._running[self._task.remote(self._pickled(task), self._references)] = _Attempt(handle)
        return handle

    def next_finished(self, listen: Listen = unheard) -> tuple[int, Any]:
        """Waits for the first task that is done, or lost, or took too long."""
        while True:
            for stream, attempt in self._running.items():
                if self._left(attempt) <= 0 and not ray.wait([stream], timeout=0)[0]:  # first hear what it has sent
                    _end(stream)
                    del self._running[stream]
                    return attempt.handle, Failure(f"took longer than trial_timeout ({self._timeout:g} s)")
            patience = min(PATIENCE, *(self._left(attempt) for attempt in self._running.values()))
            ready, _ = ray.wait(list(self._running), timeout=max(0.0, patience))
            if not ready:
                self._tell_to_wait()
                continue
            (stream,) = ready
            attempt = self._running[stream] = self._running.pop(stream)  # at the end, so that each task's turn comes
            message = _received(stream, attempt)
            if isinstance(message, ray_worker.Finished):
                next(stream, None)  # the end of the task, when its resources are free again
                del self._running[stream]
                return attempt.handle, message.result
            if isinstance(message, ray_worker.Started):
                attempt.began = time.monotonic()
            elif isinstance(message, ray_worker.Told):
                listen(attempt.handle, message.event)

    @functools.cached_property
    def _environment(self) -> dict[str, str]:
        """Environment variables of tasks; asked for when they come, as the backend is known by then."""
        return _environment(self._settings, self._threads)

    @functools.cached_property
    def _task(self) -> ray.remote_function.RemoteFunction:
        return ray.remote(
            num_cpus=self._settings.cpus,
            num_gpus=self._settings.gpus,
            memory=int((self._settings.memory_gb or 0) * ray_nodes.GB) or None,
            max_calls=self._tasks_per_process,
            max_retries=0,
            num_returns="streaming",
            runtime_env={"env_vars": self._environment},
            _generator_backpressure_num_objects=ray_worker.AHEAD,
        )(ray_worker.work)

    def _left(self, attempt: "_Attempt") -> float:
        """How long a task may still take [s]; its wait for resources does not count."""
        if self._timeout is None or attempt.began is None:
            return math.inf
        return attempt.began + self._timeout - time.monotonic()

    def _tell_to_wait(self) -> None:
        if not self._told_to_wait and all(attempt.began is None for attempt in self._running.values()):
            self._told_to_wait = True
            _log.warning("no trial has begun for %d s: they wait for free resources of the Ray cluster", PATIENCE)

    def _pickled(self, task: Any) -> bytes:
        try:
            return pickle.dumps((self._function, task))
        except Exception as error:
            raise InputError(
                f"the task cannot be sent to the Ray cluster: {one_line(error)}. Give the head as an import "
                "path of a module that every node has"
            ) from error


@dataclasses.dataclass
class _Attempt:
    """A task that Ray has.

    Attributes:
        handle: Of the task.
        began: When a worker that had loaded it began with it, by `time.monotonic`; None until then.
        pieces: What came of a message so far.
    """

    handle: int
    began: float | None = None
    pieces: list[bytes] = dataclasses.field(default_factory=list)


def _environment(settings: ClusterSettings, threads: int) -> dict[str, str]:
    environment = resources.environment(threads) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    backend = sys.modules["keras"].config.backend() if "keras" in sys.modules else os.environ.get("KERAS_BACKEND")
    if backend:
        environment["KERAS_BACKEND"] = backend
    return environment | (gpus.SHARING if settings.gpus else {gpus.VISIBLE: ""})


def _received(stream: ray.ObjectRefGenerator, attempt: _Attempt) -> Any:
    """The next message of a task if its last piece has come, else None."""
    try:
        is_last, piece = ray.get(next(stream))
    except exceptions.RayError as error:
        return ray_worker.Finished(_failure(error))
    except StopIteration:
        return ray_worker.Finished(Failure("the worker ended without a result", lost=True))
    attempt.pieces.append(piece)
    if not is_last:
        return None
    content, attempt.pieces = b"".join(attempt.pieces), []
    return pickle.loads(content)


def _failure(error: exceptions.RayError) -> Failure:
    """What Ray says of a task, in one line.

    Raises:
        ConnectionError: It says that the cluster is gone.
    """
    if isinstance(error, exceptions.LocalRayletDiedError):
        raise ConnectionError("the Ray cluster is gone: its process on this machine has ended") from error
    if isinstance(error, exceptions.RayTaskError):
        trace = re.sub(r"\x1b\[\d+m", "", str(error))
        return Failure(one_line(error.cause), trace)
    if isinstance(error, exceptions.TaskCancelledError):
        return Failure("the task was cancelled")
    if isinstance(error, exceptions.RuntimeEnvSetupError):
        return Failure(one_line(error))
    reason = next((reason for kind, reason in REASONS.items() if isinstance(error, kind)), None)
    return Failure(reason or one_line(error).split(". ")[0], lost=True)


def _end(stream: ray.ObjectRefGenerator) -> None:
    with contextlib.suppress(exceptions.RayError):
        ray.cancel(stream, force=True)
