import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.errors import InputError
from bompnas.space.head import DenseHead
from bompnas.space.loader import load as load_space
from bompnas.space.network import Layer
from bompnas.space.sampling import uniform
from bompnas.space.space import Choices

# name, kind, kernel, stride, in and out channels, input and output size, residual
SEED_CIFAR10 = """
stem conv 3 1 3 3 32 32 -
block1_1_depthwise depthwise 3 1 3 3 32 32 -
block1_1_project conv 1 1 3 2 32 32 -
block2_1_expand conv 1 1 2 12 32 32 -
block2_1_depthwise depthwise 3 1 12 12 32 32 -
block2_1_project conv 1 1 12 2 32 32 block1_1_project
block2_2_expand conv 1 1 2 12 32 32 -
block2_2_depthwise depthwise 3 1 12 12 32 32 -
block2_2_project conv 1 1 12 2 32 32 block2_1_project
block3_1_expand conv 1 1 2 12 32 32 -
block3_1_depthwise depthwise 3 1 12 12 32 32 -
block3_1_project conv 1 1 12 3 32 32 -
block3_2_expand conv 1 1 3 18 32 32 -
block3_2_depthwise depthwise 3 1 18 18 32 32 -
block3_2_project conv 1 1 18 3 32 32 block3_1_project
block3_3_expand conv 1 1 3 18 32 32 -
block3_3_depthwise depthwise 3 1 18 18 32 32 -
block3_3_project conv 1 1 18 3 32 32 block3_2_project
block4_1_expand conv 1 1 3 18 32 32 -
block4_1_depthwise depthwise 3 1 18 18 32 32 -
block4_1_project conv 1 1 18 6 32 32 -
block4_2_expand conv 1 1 6 36 32 32 -
block4_2_depthwise depthwise 3 1 36 36 32 32 -
block4_2_project conv 1 1 36 6 32 32 block4_1_project
block4_3_expand conv 1 1 6 36 32 32 -
block4_3_depthwise depthwise 3 1 36 36 32 32 -
block4_3_project conv 1 1 36 6 32 32 block4_2_project
block4_4_expand conv 1 1 6 36 32 32 -
block4_4_depthwise depthwise 3 1 36 36 32 32 -
block4_4_project conv 1 1 36 6 32 32 block4_3_project
block5_1_expand conv 1 1 6 36 32 32 -
block5_1_depthwise depthwise 3 2 36 36 32 16 -
block5_1_project conv 1 1 36 10 16 16 -
block5_2_expand conv 1 1 10 60 16 16 -
block5_2_depthwise depthwise 3 1 60 60 16 16 -
block5_2_project conv 1 1 60 10 16 16 block5_1_project
block5_3_expand conv 1 1 10 60 16 16 -
block5_3_depthwise depthwise 3 1 60 60 16 16 -
block5_3_project conv 1 1 60 10 16 16 block5_2_project
block6_1_expand conv 1 1 10 60 16 16 -
block6_1_depthwise depthwise 3 1 60 60 16 16 -
block6_1_project conv 1 1 60 16 16 16 -
block6_2_expand conv 1 1 16 96 16 16 -
block6_2_depthwise depthwise 3 1 96 96 16 16 -
block6_2_project conv 1 1 96 16 16 16 block6_1_project
block6_3_expand conv 1 1 16 96 16 16 -
block6_3_depthwise depthwise 3 1 96 96 16 16 -
block6_3_project conv 1 1 96 16 16 16 block6_2_project
block7_1_expand conv 1 1 16 96 16 16 -
block7_1_depthwise depthwise 3 2 96 96 16 8 -
block7_1_project conv 1 1 96 32 8 8 -
last_conv conv 1 1 32 1280 8 8 -
head_dense dense 1 1 1280 10 1 1 -
"""


def named(network):
    return {layer.name: layer for layer in network.layers}


def test_the_seed_network_is_the_papers_layer_by_layer(cifar10):
    network = cifar10.decode(cifar10.seed)
    rows = [
        f"{layer.name} {layer.kind} {layer.kernel} {layer.stride} {layer.in_channels} {layer.out_channels} "
        f"{layer.input_size} {layer.output_size} {layer.residual or '-'}"
        for layer in network.layers
    ]
    assert rows == SEED_CIFAR10.split("\n")[1:-1]
    assert (network.input_size, network.input_channels) == (32, 3)
    for layer in network.layers:
        assert (layer.weight_bits, layer.activation_bits, layer.bias) == (8, 8, True)
        linear = layer.name.endswith("_project") or layer.kind == "dense"
        assert layer.activation == ("linear" if linear else "relu6")
        if layer.group.startswith("block"):
            assert layer.name.startswith(f"{layer.group}_{layer.repetition}_")
        else:
            assert (layer.group, layer.repetition) == ("head" if layer.kind == "dense" else layer.name, 0)


