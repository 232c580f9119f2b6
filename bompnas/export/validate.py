"""What must hold of an integer graph for its arithmetic to be defined: names, shapes, grids and widths."""

import functools
import math
from collections.abc import Sequence

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

LARGEST_RANK = 4
LARGEST_TENSOR = 2**31 - 1  # values
EXPONENTS = -64, 63  # products of any two scales are normal float32
LARGEST_SHIFT = 32  # of an Add's summands, so that its sum fits int64

Shape = tuple[int, ...]


def validate(graph: IntegerGraph) -> None:
    """Refuses a graph that cannot be computed as it says.

    Raises:
        InputError: Names the operation, what was found and what is expected.
    """
    _expect(bool(graph.operations), "graph", "at least one operation", "none")
    _expect(all(map(math.isfinite, graph.centring)), "centring", "finite numbers", graph.centring)
    _storable(graph.input.name, graph.input.shape)
    _grid(graph.input)
    tensors = {graph.input.name: graph.input}
    for operation in graph.operations:
        name, output = operation.name, operation.output
        _expect(name not in tensors, name, "a name of its own", "one that is taken")
        _expect(len(operation.inputs) == _inputs(operation), name, f"{_inputs(operation)} inputs", operation.inputs)
        unknown = [source for source in operation.inputs if source not in tensors]
        _expect(not unknown, name, "inputs that are made before it", unknown)
        inputs = [tensors[source] for source in operation.inputs]
        shape = output_shape(operation, inputs)
        _expect(output.shape == shape, name, f"output shape {shape}", output.shape)
        _grid(output)
        _grids(operation, inputs)
        if isinstance(operation, Linear):
            _parameters(operation, inputs[0])
        tensors[name] = output
    _expect(graph.output in tensors, "output", "the name of a tensor", graph.output)


def output_shape(operation: Operation, inputs: Sequence[Tensor]) -> Shape:
    """Shape of what an operation makes, which its inputs and attributes decide.

    A `Reshape` and a `Mean` alone can choose: they make the shape that their output has, if it can be made.

    Raises:
        InputError: The operation does not take inputs of such shapes, or makes too many values.
    """
    shape = _shape(operation, *(tensor.shape for tensor in inputs))
    _storable(operation.name, shape)
    return shape


def _expect(condition: bool, name: str, expected: str, found: object) -> None:
    if not condition:
        raise InputError(f"{name}: expected {expected}; found {found}")


def _inputs(operation: Operation) -> int:
    return 2 if isinstance(operation, Add) else 1


def _storable(name: str, shape: Shape) -> None:
    fits = 1 <= len(shape) <= LARGEST_RANK and min(shape) >= 1 and math.prod(shape) <= LARGEST_TENSOR
    _expect(fits, name, f"1 to {LARGEST_RANK} axes and 1 to {LARGEST_TENSOR} values", f"shape {shape}")


def _grid(tensor: Tensor) -> None:
    grid = tensor.grid
    low, high = EXPONENTS
    _expect(low <= grid.exponent <= high, tensor.name, f"an exponent of {low} to {high}", grid.exponent)
    _expect(-128 <= grid.zero_point <= 127, tensor.name, "a zero point of -128 to 127", grid.zero_point)


def _grids(operation: Operation, inputs: Sequence[Tensor]) -> None:
    source, made = inputs[0].grid, operation.output.grid
    if isinstance(operation, AveragePool | MaxPool | Reshape | Transpose | Pad | Crop | Upsample):
        _expect(made == source, operation.name, f"the grid of its input, {source}", made)
    if isinstance(operation, Pad):
        _expect(made.low <= 0 <= made.high, operation.name, "a grid with a level 0", made)
    if isinstance(operation, Clip):
        same = (made.exponent, made.zero_point) == (source.exponent, source.zero_point)
        _expect(same, operation.name, f"exponent and zero point of its input, {source}", made)
    if isinstance(operation, Add):
        exponents = [grid.exponent for grid in (made, *(tensor.grid for tensor in inputs))]
        close = max(exponents) - min(exponents) <= LARGEST_SHIFT
        _expect(close, operation.name, f"exponents at most {LARGEST_SHIFT} apart", exponents)


def _parameters(operation: Linear, source: Tensor) -> None:
    name, channels = operation.name, operation.weights.shape[-1]
    _expect(2 <= operation.bits <= 16, name, "weights of 2 to 16 bits", operation.bits)
    _array(name, "weights", operation.weights, np.int32, operation.weights.shape)
    largest, found = 2 ** (operation.bits - 1) - 1, int(np.abs(operation.weights.astype(np.int64)).max())
    _expect(found <= largest, name, f"|weights| up to {largest}", found)
    _array(name, "steps", operation.steps, np.float32, (channels,))
    with np.errstate(over="ignore"):
        usable = np.isfinite(factor(operation, source.grid)) & (operation.steps > 0)
    _expect(bool(usable.all()), name, "positive steps, finite in units of the output", operation.steps[~usable][:1])
    if operation.bias is not None:
        _array(name, "bias", operation.bias, np.int32, (channels,))


