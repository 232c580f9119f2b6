"""The search plot (BOMP-NAS, Figs. 2, 4, 6 and 7): every candidate, the equal-score lines and the fronts.

Everything is drawn on given axes, so that several runs can share them.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bompnas.candidate import Candidate, State
from bompnas.objectives import Objective
from bompnas.report import style
from bompnas.report.plane import ROUND_STEPS, draw_staircase
from bompnas.report.points import draw_candidates, draw_failed, order_norm
from bompnas.report.quantities import quantity
from bompnas.report.view import RunView

_BLOB_AREAS = (28.0, 260.0)
_LEGEND = ("front of the search", "finally trained", "seed network", "decided", "failed", "off the scale")
_LINE_GAP = 0.09  # between equal-score lines, as a fraction of the axis


def search_figure(view: RunView) -> Figure | None:
    """The search plot of one run; None before the first completed candidate."""
    candidates = [candidate for candidate in view.completed if view.plane.place(candidate) is not None]
    if not candidates:
        return None
    figure = Figure(figsize=(7.6, 5.2), layout="constrained")
    axes = figure.add_subplot()
    shown, always = view.plane.places([*candidates, *view.trained]), view.plane.places([*view.front, *view.trained])
    view.plane.set_window(axes, shown, always, None if view.limit is None else view.limit / view.cost_axis.scale)
    _draw_candidates(axes, view, candidates)
    _draw_limit(axes, view)
    _draw_equal_scores(axes, view, _busy_places(axes, view))
    _draw_fronts(axes, view)
    _draw_seed(axes, view)
    _draw_decided(axes, view)
    _draw_failed(axes, view)
    if len(view.candidates) > 1:
        colours = ScalarMappable(order_norm(view.candidates[-1].id), style.order_colours())
        bar = figure.colorbar(colours, ax=axes, pad=0.02, aspect=32)
        bar.set_label("Candidate" if view.supernet else "Candidate, in order of sampling")
        bar.solids.set_edgecolor("face")
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=ROUND_STEPS, min_n_ticks=1))
    labelled = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(
        handles=[labelled[label] for label in _LEGEND if label in labelled], loc="outside lower center", ncols=6,
        columnspacing=1.4, handletextpad=0.3,
    )  # fmt: skip
    return figure


def _busy_places(axes: Axes, view: RunView) -> np.ndarray:
    """Points that no label should cover: candidates, finally trained networks, and the limit's line, (n, 2)."""
    places = [view.plane.places([*view.completed, *view.trained])]
    if view.limit is not None:
        heights = np.linspace(*axes.get_ylim(), 40)
        places.append(np.stack([np.full(40, view.limit / view.cost_axis.scale), heights], axis=1))
    return np.concatenate(places)


def _draw_candidates(axes: Axes, view: RunView, candidates: Sequence[Candidate]) -> None:
    """Blobs, as large as the packed size, coloured by when they were sampled."""
    places = view.plane.places(candidates)
    sizes = np.array([candidate.cost["size_bits"] for candidate in candidates], dtype=np.float64)
    # Many candidates are drawn smaller, so that they stay apart.
    smallest, largest = np.asarray(_BLOB_AREAS) * np.clip((150 / len(candidates)) ** 0.5, 0.3, 1.0)
    areas = smallest + (largest - smallest) * sizes / sizes.max()
    ids = [candidate.id for candidate in candidates]
    draw_candidates(axes, ids, *places.T, areas, last=view.candidates[-1].id)


def _draw_failed(axes: Axes, view: RunView) -> None:
    """Crosses on the lower edge: failed candidates have a cost, but nothing was measured."""
    failed = [candidate for candidate in view.candidates if candidate.state is State.FAILED]
    costs = [candidate.cost.get(view.cost_axis.key, np.nan) / view.cost_axis.scale for candidate in failed]
    draw_failed(axes, [candidate.id for candidate in failed], np.clip(costs, *axes.get_xlim()))


def _draw_fronts(axes: Axes, view: RunView) -> None:
    """The front of the search, the finally trained networks, and what became of each."""
    searched = view.plane.places(view.front)
    line = {"color": style.ACCENT, "zorder": 5}
    draw_staircase(axes, searched, linestyle=(0, (4, 2)), linewidth=1.3, **line)
    axes.scatter(
        *searched.T,
        s=64,
        facecolors="none",
        edgecolors=style.ACCENT,
        linewidths=1.4,
        zorder=4,
        label="front of the search",
    )
    by_id = {candidate.id: candidate for candidate in view.candidates}
    for candidate in view.trained:
        before, after = view.plane.place(by_id[candidate.id]), view.plane.place(candidate)
        if before is not None and after is not None:
            axes.plot(*zip(before, after, strict=True), color=style.ACCENT, linewidth=0.9, alpha=0.75, zorder=4)
    if view.trained:
        draw_staircase(axes, view.plane.places(view.trained_front), linestyle="-", linewidth=1.7, **line)
        trained = [candidate for candidate in view.trained if view.plane.place(candidate) is not None]
        diamonds = axes.scatter(
            *view.plane.places(trained).T,
            s=44,
            marker="D",
            color=style.ACCENT,
            edgecolors=style.RIM,
            linewidths=0.8,
            zorder=6,
            label="finally trained",
        )
        diamonds.set_urls([f"#network-{candidate.id}" for candidate in trained])


