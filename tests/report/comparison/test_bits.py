import dataclasses

import pytest

from bompnas.report.bits import weights_of
from bompnas.report.comparison import runs
from bompnas.report.comparison.bits import ALL, bits_figure, mean_shares


def one(layer):
    return 1


def test_every_network_counts_alike(make_candidate, make_network):
    small = dataclasses.replace(make_candidate(1, 0.5, 4), network=make_network(4, 1))
    large = dataclasses.replace(make_candidate(2, 0.5, 4), network=make_network(4, 4, project_bits=[4, 8, 8, 8]))
    assert mean_shares([small, large], "project", one) == {4: (100 + 25) / 2, 8: 75 / 2}
    assert mean_shares([small, large], "project", weights_of) == {4: 62.5, 8: 37.5}
    assert mean_shares([small], ALL, one) == {4: 100}


def test_layers_and_weights_of_a_kind_are_counted_apart(make_candidate, make_network):
    network = make_network(4, 1, project_bits=[8])
    candidate = dataclasses.replace(make_candidate(1, 0.5, 4), network=network)
    layers = [layer for layer in network.layers if layer.kind != "float"]
    assert mean_shares([candidate], ALL, one) == pytest.approx({4: 500 / 6, 8: 100 / 6})
    share = 100 * next(layer.weights for layer in layers if layer.weight_bits == 8) / sum(map(weights_of, layers))
    assert mean_shares([candidate], ALL, weights_of) == pytest.approx({4: 100 - share, 8: share})


def test_networks_without_a_kind_of_layer_do_not_count(make_candidate, make_network):
    with_expand = dataclasses.replace(make_candidate(1, 0.5, 4), network=make_network(5, 1))
    without = dataclasses.replace(make_candidate(2, 0.5, 4), network=make_network(7, 1, expand=False))
    assert mean_shares([with_expand, without], "expand", one) == {5: 100}
    assert mean_shares([without], "expand", one) == {}


def test_a_row_for_every_series_and_a_column_for_every_kind(compared):
    figure = bits_figure(compared)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["all", "stem", "expand", "depthwise", "project", "last conv", "head"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["bomp (2 seeds)", "random"]
    for axes in figure.axes:
        for row in (0, 1):
            widths = [bar.get_width() for bar in axes.patches if round(bar.get_y() + 0.4) == row]
            assert sum(widths) == pytest.approx(100)


def test_no_figure_without_fronts(make_run):
    assert bits_figure(runs.read([make_run("a", []), make_run("b", [(None, 4)])])) is None
