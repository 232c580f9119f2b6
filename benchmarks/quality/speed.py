"""Seconds per proposal and memory as the record grows, beside KerasTuner's original on the same record."""

import multiprocessing
import resource
import time
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil
import threadpoolctl

from bompnas.space.space import Genotype
from quality import task
from quality.peers import INITIAL, PEERS, KerasTuner, Searcher
from quality.study import Method, Trials

MEGABYTE = 1e6
CYCLE = 1.1
"""Proposals from n to 1.1 n completed trials are averaged: one interval between two refits of a long record."""


def measure(method: Method, instance: int, lengths: Sequence[int]) -> dict[str, Any]:
    """Searches on one core from the initial networks on, as far as the longest record needs.

    Returns:
        `seconds`: of every proposal, CPU and wall; `average`: length of the record -> their means over the proposals
        from it to 1.1 times it; `megabytes`: length -> resident memory of this process, with 0 for before the search;
        `peak`: the most that it ever was [MB].
    """
    trail = started(instance)
    searcher = method.start(trail.task.problem, instance)
    process, seconds = psutil.Process(), [(0.0, 0.0)] * INITIAL
    megabytes = {0: process.memory_info().rss / MEGABYTE}
    with threadpoolctl.threadpool_limits(limits=1):
        while len(trail.completed) < int(CYCLE * max(lengths)):
            if len(trail.completed) in lengths:
                megabytes[len(trail.completed)] = process.memory_info().rss / MEGABYTE
            genotype, spent = _timed(searcher, trail)
            seconds.append(spent)
            trail.begin(genotype)
            trail.end()
    averages = {str(length): np.mean(seconds[length : int(CYCLE * length)], axis=0).tolist() for length in lengths}
    return {
        "method": method.name,
        "instance": instance,
        "seconds": seconds[INITIAL:],
        "average": averages,
        "megabytes": {str(length): value for length, value in megabytes.items()},
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE,
    }


def measure_original(instance: int, length: int, proposals: int, limit: float) -> list[tuple[float, float]]:
    """CPU and wall seconds of KerasTuner's own proposals on one core, from a record of `length` trials on.

    The record is a search: KerasTuner's to 100 trials, evolution's from there on (uniform networks would not do, whose
    scores the oracle fits as noise, which costs it less time than a real search). Proposals that are not there after
    `limit` seconds are left out.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_original, args=(theirs, instance, length, proposals))
    process.start()
    theirs.close()
    ours.recv()  # the record is there
    found, deadline = [], time.monotonic() + limit
    while len(found) < proposals and ours.poll(max(0.0, deadline - time.monotonic())):
        found.append(ours.recv())
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
    warnings.simplefilter("ignore")  # on fits whose length-scale is at its bound
    trail = started(instance)
    searcher = PEERS["keras_tuner"](trail.task.problem, instance)
    evolution = PEERS["aging20"](trail.task.problem, instance)
    with threadpoolctl.threadpool_limits(limits=1):
        while len(trail.completed) < length:
            ask = searcher if len(trail.completed) < 100 else evolution
            trail.begin(ask(trail.completed, ()))
            trail.end()
        original = KerasTuner(trail.task.problem, instance, exact_gradient=False)
        original.tell(trail.completed)
        pipe.send("ready")
        for _ in range(proposals):
            genotype, spent = _timed(original, trail)
            pipe.send(spent)
            trail.begin(genotype)
            trail.end()


def _timed(searcher: Searcher, trail: Trials) -> tuple[Genotype, tuple[float, float]]:
    """A proposal, and the CPU and wall seconds that it took."""
    computed, start = time.process_time(), time.perf_counter()
    genotype = searcher(trail.completed, ())
    spent = time.process_time() - computed, time.perf_counter() - start
    return genotype, tuple(round(seconds, 4) for seconds in spent)