def _draw_seed(axes: Axes, view: RunView) -> None:
    """A star on the seed network."""
    places = view.plane.places(candidate for candidate in view.candidates if candidate.id == view.seed)
    if len(places):
        axes.scatter(
            *places.T,
            marker="*",
            s=230,
            color=style.INK,
            edgecolors=style.PAPER,
            linewidths=1.0,
            zorder=7,
            label="seed network",
        )


def _draw_decided(axes: Axes, view: RunView) -> None:
    """A square around what the search of a supernet decided for."""
    places = view.plane.places([view.decided] if view.decided is not None else [])
    if len(places):
        axes.scatter(
            *places.T,
            marker="s",
            s=190,
            facecolors="none",
            edgecolors=style.INK,
            linewidths=1.6,
            zorder=5,
            label="decided",
        )


def _draw_limit(axes: Axes, view: RunView) -> None:
    """The constraint on the cost shown, where it lies in the window."""
    if view.limit is None:
        return
    place = view.limit / view.cost_axis.scale
    left, right = axes.get_xlim()
    if left < place < right:
        axes.axvline(place, color=style.MUTED, linewidth=1.3, linestyle="-", zorder=2)
        axes.axvspan(place, right, color=style.MUTED, alpha=0.1, linewidth=0, zorder=0)
        text = f"limit {place:.6g} {view.cost_axis.unit}".strip()
        axes.annotate(
            text,
            (place, 0.98),  # on the forbidden side, where no blob lies
            xycoords=axes.get_xaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            rotation=90,
            ha="left",
            va="top",
            fontsize=8.5,
            color=style.MUTED,
        )


def _draw_equal_scores(axes: Axes, view: RunView, places: np.ndarray) -> None:
    """Dotted lines of equal eq. (1), where the two axes are all that it depends on; labels keep clear of the places."""
    scored = {objective.key for objective in view.objectives}
    if view.quality.key == view.cost_axis.key or not scored <= {view.cost_axis.key, view.quality.key}:
        return
    priced = [objective for objective in view.objectives if objective.key == view.cost_axis.key]
    scale = quantity(view.quality.key).scale
    costs = np.geomspace(*axes.get_xlim(), 160)
    bottom, top = axes.get_ylim()
    terms = np.array([sum(item.term(cost * view.cost_axis.scale) for item in priced) for cost in costs])
    ends = [view.quality.term(max(edge * scale, 1e-12)) for edge in (bottom, top)]
    # A score that grows faster than the axis shows needs finer levels, of which only some are drawn.
    levels = MaxNLocator(7 if view.quality.maximize else 50, steps=ROUND_STEPS).tick_values(
        terms.min() + min(ends), terms.max() + max(ends)
    )
    decimals = max(0, *(len(f"{level:.10g}".partition(".")[2]) for level in levels))
    drawn = np.full(len(costs), np.inf)
    for level in levels:
        heights = _inverse(view.quality, level - terms) / scale
        heights[~((heights > bottom) & (heights < top))] = np.nan
        visible = np.flatnonzero(np.isfinite(heights))
        if len(visible) < len(costs) // 8 or np.nanmin(np.abs(heights - drawn)) < _LINE_GAP * (top - bottom):
            continue
        drawn = np.where(np.isfinite(heights), heights, np.inf)
        axes.plot(costs, heights, linestyle=":", linewidth=1.0, color=style.MUTED, zorder=1)
        line = np.stack([costs[visible], heights[visible]], axis=1)
        _label_line(axes, line, places, f"score {level:.{decimals}f}")


def _inverse(objective: Objective, terms: np.ndarray) -> np.ndarray:
    """Values of the objective at which its part of the score is as given; NaN where none is."""
    if objective.maximize:
        return terms * objective.reference
    transformed = objective.reference / np.where(terms > 0, terms, np.nan)
    return 10.0 ** np.minimum(transformed, 300.0) if objective.transform == "log10" else transformed


def _label_line(axes: Axes, line: np.ndarray, places: np.ndarray, text: str) -> None:
    """Writes on the line and along its slope, far from the blobs and rather to the right.

    Args:
        axes: Where.
        line: Points of the line, (n, 2).
        places: Points of the blobs, (m, 2).
        text: The label.
    """
    to_axes = axes.transScale + axes.transLimits
    points, blobs = to_axes.transform(line), to_axes.transform(places)
    fits = np.flatnonzero((points > 0.08).all(axis=1) & (points < 0.92).all(axis=1))
    if not len(fits):
        return
    gaps = points[fits, None] - blobs
    clearance = np.hypot(np.maximum(np.abs(gaps[..., 0]) - 0.06, 0), gaps[..., 1]).min(axis=1)
    place = fits[np.argmax(np.minimum(clearance, 0.08) + 0.02 * points[fits, 0])]
    before, after = line[max(0, place - 2)], line[min(len(line) - 1, place + 2)]
    axes.text(
        *line[place],
        text,
        # The slope in data units, turned into that of the page when the layout is known.
        rotation=np.degrees(np.arctan2(after[1] - before[1], after[0] - before[0])),
        rotation_mode="anchor",
        transform_rotates_text=True,
        ha="center",
        va="center",
        fontsize=7.5,
        color=style.MUTED,
        zorder=1.5,
        bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.6},
    )
