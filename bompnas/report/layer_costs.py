"""Figures of what each layer of a network costs: on the run's device, or counted where it has none."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bompnas.candidate import Candidate
from bompnas.hardware.layers import LayerTable
from bompnas.report import style
from bompnas.report.bits import draw_rules, label_groups, shown_networks
from bompnas.report.device import pricing
from bompnas.report.quantities import Quantity, quantity
from bompnas.report.roofline_plot import ROLES, roles_of, roofline_figure
from bompnas.report.view import RunView
from bompnas.space.batch import NetworkBatch
from bompnas.space.network import Network

MOST_SMALL = 12
"""Networks beside the best one that have a panel."""
_COLUMNS = 3
_FLOAT = len(ROLES)
_NAME = 0.62
"""Width of a part's name [inches]."""


def best_network(view: RunView) -> Candidate | None:
    """The presented network with the highest score; the smaller one of equals."""
    scored = [candidate for candidate in shown_networks(view) if candidate.score is not None]
    return max(scored, key=lambda candidate: candidate.score, default=None)


def layers_figure(view: RunView) -> Figure | None:
    """What every layer of the best-scored network costs, one panel a cost; the weights' bits above the bars."""
    best = best_network(view)
    if best is None:
        return None
    parts = _by_layer(view, best.network)
    layers = best.network.layers
    width = max(6.4, 0.17 * len(layers))
    figure = Figure(figsize=(1.2 + width, 0.9 + 1.9 * len(parts)), layout="constrained")
    panels = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (name, values) in zip(panels, parts.items(), strict=True):
        _draw_bars(panel, best.network, values)
        _annotate_bits(panel, best.network, values)
        shown = quantity(name)
        panel.set_ylabel(shown.axis_label)
        panel.set_title(f"№ {best.id}: {_total(shown, values)} in total", loc="left")
        draw_rules(panel, [layer.group for layer in layers])
    panels[-1].set_xticks([])
    label_groups(panels[-1], [layer.group for layer in layers], fewest=math.ceil(_NAME * len(layers) / width))
    _add_legend(figure, [best.network])
    return figure


def front_layers_figure(view: RunView) -> Figure | None:
    """The same of the other presented networks, smallest first, as small panels of the first cost."""
    best = best_network(view)
    others = _spread([candidate for candidate in shown_networks(view) if best is not None and candidate.id != best.id])
    if not others:
        return None
    name = next(iter(_by_layer(view, others[0].network)))
    rows = math.ceil(len(others) / _COLUMNS)
    figure = Figure(figsize=(7.6, 0.9 + 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False).ravel()
    shown = quantity(name)
    for panel, candidate in zip(panels, others, strict=False):
        values = _by_layer(view, candidate.network)[name]
        _draw_bars(panel, candidate.network, values)
        panel.set_title(f"№ {candidate.id}: {_total(shown, values)}", fontsize=9, loc="left")
        panel.set_xticks([])
    for panel in panels[len(others) :]:
        panel.set_axis_off()
    figure.supylabel(f"{shown.axis_label} of a layer", fontsize=10)
    _add_legend(figure, [candidate.network for candidate in others])
    return figure


def best_roofline_figure(view: RunView) -> Figure | None:
    """The best-scored network's layers under the device's roof, and with 8-bit weights; None without a roof."""
    best = best_network(view)
    roofline = None if view.device is None else view.device.roofline
    if best is None or roofline is None:
        return None
    policies = {"weights at 8 bits": best.network.with_bits(8), f"№ {best.id}": best.network}
    return roofline_figure(roofline, policies, view.device.model)


def _by_layer(view: RunView, network: Network) -> dict[str, np.ndarray]:
    """Parts of each shown cost that is a sum over layers, in displayed units, shape (layers,)."""
    model, names = pricing(view.device)
    found = model.by_layer(NetworkBatch.of([network]))
    if not set(names) & set(found):
        model, names = pricing(None)
        found = model.by_layer(NetworkBatch.of([network]))
    return {name: found[name][0] / quantity(name).scale for name in names if name in found}


def _total(shown: Quantity, values: np.ndarray) -> str:
    """The sum over layers [displayed units] in words."""
    return shown.text(float(values.sum()) * shown.scale)


def _spread(candidates: Sequence[Candidate]) -> list[Candidate]:
    """At most `MOST_SMALL` of them, evenly from the first to the last."""
    if len(candidates) <= MOST_SMALL:
        return list(candidates)
    return [candidates[place] for place in np.linspace(0, len(candidates) - 1, MOST_SMALL).round().astype(int)]


def _roles(network: Network) -> np.ndarray:
    """Places in `ROLES`, `_FLOAT` for layers that are not quantized, shape (layers,)."""
    roles = roles_of(LayerTable.of(NetworkBatch.of([network])))
    return np.where([layer.kind == "float" for layer in network.layers], _FLOAT, roles)


def _colour(role: int) -> str:
    return style.MUTED if role == _FLOAT else style.series(int(role)).colour


def _draw_bars(axes: Axes, network: Network, values: np.ndarray) -> None:
    axes.bar(range(len(values)), values, 0.8, color=[_colour(role) for role in _roles(network)], linewidth=0)
    axes.set_xlim(-0.7, len(values) - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def _annotate_bits(axes: Axes, network: Network, values: np.ndarray) -> None:
    """Writes the weights' bits above the bars."""
    axes.margins(y=0.14)
    for place, (layer, value) in enumerate(zip(network.layers, values, strict=True)):
        if layer.kind != "float":
            axes.annotate(
                str(layer.weight_bits), (place, value), xytext=(0, 1.5), textcoords="offset points",
                ha="center", va="bottom", fontsize=7, color=style.MUTED,
            )  # fmt: skip


def _add_legend(figure: Figure, networks: Sequence[Network]) -> None:
    found = np.unique(np.concatenate([_roles(network) for network in networks]))
    names = (*ROLES, "float")
    handles = [Patch(color=_colour(role), label=names[role]) for role in found]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
