import dataclasses
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.export.emulator import emulate, trace
from bompnas.export.graph import Clip, Convolution, Dense, Grid, IntegerGraph, MaxPool, Tensor
from bompnas.export.packed import header_bytes, load, pack, save, unpack

DOCUMENT = Path(__file__).parents[2] / "docs" / "packed_format.md"
SIGNED = Grid(-7, -128, 127)


@pytest.fixture
def tiny():
    """The example of docs/packed_format.md."""
    convolution = Convolution(
        ("image",),
        Tensor("conv", (1, 1, 2), Grid(-4, 0, 96, -128)),
        weights=np.array([3, -1, 2, 0, -3, 1, 1, -2], np.int32).reshape(2, 2, 1, 2),
        bits=3,
        steps=np.array([0.25, 0.1], np.float32),
        bias=np.array([100, -7], np.int32),
        padding="valid",
    )
    dense = Dense(
        ("conv",),
        Tensor("logits", (1, 1, 1), Grid(-2, -128, 127)),
        weights=np.array([[15], [-9]], np.int32),
        bits=5,
        steps=np.array([0.5], np.float32),
        bias=None,
    )
    return IntegerGraph(Tensor("image", (2, 2, 1), SIGNED), (convolution, dense), "logits", (1 / 128, -1.0))


def sealed(data):
    """The file with the length and the checksum that its bytes call for."""
    start = data[:8] + struct.pack("<I", len(data))
    return start + struct.pack("<I", zlib.crc32(data[16:], zlib.crc32(start))) + data[16:]


def test_the_document_shows_the_bytes_of_its_example(tiny):
    (dump,) = re.findall(r"```hex\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    shown = bytes.fromhex("".join(line.split("|")[0] for line in dump.splitlines()))
    assert pack(tiny).hex(" ") == shown.hex(" ")
    assert re.search(r"gives level (-?\d+)", DOCUMENT.read_text(encoding="utf-8"))[1] == str(
        emulate(tiny, np.array([100, -20, 55, 60]).reshape(1, 2, 2, 1)).item()
    )


def test_the_graph_is_read_as_it_was_written(tiny):
    read = unpack(pack(tiny))
    assert (read.input.shape, read.input.grid, read.centring) == ((2, 2, 1), SIGNED, (1 / 128, -1.0))
    assert read.output == read.operations[-1].name
    for found, expected in zip(read.operations, tiny.operations, strict=True):
        assert type(found) is type(expected)
        assert (found.output.shape, found.output.grid) == (expected.output.shape, expected.output.grid)
        assert found.bits == expected.bits
        for array in ("weights", "steps"):
            assert getattr(found, array).dtype == getattr(expected, array).dtype
            np.testing.assert_array_equal(getattr(found, array), getattr(expected, array))
    np.testing.assert_array_equal(read.operations[0].bias, [100, -7])
    assert read.operations[0].padding == "valid"
    assert read.operations[1].bias is None


@pytest.mark.parametrize("block", range(12))
def test_random_graphs_compute_the_same_once_read(random_graph, random_levels, block):
    for seed in range(10 * block, 10 * block + 10):
        graph = random_graph(seed, largest_bits=16 if seed % 2 else 8)
        data = pack(graph)
        read = unpack(data)
        levels = random_levels(graph, 2, seed)
        for (_, found), (name, expected) in zip(trace(read, levels), trace(graph, levels), strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=name)
        assert read.size_bits == graph.size_bits
        assert len(data) == header_bytes(graph) + math.ceil(graph.size_bits / 8)
        assert pack(read) == data


def test_headers_are_short(random_graph):
    for seed in range(24):
        graph = random_graph(seed)
        assert header_bytes(graph) <= 48 + 24 * len(graph.operations)


@pytest.mark.parametrize("bits", range(2, 17))
def test_every_weight_of_every_width_survives(bits):
    largest = 2 ** (bits - 1) - 1
    weights = np.unique(np.linspace(-largest, largest, 1001).astype(np.int32)).reshape(-1, 1)
    dense = Dense(("x",), Tensor("y", (1,), SIGNED), weights, bits, np.ones(1, np.float32), None)
    graph = IntegerGraph(Tensor("x", (len(weights),), SIGNED), (dense,), "y")
    np.testing.assert_array_equal(unpack(pack(graph)).operations[0].weights, weights)


def test_a_graph_without_weights_has_a_header_alone():
    clip = Clip(("x",), Tensor("y", (3,), Grid(-7, -20, 35)))
    graph = IntegerGraph(Tensor("x", (3,), SIGNED), (clip,), "y")
    assert len(pack(graph)) == header_bytes(graph)
    assert unpack(pack(graph)).operations[0].output.grid == Grid(-7, -20, 35)


def test_the_output_may_be_any_tensor(tiny):
    for position, name in enumerate(["image", "conv", "logits"]):
        read = unpack(pack(dataclasses.replace(tiny, output=name)))
        assert list(read.tensors).index(read.output) == position


def test_files_are_replaced_as_a_whole(tiny, tmp_path):
    path = tmp_path / "7.bits"
    path.write_bytes(b"old")
    save(tiny, path)
    assert path.read_bytes() == pack(tiny)
    assert pack(load(path)) == pack(tiny)
    assert [entry.name for entry in tmp_path.iterdir()] == ["7.bits"]
    with pytest.raises(InputError, match="finite"):
        save(dataclasses.replace(tiny, centring=(math.nan, 0.0)), path)
    assert path.read_bytes() == pack(tiny)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: {"centring": (1e300, 0.0)}, "does not fit the packed form"),
        (lambda graph: {"input": Tensor("image", (2, 2, 1), Grid(-70, 0, 1))}, "exponent of -64 to 63"),
        (lambda graph: {"output": "nowhere"}, "name of a tensor"),
    ],
)
def test_what_has_no_place_in_the_form_is_refused(tiny, change, message):
    with pytest.raises(InputError, match=message):
        pack(dataclasses.replace(tiny, **change(tiny)))


