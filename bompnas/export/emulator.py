"""The arithmetic of an integer graph in NumPy: the oracle that every exported file must agree with, bit for bit.

Levels travel as int32, shape (n, *tensor shape); maps are (n, height, width, channels). Nothing here is approximate:
floating point is used where every value and every partial sum is an integer that it holds, and once for each linear
layer, where the arithmetic itself says float32.
"""

import functools
import math
from collections.abc import Callable, Iterator

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
    factor,
)

_VALUES_AT_ONCE = 2**21  # of the largest array, so that a chunk of images needs some 10 MB
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
        inputs = [tensors[name] for name in operation.inputs]
        values[operation.name] = _compute(operation, inputs, [values[name] for name in operation.inputs])
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


@functools.singledispatch
def _compute(operation: Operation, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    """The levels of an operation's output from those of its inputs."""
    raise TypeError(f"{operation.name}: no arithmetic for {type(operation).__name__}")


# --- Linear layers ----------------------------------------------------------------------------------------------------


@_compute.register
def _(operation: Convolution, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    size = operation.weights.shape[:2]
    windows = _windows(values[0], size, operation.strides, operation.padding, operation.dilation)
    columns = windows.transpose(0, 1, 2, 4, 5, 3)  # (n, rows, columns, kernel rows, kernel columns, channels)
    n, rows, width = columns.shape[:3]
    sums = _products(columns.reshape(n * rows * width, -1), operation.weights, inputs[0].grid)
    return _requantize(operation, inputs[0].grid, sums.reshape(n, rows, width, -1))


@_compute.register
def _(operation: DepthwiseConvolution, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    size = operation.weights.shape[:2]
    windows = _windows(values[0], size, operation.strides, operation.padding, operation.dilation)
    sums = np.zeros(windows.shape[:4], np.int32)
    for row, column in np.ndindex(size):
        sums += windows[..., row, column] * operation.weights[row, column]
    return _requantize(operation, inputs[0].grid, sums)


@_compute.register
def _(operation: Dense, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    features, units = operation.weights.shape
    sums = _products(values[0].reshape(-1, features), operation.weights, inputs[0].grid)
    return _requantize(operation, inputs[0].grid, sums.reshape(*values[0].shape[:-1], units))


def _products(rows: np.ndarray, weights: np.ndarray, grid: Grid) -> np.ndarray:
    """int32 sums of levels x weights: `rows`, shape (m, k), times `weights`, whose last axis are the outputs.

    BLAS multiplies floats only. No partial sum exceeds the largest level times the sum of |weights|, whatever the
    order of summation: below 2^24 all of them are exact in float32, else in float64 (16-bit weights and 8-bit levels
    would take 2^28 products to reach 2^53).
    """
    matrix = weights.reshape(-1, weights.shape[-1])
    largest = max(-grid.low, grid.high) * int(np.abs(matrix).sum(axis=0, dtype=np.int64).max(initial=0))
    exact = np.float32 if largest < _EXACT_FLOAT32 else np.float64
    # By way of int64: a sum beyond int32 wraps, as it does in integer kernels.
    sums = rows.astype(exact) @ matrix.astype(exact)
    return sums.astype(np.int32) if exact is np.float32 else sums.astype(np.int64).astype(np.int32)


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
def _(operation: Add, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    grid = operation.output.grid
    finest = min(grid.exponent, *(tensor.grid.exponent for tensor in inputs))
    left, right = (
        level.astype(np.int64) << tensor.grid.exponent - finest for tensor, level in zip(inputs, values, strict=True)
    )
    shift = grid.exponent - finest
    half = 1 << shift >> 1
    return np.clip((left + right + half) >> shift, grid.low, grid.high).astype(np.int32)


@_compute.register
def _(operation: Mean, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    n, height, width, channels = values[0].shape
    scale = math.ldexp(1.0, inputs[0].grid.exponent - operation.output.grid.exponent)
    sums = values[0].sum(axis=(1, 2)).astype(np.float32)
    means = _rounded(sums * np.float32(scale / (height * width)), operation.output.grid)
    return means.reshape(n, *operation.output.shape)


@_compute.register
def _(operation: AveragePool, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    zero_point = inputs[0].grid.zero_point
    window = operation.size, operation.strides, operation.padding
    sums = _windows(values[0] + zero_point, *window).sum(axis=(4, 5))
    counts = _windows(np.ones((1, *inputs[0].shape), np.int32), *window).sum(axis=(4, 5))
    magnitudes = (2 * np.abs(sums) + counts) // (2 * counts)  # ties away from zero
    return (np.sign(sums) * magnitudes - zero_point).astype(np.int32)


@_compute.register
def _(operation: MaxPool, inputs: list[Tensor], values: list[np.ndarray]) -> np.ndarray:
    lowest = np.iinfo(np.int32).min
    windows = _windows(values[0], operation.size, operation.strides, operation.padding, padded_with=lowest)
    return windows.max(axis=(4, 5))


def _windows(
    values: np.ndarray,
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int] = (1, 1),
    padded_with: int = 0,
) -> np.ndarray:
    """What a window sees at each of its places, a view: (n, rows, columns, channels, window rows, window columns).

    SAME padding is TensorFlow's: as many places as strides fit the map, and where the padding is odd, the larger half
    lies below and to the right.
    """
    reach = [(length - 1) * gap + 1 for length, gap in zip(size, dilation, strict=True)]
    if padding == "same":
        margins = []
        for length, stride, extent in zip(values.shape[1:3], strides, reach, strict=True):
            missing = max((math.ceil(length / stride) - 1) * stride + extent - length, 0)
            margins.append((missing // 2, missing - missing // 2))
        if any(map(any, margins)):
            values = np.pad(values, ((0, 0), *margins, (0, 0)), constant_values=padded_with)
    windows = np.lib.stride_tricks.sliding_window_view(values, reach, axis=(1, 2))
    return windows[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


# --- Values in other places -------------------------------------------------------------------------------------------


def _moves(kind: type[Operation]) -> Callable:
    """Registers a function (operation, values) -> values for operations that look at one tensor's values alone."""

    def register(function: Callable) -> Callable:
        _compute.register(kind, lambda operation, inputs, values: function(operation, values[0]))
        return function

    return register


@_moves(Clip)
def _clip(operation: Clip, values: np.ndarray) -> np.ndarray:
    return np.clip(values, operation.output.grid.low, operation.output.grid.high)


@_moves(Reshape)
def _reshape(operation: Reshape, values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), *operation.output.shape)


@_moves(Transpose)
def _transpose(operation: Transpose, values: np.ndarray) -> np.ndarray:
    return values.transpose(0, *(axis + 1 for axis in operation.permutation))


@_moves(Pad)
def _pad(operation: Pad, values: np.ndarray) -> np.ndarray:
    return np.pad(values, ((0, 0), *operation.margins, (0, 0)))


@_moves(Crop)
def _crop(operation: Crop, values: np.ndarray) -> np.ndarray:
    (top, bottom), (left, right) = operation.margins
    return values[:, top : values.shape[1] - bottom, left : values.shape[2] - right]


@_moves(Upsample)
def _upsample(operation: Upsample, values: np.ndarray) -> np.ndarray:
    return values.repeat(operation.factors[0], axis=1).repeat(operation.factors[1], axis=2)