def test_the_cifar100_seed_has_width_three_quarters(cifar100):
    layers = named(cifar100.decode(cifar100.seed))
    channels = [layers[f"block{number}_1_project"].out_channels for number in range(1, 8)]
    assert channels == [12, 18, 24, 48, 72, 120, 240]
    assert layers["stem"].out_channels == 24
    assert layers["head_dense"].out_channels == 100


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_table_one_has_the_papers_counts_and_genes(name, request):
    space = request.getfixturevalue(name)
    assert space.count_architectures() == 39_671_858_073_600_000_000
    assert space.count_policies() == 5**23
    assert [gene.part for gene in space.genes] == ["architecture"] * 26 + ["bits"] * 23
    assert [gene.name for gene in space.genes if gene.part == "bits"] == [
        "stem.bits",
        "block1.depthwise_bits",
        "block1.project_bits",
        *(f"block{n}.{kind}_bits" for n in range(2, 8) for kind in ("expand", "depthwise", "project")),
        "last_conv.bits",
        "dense.bits",
    ]


@pytest.mark.parametrize(
    ("absent", "strides"),
    [
        ((), {"block5_1": 2, "block7_1": 2}),
        ((4,), {"block5_1": 2, "block7_1": 2}),
        ((5,), {"block6_1": 2, "block7_1": 2}),
        ((6,), {"block5_1": 2, "block7_1": 2}),
        ((5, 6), {"block7_1": 4}),
        ((2, 3, 4, 5, 6), {"block7_1": 4}),
    ],
)
def test_a_stride_moves_to_the_next_present_block_and_strides_multiply(cifar10, absent, strides):
    network = cifar10.decode({**cifar10.seed, **{f"block{number}.repetitions": 0 for number in absent}})
    found = {
        layer.name.removesuffix("_depthwise"): layer.stride
        for layer in network.layers
        if layer.kind == "depthwise" and layer.stride > 1
    }
    assert found == strides
    assert network.backbone[-1].output_size == 8
    assert not {layer.group for layer in network.layers} & {f"block{number}" for number in absent}


