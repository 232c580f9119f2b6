"""Figures of bit-widths: their shares by kind of layer, and layer by layer."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bompnas.candidate import Candidate
from bompnas.report import style
from bompnas.report.quantities import quantity
from bompnas.report.view import RunView
from bompnas.space.network import HEAD, Layer, Network

_ROLES = ("expand", "depthwise", "project")
_KINDS = ("stem", *_ROLES, "last_conv", HEAD)


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


def shown_networks(view: RunView) -> tuple[Candidate, ...]:
    """The networks that the report presents: the finally trained ones, or the search's front while there are none."""
    return view.trained or view.front


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
    for group in dict.fromkeys(groups):
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
