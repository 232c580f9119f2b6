import numpy as np
import pytest

from bompnas.objectives import Constraint, Objective, score
from bompnas.report.search_plot import search_figure

MAE = Objective("mae", "val_mae", 0.5, maximize=False)
SIZE = Objective("size", "size_bits", 8.0, maximize=False, transform="log10")
LOSS = Objective("loss", "val_loss", 1.0, maximize=False)


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(axes, label):
    (collection,) = [item for item in axes.collections if item.get_label() == label]
    return collection.get_offsets().data


def test_nothing_to_draw_before_the_first_completed_candidate(make_view):
    assert search_figure(make_view([])) is None
    assert search_figure(make_view([(None, 4)])) is None


def test_candidates_fronts_seed_and_failures_are_where_they_belong(view):
    figure = search_figure(view)
    axes = figure.axes[0]
    blobs = axes.collections[0]
    assert blobs.get_offsets().tolist() == [[10, 50], [2, 60], [4, 70], [8, 90], [9, 40]]
    assert blobs.get_array().tolist() == [1, 2, 4, 5, 6]
    assert blobs.get_urls()[0] == "#candidate-1"
    assert np.argsort(blobs.get_sizes()).tolist() == [1, 2, 3, 4, 0]
    assert points(axes, "front of the search").tolist() == [[2, 60], [4, 70], [8, 90]]
    assert points(axes, "finally trained").tolist() == [[2, 85], [4, 80], [8, 95]]
    assert points(axes, "seed network").tolist() == [[10, 50]]
    assert points(axes, "failed")[:, 0].tolist() == [3]
    assert labels(figure) == ["front of the search", "finally trained", "seed network", "failed"]


def test_every_final_network_is_joined_to_its_candidate(view):
    lines = [line.get_xydata().tolist() for line in search_figure(view).axes[0].lines]
    for before, after in (([2, 60], [2, 85]), ([4, 70], [4, 80]), ([8, 90], [8, 95])):
        assert [before, after] in lines


def test_the_final_front_leaves_out_what_is_dominated_after_training(view):
    lines = [line.get_xydata().tolist() for line in search_figure(view).axes[0].lines]
    assert [[2, 85], [8, 95]] in lines


@pytest.mark.parametrize("quality", [Objective("accuracy", "val_accuracy", 0.8, maximize=True), MAE])
def test_every_point_of_an_equal_score_line_has_the_score_that_it_says(make_view, quality):
    view = make_view([(0.5, 10), (0.6, 2), (0.7, 40), (0.9, 8)], objectives=(quality, SIZE))
    axes = search_figure(view).axes[0]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    said = [float(text.get_text().split()[1]) for text in axes.texts if text.get_text().startswith("score")]
    assert len(dotted) >= 3
    unit = 0.01 if quality.maximize else 1.0
    found = []
    for line in dotted:
        places = line.get_xydata()[np.isfinite(line.get_ydata())]
        scores = [score(view.objectives, {"size_bits": x * 8000, quality.key: y * unit}) for x, y in places]
        assert np.ptp(scores) < 1e-9
        found.append(scores[0])
    assert said
    assert all(min(abs(value - level) for level in found) < 1e-9 for value in said)


def test_no_equal_score_lines_where_more_than_the_axes_decides(make_view):
    view = make_view([(0.5, 10), (0.6, 2)], objectives=(MAE, SIZE))
    macs = Objective("macs", "macs", 8.0, maximize=False, transform="log10")
    axes = search_figure(make_view([(0.5, 10), (0.6, 2)], objectives=(*view.objectives, macs))).axes[0]
    assert not [line for line in axes.lines if line.get_linestyle() == ":"]


@pytest.mark.parametrize(("objective", "lines"), [(MAE, True), (SIZE, False)])
def test_a_single_objective_is_drawn_over_the_size(make_view, objective, lines):
    pairs = [(0.5, 10), (0.6, 2)] if objective is MAE else [(80_000.0, 10), (16_000.0, 2)]
    axes = search_figure(make_view(pairs, objectives=(objective,))).axes[0]
    assert axes.get_xlabel() == "Packed size [kB]"
    dotted = [line.get_ydata() for line in axes.lines if line.get_linestyle() == ":"]
    assert bool(dotted) is lines
    assert all(np.ptp(heights) == 0 for heights in dotted)


def test_less_is_better_is_said(make_view):
    assert "less is better" in search_figure(make_view([(0.5, 10)], objectives=(LOSS, SIZE))).axes[0].get_ylabel()


@pytest.mark.parametrize(("limit", "drawn"), [(16, True), (1000, False)])
def test_the_limit_is_drawn_when_it_is_near(make_view, limit, drawn):
    view = make_view([(0.5, 10), (0.6, 2)], constraints=(Constraint("size_kb", limit),))
    texts = [text.get_text() for text in search_figure(view).axes[0].texts]
    assert ("limit 16 kB" in texts) is drawn


def test_one_candidate_has_no_colour_bar_and_a_window_around_it(make_view):
    figure = search_figure(make_view([(0.5, 10)]))
    (axes,) = figure.axes
    assert axes.get_xlim()[0] < 10 < axes.get_xlim()[1]
    assert axes.get_ylim()[0] < 50 < axes.get_ylim()[1]


def test_a_network_that_learned_nothing_does_not_flatten_the_others(make_view):
    good = [(0.80 + 0.01 * number, 3 + number) for number in range(9)]
    figure = search_figure(make_view([*good, (0.1, 2.5)]))
    axes = figure.axes[0]
    # It is the smallest, so it is on the front, which is always inside.
    assert axes.get_ylim()[0] < 10
    figure = search_figure(make_view([*good, (0.1, 20)]))
    axes = figure.axes[0]
    assert axes.get_ylim()[0] > 70
    assert points(axes, "off the scale")[:, 0].tolist() == [20]
    assert "off the scale" in labels(figure)


def test_what_a_supernet_decided_for_is_marked(supernet_view):
    figure = search_figure(supernet_view)
    decided = supernet_view.decided
    (place,) = points(figure.axes[0], "decided").tolist()
    assert place == pytest.approx([decided.cost["latency_ms"], 100 * decided.metrics["val_accuracy"]])
    assert "decided" in labels(figure)
    assert figure.axes[1].get_ylabel() == "Candidate"