def test_a_stride_after_which_no_block_comes_is_the_last_convs(random_space):
    space = random_space(0)
    absent = dataclasses.replace(space.blocks[0], stride=2, repetitions=Choices((0, 1), 1))
    space = dataclasses.replace(space, input_size=7, stem=dataclasses.replace(space.stem, stride=1), blocks=(absent,))
    last_conv = named(space.decode({**space.seed, "block1.repetitions": 0}))["last_conv"]
    assert (last_conv.stride, last_conv.input_size, last_conv.output_size) == (2, 7, 4)
    present = named(space.decode(space.seed))
    assert (present["block1_1_depthwise"].stride, present["last_conv"].stride) == (2, 1)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_layers_fit_together_and_residuals_join_equal_shapes(random_space, space_seed, seed):
    space = random_space(space_seed)
    (genotype,) = space.genotypes(uniform(space, np.random.default_rng(seed), 1))
    network = space.decode(genotype)
    channels, size = network.input_channels, network.input_size
    entry = entry_shape = None
    for layer in network.backbone:
        assert (layer.in_channels, layer.input_size) == (channels, size)
        channels, size = layer.out_channels, -(-size // layer.stride)
        assert layer.output_size == size
        if layer.name.endswith("_project"):
            strided = named(network)[layer.name.replace("project", "depthwise")].stride > 1
            assert layer.residual == (None if strided or entry_shape != (channels, size) else entry)
        else:
            assert layer.residual is None
        if layer.name == "stem" or layer.name.endswith("_project"):
            entry, entry_shape = layer.name, (channels, size)
    assert [layer.in_channels for layer in network.head] == [channels]


def test_expansion_one_has_no_expand_conv_in_any_block(cifar10):
    network = cifar10.decode({**cifar10.seed, "block3.expansion": 1, "block3.expand_bits": 4})
    layers = named(network)
    assert "block3_1_expand" not in layers
    assert layers["block3_1_depthwise"].in_channels == layers["block2_2_project"].out_channels
    assert network.key == cifar10.decode({**cifar10.seed, "block3.expansion": 1}).key


def test_bits_go_to_their_layers_in_all_repetitions(cifar10):
    bits = {"stem.bits": 4, "block2.expand_bits": 5, "block2.depthwise_bits": 6, "block2.project_bits": 7}
    layers = named(cifar10.decode({**cifar10.seed, **bits, "last_conv.bits": 5, "dense.bits": 4}))
    expected = {"stem": 4, "last_conv": 5, "head_dense": 4}
    for repetition in (1, 2):
        expected |= {f"block2_{repetition}_{role}": b for role, b in (("expand", 5), ("depthwise", 6), ("project", 7))}
    assert {name: layer.weight_bits for name, layer in layers.items() if layer.weight_bits != 8} == expected


def test_channels_are_at_least_one_and_multiples_of_the_divisor(cifar10):
    thin = named(cifar10.decode({**cifar10.seed, "block1.width": 0.01}))
    assert thin["block1_1_project"].out_channels == 1
    divided = dataclasses.replace(cifar10, divisor=8)
    layers = named(divided.decode({**divided.seed, "block7.width": 0.2}))
    assert [layers[f"block{number}_1_project"].out_channels for number in (1, 5, 6, 7)] == [8, 8, 16, 64]


def test_head_layers_take_the_dense_bits_and_float_ones_stay(cifar10):
    def head(features):
        quantized = Layer("hidden", "dense", 1, 1, features, 7, 1, 1, 8, 8, "linear", "head")
        other = Layer("norm", "float", 1, 1, 2, 7, 1, 1, 32, 32, "linear", "head", bias=False)
        return quantized, other

    space = dataclasses.replace(cifar10, head=head)
    hidden, norm = space.decode({**space.seed, "dense.bits": 5, "last_conv.filters": 128}).head
    assert (hidden.weight_bits, hidden.in_channels) == (5, 128)
    assert norm == head(128)[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block2.kernal": 3}, "has no gene 'block2.kernal'"),
        ({"block2.kernel": 9}, r"block2.kernel is 9, expected one of \[2, 3, 4, 5, 6, 7\]"),
        ({"block2.kernel": None}, "block2.kernel is None"),
        ({"block1.expansion": 1}, "has no gene 'block1.expansion'"),
    ],
)
def test_decode_refuses_what_is_no_genotype(cifar10, change, message):
    with pytest.raises(InputError, match=message):
        cifar10.decode({**cifar10.seed, **change})


def test_decode_refuses_a_missing_gene(cifar10):
    genotype = cifar10.seed
    del genotype["dense.bits"]
    with pytest.raises(InputError, match=r"gene 'dense\.bits' of space 'mobilenetv2_cifar10' is missing"):
        cifar10.decode(genotype)


BLOCKWISE = """
family: mobilenetv2
name: blockwise
input: {size: 8, channels: 1}
bits: [4, 8, 16]
bits_per: block
seed: {bits: 8}
stem: {filters: 4, kernel: 3, bits: 8}
blocks:
  - {channels: 8, kernel: [3, 5], width: 1.0, expansion: [3, 6], repetitions: 1, seed: {kernel: 3, expansion: 6}}
  - {channels: 8, kernel: [3, 5], width: 1.0, expansion: [1, 3], repetitions: [0, 2],
     seed: {kernel: 3, expansion: 3, repetitions: 2}}
last_conv: {filters: 16, bits: 8}
dense: {bits: [6, 8], seed: {bits: 8}}
"""


@pytest.fixture
def blockwise(tmp_path):
    file = tmp_path / "blockwise.yaml"

    def load(text=BLOCKWISE, **options):
        file.write_text(text)
        return load_space(file, head=DenseHead(10), **options)

    return load


def test_the_layers_of_a_block_may_share_their_bits(blockwise):
    space = blockwise()
    names = [gene.name for gene in space.genes]
    assert names == [
        *("block1.kernel", "block1.expansion", "block2.kernel", "block2.expansion", "block2.repetitions"),
        *("block1.bits", "block2.bits", "dense.bits"),
    ]
    network = space.decode({**space.seed, "block1.bits": 4, "block2.bits": 16, "dense.bits": 6})
    assert {layer.group: layer.weight_bits for layer in network.layers} == {
        "stem": 8, "block1": 4, "block2": 16, "last_conv": 8, "head": 6,
    }  # fmt: skip
    absent = space.decode({**space.seed, "block2.repetitions": 0, "block2.bits": 4})
    assert absent == space.decode({**space.seed, "block2.repetitions": 0})


def test_one_width_for_all_replaces_all_choices(blockwise):
    network = blockwise(bits=5).decode(blockwise(bits=5).seed)
    assert {layer.weight_bits for layer in network.layers} == {5}