def _array(name: str, what: str, array: np.ndarray, dtype: type, shape: Shape) -> None:
    right = array.dtype == dtype and array.shape == shape
    _expect(right, name, f"{what} {np.dtype(dtype)} of shape {shape}", f"{array.dtype} of shape {array.shape}")


@functools.singledispatch
def _shape(operation: Operation, source: Shape, *others: Shape) -> Shape:
    raise InputError(f"{operation.name}: {type(operation).__name__} is no operation of integer graphs")


@_shape.register
def _(operation: Convolution, source: Shape) -> Shape:
    _expect(operation.weights.ndim == 4, operation.name, "weights of 4 axes", operation.weights.ndim)
    height, width, taken, made = operation.weights.shape
    channels = _map(operation, source)[2]
    _expect(taken == channels, operation.name, f"weights for {channels} channels", taken)
    return (*_places(operation, source, (height, width), operation.dilation), made)


@_shape.register
def _(operation: DepthwiseConvolution, source: Shape) -> Shape:
    _expect(operation.weights.ndim == 3, operation.name, "weights of 3 axes", operation.weights.ndim)
    height, width, taken = operation.weights.shape
    channels = _map(operation, source)[2]
    _expect(taken == channels, operation.name, f"weights for {channels} channels", taken)
    return (*_places(operation, source, (height, width), operation.dilation), channels)


@_shape.register
def _(operation: Dense, source: Shape) -> Shape:
    _expect(operation.weights.ndim == 2, operation.name, "weights of 2 axes", operation.weights.ndim)
    taken, made = operation.weights.shape
    _expect(taken == source[-1], operation.name, f"weights for {source[-1]} features", taken)
    return (*source[:-1], made)


@_shape.register
def _(operation: Add, left: Shape, right: Shape) -> Shape:
    _expect(left == right, operation.name, f"two tensors of shape {left}", f"one of shape {right}")
    return left


@_shape.register
def _(operation: Mean, source: Shape) -> Shape:
    channels = _map(operation, source)[2]
    return (channels,) if len(operation.output.shape) == 1 else (1, 1, channels)


@_shape.register(AveragePool)
@_shape.register(MaxPool)
def _(operation: AveragePool | MaxPool, source: Shape) -> Shape:
    return (*_places(operation, source, operation.size), source[2])


@_shape.register
def _(operation: Clip, source: Shape) -> Shape:
    return source


@_shape.register
def _(operation: Reshape, source: Shape) -> Shape:
    made = operation.output.shape
    _expect(math.prod(made) == math.prod(source), operation.name, f"as many values as {source} has", made)
    return made


@_shape.register
def _(operation: Transpose, source: Shape) -> Shape:
    axes = operation.permutation
    _expect(sorted(axes) == list(range(len(source))), operation.name, f"an order of {len(source)} axes", axes)
    return tuple(source[axis] for axis in axes)


@_shape.register
def _(operation: Pad, source: Shape) -> Shape:
    height, width, channels = _map(operation, source)
    (top, bottom), (left, right) = operation.margins
    _expect(min(top, bottom, left, right) >= 0, operation.name, "margins of 0 or more", operation.margins)
    return top + height + bottom, left + width + right, channels


@_shape.register
def _(operation: Crop, source: Shape) -> Shape:
    height, width, channels = _map(operation, source)
    (top, bottom), (left, right) = operation.margins
    fits = min(top, bottom, left, right) >= 0 and top + bottom < height and left + right < width
    _expect(fits, operation.name, f"margins that leave some of {source}", operation.margins)
    return height - top - bottom, width - left - right, channels


@_shape.register
def _(operation: Upsample, source: Shape) -> Shape:
    height, width, channels = _map(operation, source)
    rows, columns = operation.factors
    _expect(min(rows, columns) >= 1, operation.name, "factors of 1 or more", operation.factors)
    return height * rows, width * columns, channels


def _map(operation: Operation, source: Shape) -> Shape:
    _expect(len(source) == 3, operation.name, "an input of 3 axes, a map", f"shape {source}")
    return source


def _places(
    operation: Convolution | DepthwiseConvolution | AveragePool | MaxPool,
    source: Shape,
    size: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Rows and columns of what a window makes of a map."""
    _map(operation, source)
    for what, pair in (("window", size), ("strides", operation.strides), ("dilation", dilation)):
        _expect(min(pair) >= 1, operation.name, f"{what} of 1 or more", pair)
    rows, columns = (
        _fitting(*lengths, operation.padding)
        for lengths in zip(source[:2], size, operation.strides, dilation, strict=True)
    )
    _expect(min(rows, columns) >= 1, operation.name, f"a window that fits into {source}", f"{size} dilated {dilation}")
    return rows, columns


def _fitting(length: int, size: int, stride: int, dilation: int, padding: Padding) -> int:
    """How many places a window has along an axis of a map; less than 1 if it does not fit."""
    if padding == "valid":
        length -= (size - 1) * dilation
    return math.ceil(length / stride)
