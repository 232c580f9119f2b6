"""Seconds per proposal and memory as the record grows, beside KerasTuner's original on the same record."""

import multiprocessing
import resource
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import psutil
import threadpoolctl

from quality import task
from quality.peers import INITIAL, KerasTuner
from quality.study import Method, Trials

MEGABYTE = 1e6
CYCLE = 1.1
"""Proposals from n to 1.1 n completed trials are averaged: one interval between two refits of a long record."""


def measure(method: Method, instance: int, lengths: Sequence[int]) -> dict[str, Any]:
    """Searches on one core from the initial networks on, as far as the longest record needs.

    Returns:
        `seconds`: of every proposal; `average`: length of the record -> mean seconds of the proposals from it to 1.1
        times it; `megabytes`: length -> resident memory of this process, with 0 for before the search; `peak`: the most
        that it ever was [MB].
    """
    trail = started(instance)
    searcher = method.start(trail.task.problem, instance)
    process, seconds = psutil.Process(), [0.0] * INITIAL
    megabytes = {0: process.memory_info().rss / MEGABYTE}
    with threadpoolctl.threadpool_limits(limits=1):
        while len(trail.completed) < int(CYCLE * max(lengths)):
            if len(trail.completed) in lengths:
                megabytes[len(trail.completed)] = process.memory_info().rss / MEGABYTE
            start = time.perf_counter()
            genotype = searcher(trail.completed, ())
            seconds.append(time.perf_counter() - start)
            trail.begin(genotype)
            trail.end()
    windows = {length: seconds[length : int(CYCLE * length)] for length in lengths}
    return {
        "method": method.name,
        "instance": instance,
        "seconds": [round(value, 4) for value in seconds[INITIAL:]],
        "average": {str(length): sum(window) / len(window) for length, window in windows.items()},
        "megabytes": {str(length): value for length, value in megabytes.items()},
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE,
    }


def measure_original(instance: int, length: int, proposals: int, limit: float) -> list[float] | None:
    """Seconds of KerasTuner's own proposals on one core, from a record of `length` trials on; None above the limit [s].

    The record is a search: KerasTuner's to 100 trials, evolution's from there on (uniform networks would not do, whose
    scores the oracle fits as noise, which costs it less time than a real search).
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_original, args=(theirs, instance, length, proposals))
    process.start()
    theirs.close()
    found = ours.recv() if ours.poll(limit) else None
    process.kill()
    process.join()
    return found


def started(instance: int) -> Trials:
    """A record of a synthetic instance with the initial networks completed."""
    trail = Trials(task.synthetic(instance))
    for genotype in trail.task.initial:
        trail.begin(genotype)
        trail.end()
    return trail


def _original(pipe: Connection, instance: int, length: int, proposals: int) -> None:
    from quality.peers import PEERS

    trail = started(instance)
    searcher = PEERS["keras_tuner"](trail.task.problem, instance)
    evolution = PEERS["aging20"](trail.task.problem, instance)
    seconds = []
    with threadpoolctl.threadpool_limits(limits=1):
        while len(trail.completed) < length:
            ask = searcher if len(trail.completed) < 100 else evolution
            trail.begin(ask(trail.completed, ()))
            trail.end()
        original = KerasTuner(trail.task.problem, instance, exact_gradient=False)
        original.tell(trail.completed)
        for _ in range(proposals):
            start = time.perf_counter()
            genotype = original(trail.completed, ())
            seconds.append(time.perf_counter() - start)
            trail.begin(genotype)
            trail.end()
    pipe.send(seconds)
