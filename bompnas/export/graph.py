"""The integer graph: what a quantized model computes, in integers, without Keras.

Everything that is exported goes through it: `extract` makes one from a Keras model, `emulator` runs it in NumPy,
`litert` writes it as a LiteRT file and `packed` as a bit stream.

| word   | meaning                                                                                  |
|--------|------------------------------------------------------------------------------------------|
| level  | a value in units of its tensor's scale: an integer from `low` to `high`                  |
| raw    | what INT8 storage holds: level + zero point                                              |
| step   | what one unit of a weight stands for, by output channel                                  |
| factor | step x input scale / output scale, float32: turns an accumulator into levels             |

A convolution or dense layer computes clamp(round_half_even(float32(sum of levels x weights + bias) x factor)), where
the sum wraps as INT32 does. The other operations say below what they compute.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

Padding = Literal["same", "valid"]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The values that a tensor can take.

    Attributes:
        exponent: log2 of the scale.
        low: Smallest level.
        high: Largest level.
        zero_point: Raw value of level 0; -128 for grids without negative values, so that 256 levels fit INT8, else 0.
    """

    exponent: int
    low: int
    high: int
    zero_point: int = 0

    def __post_init__(self):
        if not -128 <= self.low + self.zero_point <= self.high + self.zero_point <= 127:
            raise ValueError(f"levels {self.low} to {self.high} do not fit INT8 at zero point {self.zero_point}")

    @property
    def scale(self) -> float:
        """Distance of neighbouring values."""
        return 2.0**self.exponent


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What an operation makes.

    Attributes:
        name: Of the tensor, and of the operation that makes it.
        shape: Without the batch axis.
        grid: Its values.
    """

    name: str
    shape: tuple[int, ...]
    grid: Grid


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """A step of the computation.

    Attributes:
        inputs: Names of the tensors that it takes.
        output: The tensor that it makes.
    """

    inputs: tuple[str, ...]
    output: Tensor

    @property
    def name(self) -> str:
        """Name of the layer that it comes from."""
        return self.output.name


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Operation):
    """Sums of products with weights; see the module's head for the arithmetic.

    Attributes:
        weights: Integers, int32, output channels last.
        bits: Width of a weight, 2 to 16: |weight| <= 2^(bits-1) - 1.
        steps: float32, shape (out_channels,).
        bias: In units of input scale x step, int32, shape (out_channels,); None if the layer has none.
    """

    weights: np.ndarray
    bits: int
    steps: np.ndarray
    bias: np.ndarray | None

    @property
    def size_bits(self) -> int:
        """Weights at their width, and 32 bits for each step and bias."""
        biases = 0 if self.bias is None else self.bias.size
        return self.weights.size * self.bits + 32 * (self.steps.size + biases)


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution(Linear):
    """2D convolution; weights of shape (height, width, in_channels, out_channels)."""

    strides: tuple[int, int] = (1, 1)
    padding: Padding = "same"
    dilation: tuple[int, int] = (1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class DepthwiseConvolution(Linear):
    """2D convolution of each channel with a kernel of its own; weights of shape (height, width, channels)."""

    strides: tuple[int, int] = (1, 1)
    padding: Padding = "same"
    dilation: tuple[int, int] = (1, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Dense(Linear):
    """Matrix product along the last axis; weights of shape (in_features, out_features)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Add(Operation):
    """Sum of two tensors of one shape: clamp(floor(exact sum / scale + 1/2)), ties up."""


@dataclasses.dataclass(frozen=True, eq=False)
class Mean(Operation):
    """Average over height and width: clamp(round_half_even(float32(sum) x float32(input scale / scale / count))).

    The output's shape is (channels,) or (1, 1, channels).
    """


@dataclasses.dataclass(frozen=True, eq=False)
class AveragePool(Operation):
    """Average over windows, of the raw values, ties away from zero; padding does not count. Keeps the grid."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding


@dataclasses.dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """Maximum over windows; padding does not count. Keeps the grid."""

    size: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding


@dataclasses.dataclass(frozen=True, eq=False)
class Clip(Operation):
    """Levels clamped to the output's grid, which has the input's exponent and zero point: a ReLU of its own."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reshape(Operation):
    """The values in row-major order, in another shape."""


@dataclasses.dataclass(frozen=True, eq=False)
class Transpose(Operation):
    """Axes in another order.

    Attributes:
        permutation: Input axis of each output axis, counted without the batch axis, from 0.
    """

    permutation: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Pad(Operation):
    """Zeros around a map; the grid must have a level 0.

    Attributes:
        margins: ((top, bottom), (left, right)).
    """

    margins: tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Crop(Operation):
    """A map without its margins, ((top, bottom), (left, right))."""

    margins: tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Upsample(Operation):
    """Every value repeated (rows, columns) times."""

    factors: tuple[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerGraph:
    """Operations in an order in which they can be carried out.

    Attributes:
        input: The tensor that the graph begins with.
        operations: At least one; inputs are made before they are taken.
        output: Name of the tensor that it ends with.
        centring: (scale, offset): a value v that the float model takes stands for level
            round_half_even((v x scale + offset) / 2^exponent) of the input, clamped. Exact for pixels of our networks.
    """

    input: Tensor
    operations: tuple[Operation, ...]
    output: str
    centring: tuple[float, float] = (1.0, 0.0)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """All tensors by name."""
        return {self.input.name: self.input, **{operation.name: operation.output for operation in self.operations}}

    @property
    def linear(self) -> Iterator[Linear]:
        """The operations with weights, in order."""
        return (operation for operation in self.operations if isinstance(operation, Linear))

    @property
    def size_bits(self) -> int:
        """Packed size: weights at their width, 32 bits a bias and 32 bits a step."""
        return sum(operation.size_bits for operation in self.linear)

    def until(self, name: str) -> "IntegerGraph":
        """The part that makes a tensor."""
        needed, operations = {name}, []
        for operation in reversed(self.operations):
            if operation.name in needed:
                needed.update(operation.inputs)
                operations.append(operation)
        return dataclasses.replace(self, operations=tuple(reversed(operations)), output=name)

    def levels(self, values: np.ndarray) -> np.ndarray:
        """What the float model takes, as levels of the input.

        Args:
            values: Shape (n, *input.shape); pixels 0..255 for our networks.

        Returns:
            int32 of the same shape.
        """
        scale, offset = self.centring
        grid = self.input.grid
        real = values.astype(np.float32) * np.float32(scale) + np.float32(offset)
        return np.clip(np.round(real / np.float32(grid.scale)), grid.low, grid.high).astype(np.int32)


def factor(operation: Linear, input_grid: Grid) -> np.ndarray:
    """What turns the accumulators of an operation into levels of its output, float32, shape (out_channels,)."""
    return operation.steps * np.float32(math.ldexp(1.0, input_grid.exponent - operation.output.grid.exponent))
