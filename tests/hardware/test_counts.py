import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.hardware.counts import Counts, counts
from bompnas.hardware.memory import peak_memory_b
from bompnas.space.batch import NetworkBatch
from bompnas.space.head import DenseHead
from bompnas.space.loader import load
from bompnas.space.network import Layer, Network
from bompnas.space.sampling import uniform

SPACES = Path(__file__).parents[2] / "search_spaces"
SEEDS = st.integers(0, 2**32 - 1)


def counts_of(network):
    """The counts of one network as plain numbers."""
    found = counts(NetworkBatch.of([network]))
    assert {values.shape for values in found.values()} == {(1,)}
    return {key: values[0].item() for key, values in found.items()}


def counts_layer_by_layer(network):
    """The same counts from the definitions, one layer at a time."""
    size_bits = without_scales = float_bits = macs = params = 0
    for layer in network.layers:
        fan_in = 1 if layer.kind == "depthwise" else layer.in_channels
        weights = layer.kernel * layer.kernel * fan_in * layer.out_channels
        biases = layer.out_channels if layer.bias else 0
        if layer.kind == "float":
            size_bits += 32 * weights
            without_scales += 32 * weights
            float_bits += 32 * weights
            params += weights
            continue
        without_scales += weights * layer.weight_bits + 32 * biases
        size_bits += weights * layer.weight_bits + 32 * biases + 32 * layer.out_channels
        float_bits += 32 * (weights + biases)
        macs += weights * layer.output_size * layer.output_size
        params += weights + biases
    return {
        "size_bits": size_bits,
        "size_kb": size_bits / 8 / 1000,
        "size_without_scales_bits": without_scales,
        "float_size_bits": float_bits,
        "macs": macs,
        "params": params,
    }


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
    assert counts_of(network) == {
        "size_bits": bits + 64 * channels,
        "size_kb": (bits + 64 * channels) / 8000,
        "size_without_scales_bits": bits + 32 * channels,
        "float_size_bits": 32 * (sum(weights) + channels),
        "macs": 72 * 16 + 16 * 16 + 12,
        "params": sum(weights) + channels,
    }


def with_a_float_head(features):
    norm = Layer("head_norm", "float", 1, 1, 2, features, 1, 1, 32, 32, "linear", "head", bias=False)
    return norm, *DenseHead(3)(features)


@given(SEEDS, SEEDS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_counts_of_a_batch_are_sums_over_layers(random_space, space_seed, seed, floats):
    space = random_space(space_seed)
    if floats:
        space = dataclasses.replace(space, head=with_a_float_head)
    codes = uniform(space, np.random.default_rng(seed), 6)
    expected = [counts_layer_by_layer(space.decode(genotype)) for genotype in space.genotypes(codes)]
    found = counts(space.batch(codes))
    assert {key: values.tolist() for key, values in found.items()} == {
        key: [one[key] for one in expected] for key in expected[0]
    }


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits"])
def test_counts_of_the_shipped_spaces_are_sums_over_layers(name, request):
    space = request.getfixturevalue(name)
    codes = np.concatenate([space.defaults[None], uniform(space, np.random.default_rng(0), 40), space.sizes[None] - 1])
    found = counts(space.batch(codes))
    for place, genotype in enumerate(space.genotypes(codes)):
        expected = counts_layer_by_layer(space.decode(genotype))
        assert {key: values[place].item() for key, values in found.items()} == expected


def test_counts_of_nothing(digits):
    found = counts(digits.batch(digits.encode([])))
    assert {key: values.shape for key, values in found.items()} == dict.fromkeys(found, (0,))
    assert set(found) == set(counts_of(digits.decode(digits.seed)))
    assert counts_of(Network(8, 1, ())) == dict.fromkeys(found, 0)


def test_a_layer_without_bias_still_has_its_scales(network):
    without = dataclasses.replace(
        network, layers=(*network.layers[:2], dataclasses.replace(network.head[0], bias=False))
    )
    before, after = counts_of(network), counts_of(without)
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
    before, after = counts_of(network), counts_of(dataclasses.replace(network, layers=(*network.layers, norm)))
    differences = {key: after[key] - before[key] for key in before if key != "size_kb"}
    assert differences == {
        "size_bits": 192,
        "size_without_scales_bits": 192,
        "float_size_bits": 192,
        "macs": 0,
        "params": 6,
    }


def test_size_grows_by_the_weights_with_every_bit(network):
    found = counts(NetworkBatch.of([network.with_bits(bits) for bits in range(2, 17)]))
    assert {after - before for before, after in itertools.pairwise(found["size_bits"].tolist())} == {72 + 16 + 12}
    assert len(set(found["float_size_bits"].tolist())) == 1


def test_the_papers_seed_network():
    space = load(SPACES / "mobilenetv2_cifar10.yaml")
    found = counts_of(space.decode(space.seed))
    assert (found["size_bits"], found["size_without_scales_bits"]) == (800_816, 709_648)
    assert (found["params"], found["macs"]) == (80_159, 10_934_784)
    assert found["size_kb"] == pytest.approx(100.102)


@given(SEEDS, SEEDS, st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_model_tells_counts_operations_on_bits_and_memory(random_space, space_seed, seed, floats):
    space = random_space(space_seed)
    if floats:
        space = dataclasses.replace(space, head=with_a_float_head)
    batch = space.batch(uniform(space, np.random.default_rng(seed), 6))
    found = Counts().costs(batch)
    memory = peak_memory_b(batch)
    bitops = found.pop("bitops")
    np.testing.assert_array_equal(found.pop("peak_memory_b"), memory)
    np.testing.assert_array_equal(found.pop("peak_memory_kb"), memory / 1000)
    np.testing.assert_array_equal(bitops, 8 * (batch.macs * batch.weight_bits).sum(axis=1))
    expected = counts(batch)
    assert list(found) == list(expected)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name])


def test_operations_on_bits_multiply_weights_and_inputs(network):
    widths = ((5, 3), (7, 4), (4, 6))
    layers = tuple(
        dataclasses.replace(layer, weight_bits=weights, activation_bits=activations)
        for layer, (weights, activations) in zip(network.layers, widths, strict=True)
    )
    cost = Counts().cost(dataclasses.replace(network, layers=layers))
    expected = {"stem": 72 * 16 * 5 * 8, "depthwise": 16 * 16 * 7 * 3, "head_dense": 12 * 4 * 8}
    assert {name: parts["bitops"] for name, parts in cost.layers.items()} == expected
    assert cost.total["bitops"] == sum(expected.values())


def test_the_parts_of_a_layer_by_hand(network):
    norm = Layer("norm", "float", 1, 1, 7, 1, 1, 1, 32, 32, "linear", "head", bias=False)
    layers = Counts().cost(dataclasses.replace(network, layers=(*network.layers, norm))).layers
    assert layers["stem"] == {
        "size_bits": 72 * 5 + 64 * 4,
        "size_kb": (72 * 5 + 64 * 4) / 8000,
        "size_without_scales_bits": 72 * 5 + 32 * 4,
        "float_size_bits": 76 * 32,
        "macs": 72 * 16,
        "params": 76,
        "bitops": 72 * 16 * 5 * 8,
    }
    assert layers["norm"] == {
        "size_bits": 224,
        "size_kb": 0.028,
        "size_without_scales_bits": 224,
        "float_size_bits": 224,
        "macs": 0,
        "params": 7,
        "bitops": 0,
    }
