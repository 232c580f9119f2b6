import numpy as np
import pytest

from bompnas.report import style
from bompnas.report.comparison import fronts, runs

CIFAR = {"data__dataset": "cifar10"}


def marks(axes, number):
    """Places of the links of a series' colour."""
    colour = style.series(number).colour
    return [
        collection.get_offsets().data.tolist()
        for collection in axes.collections
        if style.matplotlib.colors.to_hex(collection.get_facecolor()[0]) == colour and collection.get_urls()[0]
    ]


def lines(axes):
    return [line.get_xydata().tolist() for line in axes.lines]


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_runs_front_of_the_search(compared):
    figure = fronts.search_figure(compared)
    (axes,) = figure.axes
    assert marks(axes, 0) == [[[2, 60], [8, 90]], [[2, 70], [8, 80]]]
    assert marks(axes, 1) == [[[3, 80]]]
    assert lines(axes) == [[[2, 60], [8, 90]], [[2, 70], [8, 80]]]
    assert texts(figure) == ["bomp (2 seeds)", "random"]
    faint = [item for item in axes.collections if item.get_alpha()]
    assert sorted(len(item.get_offsets()) for item in faint) == [2, 2, 3]
    links = [url for item in axes.collections for url in item.get_urls() if url]
    assert links == ["#run-1-2", "#run-1-3", "#run-3-1", "#run-3-3", "#run-2-2"]


def test_final_networks_are_shown_by_their_test_values(compared):
    figure = fronts.final_figure(compared)
    assert marks(figure.axes[0], 1) == [[[3, 82]]]
    assert texts(figure) == ["random"]
    assert figure.axes[0].get_ylabel() == "Test accuracy [%]"


def test_the_line_keeps_what_is_reached_where_the_test_disagrees(make_run):
    final = {1: (0.7, 0.75), 2: (0.8, 0.7), 3: (0.9, 0.85)}
    runs_of = [
        make_run("a", [(0.5, 2), (0.6, 4), (0.7, 8)], final),
        make_run("b", [(0.5, 2)], {1: (0.6, 0.6)}, method__name="random"),
    ]
    (axes,) = fronts.final_figure(runs.read(runs_of)).axes
    assert marks(axes, 0) == [[[2, 75], [4, 70], [8, 85]]]
    assert lines(axes) == [[[2, 75], [4, 75], [8, 85]]]


def test_nothing_to_draw_before_anything_is_measured(make_run):
    comparison = runs.read([make_run("a", []), make_run("b", [(None, 4)])])
    assert fronts.search_figure(comparison) is None
    assert fronts.final_figure(comparison) is None


def test_published_networks_of_about_the_runs_sizes(make_run):
    pairs, final = [(0.5, 2), (0.6, 5)], {1: (0.6, 0.6), 2: (0.7, 0.7)}
    comparison = runs.read([make_run("a", pairs, final, **CIFAR), make_run("b", pairs, final, seed=1, **CIFAR)])
    found = fronts.published_networks(comparison, 2.0, 5.0)
    assert [(item.method, item.kilobytes) for item in found] == [
        ("JASQ (repr.)", 4.47),
        ("BOMP-NAS", 4.57),
        ("µNAS", 11.4),
        ("BOMP-NAS", 16.3),
    ]
    figure = fronts.final_figure(comparison)
    assert texts(figure) == ["a (2 seeds)", "BOMP-NAS, as published", "others, as published"]
    assert {text.get_text() for text in figure.axes[0].texts} == {"JASQ (repr.)", "µNAS"}
    places = [
        item.get_offsets().data.tolist()[0] for item in figure.axes[0].collections if not len(item.get_facecolor())
    ]
    assert places == [[4.47, pytest.approx(65.97)], [4.57, pytest.approx(67.36)], [11.4, 86.49], [16.3, 83.96]]
    low, high = figure.axes[0].get_xlim()
    assert low < 2 < 16.3 < high


@pytest.mark.parametrize(
    ("settings", "final"),
    [
        ({}, {1: (0.6, 0.6)}),
        ({**CIFAR, "data__train_images": 1000}, {1: (0.6, 0.6)}),
    ],
)
def test_published_networks_are_of_whole_cifar_only(make_run, settings, final):
    comparison = runs.read([make_run(name, [(0.5, 5)], final, **settings) for name in "ab"])
    assert fronts.published_networks(comparison, 5.0, 5.0) == []


def test_published_networks_need_test_values(make_run):
    comparison = runs.read([make_run(name, [(0.5, 5)], **CIFAR) for name in "ab"])
    assert fronts.published_networks(comparison, 5.0, 5.0) == []


def test_the_window_holds_every_front(compared):
    (axes,) = fronts.search_figure(compared).axes
    places = np.concatenate([item.get_offsets().data for item in axes.collections])
    for low, high, values in ((*axes.get_xlim(), places[:, 0]), (*axes.get_ylim(), places[:, 1])):
        assert low < values.min() <= values.max() < high
