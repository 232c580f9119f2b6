"""The report of a run: figures, tables and one HTML page, drawn from the record alone."""

from pathlib import Path

from bompnas.report import figures, page, style, tables
from bompnas.report.view import RunView, load
from bompnas.trials.folder import write_atomically

__all__ = ["RunView", "load", "write"]


def write(folder: Path) -> Path:
    """Draws the report of the run in a folder, finished or not: `report.html` and `figures/*.png`.

    Raises:
        InputError: The folder holds no run.

    Returns:
        The path of the page.
    """
    view = load(folder)
    with style.context():
        drawn = figures.draw(view)
        pictures = folder / "figures"
        pictures.mkdir(exist_ok=True)
        for name, figure in drawn.items():
            style.save_png(figure, pictures / f"{name}.png")
        titles = tables.tooltips(view)
        elements = {name: style.to_svg(figure, name, page.describe(name), titles) for name, figure in drawn.items()}
    path = folder / "report.html"
    write_atomically(path, page.render(view, elements))
    return path
