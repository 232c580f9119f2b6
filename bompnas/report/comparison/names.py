"""Names beside points, where they cover neither points nor each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bompnas.report import style

_LETTER = 0.012  # width of a letter, as a fraction of the axes
_HEIGHT = 0.034  # of a line of text
_ENOUGH = 0.025  # room around a name beyond which more is no better
_RINGS = (0.045, 0.09, 0.14)  # how far from its point a name may stand


def draw_names(axes: Axes, names: Sequence[str], places: np.ndarray, busy: np.ndarray) -> None:
    """Writes names beside their points, each with a fine line to its point.

    Args:
        axes: Of the figure; its limits are set.
        names: One for each point.
        places: The points [data units], (n, 2).
        busy: What names should not cover [data units], (m, 2).
    """
    to_axes = axes.transScale + axes.transLimits
    centres, taken = to_axes.transform(places), to_axes.transform(busy)
    for name, place, middle in zip(names, places, arrange(names, centres, taken), strict=True):
        axes.annotate(
            name,
            place,
            xytext=middle,
            textcoords="axes fraction",
            ha="center",
            va="center",
            fontsize=8,
            color=style.INK,
            bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.8},
            arrowprops={"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4},
            zorder=5.5,
        )


def arrange(names: Sequence[str], centres: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Middles of the names, each as near its point as it has room.

    Args:
        names: One for each point.
        centres: The points [fractions of the axes], (n, 2).
        taken: What should not be covered [fractions of the axes], (m, 2).

    Returns:
        Fractions of the axes, (n, 2).
    """
    middles = np.zeros((len(names), 2))
    for index, (name, centre) in enumerate(zip(names, centres, strict=True)):
        half = np.array([_LETTER * len(name) / 2, _HEIGHT / 2])
        options = _options(centre, half)
        inside = ((options - half > 0.01) & (options + half < 0.99)).all(axis=1)
        gaps = np.maximum(np.abs(options[:, None] - taken) - half, 0)
        room = np.hypot(gaps[..., 0], gaps[..., 1]).min(axis=1).clip(max=_ENOUGH)
        middles[index] = options[np.argmax(np.where(inside, room, -1.0))]  # the first, nearest, of equals
        # The name's own area, as points so close that no other name fits between them.
        across = np.linspace(-half[0], half[0], max(3, len(name)))
        area = [(x, y) for x in across for y in (-half[1], 0, half[1])]
        taken = np.concatenate([taken, middles[index] + area])
    return middles


def _options(centre: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Where a name may stand: around its point, nearer rings first, (24, 2)."""
    angles = np.radians([90, -90, 0, 180, 45, -45, 135, -135])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([centre + directions * (half + ring - _HEIGHT / 2) for ring in _RINGS])
