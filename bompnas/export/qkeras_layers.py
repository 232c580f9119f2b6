"""Stock QKeras models: layers that compute, quantizers that round, and what may stand between the two.

Our own layers know the grids of what they take and make. In a QKeras model a grid begins at each quantizer: a
convolution, an optional batch normalization and an optional ReLU are one integer operation with the `QActivation`
behind them.

Weights are read exactly. Biases, and what a batch normalization adds to them, are real numbers in Keras; integers are
sought that give every sum the level that Keras gives it (`biases`). Where that takes a finer unit than input scale x
step, the integers of a channel are multiples of QKeras', of a step as much smaller, and the layer's `bits` are more
than QKeras', up to 8. Weights of 8 bits leave no room: there biases are rounded to the unit, which is fine beside the
output's if activations have 8 bits too.

Residual sums round half up, where Keras rounds half to even: they differ where a sum lies between two levels.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import qkeras
from qkeras.base_quantizer import BaseQuantizer

from bompnas.errors import NotExportableError
from bompnas.export import biases, keras_layers
from bompnas.export.graph import (
    Add,
    Convolution,
    Dense,
    DepthwiseConvolution,
    Grid,
    Linear,
    Mean,
    Operation,
    Tensor,
)
from bompnas.networks import graph
from bompnas.networks.quantizers import SMALLEST_STEP, ActivationQuantizer

UNROUNDED = (
    "its output is not quantized: put a QActivation behind it, such as quantized_bits(8, integer, 0, alpha=1) or "
    "quantized_relu(8, integer)"
)
_KINDS: dict[type, type[Linear]] = {
    qkeras.QConv2D: Convolution,
    qkeras.QDepthwiseConv2D: DepthwiseConvolution,
    qkeras.QDense: Dense,
}
_NEUTRAL = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.Identity)
_RESIDUE = 1e-3  # of a step: float32 noise of QKeras' straight-through estimator, which is 2^-24 of the value
_LARGEST_BIAS = 2**30
_LARGEST_FINER_WEIGHT = 127  # what LiteRT holds


@dataclasses.dataclass(frozen=True, eq=False)
class Unrounded:
    """What a layer computes, before the quantizer behind it.

    Attributes:
        name: Of the layer.
        shape: Of the output, without the batch axis.
        make: Gives the operation for its output tensor.
        low: Smallest value that a ReLU lets through.
        high: Largest one.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[Tensor], Operation]
    low: float = -math.inf
    high: float = math.inf

    def rounded(self, grid: Grid) -> Operation:
        """The operation that rounds to a grid; clipping before rounding is clipping after it."""
        low = max(grid.low, float(np.round(np.float32(self.low / grid.scale))))
        high = min(grid.high, float(np.round(np.float32(self.high / grid.scale))))
        clipped = Grid(grid.exponent, int(low), int(high), 0 if low < 0 else -128)
        return self.make(Tensor(self.name, self.shape, clipped))

    def then(self, layer) -> "Unrounded":
        """This, and a layer behind it that does not round.

        Raises:
            NotExportableError: The layer cannot join the operation.
        """
        if type(layer) in _NEUTRAL or (type(layer) is keras.layers.Activation and graph.is_linear(layer)):
            return self
        maximum = graph.relu_maximum(layer)
        if maximum is None:
            raise NotExportableError(self.name, UNROUNDED)
        return dataclasses.replace(self, low=max(self.low, 0.0), high=min(self.high, maximum))


