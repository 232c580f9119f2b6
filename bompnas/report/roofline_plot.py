"""Figures of bit policies on a device with a roofline: layers under the roof; bits beside operation intensity."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bompnas.errors import InputError
from bompnas.hardware.layers import LayerTable
from bompnas.hardware.model import CostModel
from bompnas.hardware.roofline import Roofline, RooflinePoints
from bompnas.report import style
from bompnas.report.plane import log_ticks
from bompnas.space.batch import CONV, DENSE, DEPTHWISE, FLOAT, NetworkBatch
from bompnas.space.network import Network

ROLES = ("convolution", "pointwise", "depthwise", "dense")
MOST_POLICIES = 2
_MARGIN = 1.5


def roofline_figure(roofline: Roofline, policies: Mapping[str, Network], device: CostModel | None = None) -> Figure:
    """Performance of every layer over its operation intensity, log-log ("Design Automation ...", Fig. 4).

    The thick line is the roof at `full_bits`; thin ones are the roofs of narrower and wider layers, where the device
    has such. Layers of the first of two policies are hollow, and joined with the same layers of the second.

    Args:
        roofline: The device.
        policies: Name of a policy -> network, one or two.
        device: A model of the same device and batch that tells `latency_ms` by layer: layers then stand at the
            performance that they reach there. Without it they stand on the roof.

    Raises:
        InputError: There are no policies, or more than two.
    """
    tables = _tables(policies)
    points = {name: roofline.points(table) for name, table in tables.items()}
    heights = {name: _performance(policies[name], points[name], device) for name in policies}
    figure = Figure(figsize=(7.6, 4.9), layout="constrained")
    axes = figure.add_subplot()
    _draw_roofs(axes, roofline, points, heights)
    _join(axes, points, heights)
    for number, (name, table) in enumerate(tables.items()):
        is_hollow = number + 1 < len(tables)
        _draw_roles(axes, table, points[name].intensity, heights[name], is_hollow)
    axes.set_xlabel("Operation intensity [MACs per byte]")
    axes.set_ylabel("Performance [GMAC/s]")
    _add_legend(figure, tables)
    return figure


def policy_figure(roofline: Roofline, policies: Mapping[str, Network]) -> Figure:
    """Bits of every layer, and its operation intensity below ("Design Automation ...", Fig. 3).

    Bars go up for the bits of weights and down for those of the activations that the layer reads.

    Args:
        roofline: The device.
        policies: Name of a policy -> network, one or two.

    Raises:
        InputError: There are no policies, or more than two.
    """
    tables = _tables(policies)
    figure = Figure(figsize=(7.6, 2.4 + 1.5 * len(tables)), layout="constrained")
    ratios = [1.0] * len(tables) + [1.4]
    *panels, bottom = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    most = max(int(max(table.weight_bits.max(), table.input_bits.max())) for table in tables.values())
    for panel, (name, table) in zip(panels, tables.items(), strict=True):
        _draw_bits(panel, table, most)
        panel.set_title(f"{name}: bits of weights (up) and of activations (down)", loc="left")
    for number, table in enumerate(tables.values()):
        intensity = roofline.points(table).intensity
        _draw_roles(bottom, table, np.arange(1, len(table) + 1), intensity, is_hollow=number + 1 < len(tables))
    lines = bottom.get_lines()
    _set_log(bottom, "y", np.concatenate([line.get_ydata() for line in lines]))
    bottom.set_ylabel("MACs per byte")
    bottom.set_xlabel("Layer")
    bottom.set_xlim(0.2, max(map(len, tables.values())) + 0.8)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _add_legend(figure, tables)
    return figure


def roles_of(layers: LayerTable) -> np.ndarray:
    """What each layer is: places in `ROLES`, shape (m,)."""
    is_pointwise = (layers.kind == CONV) & (layers.kernel == 1)
    cases = [is_pointwise, layers.kind == CONV, layers.kind == DEPTHWISE, layers.kind == DENSE]
    return np.select(cases, [ROLES.index(role) for role in ("pointwise", "convolution", "depthwise", "dense")])


def _tables(policies: Mapping[str, Network]) -> dict[str, LayerTable]:
    """The layers that compute, by policy."""
    if not 0 < len(policies) <= MOST_POLICIES:
        raise InputError(f"roofline figures: found {len(policies)} policies; expected one or two")
    tables = {name: LayerTable.of(NetworkBatch.of([network])) for name, network in policies.items()}
    return {name: table[table.kind != FLOAT] for name, table in tables.items()}


def _performance(network: Network, points: RooflinePoints, device: CostModel | None) -> np.ndarray:
    """Performance of the layers that compute [GMAC/s]."""
    if device is None:
        return points.attainable_gmacs
    latency_ms = device.by_layer(NetworkBatch.of([network]))["latency_ms"][0]
    computes = [layer.kind != "float" for layer in network.layers]
    return points.macs / latency_ms[computes] / 1e6


def _draw_roofs(
    axes: Axes, roofline: Roofline, points: Mapping[str, RooflinePoints], heights: Mapping[str, np.ndarray]
) -> None:
    """Sets the axes and draws the roofs over their whole width."""
    peaks = np.unique(np.concatenate([part.peak_gmacs for part in points.values()]))
    ridge = roofline.peak_gmacs / roofline.bandwidth_gb_s
    left, right = _set_log(axes, "x", np.concatenate([[ridge], *(part.intensity for part in points.values())]))
    _set_log(axes, "y", np.concatenate([[roofline.peak_gmacs], peaks, *heights.values()]))
    places = np.geomspace(left, right, 512)
    for peak in peaks[peaks != roofline.peak_gmacs]:
        roof = np.minimum(places * roofline.bandwidth_gb_s, peak)
        axes.plot(places, roof, color=style.MUTED, linewidth=0.7, alpha=0.6, zorder=1, gid=f"roof-{peak:.6g}")
    roof = np.minimum(places * roofline.bandwidth_gb_s, roofline.peak_gmacs)
    axes.plot(places, roof, color=style.INK, linewidth=2, zorder=1.5, gid="roof")
    thin = "; thin: at the layers' own widths" if (peaks != roofline.peak_gmacs).any() else ""
    axes.set_title(
        f"Roof: {roofline.peak_gmacs:,.4g} GMAC/s at {roofline.full_bits} x {roofline.full_bits} bits, "
        f"{roofline.bandwidth_gb_s:,.4g} GB/s{thin}",
        loc="left",
    )


def _join(axes: Axes, points: Mapping[str, RooflinePoints], heights: Mapping[str, np.ndarray]) -> None:
    """Draws a line from each layer under the one policy to the same layer under the other."""
    if len({len(part) for part in heights.values()}) > 1 or len(heights) < MOST_POLICIES:
        return
    places = [part.intensity for part in points.values()]
    axes.plot(np.stack(places), np.stack(list(heights.values())), color=style.MUTED, linewidth=0.5, alpha=0.7, zorder=2)


def _draw_roles(axes: Axes, layers: LayerTable, places: np.ndarray, heights: np.ndarray, is_hollow: bool) -> None:
    """One mark a layer, its colour and shape by role."""
    roles = roles_of(layers)
    for role in np.unique(roles):
        axes.plot(places[roles == role], heights[roles == role], zorder=3, **_mark(role, is_hollow))


def _mark(role: int, is_hollow: bool) -> dict[str, object]:
    """The look of a role's layers."""
    look = style.series(int(role))
    return {
        "linestyle": "none",
        "marker": look.marker,
        "markersize": look.size,
        "markerfacecolor": style.PAPER if is_hollow else look.colour,
        "markeredgecolor": look.colour,
        "markeredgewidth": 1.1,
        "alpha": 0.9,
    }


