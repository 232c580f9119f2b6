"""The header of the packed form: the structure of a graph, written and read.

docs/packed_format.md specifies the bytes.
"""

import dataclasses
import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bompnas.errors import InputError
from bompnas.export.graph import (
    Add,
    AveragePool,
    Clip,
    Convolution,
    Crop,
    Dense,
    DepthwiseConvolution,
    Grid,
    IntegerGraph,
    Linear,
    MaxPool,
    Mean,
    Operation,
    Pad,
    Padding,
    Reshape,
    Tensor,
    Transpose,
    Upsample,
)
from bompnas.export.validate import LARGEST_RANK, output_shape

# An operation's kind is its place here.
_KINDS: tuple[type[Operation], ...] = (
    Convolution,
    DepthwiseConvolution,
    Dense,
    Add,
    Mean,
    AveragePool,
    MaxPool,
    Clip,
    Reshape,
    Transpose,
    Pad,
    Crop,
    Upsample,
)
_BIAS, _SAME, _KEEP_AXES = 1, 2, 4  # flags


# --- Writing ----------------------------------------------------------------------------------------------------------


def write(graph: IntegerGraph) -> bytes:
    """The structure of a graph, padded to 4 bytes.

    Raises:
        InputError: It has a number that its field cannot hold.
    """
    index = {name: number for number, name in enumerate(graph.tensors)}
    try:
        start = struct.pack("<HHff", len(graph.operations), index[graph.output], *graph.centring)
        source = struct.pack("<4b", *_raw(graph.input.grid)) + _shape(graph.input.shape)
    except (struct.error, OverflowError) as error:
        raise InputError(f"the graph does not fit the packed form: {error}") from None
    header = b"".join([start, source, *(_record(operation, index) for operation in graph.operations)])
    return header + bytes(-len(header) % 4)


def _record(operation: Operation, index: Mapping[str, int]) -> bytes:
    """Kind, inputs, grid of the output, and what the kind needs besides."""
    inputs = [index[name] for name in operation.inputs]
    try:
        common = struct.pack(
            f"<B{len(inputs)}H4b", _KINDS.index(type(operation)), *inputs, *_raw(operation.output.grid)
        )
        return common + _attributes(operation)
    except struct.error as error:
        raise InputError(f"{operation.name}: does not fit the packed form: {error}") from None


def _attributes(operation: Operation) -> bytes:
    match operation:
        case Convolution(weights=weights, bits=bits):
            window = *weights.shape[:2], *operation.strides, *operation.dilation
            return struct.pack("<HBB6B", weights.shape[3], bits, _flags(operation), *window)
        case DepthwiseConvolution(weights=weights, bits=bits):
            window = *weights.shape[:2], *operation.strides, *operation.dilation
            return struct.pack("<BB6B", bits, _flags(operation), *window)
        case Dense(weights=weights, bits=bits):
            return struct.pack("<HBB", weights.shape[1], bits, _flags(operation))
        case AveragePool() | MaxPool():
            return struct.pack("<B4H", _flags(operation), *operation.size, *operation.strides)
        case Mean():
            return struct.pack("<B", _KEEP_AXES * (len(operation.output.shape) > 1))
        case Reshape():
            return _shape(operation.output.shape)
        case Transpose():
            return bytes(operation.permutation)
        case Pad() | Crop():
            return struct.pack("<4H", *itertools.chain(*operation.margins))
        case Upsample():
            return struct.pack("<2B", *operation.factors)
    return b""


def _flags(operation: Operation) -> int:
    bias = _BIAS * (getattr(operation, "bias", None) is not None)
    return bias + _SAME * (getattr(operation, "padding", "valid") == "same")


def _raw(grid: Grid) -> tuple[int, int, int, int]:
    return grid.exponent, grid.low + grid.zero_point, grid.high + grid.zero_point, grid.zero_point


