"""The page of trials on a GPU."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporting.markdown import table

TRIALS, PAPER_HOURS = 100, 12
"""Trials of the paper's search, and what it says that they took [GPU hours]."""
METRICS = ("float_val_accuracy", "val_accuracy")


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes the page; returns its path."""
    lines = ["# Trials on a GPU", "", "`python benchmarks/gpu_trials.py`", ""]
    trials = [row for row in rows if row["of"]["kind"] == "trial"]
    lines += [*_page(rows, trials)] if trials else ["Not measured yet."]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _page(rows: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    facts, machine = _only(rows, "facts"), _only(rows, "machine")
    yield f"{machine['gpu'] or 'No GPU: on the CPU'}; {machine['cpu']}."
    yield ""
    yield (
        f"`experiments/cifar10.yaml` under JAX: {facts['images']:,} training images, {facts['validation']:,} to "
        f"validate, {facts['epochs']} + {facts['qaft_epochs']} epochs, batches of {facts['batch']}."
    )
    yield from ("", "## One after the other", "")
    yield from table(
        ("network", "trial [s]", "traced epoch [s]", "float accuracy [%]", "quantized [%]"),
        [
            (
                row["of"]["network"],
                f"{row['total']['wall']:.1f}",
                _epoch(row["epochs"]["float"]["wall"]),
                *(f"{100 * row['metrics'][name]:.2f}" for name in METRICS),
            )
            for row in trials
        ],
    )
    yield from (f"\n{line}" for line in _first(rows))
    yield from ("", f"## {TRIALS} trials", "", *extrapolated(rows))


def extrapolated(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of what a search would take."""
    seconds = [row["total"]["wall"] for row in rows if row["of"]["kind"] == "trial"]
    found = [("1", statistics.fmean(seconds), "")]
    for row in rows:
        if row["of"]["kind"] == "together":
            found.append((str(row["of"]["workers"]), row["seconds"] / len(row["each"]), row["memory"] or ""))
    return [
        *table(
            ("trials at a time", "seconds a trial", f"{TRIALS} trials [h]", "GPU memory in use"),
            [(count, f"{each:.1f}", f"{hours(each):.2f}", memory) for count, each, memory in found],
        ),
        "",
        f"Extrapolated from {len(seconds)} trials, which are the seed network and random ones; a search's own "
        f"proposals differ. The paper says {PAPER_HOURS} GPU hours, on a GPU of its time.",
    ]


def hours(seconds: float) -> float:
    """What a search takes whose trials take so long [h]."""
    return TRIALS * seconds / 3600


def _first(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        if row["of"]["kind"] == "first":
            yield (
                f"A process takes {row['start']:.0f} s to start, import and read the data, and {row['trial']:.0f} s "
                "for a first, short trial of a small network."
            )


def _only(rows: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    (found,) = [row for row in rows if row["of"]["kind"] == kind]
    return found


def _epoch(times: Sequence[float]) -> str:
    return f"{statistics.median(times[1:]):.2f}" if len(times) > 1 else "-"