@dataclasses.dataclass(frozen=True, eq=False)
class _Sums:
    """Weights and biases that a batch normalization may still change.

    Attributes:
        kind: Operation.
        source: What it takes.
        weights: Integers, output channels last.
        bits: Width of a weight.
        steps: float64, shape (out_channels,); negative where a normalization turned the sign.
        bias: Real values, float64, shape (out_channels,); None if the layer has none.
        fields: The operation's other fields.
    """

    kind: type[Linear]
    source: Tensor
    weights: np.ndarray
    bits: int
    steps: np.ndarray
    bias: np.ndarray | None
    fields: Mapping[str, Any]

    def __call__(self, output: Tensor) -> Linear:
        """The operation; where a bias is huge in units of a tiny step, the step is raised until it fits INT32."""
        bias = 0.0 if self.bias is None else self.bias
        smallest = np.maximum(np.abs(bias) / (_LARGEST_BIAS * self.source.grid.scale), SMALLEST_STEP)
        steps = np.maximum(np.abs(self.steps), smallest).astype(np.float32)
        ratio = np.where(np.abs(self.steps) < smallest, self.steps / steps, np.sign(self.steps))
        weights = np.round(self.weights * ratio).astype(np.int32)
        multiples, integers = 1, None
        if self.bias is not None:
            multiples, integers = self._integer_bias(weights, steps, output.grid)
            weights = weights * multiples
        return self.kind(
            inputs=(self.source.name,),
            output=output,
            weights=weights,
            bits=max(self.bits, int(np.abs(weights).max()).bit_length() + 1),
            steps=(steps / multiples).astype(np.float32),
            bias=integers,
            **self.fields,
        )

    def _integer_bias(self, weights: np.ndarray, steps: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """What weights and sums are multiplied by, as far as 8 bits allow, and the bias in that unit."""
        unit = steps.astype(np.float64) * self.source.grid.scale
        bias = self.bias / unit
        magnitudes = np.abs(weights).reshape(-1, unit.size)
        largest_level = max(-self.source.grid.low, self.source.grid.high)
        room = np.minimum(
            _LARGEST_FINER_WEIGHT // np.maximum(magnitudes.max(axis=0), 1),
            _LARGEST_BIAS // np.maximum(np.abs(bias), 1.0),
        )
        return biases.rounded(
            bias,
            middles=(np.arange(grid.low, grid.high)[:, None] + 0.5) * (grid.scale / unit),
            reach=magnitudes.sum(axis=0) * largest_level,
            limits=np.maximum(room, 1),
        )

    def normalized(self, layer: keras.layers.BatchNormalization) -> "_Sums":
        """These sums through a batch normalization in inference."""
        factor = 1.0 / np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
        if layer.scale:
            factor = factor * _float64(layer.gamma)
        shift = _float64(layer.beta) if layer.center else 0.0
        bias = 0.0 if self.bias is None else self.bias
        bias = (bias - _float64(layer.moving_mean)) * factor + shift
        return dataclasses.replace(self, steps=self.steps * factor, bias=bias)


def unrounded(layer, inputs: list[Tensor], shape: tuple[int, ...]) -> Unrounded | None:
    """What a layer that leaves the grid computes of tensors on grids; None for any other layer.

    Args:
        layer: A Keras layer.
        inputs: What it takes.
        shape: Of its output, without the batch axis.

    Raises:
        NotExportableError: Its integers cannot be found.
    """
    if type(layer) in _KINDS:
        return Unrounded(layer.name, shape, _sums(layer, inputs[0]))
    if type(layer) is keras.layers.Add:
        names = keras_layers.summands(layer, inputs, shape)
        return Unrounded(layer.name, shape, lambda output: Add(names, output))
    if type(layer) is keras.layers.GlobalAveragePooling2D:
        return Unrounded(layer.name, shape, lambda output: Mean((inputs[0].name,), output))
    if type(layer) is keras.layers.AveragePooling2D:
        return Unrounded(layer.name, shape, _averages(layer, inputs[0], shape))
    return None


def normalized(value: Unrounded, layer) -> Unrounded:
    """A convolution or dense layer through the batch normalization behind it."""
    channels_last = layer.axis in (-1, len(value.shape))
    if not isinstance(value.make, _Sums) or math.isfinite(value.low) or not channels_last:
        raise NotExportableError(
            layer.name, "it can be absorbed only directly behind a convolution or dense layer, along the last axis"
        )
    return dataclasses.replace(value, make=value.make.normalized(layer))


def quantizer(layer) -> Callable | None:
    """The quantizer that a layer is or ends with; None if it has none."""
    if isinstance(layer, qkeras.QActivation):
        return layer.activation
    activation = getattr(layer, "activation", None)
    return activation if isinstance(activation, BaseQuantizer) else None


def is_activation(layer) -> bool:
    """Whether a layer is a quantizer and nothing else."""
    return isinstance(layer, qkeras.QActivation) or (
        type(layer) is keras.layers.Activation and quantizer(layer) is not None
    )


def grid(layer) -> Grid:
    """The grid that a layer's quantizer rounds to.

    Raises:
        NotExportableError: It does not round to the nearest of at most 256 values on a power-of-two grid.
    """
    activation = quantizer(layer)
    if isinstance(activation, ActivationQuantizer):
        return keras_layers.grid(activation)
    try:
        scale, low, high = _GRIDS[type(activation)](activation)
        exponent = math.log2(scale)
        if not exponent.is_integer():
            raise ValueError(f"its scale is {scale}")
        found = Grid(int(exponent), int(low), int(high), 0 if low < 0 else -128)
        _check_rounding(activation, found)
    except (KeyError, TypeError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else "expected quantized_relu or quantized_bits"
        raise NotExportableError(
            layer.name, f"its quantizer {activation} does not round to a power-of-two grid of at most 8 bits ({reason})"
        ) from None
    return found


def _relu_grid(activation) -> tuple[float, int, int]:
    scale, high = 2.0 ** (activation.integer - activation.bits), 2**activation.bits - 1
    if activation.relu_upper_bound is not None and not activation.is_quantized_clip:
        high = min(high, math.floor(activation.relu_upper_bound / scale))
    return scale, 0, high


def _bits_grid(activation) -> tuple[float, int, int]:
    if isinstance(activation.alpha, str):
        raise ValueError(f"alpha={activation.alpha!r} follows the values; expected alpha=1")
    levels = 2 ** (activation.bits - activation.keep_negative)
    scale = 2.0**activation.integer / levels * (1.0 if activation.alpha is None else float(activation.alpha))
    return scale, activation.keep_negative * (activation.symmetric - levels), levels - 1


_GRIDS: dict[type, Callable] = {
    qkeras.quantized_relu: _relu_grid,
    qkeras.quantized_bits: _bits_grid,
    qkeras.quantized_linear: _bits_grid,
}


def _check_rounding(activation, found: Grid) -> None:
    """Compares the quantizer with the grid at quarters of its levels, and beyond its ends."""
    quarters = np.arange(4 * (found.low - 4), 4 * (found.high + 4) + 1, dtype=np.float32) / 4
    expected = np.clip(np.round(quarters), found.low, found.high)
    rounded = keras.ops.convert_to_numpy(activation(quarters * np.float32(found.scale))) / np.float32(found.scale)
    if not np.array_equal(rounded, expected):
        place = np.flatnonzero(rounded != expected)[0]
        raise ValueError(f"{quarters[place]} levels become {rounded[place]}, expected {expected[place]}")


def _sums(layer, source: Tensor) -> _Sums:
    """The integers of a QKeras layer."""
    kind = _KINDS[type(layer)]
    if getattr(layer, "groups", 1) != 1 or getattr(layer, "depth_multiplier", 1) != 1:
        raise NotExportableError(layer.name, "it has groups or a depth multiplier")
    weight_quantizer, bias_quantizer = layer.get_quantizers()
    kernel = layer.depthwise_kernel if kind is DepthwiseConvolution else layer.kernel
    if weight_quantizer is None:
        raise NotExportableError(layer.name, "its weights have no quantizer")
    values = _float64(weight_quantizer(kernel))
    if getattr(layer, "_mask", None) is not None:
        values = values * _float64(layer._mask)
    steps = np.broadcast_to(_step(weight_quantizer, values, kind), values.shape)
    if kind is DepthwiseConvolution:
        values, steps = values[..., 0], steps[..., 0]
    weights, steps = _on_grid(layer, values, steps)
    bias = None
    if layer.use_bias:
        bias = _float64(layer.bias if bias_quantizer is None else bias_quantizer(layer.bias))
    return _Sums(
        kind=kind,
        source=source,
        weights=weights,
        bits=keras_layers.width(layer, getattr(weight_quantizer, "bits", 1), weights),
        steps=steps,
        bias=bias,
        fields={} if kind is Dense else keras_layers.geometry(layer),
    )


def _step(weight_quantizer, values: np.ndarray, kind: type[Linear]) -> np.ndarray:
    """Distance of neighbouring weights, to be broadcast; of other quantizers the smallest weight but zero."""
    if type(weight_quantizer) is qkeras.quantized_linear:
        return _float64(weight_quantizer.quantization_scale)
    if type(weight_quantizer) is qkeras.quantized_bits and weight_quantizer.bits > weight_quantizer.keep_negative:
        levels = 2.0 ** (weight_quantizer.bits - weight_quantizer.keep_negative)
        return _float64(weight_quantizer.scale) * 2.0**weight_quantizer.integer / levels
    channels = 2 if kind is DepthwiseConvolution else values.ndim - 1
    others = tuple(axis for axis in range(values.ndim) if axis != channels)
    smallest = np.min(np.abs(values), axis=others, keepdims=True, where=values != 0, initial=math.inf)
    return np.where(np.isfinite(smallest), smallest, 0.0)


def _on_grid(layer, values: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers, and one step for each channel, the last axis."""
    steps = np.where(steps > 0, steps, SMALLEST_STEP)  # channels without weights
    integers = np.round(values / steps)
    residue = np.max(np.abs(values / steps - integers), initial=0.0)
    noise = np.max(np.abs(integers), initial=0.0) * 2.0**-22
    if not residue < max(_RESIDUE, noise):
        raise NotExportableError(
            layer.name, f"its weights are up to {residue:.3f} steps away from a uniform grid; expected quantized_bits"
        )
    one = steps.reshape(-1, steps.shape[-1])
    if np.any(one != one[0]):
        raise NotExportableError(layer.name, "its weights have several scales in one output channel")
    return integers.astype(np.int32), one[0]


def _averages(layer, source: Tensor, shape: tuple[int, ...]) -> _Sums:
    """Averages over windows as sums of equal weights, which round as a quantizer does."""
    covered = (np.array(shape[:2]) - 1) * layer.strides + layer.pool_size
    if layer.padding == "same" and np.any(covered > source.shape[:2]):
        raise NotExportableError(layer.name, "its windows reach beyond the map's border, where averages are of fewer")
    weights = np.ones((*layer.pool_size, source.shape[-1]), np.int32)
    steps = np.full(source.shape[-1], 1.0 / math.prod(layer.pool_size))
    fields = {"strides": tuple(layer.strides), "padding": "valid"}
    return _Sums(DepthwiseConvolution, source, weights, 2, steps, None, fields)


def _float64(values) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(values), np.float64)
