"""What this machine has for workers: cores, memory and GPUs; how many workers that is, and what each of them gets.

Limits of the control groups that containers and batch systems set are respected.
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from bompnas.trials.executors import gpus

WORKER_MEMORY = 1.5e9
"""What a worker needs, about [bytes]: TensorFlow, and the training of small networks on small images."""

MEMORY_FOR_WORKERS = 0.8
"""The share of the machine's memory that all workers together may use."""

_THREADS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",  # what XLA takes for the number of cores, and so JAX for that of its threads
)
_ROOT = Path("/")
_log = logging.getLogger(__name__)


def resolve(workers: int | str, memory_gb: float | None = None) -> int:
    """The number of workers: as given, or for `auto` one for each GPU, else as many as cores and free memory carry.

    Args:
        workers: From the experiment.
        memory_gb: What each may use [GB]; None for what small networks need.
    """
    if workers != "auto":
        return int(workers)
    found = gpus.found()
    if found:
        _log.info("workers: %d, one for each GPU", len(found))
        return len(found)
    free, need = memory_available(), WORKER_MEMORY if memory_gb is None else memory_gb * 1e9
    carried = max(1, min(cores(), int(free / need)))
    _log.info(
        "workers: %d, as there are %d cores and %.1f GB of free memory, %.1f GB for a worker",
        *(carried, cores(), free / 1e9, need / 1e9),
    )
    return carried


def threads_per_worker(workers: int) -> int:
    """An equal share of the cores that this process may use, at least one."""
    return max(1, cores() // workers)


def memory_share(workers: int) -> float:
    """What one of so many workers may use of the machine's memory [bytes]."""
    return MEMORY_FOR_WORKERS * memory_total() / workers


def environment(threads: int) -> dict[str, str]:
    """Environment variables that let a process compute with so many threads."""
    return {name: str(threads) for name in _THREADS}


def cores(root: Path = _ROOT) -> int:
    """Cores that this process may use: those that it may run on, or the time of so many, rounded up.

    Args:
        root: Where `/proc` and `/sys` lie.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([found, *_quotas(root)]))


def memory_total(root: Path = _ROOT) -> int:
    """Memory of the machine, or what this process and its kin may use of it [bytes].

    Args:
        root: Where `/proc` and `/sys` lie.
    """
    limits = [limit for limit, _ in _memory_limits(root)]
    return min([psutil.virtual_memory().total, *limits])


def memory_available(root: Path = _ROOT) -> int:
    """Memory that is free now, or can be freed [bytes].

    Args:
        root: Where `/proc` and `/sys` lie.
    """
    left = [max(0, limit - used) for limit, used in _memory_limits(root)]
    return min([psutil.virtual_memory().available, *left])


def memory_used(processes: Iterable[int]) -> dict[int, int]:
    """Memory of descendants of this process, each with all that it has started [bytes].

    Files that are mapped into memory, such as the data set, are not counted: all processes share them, and the system
    takes their memory back when it needs it.

    Args:
        processes: Their ids; of those that have ended there is nothing in the answer.
    """
    owners = {id: id for id in processes}
    used: dict[int, int] = {}
    for descendant in psutil.Process().children(recursive=True):  # parents come before their children
        try:
            owner = owners.get(descendant.pid) or owners.get(descendant.ppid())
            if owner is not None:
                memory = descendant.memory_info()
                owners[descendant.pid] = owner
                used[owner] = used.get(owner, 0) + memory.rss - getattr(memory, "shared", 0)
        except psutil.Error:  # it has just ended
            continue
    return used


def _quotas(root: Path) -> Iterator[int]:
    """Cores' worth of time that control groups allow."""
    for group in _groups(root, "cpu"):
        text = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
        quota, _, period = text.strip().partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):  # not `max`, not -1
            yield math.ceil(int(quota) / int(period))


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """What control groups allow, and what of it is used and cannot be taken back [bytes]."""
    for group in _groups(root, "memory"):
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            allowed, used = _read(group / limit), _read(group / usage)
            if allowed.isdecimal() and used.isdecimal():
                statistics = dict(line.split(" ", 1) for line in _read(group / "memory.stat").splitlines())
                yield int(allowed), int(used) - int(statistics.get(cache, 0))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, of the one hierarchy or of the controller's own."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        yield group
        yield from (parent for parent in group.parents if parent.is_relative_to(top))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
