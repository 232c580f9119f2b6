"""Several runs in one page: fronts, hypervolumes, bit-widths and costs beside each other, from their records alone."""

from collections.abc import Sequence
from pathlib import Path

from bompnas.errors import InputError
from bompnas.report import style
from bompnas.report.comparison import bits, costs, courses, fronts, page, runs, tables
from bompnas.whole_files import write_text

__all__ = ["write"]

_FIGURES = {
    "search": fronts.search_figure,
    "final": fronts.final_figure,
    "hypervolume": courses.hypervolume_figure,
    "score": courses.score_figure,
    "bits": bits.bits_figure,
    "cost": costs.cost_figure,
}


def write(folders: Sequence[Path], out: Path) -> Path:
    """Draws runs together, finished or not: `comparison.html` and `comparison/*.png`.

    Args:
        folders: Of the runs, two or more.
        out: Where the page goes; made if it does not exist.

    Raises:
        InputError: A folder holds no run, is given twice, or the runs cannot be compared; or `out` is a file.

    Returns:
        The path of the page.
    """
    comparison = runs.read(folders)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the page")
    with style.context():
        drawn = {name: figure for name, make in _FIGURES.items() if (figure := make(comparison)) is not None}
        pictures = out / "comparison"
        pictures.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            style.save_png(figure, pictures / f"{name}.png")
        titles = tables.tooltips(comparison)
        elements = {name: style.to_svg(figure, name, page.describe(name), titles) for name, figure in drawn.items()}
    path = out / "comparison.html"
    write_text(path, page.render(comparison, elements))
    return path