def _draw_bits(axes: Axes, layers: LayerTable, most: int) -> None:
    """Bars of the bits of weights, upwards, and of activations, downwards."""
    roles, places = roles_of(layers), np.arange(1, len(layers) + 1)
    for role in np.unique(roles):
        chosen = roles == role
        axes.bar(places[chosen], layers.weight_bits[chosen], 0.8, color=style.series(int(role)).colour)
        axes.bar(places[chosen], -layers.input_bits[chosen], 0.8, color=style.series(int(role)).colour, alpha=0.55)
    axes.axhline(0, color=style.PAPER, linewidth=1.2)
    axes.set_ylim(-most - 0.8, most + 0.8)
    axes.set_yticks([-most, -most / 2, 0, most / 2, most])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
    axes.set_ylabel("Bits")
    axes.grid(visible=False, axis="x")


def _set_log(axes: Axes, axis: str, values: np.ndarray) -> tuple[float, float]:
    """Makes an axis logarithmic, with round numbers, and tells its ends."""
    low, high = values.min() / _MARGIN, values.max() * _MARGIN
    axes.set(**{f"{axis}scale": "log", f"{axis}lim": (low, high)})
    scale = getattr(axes, f"{axis}axis")
    scale.set_major_locator(FixedLocator(log_ticks(low, high)))
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    return low, high


def _add_legend(figure: Figure, tables: Mapping[str, LayerTable]) -> None:
    """Names the roles, and the policies where there are two."""
    found = np.unique(np.concatenate([roles_of(table) for table in tables.values()]))
    handles = [Line2D([], [], label=ROLES[role], **_mark(role, is_hollow=False)) for role in found]
    if len(tables) == MOST_POLICIES:
        for number, name in enumerate(tables):
            face = style.PAPER if number == 0 else style.INK
            look = {**_mark(0, is_hollow=False), "markerfacecolor": face, "markeredgecolor": style.INK}
            handles.append(Line2D([], [], label=name, **look))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
