"""Figures of a run besides the search plot: bit-widths, score over trials, seconds of the phases."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from bompnas.candidate import Candidate, State
from bompnas.report import style
from bompnas.report.points import draw_candidates, draw_failed, focus
from bompnas.report.quantities import quantity
from bompnas.report.search_plot import search_figure
from bompnas.report.view import RunView
from bompnas.space.network import HEAD, Layer, Network

# Order in which phases follow each other in a trial; a phase that is not named here comes after them.
PHASES = ("build", "train", "quantize", "qaft", "evaluate")
_ROLES = ("expand", "depthwise", "project")
_KINDS = ("stem", *_ROLES, "last_conv", HEAD)


def draw(view: RunView) -> dict[str, Figure]:
    """All figures that the run has data for, by the name of their file, in the order of the page."""
    makers: dict[str, Callable[[RunView], Figure | None]] = {
        "search": search_figure,
        "bits": bits_figure,
        "policies": policies_figure,
        "score": score_figure,
        "seconds": seconds_figure,
    }
    drawn = {name: make(view) for name, make in makers.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def bits_figure(view: RunView) -> Figure | None:
    """Share of the weights at each bit-width, per kind of layer, for every network of the front (BOMP-NAS, Fig. 3)."""
    networks = shown_networks(view)
    kinds = sorted(
        {_kind(layer) for candidate in networks for layer in _quantized(candidate.network)},
        key=lambda kind: _KINDS.index(kind) if kind in _KINDS else len(_KINDS),
    )
    if not networks or not kinds:
        return None
    colours = _colours(networks)
    figure = Figure(figsize=(7.6, 1.5 + 0.3 * len(networks)), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=True):
        for row, candidate in enumerate(networks):
            _draw_shares(
                panel, row, [layer for layer in _quantized(candidate.network) if _kind(layer) == kind], colours
            )
        panel.set_title(kind.replace("_", " "))
        panel.set_xlim(0, 100)
        panel.set_xticks([0, 100])
        panel.grid(visible=False)
        panel.spines[["left", "bottom"]].set_visible(False)
        panel.tick_params(length=0)
    _label_rows(panels[0], view, networks)
    figure.supxlabel("Share of the layers' weights [%]", fontsize=10)
    _bit_legend(figure, colours)
    return figure


def policies_figure(view: RunView) -> Figure | None:
    """The bit-width of every layer, one row a network of the front; repetitions of a block share a column."""
    networks = shown_networks(view)
    rows = [_policy(candidate.network) for candidate in networks]
    columns = sorted({place for row in rows for place in row}, key=_column_order)
    if not columns:
        return None
    colours = _colours(networks)
    figure = Figure(figsize=(max(4.5, 1.6 + 0.34 * len(columns)), 1.5 + 0.3 * len(networks)), layout="constrained")
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            if column in row:
                colour = colours[round(row[column])]
                axes.barh(y, 0.92, left=x - 0.46, height=0.86, color=colour)
                text = f"{row[column]:.2g}"
                axes.text(x, y, text, ha="center", va="center", fontsize=8, color=style.text_colour(colour))
            else:
                axes.text(x, y, "·", ha="center", va="center", color=style.MUTED)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.set_xticks(range(len(columns)), [role for _, role in columns], rotation=90, fontsize=8)
    axes.xaxis.tick_top()
    _label_groups(axes, [group for group, _ in columns])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _label_rows(axes, view, networks)
    return figure


def score_figure(view: RunView) -> Figure | None:
    """Every candidate's score and the best so far, in the order of sampling."""
    scored = [candidate for candidate in view.completed if candidate.score is not None]
    if not scored:
        return None
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    ids = np.array([candidate.id for candidate in scored])
    scores = np.array([candidate.score for candidate in scored])
    last = view.candidates[-1].id
    best = np.maximum.accumulate(scores)
    axes.step(
        [*ids, last], [*best, best[-1]], where="post", color=style.ACCENT, linewidth=1.8, zorder=2, label="best so far"
    )
    axes.set_ylim(focus(scores, best[-1:], maximize=True))
    draw_candidates(axes, ids, ids, scores, np.full(len(ids), 34.0), last)
    failed = [candidate.id for candidate in view.candidates if candidate.state is State.FAILED]
    draw_failed(axes, failed, failed)
    initial = view.experiment.get("method", {}).get("initial")
    if initial and initial < last:
        axes.axvspan(0.5, initial + 0.5, color=style.MUTED, alpha=0.1, linewidth=0, zorder=0, label="initial set")
    _set_order_axis(axes, last)
    axes.set_ylabel("Score, eq. (1)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def seconds_figure(view: RunView) -> Figure | None:
    """Seconds that each phase took, candidate by candidate, and in total for the search and the final training."""
    timed = [candidate for candidate in view.candidates if candidate.seconds]
    phases = phase_names([*timed, *view.trained])
    if not timed or not phases:
        return None
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    each, total = figure.subplots(1, 2, width_ratios=(4, 1.15))
    _draw_stack(each, [candidate.id for candidate in timed], timed, phases)
    _set_order_axis(each, view.candidates[-1].id)
    each.set_ylabel("Time of a candidate [s]")
    _draw_totals(total, view, timed, phases)
    handles = [Patch(color=_phase_colour(phases, phase), label=phase) for phase in phases]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    return figure


def phase_names(candidates: Sequence[Candidate]) -> list[str]:
    """Names of the phases that took time, in their order within a trial."""
    found = _in_order(phase for candidate in candidates for phase in candidate.seconds)
    return sorted(found, key=lambda phase: PHASES.index(phase) if phase in PHASES else len(PHASES))


def shown_networks(view: RunView) -> tuple[Candidate, ...]:
    """The networks that the report presents: the finally trained ones, or the search's front while there are none."""
    return view.trained or view.front


def _set_order_axis(axes: Axes, last: int) -> None:
    """Candidates from left to right, with room for at least six."""
    axes.set_xlim(0.4, max(last, 6) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
    axes.set_xlabel("Candidate, in order of sampling")


def _draw_stack(axes: Axes, places: Sequence[float], candidates: Sequence[Candidate], phases: Sequence[str]) -> None:
    """Stacked bars, one polygon a phase however many candidates there are."""
    edges = np.add.outer(np.asarray(places, dtype=np.float64), [-0.4, -0.4, 0.4, 0.4]).ravel()
    bottom = np.zeros(len(places))
    for phase in phases:
        top = bottom + [candidate.seconds.get(phase, 0.0) for candidate in candidates]
        heights = [np.outer(level, [0, 1, 1, 0]).ravel() for level in (bottom, top)]
        axes.fill_between(edges, *heights, color=_phase_colour(phases, phase), linewidth=0)
        bottom = top
    axes.set_ylim(0, 1.06 * bottom.max() or 1.0)
    axes.grid(visible=False, axis="x")


def _draw_totals(axes: Axes, view: RunView, timed: Sequence[Candidate], phases: Sequence[str]) -> None:
    parts = {"search": timed, "final": view.trained} if view.trained else {"search": timed}
    sums = {
        part: {phase: sum(candidate.seconds.get(phase, 0.0) for candidate in chosen) for phase in phases}
        for part, chosen in parts.items()
    }
    longest = max(sum(part.values()) for part in sums.values())
    unit, length = next(((name, size) for name, size in (("h", 3600), ("min", 60)) if longest >= 2 * size), ("s", 1))
    for place, part in enumerate(sums.values()):
        bottom = 0.0
        for phase in phases:
            height = part[phase] / length
            axes.bar(place, height, 0.7, bottom, color=_phase_colour(phases, phase), linewidth=0)
            bottom += height
    axes.set_xticks(range(len(sums)), list(sums))
    axes.set_xlim(-0.6, len(sums) - 0.4)
    axes.set_ylabel(f"Total [{unit}]")
    axes.grid(visible=False, axis="x")


def _phase_colour(phases: Sequence[str], phase: str) -> str:
    return style.CATEGORIES[phases.index(phase) % len(style.CATEGORIES)]


def _quantized(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if layer.kind != "float"]


def _kind(layer: Layer) -> str:
    """What a layer is within its network: its part, or its role where the part is a block."""
    if layer.repetition == 0:
        return layer.group
    if layer.kind == "depthwise":
        return "depthwise"
    return "project" if layer.activation == "linear" else "expand"


def _policy(network: Network) -> dict[tuple[str, str], float]:
    """Bit-width of every place (group, role or layer name), the mean where repetitions differ."""
    found: dict[tuple[str, str], list[int]] = {}
    for layer in _quantized(network):
        if layer.repetition:
            role = _kind(layer)
        else:
            role = layer.name.removeprefix(f"{layer.group}_") if layer.group == HEAD else layer.kind
        found.setdefault((layer.group, role), []).append(layer.weight_bits)
    return {place: float(np.mean(bits)) for place, bits in found.items()}


def _column_order(place: tuple[str, str]) -> tuple[int, int, int, str]:
    group, role = place
    number = int("".join(filter(str.isdigit, group)) or 0)
    part = {"stem": 0, "last_conv": 2, HEAD: 3}.get(group, 1)
    return part, number, _ROLES.index(role) if role in _ROLES else len(_ROLES), role


def _colours(networks: Sequence[Candidate]) -> dict[int, str]:
    bits = [layer.weight_bits for candidate in networks for layer in _quantized(candidate.network)]
    return style.bit_colours(min(bits), max(bits))


def _draw_shares(axes: Axes, row: int, layers: Sequence[Layer], colours: dict[int, str]) -> None:
    """One row: the weights of some layers, split by bit-width."""
    weights = Counter()
    for layer in layers:
        weights[layer.weight_bits] += layer.weights
    left = 0.0
    for bits in sorted(weights):
        share = 100 * weights[bits] / weights.total()
        axes.barh(row, share, left=left, height=0.8, color=colours[bits], linewidth=0)
        if share >= 30:
            colour = style.text_colour(colours[bits])
            axes.text(left + share / 2, row, str(bits), ha="center", va="center", fontsize=8, color=colour)
        left += share
    if not layers:
        axes.text(50, row, "none", ha="center", va="center", fontsize=8, color=style.MUTED)


def _label_rows(axes: Axes, view: RunView, networks: Sequence[Candidate]) -> None:
    """Names the rows by number and size, smallest network on top."""
    size = quantity("size_bits")
    labels = [f"№ {candidate.id}\u2002{size.text(candidate.cost['size_bits'])}" for candidate in networks]
    axes.set_yticks(range(len(networks)), labels)
    axes.set_ylim(len(networks) - 0.4, -0.6)


def _label_groups(axes: Axes, groups: Sequence[str]) -> None:
    """Writes the parts' names below their columns, with a rule between parts."""
    for group in _in_order(groups):
        places = [place for place, other in enumerate(groups) if other == group]
        text = group.replace("block", "block ").replace("_", "\n")
        axes.annotate(
            text,
            (np.mean(places), 0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, -6),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9,
            annotation_clip=False,
        )
        if places[0]:
            axes.axvline(places[0] - 0.5, color=style.MUTED, linewidth=0.6, alpha=0.6)


def _bit_legend(figure: Figure, colours: dict[int, str]) -> None:
    handles = [Patch(color=colour, label=str(bits)) for bits, colour in colours.items()]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        title="Weight bits",
        columnspacing=1.2,
        handlelength=1.2,
    )


def _in_order(names: Iterable[str]) -> list[str]:
    """Distinct names in the order of their first appearance."""
    return list(dict.fromkeys(names))
