import dataclasses
import itertools
from pathlib import Path

import pytest

from bompnas.hardware.counts import counts
from bompnas.space.loader import load
from bompnas.space.network import Layer, Network

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.fixture
def network():
    return Network(
        input_size=8,
        input_channels=2,
        layers=(
            Layer("stem", "conv", 3, 2, 2, 4, 8, 4, 5, 8, "relu6", "stem"),
            Layer("depthwise", "depthwise", 2, 1, 4, 4, 4, 4, 7, 8, "relu6", "block1", 1),
            Layer("head_dense", "dense", 1, 1, 4, 3, 1, 1, 4, 8, "linear", "head"),
        ),
    )


def test_every_count_by_hand(network):
    weights, channels = (72, 16, 12), 4 + 4 + 3
    bits = 72 * 5 + 16 * 7 + 12 * 4
    assert counts(network) == {
        "size_bits": bits + 64 * channels,
        "size_kb": (bits + 64 * channels) / 8000,
        "size_without_scales_bits": bits + 32 * channels,
        "float_size_bits": 32 * (sum(weights) + channels),
        "macs": 72 * 16 + 16 * 16 + 12,
        "params": sum(weights) + channels,
    }


def test_a_layer_without_bias_still_has_its_scales(network):
    without = dataclasses.replace(
        network, layers=(*network.layers[:2], dataclasses.replace(network.head[0], bias=False))
    )
    before, after = counts(network), counts(without)
    differences = {key: before[key] - after[key] for key in before if key != "size_kb"}
    assert differences == {
        "size_bits": 96,
        "size_without_scales_bits": 96,
        "float_size_bits": 96,
        "macs": 0,
        "params": 3,
    }


def test_float_layers_count_32_bits_a_parameter_and_nothing_else(network):
    norm = Layer("norm", "float", 1, 1, 2, 3, 1, 1, 32, 32, "linear", "head", bias=False)
    before, after = counts(network), counts(dataclasses.replace(network, layers=(*network.layers, norm)))
    differences = {key: after[key] - before[key] for key in before if key != "size_kb"}
    assert differences == {
        "size_bits": 192,
        "size_without_scales_bits": 192,
        "float_size_bits": 192,
        "macs": 0,
        "params": 6,
    }


def test_size_grows_by_the_weights_with_every_bit(network):
    sizes = [counts(network.with_bits(bits))["size_bits"] for bits in range(2, 17)]
    assert {after - before for before, after in itertools.pairwise(sizes)} == {72 + 16 + 12}
    assert len({counts(network.with_bits(bits))["float_size_bits"] for bits in range(2, 17)}) == 1


def test_the_papers_seed_network():
    space = load(SPACES / "mobilenetv2_cifar10.yaml")
    found = counts(space.decode(space.seed))
    assert (found["size_bits"], found["size_without_scales_bits"]) == (800_816, 709_648)
    assert (found["params"], found["macs"]) == (80_159, 10_934_784)
    assert found["size_kb"] == pytest.approx(100.102)
