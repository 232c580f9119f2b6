"""The arithmetic of an integer graph in NumPy: the oracle that every exported file must agree with, bit for bit.

Levels travel as int32, shape (n, *tensor shape); maps are (n, height, width, channels). Nothing here is approximate:
floating point is used where every value and every partial sum is an integer that it holds, and once for each linear
layer, where the arithmetic itself says float32.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
    Transpose,
    Upsample,
    factor,
)

_VALUES_AT_ONCE = 2**19  # of the largest array: chunks of images that fit the cache are the fastest
_EXACT_FLOAT32 = 2**24


def emulate(graph: IntegerGraph, levels: np.ndarray) -> np.ndarray:
    """What a graph computes.

    Args:
        graph: The graph.
        levels: Of its input, integers of shape (n, *input shape).

    Returns:
        Levels of its output, int32, shape (n, *output shape).

    Raises:
        InputError: `levels` do not have the input's shape, or leave its grid.
    """
    _refuse_foreign(graph, levels)
    graph = graph.until(graph.output)
    images = max(1, _VALUES_AT_ONCE // _largest_array(graph))
    result = np.empty((len(levels), *graph.tensors[graph.output].shape), np.int32)
    for start in range(0, len(levels), images):
        for name, values in trace(graph, levels[start : start + images]):
            if name == graph.output:
                result[start : start + images] = values
    return result


def trace(graph: IntegerGraph, levels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of a graph as it is made, the input first.

    Args:
        graph: The graph.
        levels: Of its input, integers of shape (n, *input shape); all images are computed at once.

    Yields:
        A tensor's name and its levels, int32, shape (n, *tensor shape).

    Raises:
        InputError: `levels` do not have the input's shape, or leave its grid.
    """
    _refuse_foreign(graph, levels)
    tensors = graph.tensors
    last_use = {name: operation for operation in graph.operations for name in operation.inputs}
    values = {graph.input.name: levels.astype(np.int32)}
    yield graph.input.name, values[graph.input.name]
    for operation in graph.operations:
        inputs = [_Input(values[name], tensors[name].grid) for name in operation.inputs]
        values[operation.name] = _compute(operation, *inputs)
        yield operation.name, values[operation.name]
        for name in set(operation.inputs):
            if last_use[name] is operation:
                del values[name]


def _refuse_foreign(graph: IntegerGraph, levels: np.ndarray) -> None:
    grid, expected = graph.input.grid, ("n", *graph.input.shape)
    if levels.ndim != len(expected) or levels.shape[1:] != graph.input.shape or levels.dtype.kind not in "iu":
        raise InputError(f"levels: expected integers of shape {expected}, found {levels.dtype} of shape {levels.shape}")
    if levels.size and not grid.low <= levels.min() <= levels.max() <= grid.high:
        raise InputError(f"levels: expected {grid.low} to {grid.high}, found {levels.min()} to {levels.max()}")


def _largest_array(graph: IntegerGraph) -> int:
    """Values of an image that the largest array holds: a tensor, or the windows of a convolution."""
    sizes = [math.prod(tensor.shape) for tensor in graph.tensors.values()]
    for operation in graph.operations:
        if isinstance(operation, Convolution):
            sizes.append(math.prod(operation.output.shape[:2]) * math.prod(operation.weights.shape[:3]))
    return max(1, *sizes)


class _Input(NamedTuple):
    """Levels, int32, shape (n, *tensor shape), and the grid that they are on."""

    values: np.ndarray
    grid: Grid


@functools.singledispatch
def _compute(operation: Operation, *inputs: _Input) -> np.ndarray:
    """The levels of an operation's output."""
    raise TypeError(f"{operation.name}: no arithmetic for {type(operation).__name__}")


# --- Linear layers ----------------------------------------------------------------------------------------------------


@_compute.register
def _(operation: Convolution, source: _Input) -> np.ndarray:
    *kernel, channels = operation.weights.shape
    windows = _windows(source.values, kernel[:2], operation.strides, operation.padding, operation.dilation)
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, math.prod(kernel))  # values in the weights' order
    sums = _products(patches, operation.weights, source.grid)
    return _requantize(operation, source.grid, sums.reshape(*windows.shape[:3], channels))


@_compute.register
def _(operation: DepthwiseConvolution, source: _Input) -> np.ndarray:
    size = operation.weights.shape[:2]
    windows = _windows(source.values, size, operation.strides, operation.padding, operation.dilation)
    sums, products = np.zeros(windows.shape[:4], np.int32), np.empty(windows.shape[:4], np.int32)
    for row, column in np.ndindex(size):
        sums += np.multiply(windows[..., row, column], operation.weights[row, column], out=products)
    return _requantize(operation, source.grid, sums)


@_compute.register
def _(operation: Dense, source: _Input) -> np.ndarray:
    features, units = operation.weights.shape
    sums = _products(source.values.reshape(-1, features), operation.weights, source.grid)
    return _requantize(operation, source.grid, sums.reshape(*source.values.shape[:-1], units))


