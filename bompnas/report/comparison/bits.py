"""Bit-widths of several runs' fronts, by kind of layer."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from bompnas.candidate import Candidate
from bompnas.report import style
from bompnas.report.bits import (
    bit_legend,
    bit_shares,
    draw_share_row,
    kind_of,
    kinds_of,
    quantized_layers,
    shown_networks,
    weights_of,
    widths_of,
)
from bompnas.report.comparison.runs import Comparison
from bompnas.space.network import Layer

ALL = "all"


def bits_figure(comparison: Comparison) -> Figure | None:
    """Share of the layers and of the weights at each bit-width, for every series' fronts; None without fronts."""
    networks = {
        series: [candidate for view in series.views for candidate in shown_networks(view)]
        for series in comparison.series
    }
    networks = {series: found for series, found in networks.items() if found}
    if not networks:
        return None
    everything = [candidate for found in networks.values() for candidate in found]
    widths = widths_of(everything)
    colours = style.bit_colours(widths[0], widths[-1])
    kinds = [ALL, *kinds_of(everything)]
    figure = Figure(figsize=(7.6, 1.9 + 0.6 * len(networks)), layout="constrained")
    panels = figure.subplots(2, len(kinds), sharex=True, sharey=True, squeeze=False)
    for line, (weigh, name) in zip(panels, ((_one, "layers"), (weights_of, "weights")), strict=True):
        for panel, kind in zip(line, kinds, strict=True):
            for row, found in enumerate(networks.values()):
                draw_share_row(panel, row, mean_shares(found, kind, weigh), colours)
            panel.set_xlim(0, 100)
            panel.set_xticks([0, 100])
            panel.grid(visible=False)
            panel.spines[["left", "bottom"]].set_visible(False)
            panel.tick_params(length=0)
        line[0].set_yticks(range(len(networks)), [series.label for series in networks])
        line[0].set_ylim(len(networks) - 0.4, -0.6)
        line[0].set_ylabel(f"of the {name}")
    for panel, kind in zip(panels[0], kinds, strict=True):
        panel.set_title(kind.replace("_", " "))
    figure.supxlabel("Share [%], mean over the front's networks", fontsize=10)
    bit_legend(figure, {bits: colours[bits] for bits in widths})
    return figure


def mean_shares(networks: Sequence[Candidate], kind: str, weigh: Callable[[Layer], int]) -> dict[int, float]:
    """Share of each bit-width in a kind of layer, as a mean over the networks that have such layers.

    Args:
        networks: Every one counts alike, whatever its size.
        kind: A kind of layer, or `ALL`.
        weigh: What a layer counts.

    Returns:
        Shares [%] by bit-width, ascending; empty where no network has such a layer.
    """
    chosen = [
        [layer for layer in quantized_layers(candidate.network) if kind in (ALL, kind_of(layer))]
        for candidate in networks
    ]
    shares = [bit_shares(layers, weigh) for layers in chosen if layers]
    found = sorted({bits for share in shares for bits in share})
    return {bits: float(np.mean([share.get(bits, 0.0) for share in shares])) for bits in found}


def _one(layer: Layer) -> int:
    return 1
