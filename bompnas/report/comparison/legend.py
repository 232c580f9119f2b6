"""Which mark stands for which runs: the legend of the figures and the marks in the tables."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D

from bompnas.report import style
from bompnas.report.comparison.runs import Series

_CHARACTERS = 96  # that fit beside each other below a figure
_COLUMN = 8  # that the mark of a column takes


def draw_legend(figure: Figure, shown: Sequence[Series], others: Sequence[Artist] = ()) -> None:
    """Draws a legend of series, and of further marks, below the figure."""
    handles = [
        Line2D(
            [],
            [],
            color=(look := style.series(series.number)).colour,
            linestyle=look.dash,
            linewidth=1.6,
            marker=look.marker,
            markersize=look.size,
            markeredgecolor=style.RIM,
            markeredgewidth=0.6,
            label=series.label,
        )
        for series in shown
    ]
    handles += others
    labels = [str(handle.get_label()) for handle in handles]
    figure.legend(handles, labels, loc="outside lower center", ncols=_columns(labels), handlelength=3.0)


def _columns(labels: Sequence[str]) -> int:
    """The most columns, filled one after the other, that fit below a figure."""
    lengths = [len(label) + _COLUMN for label in labels]
    for count in range(len(labels), 1, -1):
        if sum(part.max() for part in np.array_split(lengths, count)) <= _CHARACTERS:
            return count
    return 1


def mark(number: int) -> str:
    """The marker of a series as an SVG element for a table."""
    look = style.series(number)
    marker = MarkerStyle(look.marker)
    (outline,) = marker.get_path().transformed(marker.get_transform()).to_polygons(Affine2D().scale(100))
    corners = 6 + 5 * outline / abs(outline).max() * (1, -1)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    colour = style.CSS_VARIABLES[look.colour]
    return (
        f'<svg class="mark" viewBox="0 0 12 12" aria-hidden="true"><polygon points="{points}" fill="var({colour})"/>'
        "</svg>"
    )