def test_a_window_too_large_for_its_field_names_its_operation():
    pool = MaxPool(("x",), Tensor("pool", (1, 1, 1), SIGNED), (70_000, 1), (1, 1), "valid")
    with pytest.raises(InputError, match="pool: does not fit the packed form"):
        pack(IntegerGraph(Tensor("x", (70_000, 1, 1), SIGNED), (pool,), "pool"))


# Files that are none.


def test_every_flipped_bit_is_noticed(tiny):
    data = pack(tiny)
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(InputError):
            unpack(bytes(damaged))


def test_every_truncation_is_noticed(tiny):
    data = pack(tiny)
    for length in range(len(data)):
        with pytest.raises(InputError):
            unpack(data[:length])
        if length >= 16:
            with pytest.raises(InputError, match=r"ends inside its header|describes a file of"):
                unpack(sealed(data[:length]))
    with pytest.raises(InputError, match="it was written with"):
        unpack(data + b"\0")
    with pytest.raises(InputError, match="describes a file of"):
        unpack(sealed(data + b"\0"))


def refused_or_canonical(data):
    """Whether a file is refused; else it holds a graph, and is what that graph is packed to."""
    try:
        graph = unpack(data)
    except InputError:
        return True
    assert pack(graph) == data
    return False


def test_any_byte_of_the_header_may_be_damaged(tiny):
    data = pack(tiny)
    refused = 0
    for position in range(16, header_bytes(tiny)):
        for value in range(position % 4, 256, 4):
            changed = data[:position] + bytes([value]) + data[position + 1 :]
            refused += refused_or_canonical(sealed(changed))
    assert refused > 0.5 * 64 * (header_bytes(tiny) - 16)


@pytest.mark.parametrize("seed", range(12))
def test_headers_of_random_graphs_may_be_damaged_anywhere(random_graph, seed):
    graph, generator = random_graph(seed), np.random.default_rng(seed)
    data = pack(graph)
    outcomes = set()
    for _ in range(200):
        changed = bytearray(data)
        for position in generator.integers(16, header_bytes(graph), generator.integers(1, 4)):
            changed[position] = generator.choice([0, 1, 127, 128, 255, generator.integers(256)])
        outcomes.add(refused_or_canonical(sealed(bytes(changed))))
    assert True in outcomes


def test_bits_without_meaning_are_refused(tiny):
    data = pack(tiny)
    assert data[-1] >> 2 == 0  # 34 bits of weights leave 6
    with pytest.raises(InputError, match="no meaning"):
        unpack(sealed(data[:-1] + bytes([data[-1] | 0x80])))


def test_shapes_that_grow_without_end_are_refused_early():
    grid = struct.pack("<4b", -7, -128, 127, 0)
    upsample = lambda index: struct.pack("<BH", 12, index) + grid + b"\xff\xff"  # noqa: E731
    header = struct.pack("<HHff", 65535, 0, 1, 0) + grid + struct.pack("<B3I", 3, 1, 1, 1)
    header += b"".join(map(upsample, range(65535)))
    with pytest.raises(InputError, match="1 to 2147483647 values"):
        unpack(sealed(b"BOMP" + struct.pack("<3I", 1, 0, 0) + header))


