"""The look of the figures, and their way into PNG files and into the page.

The neutral colours are replaced by CSS variables in the page, so that one drawing serves light and dark screens.
"""

import contextlib
import dataclasses
import html
import io
import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

from bompnas.whole_files import replacing

INK = "#1b2230"
MUTED = "#667085"
GRID = "#e4e7ec"
PAPER = "#ffffff"
RIM = "#fdfefe"
ACCENT = "#c9301c"
SERIES = ("#0b6bb5", "#d1570a", "#0a8a5f", "#b8428c", "#8a74e6", "#8a5a1e", "#1389a6", "#343a46")
"""Colours of runs that share a figure, 3.5 : 1 or more on white; the style sheet has their twins for dark screens."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)))
CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    RIM: "--rim",
    ACCENT: "--accent",
    **{colour: f"--series-{place}" for place, colour in enumerate(SERIES, start=1)},
}

# Okabe and Ito (2008), readable with every kind of colour blindness.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.labelpad": 7,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "svg.fonttype": "none",
}


def context() -> contextlib.AbstractContextManager[None]:
    """The style as a context: figures are drawn and saved inside."""
    return matplotlib.rc_context(_SETTINGS)


def order_colours() -> Colormap:
    """Colours of the sampling order, dark to light; without viridis' last tenth, too pale on white."""
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.92, 128)))


def bit_colours(lowest: int, highest: int) -> dict[int, str]:
    """A colour for every bit-width in the range, light for few bits and dark for many."""
    widths = range(lowest, highest + 1)
    places = np.linspace(0.12, 0.92, len(widths)) if len(widths) > 1 else [0.6]
    colours = matplotlib.colormaps["YlGnBu"](places)
    return {bits: matplotlib.colors.to_hex(colour) for bits, colour in zip(widths, colours, strict=True)}


@dataclasses.dataclass(frozen=True)
class SeriesStyle:
    """How one of several runs is told from the others: not by its colour alone.

    Attributes:
        colour: One of `SERIES`.
        marker: One of `MARKERS`.
        dash: Matplotlib's line style.
    """

    colour: str
    marker: str
    dash: str | tuple[int, tuple[float, ...]]

    @property
    def size(self) -> float:
        """Width of the marker [points]: crosses are drawn larger, so that all look alike."""
        return 7.6 if self.marker in "PX" else 5.8


def series(number: int) -> SeriesStyle:
    """The look of the run number 0, 1, ...; the first 64 differ."""
    around = number // len(SERIES)
    return SeriesStyle(
        SERIES[number % len(SERIES)], MARKERS[(number + around) % len(MARKERS)], _DASHES[number % len(_DASHES)]
    )


def text_colour(background: str) -> str:
    """Black or white, whichever is read better on the background (WCAG relative luminance)."""
    channels = np.asarray(matplotlib.colors.to_rgb(background))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#fcfcfc"


def save_png(figure: Figure, path: Path) -> None:
    """Writes the figure on white, 200 dots an inch."""
    with replacing(path) as draft:
        figure.savefig(draft, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None})


def to_svg(figure: Figure, name: str, description: str, titles: Mapping[str, str]) -> str:
    """The figure as an SVG element for the page.

    Args:
        figure: What to draw.
        name: Prefix of every id, so that several figures share one page.
        description: What the figure shows, for screen readers.
        titles: Tooltip for every link target (`#candidate-7`) in the figure.

    Returns:
        An `<svg>` element without XML prolog, the same text for the same figure.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', _opening(name, description), text, count=1, flags=re.DOTALL)
    # Equal pictures have equal ids, and nothing refers to them.
    text = re.sub(r'(<image\b[^>]*?)\s+id="[^"]*"', r"\1", text)
    own = set(re.findall(r'\bid="([^"]+)"', text))
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"#([\w-]+)", lambda match: f"#{name}-{match[1]}" if match[1] in own else match[0], text)
    for colour, variable in CSS_VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r'<a xlink:href="([^"]+)"[^>]*>', lambda match: _link(match[1], titles), text)


def _opening(name: str, description: str) -> str:
    label = html.escape(description, quote=True).replace("\\", r"\\")
    return (
        rf'<svg id="root" class="{name}" role="img" aria-label="{label}" viewBox="\1" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )


def _link(target: str, titles: Mapping[str, str]) -> str:
    title = titles.get(target)
    tooltip = "" if title is None else f"<title>{html.escape(title)}</title>"
    return f'<a href="{html.escape(target, quote=True)}">{tooltip}'
