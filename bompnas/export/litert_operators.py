"""The operations of an integer graph as LiteRT operators.

A kernel that fuses RELU or RELU6 clamps to the grids that these express; any other grid takes a MINIMUM and a MAXIMUM
behind it, which compare raw values.
"""

import functools
from collections.abc import Iterable, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bompnas.export.graph import (
    Add,
    AveragePool,
    Clip,
    Convolution,
    Crop,
    Dense,
    DepthwiseConvolution,
    Grid,
    Linear,
    MaxPool,
    Mean,
    Operation,
    Pad,
    Reshape,
    Tensor,
    Transpose,
    Upsample,
)
from bompnas.export.litert_file import LiteRTFile

INT4_BITS = 4

_Activation = schema.ActivationFunctionType
Bound = tuple[str, int]  # MAXIMUM or MINIMUM, and the raw value to compare with

_PADDING = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}


def quantization(grid: Grid) -> schema.QuantizationParametersT:
    """Parameters of an INT8 tensor on a grid."""
    return schema.QuantizationParametersT(
        scale=np.array([grid.scale], np.float32), zeroPoint=np.array([grid.zero_point], np.int64)
    )


class GraphWriter:
    """Writes operations, one by one, into a file.

    Args:
        file: Where to.
        int4: Whether weights of up to 4 bits are stored as INT4.
    """

    def __init__(self, file: LiteRTFile, int4: bool):
        self.file = file
        self.int4 = int4
        self.tensors: dict[str, Tensor] = {}
        self.indices: dict[str, int] = {}

    def begin(self, tensor: Tensor, index: int):
        """Takes note of the tensor that the operations begin with, and of its index in the file."""
        self.tensors[tensor.name], self.indices[tensor.name] = tensor, index

    def operations(self, operations: Iterable[Operation]):
        """Writes operations in order; the index of the tensor that they begin with is known."""
        for operation in operations:
            _write(operation, self)
            self.tensors[operation.name] = operation.output

    def input(self, operation: Operation) -> Tensor:
        """The only tensor that an operation takes."""
        (name,) = operation.inputs
        return self.tensors[name]

    def add(self, operation: Operation, code: str, version: int, constants=(), options=None):
        """Writes an operation as one operator, with the clamps that it lacks.

        Args:
            operation: What to write; its output gets its name.
            code: The operator's name in the schema.
            version: Of the operator.
            constants: Indices of further inputs.
            options: Its options; a fused activation is set here.
        """
        inputs = [*(self.indices[name] for name in operation.inputs), *constants]
        if isinstance(operation, Linear | Add | Mean):
            self.indices[operation.name] = self.clamped(operation.output, code, version, inputs, options)
        else:  # results are among the inputs' levels
            result = self.activation(operation.output)
            self.indices[operation.name] = self.file.operator(code, version, inputs, result, options)

    def clamped(self, tensor: Tensor, code: str, version: int, inputs: list[int], options) -> int:
        """Writes an operator that makes `tensor` up to its clamp, and the clamp; returns the result's index."""
        function, low, high = _Activation.NONE, -128, 127
        if hasattr(options, "fusedActivationFunction"):
            function, low, high = _fused_activation(tensor.grid)
            options.fusedActivationFunction = function
        bounds = _missing_bounds(tensor.grid, low, high)
        result = self.activation(tensor, before=bounds)
        self.file.operator(code, version, inputs, result, options)
        return self.clamps(tensor, bounds, result)

    def clamps(self, tensor: Tensor, bounds: list[Bound], source: int) -> int:
        """Writes one comparison with a constant for each bound, the last of which makes `tensor`."""
        for place, (code, raw) in enumerate(bounds):
            limit = self.file.constant(
                f"{tensor.name}/{code.lower()}", np.array([raw], np.int8), quantization(tensor.grid)
            )
            result = self.activation(tensor, before=bounds[place + 1 :])
            source = self.file.operator(code, 2, [source, limit], result, schema.MaximumMinimumOptionsT())
        return source

    def activation(self, tensor: Tensor, before: Sequence[Bound] = ()) -> int:
        """Adds a tensor on a grid; `before` are the clamps that it still lacks."""
        suffix = f"/before_{before[0][0].lower()}" if before else ""
        return self.file.activation(tensor.name + suffix, tensor.shape, quantization(tensor.grid))

    def linear(self, operation: Linear, weights: np.ndarray, axis: int, versions: tuple[int, int], code: str, options):
        """Writes an operation with weights.

        Args:
            operation: What to write.
            weights: As the operator lays them out.
            axis: Of the output channels in `weights`.
            versions: Of the operator for INT8 and for INT4 weights.
            code: The operator's name.
            options: Its options.
        """
        narrow = self.int4 and operation.bits <= INT4_BITS
        store = self.file.nibbles if narrow else self.file.constant
        scales = operation.steps.astype(np.float32)
        zeros = np.zeros(scales.size, np.int64)
        bias = np.zeros(scales.size, np.int32) if operation.bias is None else operation.bias.astype(np.int32)
        bias_scales = scales * np.float32(self.input(operation).grid.scale)
        constants = [
            store(
                f"{operation.name}/weights",
                np.ascontiguousarray(weights, np.int8),
                schema.QuantizationParametersT(scale=scales, zeroPoint=zeros, quantizedDimension=axis),
            ),
            self.file.constant(
                f"{operation.name}/bias", bias, schema.QuantizationParametersT(scale=bias_scales, zeroPoint=zeros)
            ),
        ]
        self.add(operation, code, versions[narrow], constants, options)

    def integers(self, name: str, values) -> int:
        """Writes a constant of integers: shapes, axes, margins."""
        return self.file.constant(name, np.array(values, np.int32))


