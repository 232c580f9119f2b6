"""Carries out searches in processes side by side and keeps what they found in a file that is continued."""

import queue
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from speed.study import Rows
from speed.workers import Worker

from supernets import cases
from supernets.cases import Case

PARTS = ("prior", "baseline", "method", *cases.LIMITS, "variant")
Job = tuple[Mapping[str, Any], tuple[Any, ...]]
"""What a row is of, and the arguments that its function of `supernets.searches` takes after the case."""


def measure(case: Case, parts: Sequence[str], seeds: int, workers: int, rows: Rows) -> None:
    """Makes the rows that are not there yet.

    Args:
        case: The experiment.
        parts: Which of `PARTS`.
        seeds: Of every search.
        workers: Processes at the same time, of one thread each.
        rows: Where the results are kept.
    """
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    writing = threading.Lock()

    def carry_out(job: Job) -> None:
        of, arguments = job
        worker = idle.get()
        try:
            found = worker.run(_search, of["part"], case, *arguments)
        finally:
            idle.put(worker)
        with writing:
            rows.once(of, dict, found)

    pool = [Worker(1) for _ in range(workers)]
    for worker in pool:
        idle.put(worker)
    try:
        with ThreadPoolExecutor(workers) as threads:
            for part in (part for part in PARTS if part in parts):  # searches by trials follow those that they match
                waiting = [job for job in _jobs(part, seeds, rows) if not rows.holds(job[0])]
                list(threads.map(carry_out, waiting))
    finally:
        for worker in pool:
            worker.__exit__()


def budgets(rows: Rows) -> dict[int, float]:
    """Seed -> mean CPU time of its searches of a supernet with the priors [s]."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["of"]["part"] == "prior":
            found.setdefault(row["of"]["seed"], []).append(row["seconds"])
    return {seed: statistics.fmean(seconds) for seed, seconds in found.items()}


def _jobs(part: str, seeds: int, rows: Rows) -> Iterator[Job]:
    names = {"prior": cases.PRIORS, "method": cases.METHODS, "variant": cases.VARIANTS}
    names |= dict.fromkeys(cases.LIMITS, cases.DEVICES)
    seconds = budgets(rows)
    for seed in range(seeds):
        for name in names.get(part, (None,)):
            of = {"part": part, **({} if name is None else {"name": name}), "seed": seed}
            arguments = (seed,) if name is None else (name, seed)
            if part in cases.LIMITS:
                yield of, (*arguments, cases.LIMITS[part])
            elif part != "method":
                yield of, arguments
            elif seed in seconds:
                yield of, (*arguments, seconds[seed])


def _search(part: str, *arguments: Any) -> dict[str, Any]:
    """See `supernets.searches`, which is loaded in the worker."""
    from supernets import searches

    functions = {
        "prior": searches.prior,
        "baseline": searches.baseline,
        "method": searches.tried,
        "variant": searches.variant,
        **dict.fromkeys(cases.LIMITS, searches.device),
    }
    return functions[part](*arguments)
