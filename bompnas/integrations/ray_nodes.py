"""The nodes of a Ray cluster: the connection to them, and how many tasks they have room for."""

import contextlib
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence

import ray
from ray import exceptions

from bompnas.errors import InputError
from bompnas.experiment.sections import ClusterSettings
from bompnas.trials.executors.process import one_line

GB = 10**9
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # which GPUs tasks see that need none is set with them; Ray would warn
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of tasks that were ended
    "RAY_USAGE_STATS_ENABLED": "0",
}

Resources = Mapping[str, float]
"""What a node has, by Ray's names."""


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connects to a cluster, or starts one on this machine; a connection that is there already is used and kept."""
    if ray.is_initialized():
        yield
        return
    if address.startswith("ray://"):
        raise InputError(
            f"cluster.address: {address} is a Ray Client address; start the run on a node of the cluster with "
            "`address: auto`"
        )
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    only_here = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **only_here)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, exceptions.RayError) as error:
        ray.shutdown()
        raise InputError(
            f"cluster.address: no connection to a Ray cluster at {address}: {one_line(error)}. Start one "
            "with `ray start --head`, with the same versions of Ray and Python everywhere, or use `address: local`"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray sets its own
    ray._private.worker._worker_logs_enabled = False  # no public switch keeps the nodes' errors off the terminal
    try:
        yield
    finally:
        ray._private.worker._worker_logs_enabled = True
        ray.shutdown()


def tasks_per_process(nodes: Sequence[Resources], gpus: float) -> int:
    """1 where Ray could give a process another GPU than its first, to which it is bound; else 0, as many as come."""
    return int(gpus > 0 and any(resources.get("GPU", 0) > math.ceil(gpus) for resources in nodes))


def room(resources: Resources, settings: ClusterSettings) -> int:
    """How many tasks a node has room for."""
    rooms = [_whole(resources.get("CPU", 0) / settings.cpus)]
    if settings.gpus >= 1:
        rooms.append(_whole(resources.get("GPU", 0) / settings.gpus))
    elif settings.gpus:
        rooms.append(int(resources.get("GPU", 0)) * _whole(1 / settings.gpus))  # no task is split between two
    if settings.memory_gb is not None:
        rooms.append(_whole(resources.get("memory", 0) / GB / settings.memory_gb))
    return min(rooms)


def _whole(ratio: float) -> int:
    return math.floor(ratio + 1e-9)


def no_room(nodes: Sequence[Resources], settings: ClusterSettings) -> str:
    """Why no task can run."""
    there = "; ".join(
        f"{resources.get('CPU', 0):g} cores, {resources.get('GPU', 0):g} GPUs, {resources.get('memory', 0) / GB:.1f} GB"
        for resources in nodes
    )
    memory = f", memory_gb {settings.memory_gb:g}" if settings.memory_gb is not None else ""
    return (
        f"cluster: no node has room for a trial of cpus {settings.cpus:g}, gpus {settings.gpus:g}{memory}; "
        f"the nodes have {there}"
    )
