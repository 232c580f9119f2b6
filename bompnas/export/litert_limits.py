"""What LiteRT cannot hold, or does not compute exactly with its default kernels.

XNNPACK refuses a layer with a factor of 256 or more when the file is loaded; a sum of which the scales are further
apart than these limits it leaves, without a word, to a kernel that rounds otherwise. Measured with ai-edge-litert 2.3.
"""

import functools

from bompnas.errors import NotExportableError
from bompnas.export.graph import Add, IntegerGraph, Linear, Mean, Operation, Pad, Tensor, factor

LARGEST_BITS = 8
FACTOR_LIMIT = 256.0
RATIO_EXPONENTS = range(-10, 8)  # of a summand's scale to the sum's


def check(graph: IntegerGraph):
    """Refuses a graph whose file could not be loaded or would not compute what the graph does.

    Raises:
        NotExportableError: Names the first such layer.
    """
    tensors = graph.tensors
    for operation in graph.operations:
        _check(operation, *(tensors[name] for name in operation.inputs))


@functools.singledispatch
def _check(operation: Operation, *inputs: Tensor):
    """Most operations are exact wherever they can be written."""


@_check.register
def _linear(operation: Linear, source: Tensor):
    if operation.bits > LARGEST_BITS:
        raise NotExportableError(
            operation.name, f"LiteRT holds weights of up to {LARGEST_BITS} bits, found {operation.bits}"
        )
    _check_factor(operation, float(factor(operation, source.grid).max()))


@_check.register
def _mean(operation: Mean, source: Tensor):
    height, width, _ = source.shape
    _check_factor(operation, source.grid.scale / operation.output.grid.scale / (height * width))


@_check.register
def _add(operation: Add, *inputs: Tensor):
    for tensor in inputs:
        exponent = tensor.grid.exponent - operation.output.grid.exponent
        if exponent not in RATIO_EXPONENTS:
            raise NotExportableError(
                operation.name,
                f"XNNPACK takes scales of summands of 2^{RATIO_EXPONENTS[0]} to 2^{RATIO_EXPONENTS[-1]} times the "
                f"sum's, found 2^{exponent} for {tensor.name!r}",
            )


@_check.register
def _pad(operation: Pad, source: Tensor):
    grid = source.grid
    if not grid.low <= 0 <= grid.high:
        raise NotExportableError(operation.name, f"zeros are not among its levels, {grid.low} to {grid.high}")


def _check_factor(operation: Operation, found: float):
    if found >= FACTOR_LIMIT:
        raise NotExportableError(
            operation.name, f"XNNPACK multiplies sums by factors below {FACTOR_LIMIT:g}, found {found:g}"
        )
