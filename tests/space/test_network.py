import dataclasses
import json

import pytest

from bompnas.space.network import Layer, Network


def test_json_round_trip_keeps_everything(cifar10):
    network = cifar10.decode({**cifar10.seed, "block3.expand_bits": 5})
    again = Network.from_json(network.to_json())
    assert again == network
    assert again.key == network.key


def test_a_newer_format_is_refused(digits):
    data = json.loads(digits.decode(digits.seed).to_json())
    with pytest.raises(ValueError, match="format 99 is newer"):
        Network.from_json(json.dumps({**data, "format": 99}))


def test_the_key_ignores_names_and_sees_everything_else(digits):
    network = digits.decode(digits.seed)
    stem, *rest = network.layers
    renamed = dataclasses.replace(network, layers=(dataclasses.replace(stem, group="first"), *rest))
    assert renamed.key == network.key
    for change in (
        {"kernel": 5},
        {"activation": "linear"},
        {"weight_bits": 7},
        {"activation_bits": 7},
        {"bias": False},
    ):
        assert dataclasses.replace(network, layers=(dataclasses.replace(stem, **change), *rest)).key != network.key


def test_with_bits_sets_all_but_float_layers(digits):
    network = digits.decode(digits.seed)
    norm = Layer("norm", "float", 1, 1, 2, 5, 1, 1, 32, 32, "linear", "head", bias=False)
    widened = dataclasses.replace(network, layers=(*network.layers, norm)).with_bits(3)
    assert [layer.weight_bits for layer in widened.layers] == [3] * len(network.layers) + [32]
    assert widened.head[-1] == norm
    assert widened.backbone[0].name == "stem"


def test_weights_and_operations_of_each_kind():
    def layer(kind, **changes):
        return Layer("x", kind, 3, 2, 4, 4, 9, 5, 8, 8, "relu6", "stem", **changes)

    assert (layer("conv").weights, layer("conv").macs) == (9 * 16, 9 * 16 * 25)
    assert (layer("depthwise").weights, layer("depthwise").macs) == (9 * 4, 9 * 4 * 25)
    dense = dataclasses.replace(layer("dense"), kernel=1, output_size=1)
    assert (dense.weights, dense.macs) == (16, 16)
    assert dataclasses.replace(dense, kind="float").macs == 0
