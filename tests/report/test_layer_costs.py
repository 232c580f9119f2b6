import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bompnas.hardware.bitfusion import BitFusion
from bompnas.hardware.counts import Counts
from bompnas.report import style
from bompnas.report.layer_costs import (
    MOST_SMALL,
    best_network,
    best_roofline_figure,
    front_layers_figure,
    layers_figure,
)
from bompnas.space import loader


@pytest.fixture
def on(view):
    """The finished run, on a device."""

    def make(model, **parameters):
        return dataclasses.replace(view, experiment={**view.experiment, "hardware": {"model": model, **parameters}})

    return make


def heights(axes):
    return [bar.get_height() for bar in axes.patches]


def test_the_best_network_is_the_presented_one_of_the_highest_score(view, make_view):
    assert best_network(view).id == 2  # 2.9 after final training
    assert best_network(make_view([(0.5, 10), (0.9, 4), (0.4, 8)])).id == 2
    assert best_network(make_view([(None, 4)])) is None


def test_bars_are_the_layers_parts_of_the_device_s_costs(on):
    view = on("bitfusion", rows=4)
    network = best_network(view).network
    latency, energy = layers_figure(view).axes
    cost = BitFusion(rows=4).cost(network)
    assert heights(latency) == [part["latency_ms"] for part in cost.layers.values()]
    assert heights(energy) == [part["energy_mj"] for part in cost.layers.values()]
    assert (latency.get_ylabel(), energy.get_ylabel()) == ("Latency [ms]", "Energy [mJ]")
    written = [text.get_text() for text in latency.texts]
    assert written == [str(layer.weight_bits) for layer in network.layers if layer.kind != "float"]


@pytest.mark.parametrize("model", [None, "litert_cpu", "counts"])
def test_without_a_device_that_prices_size_macs_and_bitops_are_shown(view, on, model):
    view = view if model is None else on(model)
    panels = layers_figure(view).axes
    parts = Counts().cost(best_network(view).network).layers.values()
    scales = {"size_bits": 8000, "macs": 1e6, "bitops": 1e6}
    for panel, (name, scale) in zip(panels, scales.items(), strict=True):
        np.testing.assert_allclose(heights(panel), [part[name] / scale for part in parts])
    assert [panel.get_ylabel() for panel in panels] == ["Packed size [kB]", "MACs [M]", "BitOps [M]"]
    assert best_roofline_figure(view) is None


def test_the_others_have_small_panels_smallest_first(on):
    figure = front_layers_figure(on("bitfusion"))
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left").partition(":")[0] for axes in shown] == ["№ 4", "№ 5"]
    assert max(map(max, map(heights, shown))) <= shown[0].get_ylim()[1]
    assert figure.get_supylabel() == "Latency [ms] of a layer"


def test_many_others_are_thinned_evenly(make_view):
    pairs = [(0.5 + place / 100, 2 + place) for place in range(30)]
    figure = front_layers_figure(make_view(pairs))
    ids = [int(axes.get_title(loc="left").partition(":")[0].removeprefix("№ ")) for axes in figure.axes]
    assert len(ids) == MOST_SMALL
    assert ids == sorted(ids)
    assert (min(np.diff(ids)), max(np.diff(ids))) in {(2, 3), (2, 4)}


def test_a_run_without_networks_has_no_figures(make_view):
    view = make_view([(None, 4)])
    assert (layers_figure(view), front_layers_figure(view), best_roofline_figure(view)) == (None, None, None)
    assert front_layers_figure(make_view([(0.5, 4)])) is None


def test_names_of_parts_do_not_overlap_with_fifty_layers(make_view):
    space = loader.load(Path(__file__).parents[2] / "search_spaces" / "mobilenetv2_cifar10.yaml")
    deepest = {gene.name: max(gene.values) for gene in space.genes if gene.name.endswith("repetitions")}
    network = space.decode({**space.seed, **deepest})
    assert len(network.layers) > 50
    view = make_view([(0.5, 4)])
    large = dataclasses.replace(view.candidates[0], network=network)
    figure = layers_figure(dataclasses.replace(view, candidates=(large,)))
    with style.context():
        figure.canvas.draw()
    bits = {str(width) for width in range(33)}
    boxes = [text.get_window_extent() for text in figure.axes[-1].texts if text.get_text() not in bits]
    assert len(boxes) >= 9
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_the_roofline_shows_the_best_network_beside_8_bits(on):
    figure = best_roofline_figure(on("roofline", peak_gmacs=0.5, bandwidth_gb_s=0.1))
    assert [text.get_text() for text in figure.legends[0].get_texts()][-2:] == ["weights at 8 bits", "№ 2"]
