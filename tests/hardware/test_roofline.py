import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.errors import InputError
from bompnas.hardware.layers import LayerTable
from bompnas.hardware.roofline import Roofline
from bompnas.space.batch import CONV, DENSE, DEPTHWISE, FLOAT, NetworkBatch
from bompnas.space.network import Layer, Network
from bompnas.testing.cost_models import CostModelConformance

POINTWISE = (CONV, 1, 1, 16, 32, 8, 8, 4, 8, 6, 1)
STRIDED = (DEPTHWISE, 3, 2, 16, 16, 8, 4, 8, 4, 8, 1)
CLASSIFIER = (DENSE, 1, 1, 64, 10, 1, 1, 8, 8, 8, 1)
NORM = (FLOAT, 1, 1, 1, 20, 1, 1, 32, 32, 32, 0)


class TestRoofline(CostModelConformance):
    monotone = ("latency_ms",)
    widths = (2, 3, 5, 8)

    def model(self):
        return Roofline(peak_gmacs=16, bandwidth_gb_s=0.5, scaling="powers_of_two")


def table(*rows):
    return LayerTable(*np.array(rows, dtype=np.int64).T)


def test_points_from_the_definitions():
    layers = table(POINTWISE, STRIDED, CLASSIFIER)
    points = Roofline(peak_gmacs=8, bandwidth_gb_s=2).points(layers)
    macs = np.array([16 * 32 * 64, 9 * 16 * 16, 640])
    traffic_b = np.array([16 * 64 + 32 * 64 * 0.75 + 512 * 0.5, 16 * 64 * 0.5 + 16 * 16 + 144, 64 + 10 + 640])
    assert points.macs.tolist() == macs.tolist()
    assert points.traffic_b.tolist() == traffic_b.tolist()
    np.testing.assert_allclose(points.intensity, macs / traffic_b, rtol=1e-15)
    assert points.compute_bound.tolist() == [True, False, False]
    np.testing.assert_allclose(points.attainable_gmacs, [8, *(2 * macs / traffic_b)[1:]], rtol=1e-15)


def test_weights_move_once_a_batch():
    one, many = (Roofline(8, 2, batch=batch).points(table(CLASSIFIER)) for batch in (1, 10))
    assert one.traffic_b == 640 + 74
    assert many.traffic_b == 640 + 10 * 74
    assert many.macs == 10 * one.macs


@pytest.mark.parametrize(
    ("scaling", "full_bits", "speed_ups"),
    [
        ("constant", 8, [1, 1, 1]),
        ("product", 8, [64 / 32, 64 / 32, 1]),
        ("product", 4, [16 / 32, 16 / 32, 1 / 4]),
        ("powers_of_two", 8, [2, 2, 1]),
    ],
)
def test_peaks_of_narrow_layers(scaling, full_bits, speed_ups):
    model = Roofline(8, 2, full_bits, scaling)
    assert model.points(table(POINTWISE, STRIDED, CLASSIFIER)).peak_gmacs.tolist() == [8 * each for each in speed_ups]


def test_powers_of_two_round_widths_up():
    widths = [(1, 2), (2, 2), (3, 4), (4, 5), (5, 8), (8, 9), (16, 16)]
    rows = [(*POINTWISE[:7], weight, inputs, 8, 1) for weight, inputs in widths]
    expected = [64 / (2 * 2), 64 / (2 * 2), 64 / (4 * 4), 64 / (4 * 8), 1, 64 / (8 * 16), 64 / (16 * 16)]
    assert Roofline(1, 1, 8, "powers_of_two").points(table(*rows)).peak_gmacs.tolist() == expected


@settings(max_examples=50, deadline=None)
@given(
    peak=st.floats(1e-3, 1e6),
    bandwidth=st.floats(1e-3, 1e6),
    scaling=st.sampled_from(["constant", "product", "powers_of_two"]),
    batch=st.integers(1, 64),
)
def test_latency_is_work_over_attainable_performance_for_any_pair(peak, bandwidth, scaling, batch):
    model, layers = Roofline(peak, bandwidth, 8, scaling, batch), table(POINTWISE, STRIDED, CLASSIFIER)
    points = model.points(layers)
    latency_ms = model.price(layers)["latency_ms"]
    np.testing.assert_allclose(latency_ms, points.macs / points.attainable_gmacs / 1e6, rtol=1e-12)
    compute_ms, move_ms = points.macs / points.peak_gmacs / 1e6, points.traffic_b / bandwidth / 1e6
    np.testing.assert_allclose(latency_ms, np.where(points.compute_bound, compute_ms, move_ms), rtol=1e-12)


def test_the_bound_turns_at_the_ridge():
    """Exactly where the intensity is peak over bandwidth the peak is reached."""
    layers = table(CLASSIFIER)  # 640 MACs over 714 bytes
    assert Roofline(640, 714).points(layers).compute_bound.item()
    assert not Roofline(640.001, 714).points(layers).compute_bound.item()


def test_float_layers_cost_nothing():
    model = Roofline(8, 2, scaling="product")
    points = model.points(table(NORM, CLASSIFIER))
    assert model.price(table(NORM))["latency_ms"].tolist() == [0]
    for values in (points.macs, points.traffic_b, points.intensity, points.peak_gmacs, points.attainable_gmacs):
        assert values[0] == 0 < values[1]
    assert not points.compute_bound[0]


def test_depthwise_gains_from_activation_bits_on_a_narrow_bus_and_pointwise_from_both_on_a_wide_one():
    """What section 4 of the paper reads from its roofline."""

    def latency_ms(model, kind, weight_bits, input_bits):
        row = (kind, 3 if kind == DEPTHWISE else 1, 1, 256, 256, 14, 14, weight_bits, input_bits, input_bits, 1)
        return model.price(table(row))["latency_ms"].item()

    edge, cloud = Roofline(16, 1, scaling="product"), Roofline(16, 100, scaling="product")
    assert latency_ms(edge, DEPTHWISE, 8, 4) < 0.55 * latency_ms(edge, DEPTHWISE, 8, 8)
    assert latency_ms(edge, DEPTHWISE, 4, 8) > 0.95 * latency_ms(edge, DEPTHWISE, 8, 8)
    assert latency_ms(cloud, CONV, 4, 8) == latency_ms(cloud, CONV, 8, 8) / 2


def test_costs_of_networks_are_sums_over_their_layers():
    stem = Layer("stem", "conv", 3, 2, 3, 16, 32, 16, 8, 8, "relu6", "stem")
    head = Layer("head", "dense", 1, 1, 16, 10, 1, 1, 4, 8, "linear", "head")
    networks = NetworkBatch.of([Network(32, 3, (stem, head)), Network(32, 3, (stem,))])
    model = Roofline(8, 2)
    parts, totals = model.by_layer(networks)["latency_ms"], model.costs(networks)["latency_ms"]
    assert parts.shape == (2, 2)
    assert parts[1, 1] == 0
    assert totals.tolist() == parts.sum(axis=1).tolist()
    assert totals[0] > totals[1] > 0


@pytest.mark.parametrize("name", ["peak_gmacs", "bandwidth_gb_s", "full_bits", "batch"])
def test_what_is_not_positive_is_refused(name):
    with pytest.raises(InputError, match=f"{name} is -1; expected more than 0"):
        Roofline(**{"peak_gmacs": 1, "bandwidth_gb_s": 1, name: -1})


def test_an_unknown_scaling_is_refused():
    with pytest.raises(InputError, match="scaling is 'linear'; expected one of constant, product, powers_of_two"):
        Roofline(1, 1, scaling="linear")