def _fused_activation(grid: Grid) -> tuple[int, int, int]:
    """The fused activation that clamps closest to a grid, and the raw values that it clamps to.

    Kernels round 6 / scale to an integer; at scales that are powers of two, halves are 1.5 alone, where all of them
    agree.
    """
    zero = grid.zero_point
    low, high = grid.low + zero, grid.high + zero
    candidates = {
        _Activation.NONE: (-128, 127),
        _Activation.RELU: (zero, 127),
        _Activation.RELU6: (zero, min(127, zero + round(6 / grid.scale))),
    }
    allowed = {function: bounds for function, bounds in candidates.items() if bounds[0] <= low and high <= bounds[1]}
    function = min(allowed, key=lambda function: allowed[function][1] - allowed[function][0])
    return function, *allowed[function]


def _missing_bounds(grid: Grid, low: int, high: int) -> list[Bound]:
    """The clamps that raw values from `low` to `high` lack."""
    wanted_low, wanted_high = grid.low + grid.zero_point, grid.high + grid.zero_point
    return [("MAXIMUM", wanted_low)] * (low < wanted_low) + [("MINIMUM", wanted_high)] * (high > wanted_high)


@functools.singledispatch
def _write(operation: Operation, writer: GraphWriter):
    raise TypeError(f"no LiteRT operator for {type(operation).__name__}")


@_write.register
def _convolution(operation: Convolution, writer: GraphWriter):
    options = schema.Conv2DOptionsT(
        padding=_PADDING[operation.padding],
        strideH=operation.strides[0],
        strideW=operation.strides[1],
        dilationHFactor=operation.dilation[0],
        dilationWFactor=operation.dilation[1],
    )
    writer.linear(operation, operation.weights.transpose(3, 0, 1, 2), 0, (3, 7), "CONV_2D", options)


@_write.register
def _depthwise(operation: DepthwiseConvolution, writer: GraphWriter):
    options = schema.DepthwiseConv2DOptionsT(
        padding=_PADDING[operation.padding],
        strideH=operation.strides[0],
        strideW=operation.strides[1],
        depthMultiplier=1,
        dilationHFactor=operation.dilation[0],
        dilationWFactor=operation.dilation[1],
    )
    writer.linear(operation, operation.weights[None], 3, (3, 7), "DEPTHWISE_CONV_2D", options)


@_write.register
def _dense(operation: Dense, writer: GraphWriter):
    options = schema.FullyConnectedOptionsT(keepNumDims=len(operation.output.shape) > 1)
    writer.linear(operation, operation.weights.T, 0, (12, 12), "FULLY_CONNECTED", options)


