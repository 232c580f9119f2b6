import dataclasses
import re
from html.parser import HTMLParser

import pytest

from bompnas.objectives import Objective
from bompnas.report import figures, page, style, tables

VOID = {"meta", "br", "link", "img", "hr"}


class Checker(HTMLParser):
    """Collects ids, links and text, and notices tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.note(attributes)

    def handle_startendtag(self, tag, attributes):
        self.note(dict(attributes))

    def note(self, attributes):
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[key] for key in ("href", "xlink:href", "src") if key in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(view):
    with style.context():
        titles = tables.tooltips(view)
        drawn = figures.draw(view)
        elements = {name: style.to_svg(figure, name, page.describe(name), titles) for name, figure in drawn.items()}
    html = page.render(view, elements)
    checker = Checker()
    checker.feed(html)
    assert not checker.open
    assert len(checker.ids) == len(set(checker.ids))
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.ids)
    return html, checker, " ".join(" ".join(checker.text).split())


def test_the_page_of_a_finished_run(view):
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


def test_the_page_needs_nothing_from_elsewhere(view):
    html, _, _ = check(view)
    elsewhere = set(re.findall(r"https?://[^\s\"'<]+", html))
    assert elsewhere <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in html
    assert "@import" not in html
    assert "<link" not in html


def test_dominated_networks_are_grey_and_the_best_values_bold(view):
    html, _, _ = check(view)
    rows = dict(re.findall(r'<tr id="(network-\d+)"( class="dominated")?>', html))
    assert rows == {"network-2": "", "network-4": ' class="dominated"', "network-5": ""}
    assert re.findall(r'<td class="best">(?:<span class="before">[^<]*</span> )?([\d.]+)', html) == ["95.00", "94.00"]


def test_the_page_of_a_run_that_has_not_completed_anything(make_view):
    for pairs in ([], [(None, 4)]):
        _, _, text = check(make_view(pairs))
        assert "No candidate has been completed yet." in text
        assert "not finished" in text


def test_the_page_while_the_search_goes_on(view):
    _, _, text = check(dataclasses.replace(view, finals=()))
    assert "as the search measured it" in text
    assert "not finished" in text
    assert "→" not in text


def test_the_best_error_is_the_smallest(make_view):
    objectives = (Objective("mae", "val_mae", 0.5, False), Objective("size", "size_bits", 8.0, False, "log10"))
    html, _, text = check(make_view([(0.5, 4), (0.2, 9), (0.3, 6)], objectives=objectives))
    assert re.findall(r'<td class="best">([\d.]+)', html) == ["0.200"]
    assert "Best validation mean absolute error 0.200" in text


def test_the_number_of_trials_is_not_that_of_candidates(view):
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
