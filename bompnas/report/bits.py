"""Figures of bit-widths: their shares by kind of layer, and layer by layer."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

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
    kinds = kinds_of(networks)
    if not networks or not kinds:
        return None
    colours = _colours(networks)
    figure = Figure(figsize=(7.6, 1.5 + 0.3 * len(networks)), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=True):
        for row, candidate in enumerate(networks):
            layers = [layer for layer in quantized_layers(candidate.network) if kind_of(layer) == kind]
            draw_share_row(panel, row, bit_shares(layers), colours)
        panel.set_title(kind.replace("_", " "))
        panel.set_xlim(0, 100)
        panel.set_xticks([0, 100])
        panel.grid(visible=False)
        panel.spines[["left", "bottom"]].set_visible(False)
        panel.tick_params(length=0)
    _label_rows(panels[0], view, networks)
    figure.supxlabel("Share of the layers' weights [%]", fontsize=10)
    bit_legend(figure, {bits: colours[bits] for bits in widths_of(networks)})
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
    label_groups(axes, [group for group, _ in columns])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _label_rows(axes, view, networks)
    return figure


def shown_networks(view: RunView) -> tuple[Candidate, ...]:
    """The networks that the report presents: the finally trained ones, or the search's front while there are none."""
    return view.trained or view.front


def quantized_layers(network: Network) -> list[Layer]:
    """The layers whose weights are quantized, in the network's order."""
    return [layer for layer in network.layers if layer.kind != "float"]


def kind_of(layer: Layer) -> str:
    """What a layer is within its network: its part, or its role where the part is a block."""
    if layer.repetition == 0:
        return layer.group
    if layer.kind == "depthwise":
        return "depthwise"
    return "project" if layer.activation == "linear" else "expand"


def kinds_of(networks: Sequence[Candidate]) -> list[str]:
    """The kinds of layers that the networks have, in the order of a network."""
    found = {kind_of(layer) for candidate in networks for layer in quantized_layers(candidate.network)}
    return sorted(found, key=lambda kind: _KINDS.index(kind) if kind in _KINDS else len(_KINDS))


def widths_of(networks: Sequence[Candidate]) -> list[int]:
    """The bit-widths that the networks' weights have, ascending."""
    return sorted({layer.weight_bits for candidate in networks for layer in quantized_layers(candidate.network)})


def weights_of(layer: Layer) -> int:
    """Number of a layer's weights."""
    return layer.weights


def bit_shares(layers: Sequence[Layer], weigh: Callable[[Layer], int] = weights_of) -> dict[int, float]:
    """Share of each bit-width in some layers [%], ascending; empty for no layers.

    Args:
        layers: Quantized ones.
        weigh: What a layer counts.
    """
    counts = Counter()
    for layer in layers:
        counts[layer.weight_bits] += weigh(layer)
    return {bits: 100 * counts[bits] / counts.total() for bits in sorted(counts)}


def draw_share_row(axes: Axes, row: int, shares: Mapping[int, float], colours: Mapping[int, str]) -> None:
    """Draws one bar, split by bit-width; shares [%] by bit-width."""
    left = 0.0
    for bits, share in shares.items():
        axes.barh(row, share, left=left, height=0.8, color=colours[bits], linewidth=0)
        if share >= 30:
            colour = style.text_colour(colours[bits])
            axes.text(left + share / 2, row, str(bits), ha="center", va="center", fontsize=8, color=colour)
        left += share
    if not shares:
        axes.text(50, row, "none", ha="center", va="center", fontsize=8, color=style.MUTED)


def bit_legend(figure: Figure, colours: Mapping[int, str]) -> None:
    """Draws the legend of bit-widths above a figure."""
    handles = [Patch(color=colour, label=str(bits)) for bits, colour in colours.items()]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        title="Weight bits",
        columnspacing=1.2,
        handlelength=1.2,
    )


def _policy(network: Network) -> dict[tuple[str, str], float]:
    """Bit-width of every place (group, role or layer name), the mean where repetitions differ."""
    found: dict[tuple[str, str], list[int]] = {}
    for layer in quantized_layers(network):
        if layer.repetition:
            role = kind_of(layer)
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
    bits = widths_of(networks)
    return style.bit_colours(bits[0], bits[-1])


def _label_rows(axes: Axes, view: RunView, networks: Sequence[Candidate]) -> None:
    """Names the rows by number and size, smallest network on top."""
    size = quantity("size_bits")
    labels = [f"№ {candidate.id}\u2002{size.text(candidate.cost['size_bits'])}" for candidate in networks]
    axes.set_yticks(range(len(networks)), labels)
    axes.set_ylim(len(networks) - 0.4, -0.6)


def label_groups(axes: Axes, groups: Sequence[str], fewest: int = 1) -> None:
    """Writes the parts' names below their columns, with a rule between parts.

    Args:
        axes: Of the figure, one column for each of the groups.
        groups: The part of every column.
        fewest: Columns below which a name is written upwards, for want of room.
    """
    for group in dict.fromkeys(groups):
        places = [place for place, other in enumerate(groups) if other == group]
        upwards = len(places) < fewest
        text = group.replace("block", "block ").replace("_", " " if upwards else "\n")
        axes.annotate(
            text,
            (np.mean(places), 0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, -6),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9,
            rotation=90 if upwards else 0,
            annotation_clip=False,
        )
    draw_rules(axes, groups)


def draw_rules(axes: Axes, groups: Sequence[str]) -> None:
    """Draws a rule between columns of different parts."""
    for place in range(1, len(groups)):
        if groups[place] != groups[place - 1]:
            axes.axvline(place - 0.5, color=style.MUTED, linewidth=0.6, alpha=0.6)
