"""The picture of where the time of a trial goes."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bompnas.report import style
from speed import summary
from speed.clocks import PHASES
from speed.summary import Study

COLOURS = dict(zip(PHASES, (style.CATEGORIES[place] for place in (7, 5, 1, 4, 6, 3, 2, 0)), strict=True))


def phases(found: Study, path: Path) -> None:
    """Bars of both sides of every network, stacked by phase, and of the bare convolutions."""
    bars: list[tuple[str, dict[str, float]]] = []
    for network in found.networks:
        bars.append((f"{network}: Keras + QKeras", found.phases("baseline", network, "wall")))
        bars.append(("ours", found.phases("ours", network, "wall")))
        if (bare := found.bare(network)) is not None:
            bars.append(("bare convolutions", summary.bare_seconds(bare, found.facts)))
    with style.context():
        figure = Figure(figsize=(7.6, 1.4 + 0.36 * len(bars)), layout="constrained")
        axes = figure.add_subplot()
        places, left = -np.arange(len(bars)), np.zeros(len(bars))
        for phase in PHASES:
            widths = np.array([bar.get(phase, 0.0) for _, bar in bars])
            axes.barh(places, widths, left=left, height=0.72, color=COLOURS[phase], label=phase, linewidth=0)
            left += widths
        for place, seconds in zip(places, left, strict=True):
            axes.annotate(f"{seconds:.1f}", (seconds, place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [name for name, _ in bars])
        axes.set_xlabel("Wall time of a trial [s]")
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(PHASES) // 2)
        style.save_png(figure, path)
