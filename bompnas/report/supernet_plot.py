"""Figures of the search of a supernet: its course (HQNAS, Fig. 5), and what it came to decide."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bompnas.report import style
from bompnas.report.decisions import Decision, choices, decisions, part_label, parts
from bompnas.report.quantities import quantity
from bompnas.report.view import RunView
from bompnas.trials.record.entries import probability_of

_LOSS, _REWARD = "loss", "reward"
_FEWEST_EPOCHS = 6  # on an axis
_FEW = 30  # epochs, each of which has a mark
_FARTHEST = 1.5  # of the curve's own span, that a threshold may lie away from it to be drawn
_GROUP = 0.36  # height of a part [inches]


def course_figure(view: RunView) -> Figure | None:
    """Accuracy, cost, reward and loss over the epochs, with the warm-up and the thresholds."""
    curves = {name: np.asarray(values, dtype=np.float64) for name, values in view.curves.items()}
    curves = {name: values for name, values in curves.items() if np.isfinite(values).any()}
    colours = {name: style.series(number).colour for number, name in enumerate(_panels(view))}
    names = [name for name in colours if name in curves]
    if not names:
        return None
    heights = [1.0 if name in (_LOSS, _REWARD) else 1.45 for name in names]
    figure = Figure(figsize=(7.6, 0.8 + 1.15 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    thresholds = _thresholds(view)
    warm_up = _warm_up(view)
    epochs = max(map(len, view.curves.values()))
    for panel, name in zip(panels, names, strict=True):
        shown = quantity(name)
        values = curves[name] / shown.scale
        places = np.arange(1, len(values) + 1)
        mark = "o" if epochs < _FEW else None
        panel.plot(places, values, color=colours[name], linewidth=1.6, marker=mark, markersize=3.5)
        _set_height(panel, values)
        if name in thresholds:
            _draw_threshold(panel, values, thresholds[name] / shown.scale, shown.unit)
        if warm_up:
            panel.axvspan(0.5, warm_up + 0.5, color=style.MUTED, alpha=0.1, linewidth=0, zorder=0)
        panel.set_ylabel(shown.axis_label.replace(" [", "\n["))
        panel.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=(1, 2, 2.5, 5, 10), min_n_ticks=3))
    figure.align_ylabels(panels)
    if warm_up:
        _note(panels[0], ((0.5 + warm_up + 0.5) / 2, 0.97), "warm-up", ha="center", va="top")
    panels[-1].set_xlim(0.5, max(epochs, _FEWEST_EPOCHS) + 0.5)
    panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
    panels[-1].set_xlabel("Epoch of the search")
    return figure


def decisions_figure(view: RunView) -> Figure | None:
    """The probability of every value over the epochs: a row for each value, a panel for each kind of choice."""
    found = decisions(view)
    if not found:
        return None
    rows, columns = parts(found), choices(found)
    height = 1.4 + _GROUP * len(rows)
    figure = Figure(figsize=(7.6, height), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    colours, scale = style.order_colours(), Normalize(0, 1)
    for panel, choice in zip(panels, columns, strict=True):
        own = [decision for decision in found if decision.choice == choice]
        for decision in own:
            _draw_decision(panel, rows.index(decision.part), decision, scale)
            _mark_decided(panel, view, rows.index(decision.part), decision)
        epochs = max(decision.probabilities.shape[1] for decision in own)
        panel.set_title("kept or skipped" if all(decision.optional for decision in own) else choice)
        panel.set_xlim(0.5, max(epochs, _FEWEST_EPOCHS) + 0.5)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
        panel.grid(visible=False)
        panel.spines[["left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_ylim(len(rows), 0)
    panels[0].set_yticks(np.arange(len(rows)) + 0.5, [part_label(part) for part in rows])
    panels[0].tick_params(axis="y", pad=20)
    figure.supxlabel("Epoch of the search", fontsize=10)
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=list(panels), location="top", aspect=60, pad=0.1 / height)
    bar.set_label("Probability")
    bar.solids.set_edgecolor("face")
    bar.outline.set_visible(False)
    return figure


def _panels(view: RunView) -> list[str]:
    """Names of the curves in the order of their panels: the quality, what it costs, then reward and loss."""
    quality = view.quality.key
    first, last = [quality], [_REWARD, _LOSS]
    return [*first, *(name for name in view.curves if not (probability_of(name) or name in (*first, *last))), *last]


def _thresholds(view: RunView) -> dict[str, float]:
    """What the search is to keep to, by the name of the curve."""
    method = view.experiment.get("method", {})
    named = {view.quality.key: method.get("accuracy_threshold"), method.get("cost"): method.get("cost_threshold")}
    return {name: float(value) for name, value in named.items() if name is not None and value is not None}


def _warm_up(view: RunView) -> int:
    """The first epochs, in which there is no reward yet."""
    known = np.isfinite(np.asarray(view.curves.get(_REWARD, ()), dtype=np.float64))
    return int(np.argmax(known)) if known.any() else len(known)


def _set_height(panel: Axes, values: np.ndarray) -> None:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.12 * (high - low) or 0.05 * abs(high) or 1.0
    panel.set_ylim(low - margin, high + margin)


def _draw_threshold(panel: Axes, values: np.ndarray, threshold: float, unit: str) -> None:
    """A line where it is near the curve, else a note on which side it lies."""
    text = f"threshold {threshold:.6g} {unit}".strip()
    low, high = panel.get_ylim()
    reach = _FARTHEST * (high - low)
    if low - reach < threshold < high + reach:
        margin = 0.16 * (max(high, threshold) - min(low, threshold))
        above = threshold >= np.nanmean(values[-_FEWEST_EPOCHS:])  # the side on which the curve does not end
        panel.set_ylim(min(low, threshold - margin * (not above)), max(high, threshold + margin * above))
        panel.axhline(threshold, color=style.ACCENT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
        panel.annotate(
            text, (0.995, threshold), xycoords=panel.get_yaxis_transform(), xytext=(0, 3 if above else -3),
            textcoords="offset points", ha="right", va="bottom" if above else "top", fontsize=8.5, color=style.ACCENT,
        )  # fmt: skip
        return
    beyond = threshold > high
    place = (0.995, 0.97 if beyond else 0.03)
    panel.text(
        *place, f"{text} {'↑' if beyond else '↓'}", transform=panel.transAxes, ha="right",
        va="top" if beyond else "bottom", fontsize=8.5, color=style.ACCENT,
    )  # fmt: skip


def _note(panel: Axes, place: tuple[float, float], text: str, **where: str) -> None:
    panel.text(*place, text, transform=panel.get_xaxis_transform(), fontsize=8.5, color=style.MUTED, **where)


def _draw_decision(panel: Axes, row: int, decision: Decision, scale: Normalize) -> None:
    """The probabilities of one decision within the height of its part, with the values at its left."""
    edges = _edges(row, len(decision.values))
    epochs = decision.probabilities.shape[1]
    panel.imshow(
        np.ma.masked_invalid(decision.probabilities),
        cmap=style.order_colours(),
        norm=scale,
        extent=(0.5, epochs + 0.5, edges[-1], edges[0]),
        aspect="auto",
        interpolation="none",
    )
    for label, top, bottom in zip(decision.labels, edges[:-1], edges[1:], strict=True):
        panel.annotate(
            label, (0, (top + bottom) / 2), xycoords=panel.get_yaxis_transform(), xytext=(-3, 0),
            textcoords="offset points", ha="right", va="center", fontsize=6.5, color=style.MUTED, annotation_clip=False,
        )  # fmt: skip


def _mark_decided(panel: Axes, view: RunView, row: int, decision: Decision) -> None:
    """A triangle behind the value that the decided network has."""
    value = decided_value(view, decision)
    if value is None:
        return
    edges = _edges(row, len(decision.values))
    place = decision.values.index(value)
    panel.annotate(
        "◂", (1, (edges[place] + edges[place + 1]) / 2), xycoords=panel.get_yaxis_transform(), xytext=(1, 0),
        textcoords="offset points", ha="left", va="center", fontsize=7, color=style.ACCENT, annotation_clip=False,
    )  # fmt: skip


def decided_value(view: RunView, decision: Decision) -> str | None:
    """What the decided network has; None where its part is skipped, or nothing is decided yet."""
    genotype = (view.decided.genotype if view.decided is not None else None) or {}
    value = genotype.get(decision.gene)
    skipped = genotype.get(f"{decision.part}.repetitions") == 0 and decision.choice != "repetitions"
    return None if value is None or skipped or str(value) not in decision.values else str(value)


def _edges(row: int, values: int) -> Sequence[float]:
    """Borders of the values' rows within the height of a part."""
    return np.linspace(row + 0.06, row + 0.94, values + 1)