@_write.register
def _sum(operation: Add, writer: GraphWriter):
    writer.add(operation, "ADD", 2, options=schema.AddOptionsT())


@_write.register
def _mean(operation: Mean, writer: GraphWriter):
    """MEAN where it is exact: it adds zero points in float32 before it rounds, which moves values next to a tie."""
    source, output = writer.input(operation), operation.output
    height, width, _ = source.shape
    count = height * width
    if count & (count - 1) == 0 or source.grid.zero_point == output.grid.zero_point == 0:
        axes = writer.integers(f"{operation.name}/axes", [1, 2])
        writer.add(operation, "MEAN", 2, [axes], schema.ReducerOptionsT(keepDims=len(output.shape) == 3))
    else:
        _mean_by_product(operation, writer)


def _mean_by_product(operation: Mean, writer: GraphWriter):
    """A matrix product of each channel's map with ones, of which the step is 1 / count."""
    source, output = writer.input(operation), operation.output
    height, width, channels = source.shape
    count, name = height * width, operation.name
    maps = Tensor(f"{name}/maps", (channels, height, width), source.grid)
    rows = Tensor(f"{name}/rows", (channels, count), source.grid)
    means = Tensor(f"{name}/column", (channels, 1), output.grid)
    ones = Dense((rows.name,), means, np.ones((count, 1), np.int32), 8, np.array([1 / count], np.float32), None)
    writer.operations(
        [
            Transpose(operation.inputs, maps, (2, 0, 1)),
            Reshape((maps.name,), rows),
            ones,
            Reshape((means.name,), output),
        ]
    )


@_write.register(AveragePool)
@_write.register(MaxPool)
def _pool(operation: AveragePool | MaxPool, writer: GraphWriter):
    options = schema.Pool2DOptionsT(
        padding=_PADDING[operation.padding],
        strideH=operation.strides[0],
        strideW=operation.strides[1],
        filterHeight=operation.size[0],
        filterWidth=operation.size[1],
    )
    writer.add(operation, "MAX_POOL_2D" if isinstance(operation, MaxPool) else "AVERAGE_POOL_2D", 2, options=options)


@_write.register
def _clip(operation: Clip, writer: GraphWriter):
    """At least one comparison, so that the output is a tensor of its own."""
    source, tensor = writer.input(operation), operation.output
    zero = source.grid.zero_point
    bounds = _missing_bounds(tensor.grid, source.grid.low + zero, source.grid.high + zero)
    bounds = bounds or [("MAXIMUM", tensor.grid.low + zero)]
    writer.indices[tensor.name] = writer.clamps(tensor, bounds, writer.indices[source.name])


@_write.register
def _reshape(operation: Reshape, writer: GraphWriter):
    shape = [-1, *operation.output.shape]
    options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
    writer.add(operation, "RESHAPE", 1, [writer.integers(f"{operation.name}/shape", shape)], options)


@_write.register
def _transpose(operation: Transpose, writer: GraphWriter):
    order = writer.integers(f"{operation.name}/permutation", [0, *(axis + 1 for axis in operation.permutation)])
    writer.add(operation, "TRANSPOSE", 2, [order], schema.TransposeOptionsT())


@_write.register
def _pad(operation: Pad, writer: GraphWriter):
    margins = writer.integers(f"{operation.name}/margins", [(0, 0), *operation.margins, (0, 0)])
    writer.add(operation, "PAD", 2, [margins], schema.PadOptionsT())


@_write.register
def _crop(operation: Crop, writer: GraphWriter):
    (top, _), (left, _) = operation.margins
    begin = writer.integers(f"{operation.name}/begin", [0, top, left, 0])
    size = writer.integers(f"{operation.name}/size", [-1, *operation.output.shape])
    writer.add(operation, "SLICE", 2, [begin, size], schema.SliceOptionsT())


@_write.register
def _upsample(operation: Upsample, writer: GraphWriter):
    """Half-pixel centres: a row's place is taken in its middle, where rounding errors do not reach another row."""
    size = writer.integers(f"{operation.name}/size", operation.output.shape[:2])
    options = schema.ResizeNearestNeighborOptionsT(halfPixelCenters=True)
    writer.add(operation, "RESIZE_NEAREST_NEIGHBOR", 3, [size], options)
