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


def nested(digits):
    network = digits.decode(digits.seed)
    stem, *rest = network.layers
    return dataclasses.replace(network, layers=(dataclasses.replace(stem, weight_levels=119), *rest))


def test_levels_of_a_layer_are_those_of_its_bits_or_its_own(digits):
    network = nested(digits)
    assert [layer.levels for layer in network.layers] == [119] + [127] * (len(network.layers) - 1)
    assert network.with_bits(8) == digits.decode(digits.seed)
    assert network.key != network.with_bits(8).key
    assert network.architecture_key == network.with_bits(8).architecture_key


def test_levels_are_written_where_there_are_any(digits):
    network = nested(digits)
    assert Network.from_json(network.to_json()) == network
    data = json.loads(network.to_json())
    assert data["format"] == 2
    assert ["weight_levels" in layer for layer in data["layers"]] == [True] + [False] * (len(network.layers) - 1)


def test_networks_without_them_are_written_as_ever(digits):
    network = digits.decode(digits.seed)
    text = network.to_json()
    assert text.startswith('{"format":1,"input_size":8,"input_channels":1,"layers":[{"name":"stem","kind":"conv",')
    assert "weight_levels" not in text
    assert text.endswith('"repetition":0,"residual":null,"bias":true}]}')
    assert network.key == "f85c0922481f3c05"


@pytest.mark.parametrize("levels", [0, 128])
def test_levels_must_fit_the_bits(digits, levels):
    with pytest.raises(ValueError, match=f"stem: {levels} levels found, expected 1 to 127 of 8 bits"):
        dataclasses.replace(digits.decode(digits.seed).layers[0], weight_levels=levels)
