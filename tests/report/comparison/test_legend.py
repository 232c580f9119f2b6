import re

import pytest
from matplotlib.figure import Figure

from bompnas.report import style
from bompnas.report.comparison.legend import draw_legend, mark
from bompnas.report.comparison.runs import Series


@pytest.mark.parametrize("number", range(9))
def test_marks_are_inside_their_box_and_have_the_series_colour(number):
    text = mark(number)
    assert f"var({style.CSS_VARIABLES[style.series(number).colour]})" in text
    points = [float(value) for value in re.search(r'points="([^"]+)"', text)[1].replace(",", " ").split()]
    assert len(points) >= 8
    assert min(points) >= 1
    assert max(points) <= 11
    assert max(points) - min(points) > 8


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        (["a"], 1),
        (["a", "b", "c"], 3),
        (["x" * 40] * 8, 2),
        (["x" * 90] * 2, 1),
        (["a", "x" * 40, "b", "c"], 4),
        (["$run_0"] * 9, 6),
    ],
)
def test_legends_have_as_many_columns_as_fit(labels, columns):
    figure = Figure(figsize=(7.6, 4), layout="constrained")
    draw_legend(figure, [Series(number, label, ()) for number, label in enumerate(labels)])
    (legend,) = figure.legends
    assert legend._ncols == columns
    assert [text.get_text() for text in legend.get_texts()] == labels
