"""The plane of the search plot: a cost from left to right, a measured quality from bottom to top."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bompnas.candidate import Candidate
from bompnas.objectives import Objective
from bompnas.report.points import focus
from bompnas.report.quantities import Quantity, quantity

ROUND_STEPS = (1, 2, 2.5, 5, 10)


@dataclasses.dataclass(frozen=True)
class Plane:
    """Where candidates stand in a figure.

    Attributes:
        cost: What is shown from left to right, on a logarithmic axis.
        quality: The objective whose direction the vertical axis has.
        key: Where the vertical value is found: that of the objective, or of the same metric on the test part.
    """

    cost: Quantity
    quality: Objective
    key: str

    def place(self, candidate: Candidate) -> tuple[float, float] | None:
        """Where a candidate stands, in displayed units; None where a value is missing or not finite."""
        values = candidate.values
        cost, height = values.get(self.cost.key), values.get(self.key)
        if cost is None or height is None or not np.isfinite(height) or cost <= 0:
            return None
        return cost / self.cost.scale, height / quantity(self.key).scale

    def places(self, candidates: Iterable[Candidate]) -> np.ndarray:
        """Places of those candidates that have one, (n, 2)."""
        found = [place for place in map(self.place, candidates) if place is not None]
        return np.reshape(np.asarray(found, dtype=np.float64), (len(found), 2))

    def set_window(self, axes: Axes, places: np.ndarray, always: np.ndarray, limit: float | None = None) -> None:
        """Sets scales, limits, ticks and labels, with room for the marks.

        Args:
            axes: Of the figure.
            places: What is shown, (n, 2), n >= 1.
            always: What must be inside even if it is an outlier, (m, 2).
            limit: A constraint on the cost in displayed units, shown where it is near.
        """
        left, right = places[:, 0].min(), places[:, 0].max()
        if limit is not None and left < limit < 3 * right:
            right = max(right, limit)
        middle, span = np.sqrt(left * right), max(right / left, 2.0)
        left, right = middle / span**0.58, middle * span**0.58
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(left, right)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.set_ylim(focus(places[:, 1], always[:, 1], self.quality.maximize))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=ROUND_STEPS))
        axes.set_xlabel(self.cost.axis_label)
        label = quantity(self.key).axis_label
        axes.set_ylabel(label if self.quality.maximize else f"{label} (less is better)")


def draw_staircase(axes: Axes, places: np.ndarray, **line: object) -> None:
    """What a front attains at every cost, from its cheapest network to its dearest.

    Args:
        axes: Of the figure.
        places: Of the front's networks, (n, 2); fewer than two make no line.
        line: How the line looks.
    """
    if len(places) > 1:
        places = places[np.argsort(places[:, 0])]
        axes.step(*places.T, where="post", **line)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, few enough to be read and at least two.

    Args:
        low: Positive lower end of the axis.
        high: Upper end of the axis.
    """
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [float(decade * step) for decade in decades for step in steps if low <= decade * step <= high]
        if 4 <= len(ticks) <= 8:
            return ticks
    return [float(tick) for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
