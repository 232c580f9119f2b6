from pathlib import Path

import pytest

from bompnas.errors import InputError
from bompnas.space.head import DenseHead
from bompnas.space.loader import load
from bompnas.supernet import structure

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.mark.parametrize(
    ("file", "groups", "skippable", "gates"),
    [("hqnas_digits", 5, 2, 22), ("hqnas_cifar10", 14, 9, 65), ("hqnas_imagenet", 22, 15, 103)],
)
def test_the_spaces_of_the_paper(file, groups, skippable, gates):
    """Each group has a gate for its kernel, one for its expansion and two for its bits, some one to be skipped."""
    found = structure.read(load(SPACES / f"{file}.yaml", head=DenseHead(10)))
    assert len(found.groups) == groups
    assert sum(group.skippable for group in found.groups) == skippable
    assert found.chains.gates == gates == 4 * groups + skippable
    for group in found.groups:
        assert (group.kernels, group.expansions, group.bits) == ((3, 5), (3, 6), (16, 8, 4))
        assert group.levels == (30583, 119, 7)


def test_layers_are_those_of_the_largest_network(small, small_space):
    first, second = small.groups
    assert first.depthwise.kernel == second.depthwise.kernel == 5
    assert first.expand.out_channels == 24
    assert second.project.out_channels == 6
    assert first.project.residual == "stem"
    assert second.project.residual is None
    assert {chain.gene for chain in small.chains.chains} == {gene.name for gene in small_space.genes}
    assert [chain.needs for chain in small.chains.chains] == [None, *["block1.repetitions"] * 3, None, None, None]


def fixed(text, *genes):
    """The text with some genes at a single choice."""
    single = {
        "kernel": ("kernel: [3, 5]", "kernel: 5", "{kernel: 3, exp", "{exp"),
        "expansion": ("expansion: [3, 6]", "expansion: 6", "expansion: 6, ", ""),
        "bits": ("bits: [4, 8, 16]", "bits: 8", "seed: {bits: 8}\n", ""),
        "repetitions": ("repetitions: [0, 1]", "repetitions: 1", "repetitions: 1}", "}"),
    }
    for gene in genes:
        choices, choice, seed, no_seed = single[gene]
        text = text.replace(seed, no_seed).replace(choices, choice)
    return text


def test_what_has_one_choice_is_no_decision(read_space, small_text):
    found = structure.read(read_space(fixed(small_text, "kernel", "bits")))
    assert [chain.gene for chain in found.chains.chains] == [
        "block1.repetitions",
        "block1.expansion",
        "block2.expansion",
    ]
    assert found.groups[0].levels == (127,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width: 1.0": "width: [0.5, 1.0]", "{kernel": "{width: 1.0, kernel"}, "block1.width has 2 choices"),
        ({"repetitions: [0, 1]": "repetitions: [1, 2]"}, r"block1.repetitions are \[1, 2\]; expected 1, or \[0, 1\]"),
        ({"kernel: [3, 5]": "kernel: [3, 4]"}, "block1.kernel 4 is even; expected odd ones"),
        ({"expansion: [3, 6]": "expansion: [1, 6]"}, "block1.expansion is 1; expected 2 or more"),
        ({"bits_per: block": "bits_per: layer"}, "block1 has 3 choices of bits; expected `bits_per: block`"),
        ({"levels: nested": "levels: full"}, "expected `bits_per: block` and `levels: nested`"),
        ({"channels: 4\n": "channels: 5\n"}, "block1 may be skipped, but changes channels"),
        ({"stride: 1\n": "stride: 2\n"}, "block1 may be skipped, but changes resolution"),
        (
            {"filters: 12, bits: 8": "filters: [12, 16], bits: 8, seed: {filters: 12}"},
            "last_conv.filters is searched; expected one choice",
        ),
        ({"filters: 12, bits: 8": "filters: 12, bits: [4, 8], seed: {bits: 8}"}, "last_conv.bits is searched"),
    ],
)
def test_spaces_that_no_supernet_holds_are_refused(read_space, small_text, changes, message):
    for old, new in changes.items():
        assert old in small_text
        small_text = small_text.replace(old, new)
    with pytest.raises(InputError, match=f"space small: .*{message}"):
        structure.read(read_space(small_text))


def test_a_space_without_choices_is_refused(read_space, small_text):
    text = fixed(small_text, "kernel", "bits", "expansion", "repetitions")
    text = text.replace(", expansion: 6}", "}").replace("seed: {}", "").replace(", seed: {expansion: 6}", "")
    with pytest.raises(InputError, match="space small: no block has a choice; expected at least one"):
        structure.read(read_space(text))
