"""How runs went: hypervolume and best score, over float trainings and over seconds."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bompnas.report import style
from bompnas.report.comparison.course import Course, at
from bompnas.report.comparison.legend import draw_legend
from bompnas.report.comparison.runs import Comparison, Series
from bompnas.report.points import focus
from bompnas.report.quantities import time_unit

_MARKS = 8  # on a curve


@dataclasses.dataclass(frozen=True)
class Band:
    """A value of several runs over trials or seconds, as far as all of them have come.

    Attributes:
        places: Where the value changes, ascending, (p,).
        mean: Over the runs, (p,).
        low: The smallest, (p,).
        high: The largest, (p,).
    """

    places: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(courses: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band | None:
    """Mean and range of several courses; None where they share no place. Those without any value are left out.

    Args:
        courses: Places, ascending, and values of each, (t,) and (t,); NaN where there is none yet.
    """
    courses = [(places, values) for places, values in courses if np.isfinite(values).any()]
    if not courses:
        return None
    end = min(places[-1] for places, _ in courses)
    places = np.unique(np.concatenate([places for places, _ in courses]))
    places = places[places <= end]
    values = np.stack([at(own, reached, places) for own, reached in courses])
    known = np.isfinite(values).all(axis=0)
    if not known.any():
        return None
    places, values = places[known], values[:, known]
    return Band(places, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def hypervolume_figure(comparison: Comparison) -> Figure | None:
    """Hypervolume of every run's search, over float trainings and over computing time."""
    return _figure(comparison, lambda course: course.hypervolume, "Hypervolume")


def score_figure(comparison: Comparison) -> Figure | None:
    """Best score of every run so far, over float trainings and over computing time."""
    return _figure(comparison, lambda course: course.score, "Best score, eq. (1)")


def _figure(comparison: Comparison, value: Callable[[Course], np.ndarray], label: str) -> Figure | None:
    courses = {series: [member.course for member in series.members] for series in comparison.series}
    over_trials = {
        series: band([(own.trials, _reached(value(own))) for own in runs])
        for series, runs in courses.items()
        if not series.views[0].supernet  # whose one training is none of a candidate
    }
    over_seconds = {
        series: band([(own.seconds, _reached(value(own))) for own in runs]) for series, runs in courses.items()
    }
    if not any(over_seconds.values()):
        return None
    unit, length = time_unit(max(found.places[-1] for found in over_seconds.values() if found is not None))
    drawn = [(over_trials, 1.0, "Float trainings")] if any(over_trials.values()) else []
    drawn.append((over_seconds, length, f"Computing time [{unit}]"))
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for panel, (bands, scale, name) in zip(panels, drawn, strict=True):
        for series, shown in bands.items():
            if shown is not None:
                _draw(panel, series, shown, scale)
        panel.set_xlabel(name)
        panel.set_xlim(left=0 if bands is over_seconds else None)
    shown = [shown for shown in (*over_trials.values(), *over_seconds.values()) if shown is not None]
    values = np.concatenate([part for item in shown for part in (item.low, item.high)])
    panels[0].set_ylim(focus(values, np.array([item.high[-1] for item in shown]), maximize=True))
    panels[0].set_ylabel(label)
    if len(panels) > 1:
        panels[0].xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
    draw_legend(figure, [series for series, item in over_seconds.items() if item is not None])
    return figure


def _reached(values: np.ndarray) -> np.ndarray:
    """The values with NaN in place of the zero hypervolume of a run that has nothing yet."""
    return np.where(values > 0, values, np.nan)


def _draw(axes: Axes, series: Series, shown: Band, scale: float) -> None:
    look = style.series(series.number)
    places = shown.places / scale
    if (shown.low < shown.high).any():
        axes.fill_between(places, shown.low, shown.high, step="post", color=look.colour, alpha=0.16, linewidth=0)
    axes.plot(
        places,
        shown.mean,
        drawstyle="steps-post",
        color=look.colour,
        linestyle=look.dash,
        linewidth=1.6,
        marker=look.marker,
        markersize=0.9 * look.size,
        markeredgecolor=style.RIM,
        markeredgewidth=0.6,
        markevery=_marked(len(places), series.number),
    )


def _marked(count: int, number: int) -> list[int]:
    """Which points carry a marker: the last, and some before it, other ones for every series."""
    step = -(-count // _MARKS)
    return sorted({*range(number % step, count, step), count - 1})
