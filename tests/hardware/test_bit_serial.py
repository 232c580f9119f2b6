import dataclasses

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.bit_serial import CLOUD, EDGE, BitSerial
from bompnas.hardware.layers import LayerTable
from bompnas.space.batch import KINDS, NetworkBatch
from bompnas.space.network import Layer, Network
from bompnas.testing.cost_models import CostModelConformance
from bompnas.testing.mobilenets import mobilenet_v1, mobilenet_v2

# Totals of the table that HAQ ships for MobileNetV2 on the cloud device, all layers at the same bits [cycles].
HAQ_TOTALS = {
    1: 3_433_704,
    2: 7_063_425,
    3: 11_103_578,
    4: 15_716_150,
    5: 20_916_896,
    6: 26_653_434,
    7: 32_886_714,
    8: 39_624_933,
}


class TestCloud(CostModelConformance):
    monotone = ("cycles", "latency_ms")

    def model(self):
        return BitSerial()


class TestEdge(TestCloud):
    def model(self):
        return dataclasses.replace(EDGE)


def table(rows, weight_bits=8, input_bits=8):
    """Layers from (kind, kernel, stride, in_channels, out_channels, input_size)."""
    columns = [
        (KINDS.index(kind), kernel, stride, inputs, outputs, size, -(-size // stride), weight_bits, input_bits, 8, 1)
        for kind, kernel, stride, inputs, outputs, size in rows
    ]
    return LayerTable(*np.array(columns, dtype=np.int64).T)


def uniform(network, weight_bits, input_bits):
    """A network's layers, all at the same bits, also the first and the last."""
    layers = LayerTable.of(NetworkBatch.of([network]))
    widths = {"weight_bits": weight_bits, "input_bits": input_bits}
    return dataclasses.replace(layers, **{name: np.full(len(layers), bits) for name, bits in widths.items()})


def cycles(model, rows, weight_bits, input_bits):
    return model.price(table(rows, weight_bits, input_bits))["cycles"]


@pytest.mark.parametrize("bits", HAQ_TOTALS)
def test_cloud_totals_are_those_of_the_published_table(bits):
    layers = uniform(mobilenet_v2(), bits, bits)
    assert len(layers) == 53
    assert CLOUD.price(layers)["cycles"].sum() == pytest.approx(HAQ_TOTALS[bits], rel=0.02)


@pytest.mark.parametrize("bits", range(1, 9))
def test_cells_of_the_published_table(bits):
    for other in range(1, 9):
        by_activations = CLOUD.price(uniform(mobilenet_v2(), other, bits))["cycles"]
        assert by_activations[1:3].tolist() == [401_408 * bits, 200_704 * bits]  # depthwise 32, pointwise 32 -> 16
        assert CLOUD.price(uniform(mobilenet_v2(), bits, other))["cycles"][52] == 5000 * bits


def test_a_late_pointwise_layer_is_within_four_percent_of_its_cell():
    assert CLOUD.price(uniform(mobilenet_v2(), 8, 8))["cycles"][50] == 327_680 == pytest.approx(340_080, rel=0.04)


@pytest.mark.parametrize(
    ("network", "published_ms"),
    [
        (mobilenet_v1(), {4: 45.45, 5: 57.75, 6: 70.67, 8: 96.20}),
        (mobilenet_v2(), {4: 52.15, 5: 66.94, 6: 82.49, 8: 115.84}),
    ],
    ids=["v1", "v2"],
)
def test_edge_latencies_are_those_of_table_6(network, published_ms):
    found = {bits: EDGE.price(uniform(network, bits, bits))["latency_ms"].sum() for bits in published_ms}
    assert found == pytest.approx(published_ms, rel=0.04)


def test_what_bounds_a_layer_decides_which_bits_count():
    """Section 4 of the paper: activations bound depthwise layers, products of both widths the pointwise ones."""
    model = BitSerial(rows=2, columns=4, word_bits=16, batch=3)
    depthwise = [("depthwise", 3, 1, 6, 6, 5)]
    assert cycles(model, depthwise, 1, 5) == 3 * 25 * 2 * 5  # 25 pixels, 2 groups of channels
    assert cycles(model, depthwise, 3, 5) == 3 * 13 * 2 * 3 * 5
    pointwise = [("conv", 1, 1, 40, 64, 5)]
    assert cycles(model, pointwise, 3, 5) == 3 * 13 * 16 * 3 * 3 * 5
    few_pixels = [("conv", 1, 1, 40, 64, 1)]
    assert cycles(model, few_pixels, 3, 2) == 3 * 64 * 3 * 3
    dense = [("dense", 1, 1, 40, 64, 1)]
    assert cycles(model, dense, 3, 2) == 64 * 3 * 3  # weights once a batch
    assert cycles(dataclasses.replace(model, load_cycles=7), dense, 3, 2) == 7 * 64 * 3 * 3


def test_latency_is_cycles_at_the_clock():
    layers = uniform(mobilenet_v2(), 8, 8)
    costs = BitSerial(clock_mhz=342).price(layers)
    np.testing.assert_allclose(costs["latency_ms"], costs["cycles"] / 342e3, rtol=1e-15)
    assert BitSerial(clock_mhz=171).price(layers)["latency_ms"].sum() == pytest.approx(2 * costs["latency_ms"].sum())


def test_layers_of_a_network_are_priced_by_what_they_read_and_others_cost_nothing():
    layers = (
        Layer("stem", "conv", 3, 2, 3, 16, 32, 16, 4, 5, "relu6", "stem"),
        Layer("depthwise", "depthwise", 3, 1, 16, 16, 16, 16, 4, 6, "relu6", "block1", 1),
        Layer("norm", "float", 1, 1, 1, 20, 1, 1, 32, 32, "linear", "head", bias=False),
    )
    parts = CLOUD.by_layer(NetworkBatch.of([Network(32, 3, layers)]))
    assert parts["cycles"].tolist() == [[16 * 256 * 8, 16 * 256 * 5, 0]]
    assert CLOUD.cost(Network(32, 3, layers)).total["cycles"] == 16 * 256 * 13


@pytest.mark.parametrize("name", ["rows", "columns", "word_bits", "load_cycles", "batch", "clock_mhz"])
def test_a_size_that_is_not_positive_is_refused(name):
    with pytest.raises(InputError, match=f"{name} is 0; expected more than 0"):
        BitSerial(**{name: 0})
