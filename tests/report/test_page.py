import dataclasses
import re

import pytest

from bompnas.objectives import Objective
from bompnas.report import figures, page, style, tables


@pytest.fixture
def check(check_html):
    """Draws a run's page and checks it; gives the HTML, what was found in it, and its text."""

    def draw(view):
        with style.context():
            titles = tables.tooltips(view)
            drawn = figures.draw(view)
            elements = {name: style.to_svg(figure, name, page.describe(name), titles) for name, figure in drawn.items()}
        html = page.render(view, elements)
        return html, *check_html(html)

    return draw


def test_the_page_of_a_finished_run(view, check):
    html, checker, text = check(view)
    assert [link for link in checker.links if not link.startswith(("#", "data:"))] == [
        f"models/{n}.keras" for n in (2, 4, 5)
    ]
    assert "finished" in text
    assert "85.00" in text
    assert "94.00 %" in text
    assert "front of the search" in text
    assert "Diverged: <the loss> became nan" in text
    assert "<the loss>" not in html


def test_dominated_networks_are_grey_and_the_best_values_bold(view, check):
    html, _, _ = check(view)
    rows = dict(re.findall(r'<tr id="(network-\d+)"( class="dominated")?>', html))
    assert rows == {"network-2": "", "network-4": ' class="dominated"', "network-5": ""}
    assert re.findall(r'<td class="best">(?:<span class="before">[^<]*</span> )?([\d.]+)', html) == ["95.00", "94.00"]


def test_the_page_of_a_run_that_has_not_completed_anything(make_view, check):
    for pairs in ([], [(None, 4)]):
        _, _, text = check(make_view(pairs))
        assert "No candidate has been completed yet." in text
        assert "not finished" in text


def test_the_page_while_the_search_goes_on(view, check):
    _, _, text = check(dataclasses.replace(view, finals=()))
    assert "as the search measured it" in text
    assert "not finished" in text
    assert "→" not in text


def test_the_best_error_is_the_smallest(make_view, check):
    objectives = (Objective("mae", "val_mae", 0.5, False), Objective("size", "size_bits", 8.0, False, "log10"))
    html, _, text = check(make_view([(0.5, 4), (0.2, 9), (0.3, 6)], objectives=objectives))
    assert re.findall(r'<td class="best">([\d.]+)', html) == ["0.200"]
    assert "Best validation mean absolute error 0.200" in text


def test_the_number_of_trials_is_not_that_of_candidates(view, check):
    shared = dataclasses.replace(view.candidates[1], trial=1)
    view = dataclasses.replace(view, candidates=(view.candidates[0], shared, *view.candidates[2:]))
    assert "Trials 5 of 12" in check(view)[2]


@pytest.mark.parametrize("name", ["search", "bits", "policies", "score", "seconds"])
def test_every_figure_has_a_description_of_one_sentence(name):
    assert re.fullmatch(r"[A-Z][^.]*(\(1\))?[^.]*\.", page.describe(name))


def test_mean_bits_weigh_layers_by_their_weights(make_candidate, make_network):
    network = make_network(4, 1, project_bits=[8])
    weights = {layer.name: layer.weights for layer in network.layers if layer.kind != "float"}
    project = weights["block1_1_project"]
    expected = (4 * (sum(weights.values()) - project) + 8 * project) / sum(weights.values())
    assert tables.mean_bits(dataclasses.replace(make_candidate(1, 0.5, 4), network=network)) == pytest.approx(expected)
