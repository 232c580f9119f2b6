"""The picture of the files' sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bompnas.report import style
from exporting import files


def accuracy_over_bytes(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy over bytes of every file; a line connects the files of one network."""
    with style.context():
        figure = Figure(figsize=(7.6, 5.2), layout="constrained")
        axes = figure.add_subplot()
        points = {name: np.array([_point(row["files"][name]) for row in rows]) for name in files.NAMES}
        for network in zip(*points.values(), strict=True):
            axes.plot(*np.transpose(network), color=style.MUTED, linewidth=0.6, zorder=1)
        for (name, found), colour, marker in zip(points.items(), style.CATEGORIES, style.MARKERS, strict=False):
            axes.scatter(*found.T, s=28, marker=marker, color=colour, linewidths=0, label=name, zorder=2)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("File [kB]")
        axes.set_ylabel("Test accuracy [%]")
        figure.legend(loc="outside upper center", ncols=3)
        style.save_png(figure, path)


def _point(made: Mapping[str, float]) -> tuple[float, float]:
    return made["bytes"] / 1000, 100 * made["accuracy"]