def _products(rows: np.ndarray, weights: np.ndarray, grid: Grid) -> np.ndarray:
    """int32 sums of levels x weights.

    BLAS multiplies floats only. No partial sum exceeds the largest level times the sum of |weights|, whatever the order
    of summation: below 2^24 all of them are exact in float32, else in float64 (16-bit weights and 9-bit levels would
    take 2^29 products to reach 2^53).

    Args:
        rows: Levels, shape (m, k).
        weights: Outputs along the last axis, k weights for each.
        grid: Of the levels.

    Returns:
        Shape (m, outputs); a sum beyond int32 has wrapped, as it does in integer kernels.
    """
    matrix = weights.reshape(-1, weights.shape[-1])
    largest = max(-grid.low, grid.high) * int(np.abs(matrix).sum(axis=0, dtype=np.int64).max())
    if largest < _EXACT_FLOAT32:
        return (rows.astype(np.float32) @ matrix.astype(np.float32)).astype(np.int32)
    return (rows.astype(np.float64) @ matrix.astype(np.float64)).astype(np.int64).astype(np.int32)


def _requantize(operation: Linear, grid: Grid, sums: np.ndarray) -> np.ndarray:
    """Levels from int32 sums of levels x weights: bias, one float32 factor, one rounding, one clamp."""
    if operation.bias is not None:
        sums = sums + operation.bias  # wraps
    return _rounded(sums.astype(np.float32) * factor(operation, grid), operation.output.grid)


def _rounded(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Half to even, clamped."""
    return np.clip(np.rint(values), grid.low, grid.high).astype(np.int32)


# --- Sums, means and maxima -------------------------------------------------------------------------------------------


@_compute.register
def _(operation: Add, left: _Input, right: _Input) -> np.ndarray:
    grid = operation.output.grid
    finest = min(grid.exponent, left.grid.exponent, right.grid.exponent)
    sums = sum(source.values.astype(np.int64) << (source.grid.exponent - finest) for source in (left, right))
    shift = grid.exponent - finest
    half = (1 << shift) >> 1
    return np.clip((sums + half) >> shift, grid.low, grid.high).astype(np.int32)


@_compute.register
def _(operation: Mean, source: _Input) -> np.ndarray:
    grid = operation.output.grid
    count = math.prod(source.values.shape[1:3])
    scale = np.float32(math.ldexp(1.0, source.grid.exponent - grid.exponent) / count)
    sums = source.values.sum(axis=(1, 2)).astype(np.float32)
    return _rounded(sums * scale, grid).reshape(-1, *operation.output.shape)


@_compute.register
def _(operation: AveragePool, source: _Input) -> np.ndarray:
    zero_point = source.grid.zero_point
    window = operation.size, operation.strides, operation.padding
    sums = _windows(source.values + zero_point, *window).sum(axis=(4, 5))
    counts = _windows(np.ones_like(source.values[:1]), *window).sum(axis=(4, 5))
    magnitudes = (2 * np.abs(sums) + counts) // (2 * counts)  # ties away from zero
    return (np.sign(sums) * magnitudes - zero_point).astype(np.int32)


@_compute.register
def _(operation: MaxPool, source: _Input) -> np.ndarray:
    lowest = np.iinfo(np.int32).min
    windows = _windows(source.values, operation.size, operation.strides, operation.padding, padded_with=lowest)
    return windows.max(axis=(4, 5))


def _windows(
    values: np.ndarray,
    size: Sequence[int],
    strides: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int] = (1, 1),
    padded_with: int = 0,
) -> np.ndarray:
    """What a window sees at each of its places, a view: (n, rows, columns, channels, window rows, window columns).

    SAME padding is TensorFlow's: as many places as strides fit into the map, and where the padding is odd, its larger
    half lies below and to the right.
    """
    reach = [(length - 1) * gap + 1 for length, gap in zip(size, dilation, strict=True)]
    if padding == "same":
        margins = []
        for length, stride, extent in zip(values.shape[1:3], strides, reach, strict=True):
            missing = max((math.ceil(length / stride) - 1) * stride + extent - length, 0)
            margins.append((missing // 2, missing - missing // 2))
        if any(itertools.chain(*margins)):
            values = np.pad(values, ((0, 0), *margins, (0, 0)), constant_values=padded_with)
    windows = np.lib.stride_tricks.sliding_window_view(values, reach, axis=(1, 2))
    return windows[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


# --- Values in other places -------------------------------------------------------------------------------------------


@_compute.register
def _(operation: Clip, source: _Input) -> np.ndarray:
    return np.clip(source.values, operation.output.grid.low, operation.output.grid.high)


@_compute.register
def _(operation: Reshape, source: _Input) -> np.ndarray:
    return source.values.reshape(-1, *operation.output.shape)


@_compute.register
def _(operation: Transpose, source: _Input) -> np.ndarray:
    return source.values.transpose(0, *(axis + 1 for axis in operation.permutation))


@_compute.register
def _(operation: Pad, source: _Input) -> np.ndarray:
    return np.pad(source.values, ((0, 0), *operation.margins, (0, 0)))


@_compute.register
def _(operation: Crop, source: _Input) -> np.ndarray:
    (top, bottom), (left, right) = operation.margins
    _, height, width, _ = source.values.shape
    return source.values[:, top : height - bottom, left : width - right]


@_compute.register
def _(operation: Upsample, source: _Input) -> np.ndarray:
    return source.values.repeat(operation.factors[0], axis=1).repeat(operation.factors[1], axis=2)
