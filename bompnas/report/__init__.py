"""The report of a run: figures, tables and one HTML page, drawn from the record alone."""

import datetime
from pathlib import Path

from bompnas.report import figures, page, style, tables
from bompnas.report.view import RunView, load
from bompnas.whole_files import write_text

__all__ = ["PAGE", "RunView", "load", "write"]

PAGE = "report.html"
"""The page, in a run's folder."""


def write(folder: Path, going_on: bool = False, pictures: bool = True) -> Path:
    """Draws the report of the run in a folder, finished or not: `report.html` and `figures/*.png`.

    Args:
        folder: The run's folder.
        going_on: Whether somebody is carrying out the run; the page then tells when it was drawn, and reloads itself.
        pictures: Whether to draw `figures/*.png`, which takes longer than the page.

    Raises:
        InputError: The folder holds no run.

    Returns:
        The path of the page.
    """
    view = load(folder)
    with style.context():
        drawn = figures.draw(view)
        if pictures:
            (folder / "figures").mkdir(exist_ok=True)
            for name, figure in drawn.items():
                style.save_png(figure, folder / "figures" / f"{name}.png")
        titles = tables.tooltips(view)
        elements = {name: style.to_svg(figure, name, page.describe(name), titles) for name, figure in drawn.items()}
    path = folder / PAGE
    write_text(path, page.render(view, elements, datetime.datetime.now().astimezone() if going_on else None))
    return path