def _shape(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<B{len(shape)}I", len(shape), *shape)


# --- Reading ----------------------------------------------------------------------------------------------------------


def read(data: bytes, position: int) -> tuple[IntegerGraph, int]:
    """What `write` has written.

    Args:
        data: A file.
        position: Where the header begins in it.

    Returns:
        The graph, and where the header ends. Arrays have their shapes, take no memory, and are yet to be filled.

    Raises:
        InputError: It is no header, or describes more than the file can hold.
    """
    reader = _Reader(data, position)
    count, output, scale, offset = reader.numbers("HHff")
    tensors = [Tensor("input", grid=_read_grid(reader), shape=_read_shape(reader))]
    operations = []
    for _ in range(count):
        operations.append(_read_operation(reader, tensors))
        tensors.append(operations[-1].output)
    graph = IntegerGraph(tensors[0], tuple(operations), _tensor(tensors, output).name, (scale, offset))
    return graph, reader.position + -reader.position % 4


class _Reader:
    """Takes numbers off the front of a file."""

    def __init__(self, data: bytes, position: int):
        self.data = data
        self.position = position

    def numbers(self, layout: str) -> tuple[Any, ...]:
        """Little-endian numbers of a `struct` layout."""
        try:
            values = struct.unpack_from(f"<{layout}", self.data, self.position)
        except struct.error:
            raise InputError("it ends inside its header") from None
        self.position += struct.calcsize(f"<{layout}")
        return values

    def number(self, layout: str) -> int:
        """One number."""
        return self.numbers(layout)[0]


def _read_operation(reader: _Reader, tensors: Sequence[Tensor]) -> Operation:
    code = reader.number("B")
    if code >= len(_KINDS):
        raise InputError(f"operation {len(tensors)} is of kind {code}; kinds are 0 to {len(_KINDS) - 1}")
    kind = _KINDS[code]
    inputs = [_tensor(tensors, index) for index in reader.numbers("HH" if kind is Add else "H")]
    grid = _read_grid(reader)
    attributes = _read_attributes(reader, kind, inputs[0].shape)
    output = Tensor(f"{kind.__name__}_{len(tensors)}", attributes.pop("shape", ()), grid)
    operation = kind(tuple(tensor.name for tensor in inputs), output, **attributes)
    shaped = dataclasses.replace(output, shape=output_shape(operation, inputs))
    return dataclasses.replace(operation, output=shaped)


def _read_attributes(reader: _Reader, kind: type[Operation], source: tuple[int, ...]) -> dict[str, Any]:
    if issubclass(kind, Linear):
        made = source[-1] if kind is DepthwiseConvolution else reader.number("H")
        bits, flags = reader.numbers("BB")
        if kind is Dense:
            return _unread(reader, (source[-1], made), bits, flags)
        size, strides, dilation = (reader.numbers("BB") for _ in range(3))
        shape = (*size, made) if kind is DepthwiseConvolution else (*size, source[-1], made)
        window = {"strides": strides, "dilation": dilation, "padding": _padding(flags)}
        return window | _unread(reader, shape, bits, flags)
    if kind in (AveragePool, MaxPool):
        flags, *window = reader.numbers("B4H")
        return {"size": tuple(window[:2]), "strides": tuple(window[2:]), "padding": _padding(flags)}
    if kind is Mean:
        channels = source[-1]
        return {"shape": (1, 1, channels) if reader.number("B") & _KEEP_AXES else (channels,)}
    if kind is Reshape:
        return {"shape": _read_shape(reader)}
    if kind is Transpose:
        return {"permutation": reader.numbers(f"{len(source)}B")}
    if kind in (Pad, Crop):
        return {"margins": (reader.numbers("HH"), reader.numbers("HH"))}
    return {"factors": reader.numbers("BB")} if kind is Upsample else {}


def _unread(reader: _Reader, shape: tuple[int, ...], bits: int, flags: int) -> dict[str, Any]:
    """Arrays of a linear layer that take no memory yet; refuses what the file cannot hold."""
    if not 2 <= bits <= 16:
        raise InputError(f"weights have 2 to 16 bits; found {bits}")
    if math.prod(shape) * bits > 8 * len(reader.data):
        raise InputError(f"a layer of {math.prod(shape)} weights of {bits} bits cannot be in {len(reader.data)} bytes")
    weights, steps = np.broadcast_to(np.int32(1), shape), np.broadcast_to(np.float32(1), shape[-1:])
    return {"weights": weights, "bits": bits, "steps": steps, "bias": steps if flags & _BIAS else None}


def _read_grid(reader: _Reader) -> Grid:
    exponent, low, high, zero_point = reader.numbers("4b")
    try:
        return Grid(exponent, low - zero_point, high - zero_point, zero_point)
    except ValueError as error:
        raise InputError(str(error)) from None


def _read_shape(reader: _Reader) -> tuple[int, ...]:
    rank = reader.number("B")
    if not 1 <= rank <= LARGEST_RANK:
        raise InputError(f"tensors have 1 to {LARGEST_RANK} axes; found {rank}")
    return reader.numbers(f"{rank}I")


def _tensor(tensors: Sequence[Tensor], index: int) -> Tensor:
    if index >= len(tensors):
        raise InputError(f"tensor {index} is taken where only {len(tensors)} are made")
    return tensors[index]


def _padding(flags: int) -> Padding:
    return "same" if flags & _SAME else "valid"
