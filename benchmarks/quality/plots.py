"""Pictures of studies: score and hypervolume over the trials, with bands of one standard error."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from quality.summary import SCORE, VOLUME, Curves

OURS = "bomp"
LABELS = {SCORE: "true score of the best-observed trial", VOLUME: "hypervolume (true accuracy, log10 size)"}


def over_trials(path: Path, methods: Mapping[str, Curves], title: str, start: int) -> None:
    """Draws score and hypervolume side by side, from trial `start` on.

    Our methods are drawn in warm colours and solid lines, peers in cold ones and dashed.
    """
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    axes = figure.subplots(1, 2)
    ours = sorted(name for name in methods if name.startswith(OURS))
    peers = sorted(name for name in methods if not name.startswith(OURS))
    warm = matplotlib.colormaps["autumn"](np.linspace(0.0, 0.75, max(1, len(ours))))
    cold = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.75, max(1, len(peers))))
    styles = {name: (colour, "-") for name, colour in zip(ours, warm, strict=False)}
    styles |= {name: (colour, "--") for name, colour in zip(peers, cold, strict=False)}
    for axis, quantity in zip(axes, (SCORE, VOLUME), strict=True):
        for name, row in methods.items():
            _draw(axis, row, quantity, start, *styles[name])
        axis.set_xlabel("trials")
        axis.set_ylabel(LABELS[quantity])
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, loc="lower right", title="by final score")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _draw(axis: Axes, row: Curves, quantity: str, start: int, colour: np.ndarray, style: str) -> None:
    mean, error = row.mean(quantity)[start - 1 :], row.error(quantity)[start - 1 :]
    trials = np.arange(start, start + len(mean))
    axis.plot(trials, mean, style, color=colour, linewidth=1.6, label=row.name)
    axis.fill_between(trials, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
