"""Pictures of studies: score and hypervolume over the trials, with bands of one standard error."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quality.summary import SCORE, VOLUME, Curves

OURS = "bomp"
LABELS = {SCORE: "true score of the best-observed trial", VOLUME: "hypervolume (true accuracy, log10 size)"}
WARM = ("#d62728", "#ff7f0e", "#8c564b", "#e377c2", "#e6ab02", "#f4a582", "#a50026", "#fdae61")
COLD = ("#1f77b4", "#17becf", "#2ca02c", "#9467bd", "#7f7f7f", "#000080", "#99d594", "#3690c0")


def over_trials(path: Path, methods: Mapping[str, Curves], title: str, start: int) -> None:
    """Draws score and hypervolume side by side, from trial `start` on.

    Our methods are drawn in warm colours and solid lines, peers in cold ones and dashed.
    """
    figure = Figure(figsize=(14.5, 5.6), layout="constrained")
    axes = figure.subplots(1, 2)
    ours, peers = itertools.cycle(WARM), itertools.cycle(COLD)
    styles = {name: (next(ours), "-") if name.startswith(OURS) else (next(peers), "--") for name in sorted(methods)}
    for axis, quantity in zip(axes, (SCORE, VOLUME), strict=True):
        for name, row in methods.items():
            _draw(axis, row, quantity, start, *styles[name])
        axis.set_xlabel("trials")
        axis.set_ylabel(LABELS[quantity])
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", title="by final score")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _draw(axis: Axes, row: Curves, quantity: str, start: int, colour: str, style: str) -> None:
    mean, error = row.mean(quantity)[start - 1 :], row.error(quantity)[start - 1 :]
    trials = np.arange(start, start + len(mean))
    axis.plot(trials, mean, style, color=colour, linewidth=1.6, label=row.name)
    axis.fill_between(trials, mean - error, mean + error, color=colour, alpha=0.12, linewidth=0)
