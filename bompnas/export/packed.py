"""The packed form of an integer graph: a short header, then every number at its true width.

docs/packed_format.md specifies the bytes. The payload has exactly `IntegerGraph.size_bits` bits, the size that the
search optimizes; `header_bytes` says what comes on top. Names are not stored: a graph that was read calls its tensors
by kind and position, and computes the same.
"""

import dataclasses
import itertools
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from bompnas.errors import InputError
from bompnas.export import packed_header
from bompnas.export.graph import IntegerGraph, Linear
from bompnas.export.validate import validate
from bompnas.whole_files import replacing

MAGIC, VERSION = b"BOMP", 1

_Values = TypeVar("_Values", bytes, np.ndarray)
_PREFIX_BYTES = 16  # magic, version, bytes of the file, CRC-32 of all other bytes


def pack(graph: IntegerGraph) -> bytes:
    """The packed form of a graph.

    Raises:
        InputError: The graph is not valid, or holds a number that its field of the header cannot hold.
    """
    validate(graph)
    linear = list(graph.linear)
    steps = [operation.steps.astype("<f4") for operation in linear]
    biases = [operation.bias.astype("<i4") for operation in linear if operation.bias is not None]
    bits = np.concatenate([_to_bits(operation) for operation in linear] or [np.empty(0, np.uint8)])
    payload = [*(numbers.tobytes() for numbers in steps + biases), np.packbits(bits, bitorder="little").tobytes()]
    body = b"".join([packed_header.write(graph), *payload])
    try:
        prefix = struct.pack("<4sII", MAGIC, VERSION, _PREFIX_BYTES + len(body))
    except struct.error:
        raise InputError(f"the graph has {len(body)} bytes; the packed form holds less than 4 GiB") from None
    return prefix + struct.pack("<I", _checksum(prefix, body)) + body


def unpack(data: bytes) -> IntegerGraph:
    """The graph that was packed, but for its names.

    Raises:
        InputError: These are not the bytes of a packed graph; says why.
    """
    _refuse_damaged(data)
    graph, position = packed_header.read(data, _PREFIX_BYTES)
    linear = list(graph.linear)
    channels = [operation.steps.size for operation in linear]
    biased = [operation.steps.size for operation in linear if operation.bias is not None]
    weights = [operation.weights.size * operation.bits for operation in linear]
    sections = 4 * sum(channels), 4 * sum(biased), math.ceil(sum(weights) / 8)
    if len(data) != position + sum(sections):
        raise InputError(f"its header describes a file of {position + sum(sections)} bytes; it has {len(data)}")
    first, second, third = _parts(data[position:], sections)
    steps = _parts(np.frombuffer(first, "<f4").astype(np.float32), channels)
    biases = _parts(np.frombuffer(second, "<i4").astype(np.int32), biased)
    bits = _parts(np.unpackbits(np.frombuffer(third, np.uint8), bitorder="little"), weights)
    filled = tuple(
        _filled(operation, steps, biases, bits) if isinstance(operation, Linear) else operation
        for operation in graph.operations
    )
    graph = dataclasses.replace(graph, operations=filled)
    if pack(graph) != data:  # which also refuses a graph that is not valid
        raise InputError("bits are set that have no meaning")
    return graph


def header_bytes(graph: IntegerGraph) -> int:
    """Bytes of the packed form before its payload, which takes size_bits / 8 bytes, rounded up."""
    return _PREFIX_BYTES + len(packed_header.write(graph))


def save(graph: IntegerGraph, path: str | Path) -> None:
    """Writes a graph's packed form so that a reader finds the old file or the new one, never a part.

    Raises:
        InputError: As `pack`.
    """
    content = pack(graph)
    with replacing(path) as draft:
        draft.write_bytes(content)


def load(path: str | Path) -> IntegerGraph:
    """The graph that a file holds.

    Raises:
        InputError: The file cannot be read, or holds no packed graph; names it and says why.
    """
    try:
        return unpack(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"{path}: no packed graph that could be used: {error}") from None


def _checksum(prefix: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(prefix))


def _refuse_damaged(data: bytes) -> None:
    if data[:4] != MAGIC:
        raise InputError(f"expected {MAGIC!r} at the beginning; found {data[:4]!r}")
    if len(data) < _PREFIX_BYTES:
        raise InputError(f"truncated: it has {len(data)} bytes")
    version, length, checksum = struct.unpack_from("<III", data, 4)
    if version != VERSION:
        raise InputError(f"it is of version {version}; this release reads version {VERSION}")
    if length != len(data):
        raise InputError(f"it has {len(data)} bytes; it was written with {length}")
    if checksum != _checksum(data[:12], data[_PREFIX_BYTES:]):
        raise InputError("corrupt: its checksum is not that of its bytes")


def _to_bits(operation: Linear) -> np.ndarray:
    """Weights in two's complement, one uint8 a bit, the lowest first."""
    bits = (operation.weights.reshape(-1, 1) >> np.arange(operation.bits, dtype=np.int32)) & 1
    return bits.astype(np.uint8).reshape(-1)


def _filled(
    operation: Linear, steps: Iterator[np.ndarray], biases: Iterator[np.ndarray], bits: Iterator[np.ndarray]
) -> Linear:
    """The operation with the next of all numbers."""
    places = 1 << np.arange(operation.bits, dtype=np.int32)
    places[-1] *= -1  # two's complement
    weights = (next(bits).reshape(-1, operation.bits) @ places).reshape(operation.weights.shape)
    bias = None if operation.bias is None else next(biases)
    return dataclasses.replace(operation, weights=weights, steps=next(steps), bias=bias)


def _parts(values: _Values, counts: Sequence[int]) -> Iterator[_Values]:
    """Parts of the given lengths, one behind the other."""
    ends = itertools.accumulate(counts)
    return (values[end - count : end] for count, end in zip(counts, ends, strict=True))
