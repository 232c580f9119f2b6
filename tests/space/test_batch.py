import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.space.batch import ABSENT, ACTIVATIONS, FIELDS, KINDS, NetworkBatch
from bompnas.space.network import Layer
from bompnas.space.sampling import mutate, uniform

SEEDS = st.integers(0, 2**32 - 1)
PLAIN = [field for field in FIELDS if field not in ("kind", "activation", "residual", "bias")]


def many_codes(space, seed, count):
    """Random genotypes, near twins of them, and some that are not canonical."""
    generator = np.random.default_rng(seed)
    codes = uniform(space, generator, count)
    loose = np.where(generator.random(codes.shape) < 0.2, generator.integers(space.sizes, size=codes.shape), codes)
    return np.concatenate([codes, mutate(space, codes, generator), loose])


def rows(network):
    """The fields of a network's layers, one row a layer, read off the layers themselves."""
    names = [layer.name for layer in network.layers]
    return [
        {
            "kind": KINDS.index(layer.kind),
            "activation": ACTIVATIONS.index(layer.activation),
            "residual": names.index(layer.residual) + 1 if layer.residual else 0,
            "bias": int(layer.bias),
            **{field: getattr(layer, field) for field in PLAIN},
        }
        for layer in network.layers
    ]


def assert_batch_is_decode(space, codes):
    batch = space.batch(codes)
    networks = [space.decode(genotype) for genotype in space.genotypes(codes)]
    assert len(batch) == len(batch.keys) == len(networks)
    keys = [network.key for network in networks]
    for place, network in enumerate(networks):
        fields = batch.fields[:, place]
        there = fields[:, fields[0] != ABSENT].T
        assert [dict(zip(FIELDS, row, strict=True)) for row in there.tolist()] == rows(network)
        assert not fields[:, fields[0] == ABSENT].any()
        present = batch.kind[place] != ABSENT
        assert batch.weights[place, present].tolist() == [layer.weights for layer in network.layers]
        assert batch.macs[place, present].tolist() == [layer.macs for layer in network.layers]
        assert not batch.weights[place, ~present].any()
        assert [key == batch.keys[place] for key in batch.keys] == [key == keys[place] for key in keys]
    assert NetworkBatch.of(networks).keys == batch.keys
    return networks, batch


@given(SEEDS, SEEDS)
@settings(max_examples=80, deadline=None)
def test_a_batch_is_what_its_genotypes_decode_to_on_random_spaces(random_space, space_seed, seed):
    space = random_space(space_seed)
    assert_batch_is_decode(space, many_codes(space, seed, 5))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits"])
def test_a_batch_is_what_its_genotypes_decode_to_on_the_shipped_spaces(name, request):
    space = request.getfixturevalue(name)
    assert_batch_is_decode(space, np.concatenate([space.defaults[None], many_codes(space, 0, 30)]))


def dense(name, inputs, outputs, bias=True):
    return Layer(name, "dense", 1, 1, inputs, outputs, 1, 1, 8, 8, "linear", "head", bias=bias)


def norm(name, features):
    return Layer(name, "float", 1, 1, 2, features, 1, 1, 32, 32, "linear", "head", bias=False)


@pytest.mark.parametrize(
    "head",
    [
        lambda features: (),
        lambda features: (norm("a", features),),
        lambda features: (norm("a", features), dense("b", features, 5, bias=False), dense("c", 5, 2)),
        lambda features: (dense("a", features, 7), norm("b", 7), dense("c", 7, 3))[: 3 if features > 200 else 1],
    ],
    ids=["none", "floats", "three layers", "depends on the features"],
)
def test_any_head_stands_behind_the_batch(cifar10, head):
    space = dataclasses.replace(cifar10, head=head)
    networks, _ = assert_batch_is_decode(space, many_codes(space, 1, 10))
    assert all(network.head == head_of(head, network, space) for network in networks)


def head_of(head, network, space):
    layers = head(network.backbone[-1].out_channels)
    bits = {layer.name: layer.weight_bits for layer in network.head}
    return tuple(
        layer if layer.kind == "float" else dataclasses.replace(layer, weight_bits=bits[layer.name]) for layer in layers
    )


def test_a_head_without_quantized_layers_has_no_bits_to_choose(digits):
    space = dataclasses.replace(digits, head=lambda features: (norm("norm", features),))
    assert "dense.bits" not in space.seed
    assert len(space.genes) == len(digits.genes) - 1
    quantized = dataclasses.replace(digits, head=lambda features: (norm("norm", features), dense("out", features, 3)))
    assert "dense.bits" in quantized.seed


def test_a_batch_of_nothing(digits):
    batch = digits.batch(digits.encode([]))
    assert (len(batch), batch.keys) == (0, [])
    assert batch.weights.shape[0] == 0
    assert {len(values) for values in batch.summaries.values()} == {0}
    empty = digits.collect([])
    assert (len(empty), empty.keys) == (0, [])


def test_summaries_by_hand(digits):
    genotype = {**digits.seed, "stem.bits": 4, "dense.bits": 6}
    network = digits.decode(genotype)
    bits = [layer.weight_bits for layer in network.layers]
    summaries = digits.batch(digits.encode([genotype])).summaries
    assert summaries["depth"].tolist() == [len(network.layers)]
    assert summaries["mean_bits"].tolist() == [sum(bits) / len(bits)]
    floating = dataclasses.replace(digits, head=lambda features: (norm("norm", features),))
    summaries = floating.batch(floating.defaults[None]).summaries
    assert summaries["depth"].tolist() == [len(floating.decode(floating.seed).backbone)]
    assert summaries["mean_bits"].tolist() == [8.0]


def test_a_key_sees_every_field_and_not_the_names(digits):
    network = digits.decode(digits.seed)
    stem, *rest = network.layers
    residual = next(layer.name for layer in network.layers if layer.group.startswith("block"))

    def key(first, others=tuple(rest)):
        return NetworkBatch.of([dataclasses.replace(network, layers=(first, *others))]).keys[0]

    assert key(dataclasses.replace(stem, group="first", repetition=3)) == key(stem)
    last = rest[-1]
    for change in (
        {"kind": "float"},
        {"kernel": 5},
        {"stride": 3},
        {"in_channels": 9},
        {"out_channels": 9},
        {"input_size": 9},
        {"output_size": 9},
        {"weight_bits": 7},
        {"activation_bits": 7},
        {"activation": "relu6"},
        {"residual": residual},
        {"bias": False},
    ):
        assert key(stem, (*rest[:-1], dataclasses.replace(last, **change))) != key(stem)
