import dataclasses

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.bit_serial import EDGE
from bompnas.hardware.layers import LayerTable
from bompnas.hardware.roofline import Roofline
from bompnas.report import style
from bompnas.report.roofline_plot import ROLES, policy_figure, roles_of, roofline_figure
from bompnas.space.batch import NetworkBatch
from bompnas.space.network import Layer, Network

WIDE = Roofline(peak_gmacs=64, bandwidth_gb_s=4, scaling="product", batch=1)


def network(weight_bits=8, depthwise_bits=8):
    return Network(
        16,
        3,
        (
            Layer("stem", "conv", 3, 2, 3, 16, 16, 8, weight_bits, depthwise_bits, "relu6", "stem"),
            Layer("depthwise", "depthwise", 3, 1, 16, 16, 8, 8, weight_bits, 8, "relu6", "block1", 1),
            Layer("project", "conv", 1, 1, 16, 64, 8, 8, weight_bits, 8, "linear", "block1", 1),
            Layer("dense", "dense", 1, 1, 64, 10, 1, 1, 8, 8, "linear", "head"),
            Layer("norm", "float", 1, 1, 1, 20, 1, 1, 32, 32, "linear", "head", bias=False),
        ),
    )


POLICIES = {"8 bits": network(), "mixed": network(5, 4)}


def layers_of(network):
    layers = LayerTable.of(NetworkBatch.of([network]))
    return layers[:4]


def marks(axes, hollow):
    """Places of the marks that are hollow or filled, sorted."""
    lines = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
    faces = [line for line in lines if (line.get_markerfacecolor() == style.PAPER) == hollow]
    return sorted(place for line in faces for place in zip(*line.get_data(), strict=True))


def roofs(axes):
    return {line.get_gid(): line.get_data() for line in axes.get_lines() if (line.get_gid() or "").startswith("roof")}


def test_layers_stand_on_the_roofs_of_their_widths():
    axes = roofline_figure(WIDE, POLICIES).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for hollow, policy in ((True, "8 bits"), (False, "mixed")):
        points = WIDE.points(layers_of(POLICIES[policy]))
        assert marks(axes, hollow) == sorted(zip(points.intensity, points.attainable_gmacs, strict=True))
    drawn = roofs(axes)
    peaks = {64 * 64 / (weight * inputs) for weight, inputs in [(5, 8), (5, 4)]}
    assert set(drawn) == {"roof", *(f"roof-{peak:.6g}" for peak in peaks)}
    for name, (intensity, performance) in drawn.items():
        peak = 64 if name == "roof" else float(name.removeprefix("roof-"))
        np.testing.assert_allclose(performance, np.minimum(4 * intensity, peak), rtol=1e-5)


def test_a_constant_peak_has_one_roof_and_one_policy_filled_marks():
    figure = roofline_figure(dataclasses.replace(WIDE, scaling="constant"), {"mixed": POLICIES["mixed"]})
    assert set(roofs(figure.axes[0])) == {"roof"}
    assert len(marks(figure.axes[0], hollow=False)) == 4
    assert not marks(figure.axes[0], hollow=True)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(ROLES)


def test_all_marks_and_the_ridge_are_in_view():
    axes = roofline_figure(Roofline(1e6, 1), POLICIES).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    places = marks(axes, hollow=True) + marks(axes, hollow=False) + [(1e6, 1e6)]
    assert all(left < x < right and bottom < y < top for x, y in places)


def test_layers_are_joined_across_policies_that_share_an_architecture():
    def joins(figure):
        lines = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "-" and line.get_gid() is None]
        return [line for line in lines if len(line.get_xdata()) == 2]

    other = dataclasses.replace(network(), layers=network().layers[:3])
    assert len(joins(roofline_figure(WIDE, POLICIES))) == 4
    assert not joins(roofline_figure(WIDE, {"a": network(), "b": other}))


def test_a_device_tells_the_performance_that_is_reached():
    axes = roofline_figure(WIDE, {"mixed": POLICIES["mixed"]}, device=EDGE).axes[0]
    layers = layers_of(POLICIES["mixed"])
    reached = layers.macs / EDGE.price(layers)["latency_ms"] / 1e6
    assert [height for _, height in marks(axes, hollow=False)] == pytest.approx(
        [height for _, height in sorted(zip(WIDE.points(layers).intensity, reached, strict=True))]
    )


def test_bars_are_the_bits_and_marks_the_intensities():
    figure = policy_figure(WIDE, POLICIES)
    assert figure.axes[1].get_title(loc="left").startswith("mixed")
    bars = sorted((bar.get_x() + 0.4, bar.get_height()) for bar in figure.axes[1].patches)
    expected = [(1, -8), (1, 5), (2, -4), (2, 5), (3, -8), (3, 5), (4, -8), (4, 8)]
    np.testing.assert_allclose(bars, expected)
    for hollow, policy in ((True, "8 bits"), (False, "mixed")):
        intensity = WIDE.points(layers_of(POLICIES[policy])).intensity
        assert marks(figure.axes[2], hollow) == list(zip(range(1, 5), intensity, strict=True))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*ROLES, *POLICIES]


def test_roles_and_their_looks():
    assert [ROLES[role] for role in roles_of(layers_of(network()))] == [
        "convolution",
        "depthwise",
        "pointwise",
        "dense",
    ]
    lines = [line for line in roofline_figure(WIDE, POLICIES).axes[0].get_lines() if line.get_linestyle() == "None"]
    assert len({(line.get_marker(), line.get_markeredgecolor()) for line in lines}) == len(ROLES)


@pytest.mark.parametrize("draw", [roofline_figure, policy_figure])
@pytest.mark.parametrize("policies", [{}, {"a": network(), "b": network(), "c": network()}], ids=["none", "three"])
def test_one_or_two_policies_are_drawn(draw, policies):
    with pytest.raises(InputError, match=f"found {len(policies)} policies; expected one or two"):
        draw(WIDE, policies)


def test_both_figures_render(tmp_path):
    with style.context():
        for number, draw in enumerate((roofline_figure, policy_figure)):
            style.save_png(draw(WIDE, POLICIES), tmp_path / f"{number}.png")
            assert style.to_svg(draw(WIDE, POLICIES), "roofline", "Layers under the roof", {}).startswith("<svg")
    assert all((tmp_path / f"{number}.png").stat().st_size > 10_000 for number in range(2))
