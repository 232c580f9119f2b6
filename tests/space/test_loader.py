import copy

import pytest
import yaml

from bompnas.errors import InputError
from bompnas.space.head import DenseHead
from bompnas.space.loader import load

SMALL = {
    "family": "mobilenetv2",
    "name": "small",
    "input": {"size": 8, "channels": 1},
    "bits": [4, 8],
    "seed": {"bits": 8},
    "stem": {"filters": 4, "kernel": 3},
    "blocks": [
        {
            "channels": 8,
            "stride": 2,
            "kernel": [2, 3],
            "width": [0.5, 1],
            "expansion": [1, 2],
            "repetitions": [0, 1],
            "seed": {"kernel": 3, "width": 1.0, "expansion": 2, "repetitions": 1},
        },
        {"channels": 8, "kernel": 3, "width": 1, "expansion": [2], "repetitions": 1},
    ],
    "last_conv": {"filters": [8, 16], "seed": {"filters": 16}},
}


@pytest.fixture
def write(tmp_path):
    """A function that writes a small space, changed at a path of keys, and returns the file."""

    def make(*keys, value=None):
        data = copy.deepcopy(SMALL)
        target = data
        for key in keys[:-1]:
            target = target[key]
        if keys:
            target[keys[-1]] = value
        file = tmp_path / "space.yaml"
        file.write_text(yaml.safe_dump(data))
        return file

    return make


def test_a_file_becomes_a_space(write):
    space = load(write())
    assert (space.name, space.input_size, space.input_channels, space.activation_bits) == ("small", 8, 1, 8)
    assert space.seed == {
        "block1.kernel": 3,
        "block1.width": 1.0,
        "block1.expansion": 2,
        "block1.repetitions": 1,
        "last_conv.filters": 16,
        **{f"{name}bits": 8 for name in ("stem.", "block1.expand_", "block1.depthwise_", "block1.project_")},
        **{f"{name}bits": 8 for name in ("block2.expand_", "block2.depthwise_", "block2.project_")},
        **{f"{name}bits": 8 for name in ("last_conv.", "dense.")},
    }
    assert space.decode(space.seed).head == DenseHead(10)(16)


def test_activation_bits_divisor_and_head_are_taken(write):
    file = write("activation_bits", value=6)
    file.write_text(file.read_text() + "divisor: 3\n")
    network = load(file, head=DenseHead(2)).decode(load(file).seed)
    assert {layer.activation_bits for layer in network.backbone} == {6}
    assert network.layers[3].out_channels == 9
    assert network.head[0].out_channels == 2


def test_one_width_replaces_all_bit_choices(write):
    space = load(write(), bits=5)
    assert space.count_policies() == 1
    assert {gene.part for gene in space.genes} == {"architecture"}
    assert {layer.weight_bits for layer in space.decode(space.seed).layers} == {5}
    assert not any(name.endswith("bits") for name in space.embedding.group_names)


@pytest.mark.parametrize("bits", [1, 17])
def test_one_width_outside_its_range_is_refused(write, bits):
    with pytest.raises(InputError, match=f"bits: {bits} found, expected a whole number from 2 to 16"):
        load(write(), bits=bits)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("kernels",), 3, "kernels: unknown key; known here: family, name, input"),
        (("blocks", 0, "kernal"), [3], r"blocks\[1\].kernal: unknown key; known here: channels, stride, kernel"),
        (("blocks", 1, "seed"), {"bits": 8}, r"blocks\[2\].seed.bits: unknown key; known here: kernel, width"),
        (("seed", "kernel"), 3, "seed.kernel: unknown key; known here: bits"),
        (("family",), "resnet", "family: 'resnet' found, expected one of mobilenetv2"),
        (("family",), None, "family: nothing found, expected text"),
        (("name",), 7, "name: 7 found, expected text"),
        (("input",), 8, "input: 8 found, expected a mapping"),
        (("input",), {"size": 8}, "input.channels: nothing found, expected a whole number of at least 1"),
        (("input", "size"), "8x8", "input.size: '8x8' found, expected a whole number"),
        (("input", "size"), True, "input.size: True found, expected a whole number"),
        (("input", "size"), 8.0, "input.size: 8.0 found, expected a whole number"),
        (("blocks",), [], r"blocks: \[\] found, expected a list of mappings"),
        (("blocks",), ["a"], r"blocks: \['a'\] found, expected a list of mappings"),
        (("blocks", 0, "kernel"), [], r"blocks\[1\].kernel: an empty list of choices found, expected at least one"),
        (("blocks", 0, "kernel"), [3, 3], r"blocks\[1\].kernel: \[3, 3\] found, expected choices that differ"),
        (("blocks", 0, "kernel"), [0, 3], r"blocks\[1\].kernel\[1\]: 0 found, expected a whole number of at least 1"),
        (("blocks", 0, "width"), [0, 1], r"blocks\[1\].width\[1\]: 0 found, expected a number above 0"),
        (("blocks", 0, "width"), [float("nan"), 1], r"blocks\[1\].width\[1\]: nan found, expected a number above 0"),
        (("blocks", 0, "width"), [1, float("inf")], r"blocks\[1\].width\[2\]: inf found, expected a number above 0"),
        (("blocks", 1, "repetitions"), 0, r"blocks\[2\].repetitions: only 0 found, expected a choice above 0"),
        (("blocks", 0, "repetitions"), None, r"blocks\[1\].repetitions: nothing found, expected a whole number"),
        (("blocks", 0, "seed", "kernel"), 5, r"blocks\[1\].seed.kernel: 5 found, expected one of the choices \[2, 3\]"),
        (
            ("blocks", 0, "seed"),
            {},
            r"blocks\[1\].seed.repetitions: nothing found, expected one of the choices \[0, 1\]",
        ),
        (("blocks", 1, "seed"), {"kernel": 5}, r"blocks\[2\].seed.kernel: 5 found, expected one of the choices \[3\]"),
        (("blocks", 0, "seed", "kernel"), [3], r"blocks\[1\].seed.kernel: \[3\] found, expected one of the choices"),
        (("bits",), [1, 8], r"bits\[1\]: 1 found, expected a whole number from 2 to 16"),
        (("bits",), [4, 17], r"bits\[2\]: 17 found, expected a whole number from 2 to 16"),
        (("activation_bits",), 9, "activation_bits: 9 found, expected a whole number from 2 to 8"),
        (("stem", "filters"), [3, 4], r"stem.filters: \[3, 4\] found, expected a whole number of at least 1"),
        ((0,), 1, "0: unknown key"),
    ],
)
def test_wrong_input_is_one_clear_error(write, keys, value, message):
    file = write(*keys, value=value)
    with pytest.raises(InputError, match=message) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"family: [", r"line \d+, column \d+, is not valid YAML"),
        (b"- 1", "list found, expected the mapping"),
        (b"", "nothing found, expected the mapping"),
        (b"\xff\xfe\xff", "not text in UTF-8"),
        (b"family: a\nfamily: b\n", "line 2, column 1, is not valid YAML: family is there twice"),
        (b"!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_files_that_hold_no_space_are_refused(tmp_path, text, message):
    file = tmp_path / "space.yaml"
    file.write_bytes(text)
    with pytest.raises(InputError, match=message):
        load(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml")
