"""From measurements of whole runs to figures: pure."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SETTLED = 5
"""Trials after which the driver has loaded what it needs."""
WORKER = 150.0
"""A process that holds as much at some time is a worker, and no helper of the system [MB]."""


def per_minute(trials: int, seconds: Sequence[float]) -> list[float]:
    """Trials a minute of each round."""
    return [60 * trials / time for time in seconds]


def ratios(measured: Mapping[str, Any], ours: tuple[int, int], than: tuple[int, int]) -> list[float]:
    """How many times as many trials a minute one configuration carries out as another, round by round."""
    times = {tuple(configuration): seconds for configuration, seconds in measured["rounds"]}
    return [slow / fast for fast, slow in zip(times[ours], times[than], strict=True)]


def searching(measured: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The samples until the last trial is over; what follows is final training."""
    return [sample for sample in measured["samples"] if sample["finished"] < measured["trials"]]


def driver_by_trial(measured: Mapping[str, Any]) -> dict[int, float]:
    """Finished trials -> the driver's memory, the median of the samples [MB]."""
    found: dict[int, list[float]] = {}
    for sample in searching(measured):
        found.setdefault(sample["finished"], []).append(sample["driver"])
    return {finished: statistics.median(values) for finished, values in found.items()}


def growth(by_trial: Mapping[int, float]) -> float:
    """By how much memory has grown since the first few trials [MB]."""
    settled = [trials for trials in by_trial if trials >= SETTLED] or list(by_trial)
    return by_trial[max(settled)] - by_trial[min(settled)]


def workers(measured: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Process id -> finished trials and memory [MB], of every worker."""
    found: dict[str, list[tuple[int, float]]] = {}
    for sample in searching(measured):
        for pid, resident in sample["children"].items():
            found.setdefault(pid, []).append((sample["finished"], resident))
    return {pid: series for pid, series in found.items() if max(value for _, value in series) >= WORKER}
