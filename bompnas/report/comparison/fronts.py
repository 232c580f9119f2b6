"""The fronts of several runs in one plane (BOMP-NAS, Figs. 5 and 8)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bompnas.report import style
from bompnas.report.comparison.legend import draw_legend
from bompnas.report.comparison.names import draw_names
from bompnas.report.comparison.runs import Comparison, Member, Series
from bompnas.report.plane import Plane, draw_staircase
from bompnas.report.published import NETWORKS, OWN, PublishedNetwork
from bompnas.report.quantities import quantity

_SIZE = (7.6, 5.0)
_NEAR = 4.0  # published networks of up to so many times the runs' sizes are shown


def search_figure(comparison: Comparison) -> Figure | None:
    """Every run's front as its search measured it, with all candidates faintly behind; None without candidates."""
    plane = comparison.plane
    shown = {member.anchor: plane.places(member.view.completed) for member in comparison.members}
    if not any(map(len, shown.values())):
        return None
    figure, axes = _window(
        plane,
        np.concatenate(list(shown.values())),
        plane.places(candidate for member in comparison.members for candidate in member.view.front),
    )
    faint = 0.3 if sum(map(len, shown.values())) < 400 else 0.18
    for series in comparison.series:
        look = style.series(series.number)
        for member in series.members:
            axes.scatter(
                *shown[member.anchor].T,
                s=0.4 * look.size**2,
                marker=look.marker,
                color=look.colour,
                alpha=faint,
                linewidths=0,
                zorder=2,
            )
            _draw_front(axes, series, member, plane, final=False)
    draw_legend(figure, [series for series in comparison.series if any(view.front for view in series.views)])
    return figure


def final_figure(comparison: Comparison) -> Figure | None:
    """Every run's finally trained networks, with published ones where those compare; None before final training."""
    plane = comparison.final_plane
    trained = plane.places(candidate for member in comparison.members for candidate in member.view.trained)
    if not len(trained):
        return None
    published = published_networks(comparison, *trained[:, 0][[trained[:, 0].argmin(), trained[:, 0].argmax()]])
    scale = quantity(plane.key).scale
    known = np.reshape([(item.kilobytes, item.accuracy / scale) for item in published], (-1, 2))
    alive = plane.places(candidate for member in comparison.members for candidate in member.view.trained_front)
    figure, axes = _window(plane, np.concatenate([trained, known]), np.concatenate([alive, known]))
    for series in comparison.series:
        look = style.series(series.number)
        for member in series.members:
            alive = {candidate.id for candidate in member.view.trained_front}
            dominated = plane.places(candidate for candidate in member.view.trained if candidate.id not in alive)
            axes.scatter(
                *dominated.T,
                s=0.5 * look.size**2,
                marker=look.marker,
                color=look.colour,
                alpha=0.3,
                linewidths=0,
                zorder=2,
            )
            _draw_front(axes, series, member, plane, final=True)
    _draw_published(axes, published, known, trained)
    shown = [series for series in comparison.series if any(view.trained for view in series.views)]
    draw_legend(figure, shown, _published_handles(published))
    return figure


def published_networks(comparison: Comparison, smallest: float, largest: float) -> list[PublishedNetwork]:
    """Published networks of about the runs' sizes [kB]; none where the runs are not of the same task.

    They compare with runs on the whole of CIFAR-10 or CIFAR-100 that are judged by accuracy, tested, and shown by
    their packed size.
    """
    whole = not any(member.view.experiment["data"].get("train_images") for member in comparison.members)
    plane = comparison.final_plane
    if not whole or plane.key != "test_accuracy" or plane.cost.key != "size_bits":
        return []
    networks = NETWORKS.get(comparison.dataset, ())
    return [item for item in networks if smallest / _NEAR <= item.kilobytes <= largest * _NEAR]


def _window(plane: Plane, places: np.ndarray, always: np.ndarray) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    plane.set_window(axes, places, always)
    return figure, axes


def _draw_front(axes: Axes, series: Series, member: Member, plane: Plane, final: bool) -> None:
    """A front's networks, linked to their rows, and what they attain at every cost."""
    look = style.series(series.number)
    front = [item for item in (member.view.trained_front if final else member.view.front) if plane.place(item)]
    places = plane.places(front)
    # On the test part a larger network of the front may be worse than a smaller one; the line keeps what is reached.
    order = np.argsort(places[:, 0], kind="stable")
    best = np.maximum if plane.quality.maximize else np.minimum
    attained = np.stack([places[order, 0], best.accumulate(places[order, 1])], axis=1)
    draw_staircase(axes, attained, color=look.colour, linestyle=look.dash, linewidth=1.6, zorder=4)
    marks = axes.scatter(
        *places.T,
        s=1.2 * look.size**2,
        marker=look.marker,
        color=look.colour,
        edgecolors=style.RIM,
        linewidths=0.8,
        zorder=5,
    )
    marks.set_urls([f"#{member.anchor}-{candidate.id}" for candidate in front])


def _draw_published(axes: Axes, published: Sequence[PublishedNetwork], places: np.ndarray, others: np.ndarray) -> None:
    """Published networks as hollow marks; those of other methods than BOMP-NAS are named."""
    for network, place in zip(published, places, strict=True):
        marker = _MARK[network.method == OWN]
        axes.scatter(*place, s=46, marker=marker, facecolors="none", edgecolors=style.INK, linewidths=1.3, zorder=6)
    named = [(item.method, place) for item, place in zip(published, places, strict=True) if item.method != OWN]
    draw_names(
        axes,
        [name for name, _ in named],
        np.reshape([place for _, place in named], (-1, 2)),
        np.concatenate([places, others]),
    )


_MARK = {True: "*", False: "h"}  # whether a published network is one of BOMP-NAS


def _published_handles(published: Sequence[PublishedNetwork]) -> list[Line2D]:
    names = {True: f"{OWN}, as published", False: "others, as published"}
    kinds = [own for own in (True, False) if any((item.method == OWN) is own for item in published)]
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=_MARK[own],
            markerfacecolor="none",
            markeredgecolor=style.INK,
            markersize=7,
            label=names[own],
        )
        for own in kinds
    ]
