"""The page of results."""

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from end_to_end import machine
from exporting.markdown import table
from speed.summary import Spread

from bompnas.report import style
from bompnas.trials.executors import resources
from running import summary

RATIO, GROWTH, MINUTES = 1.6, 50.0, 4.0
"""What is asked for: of 2 workers, of the driver's memory [MB], of README's first command."""


def write(work: Path) -> Path:
    """Writes the page of what a folder holds, and its picture; returns the page's path."""
    target = work.parent / "throughput.md"
    lines = ["# Whole runs", "", f"`python benchmarks/throughput.py` on {machine()}."]
    for part, title, show in (
        ("speed", "Trials a minute", _speed),
        ("memory", "Memory over many trials", lambda measured: _memory(measured, target)),
        ("whole", "README's first command", _whole),
    ):
        path = work / f"{part}.json"
        measured = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        lines += ["", f"## {title}", "", *(["Not measured."] if measured is None else show(measured))]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _speed(measured: Mapping[str, Any]) -> Iterator[str]:
    yield from table(
        ("workers", "threads of each", "trials a minute"),
        [
            (str(workers), str(threads), Spread.of(summary.per_minute(measured["trials"], seconds)).text(2))
            for (workers, threads), seconds in measured["rounds"]
        ],
    )
    for threads, words in ((2, "1 worker of 2 threads"), (1, "1 worker of 1 thread")):
        ratio = Spread.of(summary.ratios(measured, (2, 1), (1, threads)))
        yield from ("", f"2 workers of 1 thread carry out {ratio.text(2)} times as many as {words} (asked: {RATIO}).")
    rounds = len(measured["rounds"][0][1])
    yield from ("", f"The same {measured['trials']} trials of `experiments/digits.yaml`; median of {rounds} rounds.")


def _memory(measured: Mapping[str, Any], page: Path) -> Iterator[str]:
    picture = page.with_name("throughput_memory.png")
    by_trial, workers = summary.driver_by_trial(measured), summary.workers(measured)
    _draw(by_trial, workers, picture)
    largest = max((value for series in workers.values() for _, value in series), default=float("nan"))
    grown, most = summary.growth(by_trial), max(by_trial.values())
    yield (
        f"{measured['trials']} trials of 2 + 1 epochs with 2 workers, {len(workers)} worker processes in all. From "
        f"trial {summary.SETTLED} on the driver grows by {grown:.0f} MB (asked: less than {GROWTH:.0f}), to {most:.0f} "
        f"MB at most; no worker ever held more than {largest:.0f} MB, where its share of the machine is "
        f"{resources.memory_share(2) / 1e6:,.0f} MB."
    )
    yield from ("", f"![Memory]({picture.name})")


def _draw(by_trial: Mapping[int, float], workers: Mapping[str, list[tuple[int, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    with style.context():
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for number, series in enumerate(workers.values()):
            axes.plot(*zip(*series, strict=True), color=style.MUTED, linewidth=0.7, label=None if number else "workers")
        axes.plot(*zip(*sorted(by_trial.items()), strict=True), color=style.ACCENT, linewidth=1.6, label="driver")
        axes.set_xlabel("Finished trials")
        axes.set_ylabel("Resident memory [MB]")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right")
        style.save_png(figure, path)


def _whole(measured: Mapping[str, Any]) -> Iterator[str]:
    seconds = measured["seconds"]
    yield (
        f"`python -m bompnas.run experiments/digits.yaml`, seeds 0 to {len(seconds) - 1}: "
        f"{', '.join(f'{value:.0f} s' for value in seconds)}; median {statistics.median(seconds) / 60:.1f} min (asked: "
        f"within {MINUTES:.0f})."
    )