def test_a_layer_larger_than_the_file_takes_no_memory():
    grid = struct.pack("<4b", -7, -128, 127, 0)
    dense = struct.pack("<BH", 2, 0) + grid + struct.pack("<HBB", 65535, 16, 0)
    header = struct.pack("<HHff", 1, 1, 1, 0) + grid + struct.pack("<BI", 1, 2**31 - 1) + dense
    with pytest.raises(InputError, match="cannot be in 48 bytes"):
        unpack(sealed(b"BOMP" + struct.pack("<3I", 1, 0, 0) + header + bytes(-len(header) % 4)))


@pytest.mark.parametrize(
    ("shape", "bits", "message"),
    [
        ([], 8, "1 to 4 axes; found 0"),
        ([1] * 5, 8, "1 to 4 axes; found 5"),
        ([0], 8, "1 to 4 axes and 1 to"),
        ([1], 1, "2 to 16"),
    ],
)
def test_structures_that_cannot_be_are_refused(shape, bits, message):
    grid = struct.pack("<4b", -7, -128, 127, 0)
    dense = struct.pack("<BH", 2, 0) + grid + struct.pack("<HBB", 1, bits, 0)
    header = (
        struct.pack("<HHff", 1, 1, 1, 0) + grid + bytes([len(shape)]) + struct.pack(f"<{len(shape)}I", *shape) + dense
    )
    numbers = struct.pack("<f", 1) + bytes(math.ceil(math.prod(shape) * bits / 8))
    with pytest.raises(InputError, match=message):
        unpack(sealed(b"BOMP" + struct.pack("<3I", 1, 0, 0) + header + bytes(-len(header) % 4) + numbers))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"expected b'BOMP' at the beginning; found b''"),
        (b"BOMP\1\0", "truncated: it has 6 bytes"),
        (b"\x1c\0\0\0TFL3" + bytes(100), r"found b'\\x1c"),
        (b"BOMP" + struct.pack("<3I", 2, 16, 0), "it is of version 2; this release reads version 1"),
        (sealed(b"BOMP" + struct.pack("<3I", 1, 16, 0)), "ends inside its header"),
    ],
)
def test_foreign_files_are_named_with_what_is_wrong(tmp_path, data, message):
    path = tmp_path / "model.bits"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"model\.bits: .*{message}"):
        load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.bits: cannot be read: No such file"):
        load(tmp_path / "none.bits")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load(tmp_path)


# The recipe of the document for processors without floating point.


def in_integers(accumulator, mantissa, exponent, low, high):
    """clamp(round_half_even(float32(accumulator) x float32 factor)); the factor is mantissa x 2^exponent."""
    magnitude, shift = significant(abs(accumulator), 0)
    product, shift = significant(magnitude * mantissa, shift + exponent)
    level = product << shift if shift >= 0 else half_even(product, -shift)
    return min(max(-level if accumulator < 0 else level, low), high)


def significant(value, exponent):
    """value x 2^exponent rounded to 24 significant bits."""
    excess = max(value.bit_length() - 24, 0)
    return half_even(value, excess), exponent + excess


def half_even(value, shift):
    """value / 2^shift, rounded."""
    quotient, rest = value >> shift, value & ((1 << shift) - 1)
    half = (1 << shift) >> 1
    return quotient + (shift > 0 and (rest > half or (rest == half and quotient % 2 == 1)))


def test_one_float32_multiplication_can_be_done_in_integers():
    generator = np.random.default_rng(0)
    accumulators = np.concatenate([
        generator.integers(-(2**31), 2**31, 20_000),
        generator.integers(-40_000, 40_000, 20_000),
        (2 * generator.integers(-255, 256, 20_000) + 1) << generator.integers(0, 20, 20_000),  # ties
        [0, -(2**31), 2**31 - 1, 2**24 + 1],
    ]).astype(np.int32)  # fmt: skip
    factors = (
        generator.uniform(0.5, 1, len(accumulators)) * 2.0 ** generator.integers(-30, 2, len(accumulators))
    ).astype(np.float32)
    factors[::2] = 2.0 ** np.round(np.log2(factors[::2]))
    expected = np.clip(np.rint(accumulators.astype(np.float32) * factors), -128, 127)
    fractions, exponents = np.frexp(factors)
    mantissas = (fractions * 2**24).astype(int)
    for accumulator, mantissa, exponent, level in zip(accumulators, mantissas, exponents, expected, strict=True):
        assert in_integers(int(accumulator), int(mantissa), int(exponent) - 24, -128, 127) == level
