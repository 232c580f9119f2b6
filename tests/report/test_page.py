import dataclasses
import datetime
import re

import pytest

from bompnas.objectives import Objective
from bompnas.report import figures, page, style, tables
from bompnas.report.quantities import DASH


@pytest.fixture
def check(check_html):
    """Draws a run's page and checks it; gives the HTML, what was found in it, and its text."""

    def draw(view, drawn_at=None):
        with style.context():
            titles = tables.tooltips(view)
            drawn = figures.draw(view)
            elements = {name: style.to_svg(figure, name, page.describe(name), titles) for name, figure in drawn.items()}
        html = page.render(view, elements, drawn_at)
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


def test_the_page_shows_what_was_exported(exported, check):
    html, checker, text = check(exported)
    files = [link for link in checker.links if link.endswith((".bits", ".tflite"))]
    assert files == ["models/2.bits", "models/2.tflite", "models/4.bits", "models/5.bits", "models/5.tflite"]
    section = html[html.index('<section id="files">') :].partition("</section>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", section)]
    plain = [[re.sub(r"<[^>]*>", "", content) for content in row] for row in rows if row]
    assert plain == [
        ["№ 2", "1.23", "9.88", "84.00", "84.00", "100.00", "0", "0.0125 (0.0120 to 0.0134)", ""],
        ["№ 4", "2.35", DASH, "79.00", DASH, "100.00", "0", DASH, "no .tflite: layer &#x27;a&lt;b&#x27;: 16 bits"],
        [
            "№ 5", "3.46", "23.5", "94.00", "90.00", "98.75", "3", "0.0125 (0.0120 to 0.0134)",
            "beyond the limits: the first layer that differs is &#x27;stem&#x27;",
        ],
    ]  # fmt: skip
    assert "compared on 2,360 test images" in text
    assert "median of 100 runs" in text
    assert "LiteRT with 1 thread on A <1>." in text
    assert "2 of 3 networks as .tflite; parity exact for 2 of 3 compared" in text


def test_files_without_remarks_have_no_column_for_them(exported, check):
    html, _, _ = check(dataclasses.replace(exported, exports=exported.exports[:1]))
    assert "LiteRT" in html
    assert html.count("Remark") == 1  # the candidates' column


def test_without_exports_there_is_no_section_of_files(view, check):
    assert "Integer files" not in check(view)[2]


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


@pytest.mark.parametrize(
    "name",
    ["search", "course", "decisions", "bits", "policies", "layers", "front_layers", "roofline", "score", "seconds"],
)
def test_every_figure_has_a_description_of_one_sentence(name):
    assert re.fullmatch(r"[A-Z][^.]*(\(1\))?[^.]*\.", page.describe(name))


def test_the_device_is_named_with_its_parameters(view, check):
    def page_of(**section):
        text = check(dataclasses.replace(view, experiment={**view.experiment, "hardware": section}))[2]
        return text.partition("Experiment name:")[0]

    text = page_of(model="bitfusion", rows=4)
    assert "For a batch on bitfusion (rows 4)." in text
    assert "Device bitfusion (rows 4)" in text
    assert "Roofline" in text
    assert "What layers cost on huffman is not known from the record" in page_of(model="huffman")


def test_costs_of_the_device_have_columns(view, check):
    priced = tuple(
        dataclasses.replace(item, cost={**item.cost, "latency_ms": 0.5 * item.id, "cycles": 9.0})
        for item in view.candidates
    )
    html = check(dataclasses.replace(view, candidates=priced))[0]
    heads = re.findall(r"<th[^>]*>([^<]*)</th>", html)
    assert heads.count("Latency [ms]") == 2  # of the front and of all candidates; cycles say the same
    assert not any("cycles" in head for head in heads)


def test_mean_bits_weigh_layers_by_their_weights(make_candidate, make_network):
    network = make_network(4, 1, project_bits=[8])
    weights = {layer.name: layer.weights for layer in network.layers if layer.kind != "float"}
    project = weights["block1_1_project"]
    expected = (4 * (sum(weights.values()) - project) + 8 * project) / sum(weights.values())
    assert tables.mean_bits(dataclasses.replace(make_candidate(1, 0.5, 4), network=network)) == pytest.approx(expected)


def test_the_page_of_a_run_that_goes_on_tells_when_it_was_drawn_and_reloads_itself(make_view, check):
    view = make_view([(0.5, 10), (None, 3), (0.7, 4)])
    html, _, text = check(view, datetime.datetime(2031, 5, 4, 12, 0, 30, tzinfo=datetime.UTC))
    assert '<meta http-equiv="refresh" content="30">' in html
    assert "As of 2031-05-04 12:00:30 UTC: 3 of 12 trials. This page reloads itself while the run goes on." in text
    assert "running" in text
    assert "not finished" not in text


def test_the_page_of_a_run_that_nobody_carries_out_does_not_reload_itself(view, check):
    html, _, text = check(view)
    assert "http-equiv" not in html
    assert "As of" not in text


def test_the_page_of_a_search_of_a_supernet(supernet_view, check):
    html, _, text = check(supernet_view)
    assert re.findall(r'<section id="(\w+)"', html)[:4] == ["search", "front", "course", "decisions"]
    assert "№ 1 decided" in text
    assert "Decided network" in text
    assert "The square is the one that the search decided for" in text
    assert "The decided network, with the last probabilities" in text
    assert "Search of a supernet 12 of 12 epochs" in text
    assert "trials" not in text.partition("Experiment name:")[0].lower()
    assert 'id="score"' not in html
    assert "What each phase of the final trainings took" in text


def test_the_page_while_a_supernet_is_searched(begun_supernet, check):
    html, _, text = check(begun_supernet, datetime.datetime(2031, 5, 4, 12, 0, 30, tzinfo=datetime.UTC))
    assert "As of 2031-05-04 12:00:30 UTC: 3 of 12 epochs. This page reloads itself while the run goes on." in text
    assert "The search has not come to its networks yet." in text
    assert re.findall(r'<section id="(\w+)"', html) == ["course", "decisions", "summary", "experiment"]
    assert "Triangles" not in text


def test_final_trainings_of_a_supernet_are_those_of_its_front_and_of_what_it_decided_for(supernet_view, check):
    view = dataclasses.replace(supernet_view, finals=supernet_view.finals[:1])
    text = check(view, datetime.datetime(2031, 5, 4, 12, 0, 30, tzinfo=datetime.UTC))[2]
    assert f"12 of 12 epochs and 1 of {len(view.chosen)} final trainings" in text
