"""Candidates as points: their colours by sampling order, outliers at the edge, failed ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from bompnas.report import style

_FEWEST_TO_CLIP = 8
_FENCE = 4.0


def focus(values: np.ndarray, always: np.ndarray, maximize: bool) -> tuple[float, float]:
    """Limits of an axis that show what matters, with a margin.

    Of eight values or more, bad ones beyond Tukey's fence (four quartile ranges here) are left outside, so that one
    network that learned nothing does not flatten the others.

    Args:
        values: What is shown, finite, (n,), n >= 1.
        always: Values that must be inside, (m,).
        maximize: Whether more is better: bad values are at the lower end.
    """
    inside = values
    if len(values) >= _FEWEST_TO_CLIP:
        first, third = np.quantile(values, [0.25, 0.75])
        reach = _FENCE * (third - first)
        if reach > 0:
            inside = values[values >= first - reach] if maximize else values[values <= third + reach]
    inside = np.concatenate([inside, always])
    low, high = float(inside.min()), float(inside.max())
    margin = 0.09 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def order_norm(last: int) -> Normalize:
    """From ids, 1 to the highest of the run, to places among the colours."""
    return Normalize(1, max(2, last))


def draw_candidates(axes: Axes, ids: Sequence[int], x: np.ndarray, y: np.ndarray, areas: np.ndarray, last: int) -> None:
    """Draws candidates as blobs linked to their rows in the page; those outside the axis as triangles at its edge.

    Args:
        axes: Where; its limits are set.
        ids: Of the candidates, (n,).
        x: Horizontal places [data units], (n,).
        y: Vertical places [data units], (n,).
        areas: Areas of the blobs [square points], (n,).
        last: The highest id of the run, at the end of the colours.
    """
    ids = np.asarray(ids)
    bottom, top = axes.get_ylim()
    colours = {"cmap": style.order_colours(), "norm": order_norm(last)}
    rim = {"edgecolors": style.RIM, "linewidths": 0.8, "zorder": 3}
    inside = (y >= bottom) & (y <= top)
    blobs = axes.scatter(x[inside], y[inside], s=areas[inside], c=ids[inside], alpha=0.88, **colours, **rim)
    blobs.set_urls([f"#candidate-{number}" for number in ids[inside]])
    for outside, marker, place in ((y < bottom, "v", 0.015), (y > top, "^", 0.985)):
        if outside.any():
            triangles = axes.scatter(
                x[outside],
                np.full(outside.sum(), place),
                s=46,
                c=ids[outside],
                marker=marker,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                label="off the scale",
                **colours,
                **rim,
            )
            triangles.set_urls([f"#candidate-{number}" for number in ids[outside]])


def draw_failed(axes: Axes, ids: Sequence[int], x: Sequence[float]) -> None:
    """Draws failed candidates as crosses above the lower edge: nothing was measured."""
    if len(ids):
        crosses = axes.scatter(
            x,
            np.full(len(ids), 0.05),
            transform=axes.get_xaxis_transform(),
            marker="x",
            s=30,
            color=style.MUTED,
            linewidths=1.4,
            zorder=3,
            label="failed",
        )
        crosses.set_urls([f"#candidate-{number}" for number in ids])