def test_bits_are_per_layer_or_per_block(blockwise):
    with pytest.raises(InputError, match="bits_per: 'stage' found, expected layer or block"):
        blockwise(BLOCKWISE.replace("bits_per: block", "bits_per: stage"))


NESTED = BLOCKWISE.replace("bits_per: block", "bits_per: block\nlevels: nested")


def levels_of(network):
    return {layer.group: (layer.weight_bits, layer.weight_levels) for layer in network.layers}


def test_nested_grids_are_those_of_the_blocks_bits(blockwise):
    space = blockwise(NESTED)
    assert [space.weight_levels(bits) for bits in (4, 8, 16)] == [7, 119, 30583]
    network = space.decode({**space.seed, "block1.bits": 4, "block2.bits": 16})
    assert levels_of(network) == {
        "stem": (8, None), "block1": (4, 7), "block2": (16, 30583), "last_conv": (8, None), "head": (8, None),
    }  # fmt: skip
    assert levels_of(space.decode({**space.seed, "block2.expansion": 1}))["block2"] == (8, 119)


def test_parts_without_bits_of_their_own_are_nested_like_blocks(blockwise):
    text = NESTED.replace("dense: {bits: [6, 8], seed: {bits: 8}}", "dense: {}").replace(", bits: 8}", "}")
    space = blockwise(text)
    network = space.decode({**space.seed, "stem.bits": 4, "last_conv.bits": 16, "dense.bits": 8})
    found = levels_of(network)
    assert [found[part] for part in ("stem", "last_conv", "head")] == [(4, 7), (16, 30583), (8, 119)]


@pytest.mark.parametrize("text", [BLOCKWISE, BLOCKWISE.replace("bits_per: block", "bits_per: block\nlevels: full")])
def test_grids_are_full_unless_the_file_nests_them(blockwise, text):
    space = blockwise(text)
    assert [space.weight_levels(bits) for bits in (4, 8, 16)] == [7, 127, 32767]
    assert {layer.weight_levels for layer in space.decode(space.seed).layers} == {None}


def test_one_width_for_all_has_full_grids(blockwise):
    space = blockwise(NESTED, bits=8)
    assert {layer.weight_levels for layer in space.decode(space.seed).layers} == {None}
    assert space.weight_levels(8) == 127


def test_nesting_changes_no_cost_and_no_distance(blockwise):
    nested, full = blockwise(NESTED), blockwise(BLOCKWISE)
    codes = uniform(full, np.random.default_rng(0), 200)
    np.testing.assert_array_equal(nested.batch(codes).fields, full.batch(codes).fields)
    np.testing.assert_array_equal(nested.embedding.features(codes), full.embedding.features(codes))
    assert nested.stages == full.stages
    for one, other in zip(nested.genotypes(codes), full.genotypes(codes), strict=True):
        networks = nested.decode(one), full.decode(other)
        assert networks[0].architecture_key == networks[1].architecture_key
        assert networks[0].key != networks[1].key


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("levels: nested", "levels: half", "levels: 'half' found, expected full or nested"),
        ("[4, 8, 16]", "[4, 6, 8]", "bits: 6 found, expected 4 times a power of 2, as `levels: nested` has grids"),
        ("[4, 8, 16]", "[4, 8, 12]", "bits: 12 found, expected 4 times a power of 2"),
    ],
)
def test_grids_that_do_not_nest_are_refused(blockwise, old, new, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        blockwise(NESTED.replace(old, new))
    assert "blockwise.yaml" in str(caught.value)


def test_the_spaces_of_hqnas_nest_their_grids():
    for name in ("cifar10", "imagenet", "digits"):
        space = load_space(f"search_spaces/hqnas_{name}.yaml", head=DenseHead(10))
        assert levels_of(space.decode(space.seed))["block1"] == (8, 119)


@pytest.mark.parametrize(("name", "groups", "skippable"), [("cifar10", 14, 9), ("imagenet", 22, 15), ("digits", 5, 2)])
def test_the_spaces_of_hqnas_are_as_large_as_the_paper_says(name, groups, skippable):
    """Which counts kernel, expansion and bits of every group, and leaves out that some may be skipped."""
    space = load_space(f"search_spaces/hqnas_{name}.yaml", head=DenseHead(10))
    networks = space.count_architectures() * space.count_policies()
    assert networks == 12**groups * 2**skippable
    assert len(space.genes) == 3 * groups + skippable
    if name == "cifar10":
        assert 12**groups == 1_283_918_464_548_864
