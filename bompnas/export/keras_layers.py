"""Our quantized layers, and the Keras layers that keep a grid, as integer operations.

`read` is a table by exact class: a subclass may compute something else, and is refused.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np

from bompnas.errors import NotExportableError
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
from bompnas.networks import graph
from bompnas.networks.layers import (
    IntegerConv2D,
    IntegerDense,
    IntegerDepthwiseConv2D,
    QuantizedAdd,
    QuantizedAveragePooling2D,
    QuantizedGlobalAveragePooling2D,
)
from bompnas.networks.quantizers import ActivationQuantizer

Shape = tuple[int, ...]
WIDEST = 16


def read(layer, inputs: Sequence[Tensor], shape: Shape) -> list[Operation]:
    """What a layer computes of tensors on grids.

    Args:
        layer: A Keras operation.
        inputs: What it takes.
        shape: Of its output, without the batch axis.

    Returns:
        Operations of which the last makes the layer's output; none if the output is the first input itself.

    Raises:
        NotExportableError: The layer cannot be expressed in integers.
    """
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise NotExportableError(layer.name, f"data_format is {layer.data_format!r}, expected 'channels_last'")
    if graph.relu_maximum(layer) is not None:
        return _relu(layer, inputs[0])
    reader = READERS.get(type(layer))
    if reader is None or (type(layer) is keras.layers.Activation and not graph.is_linear(layer)):
        raise NotExportableError(layer.name, f"{_kind(layer)} computes in float")
    return reader(layer, inputs, shape)


def grid(quantizer: ActivationQuantizer) -> Grid:
    """The grid of one of our activation quantizers."""
    return Grid(quantizer.exponent, quantizer.low, quantizer.high, 0 if quantizer.low < 0 else -128)


def geometry(layer) -> dict:
    """Strides, padding and dilation of a Keras convolution, as fields of an operation."""
    return {
        "strides": tuple(layer.strides),
        "padding": layer.padding.lower(),
        "dilation": tuple(layer.dilation_rate),
    }


def width(layer, bits: int, weights: np.ndarray) -> int:
    """Bits of a weight: as many as the quantizer says, and more where an asymmetric grid uses its lowest level.

    Raises:
        NotExportableError: More than `WIDEST`.
    """
    found = max(bits, 2, int(np.max(np.abs(weights), initial=0)).bit_length() + 1)
    if found > WIDEST:
        raise NotExportableError(layer.name, f"its weights take {found} bits; at most {WIDEST} are supported")
    return found


def _kind(layer) -> str:
    if type(layer) is keras.layers.Activation:
        return f"activation {getattr(layer.activation, '__name__', layer.activation)}"
    return type(layer).__name__


def _linear(kind: type[Linear]) -> Callable:
    def read_linear(layer, inputs, shape):
        (source,) = inputs
        if layer.input_exponent != source.grid.exponent:
            raise NotExportableError(
                layer.name,
                f"it takes values of scale 2^{layer.input_exponent}, but its input has scale 2^{source.grid.exponent}",
            )
        weights = layer.integer_weights()
        fields = {} if kind is Dense else geometry(layer)
        return [
            kind(
                inputs=(source.name,),
                output=Tensor(layer.name, shape, _output_grid(layer)),
                weights=weights[..., 0] if kind is DepthwiseConvolution else weights,
                bits=width(layer, layer.weight_quantizer.bits, weights),
                steps=keras.ops.convert_to_numpy(layer.step()),
                bias=layer.integer_bias() if layer.use_bias else None,
                **fields,
            )
        ]

    return read_linear


def _output_grid(layer, half_up: bool = False) -> Grid:
    """The grid of a layer's own quantizer, which must round as the integer kernel does."""
    if not isinstance(layer.activation, ActivationQuantizer):
        raise NotExportableError(layer.name, f"its activation is {layer.activation}, expected an ActivationQuantizer")
    if layer.activation.half_up != half_up:
        raise NotExportableError(
            layer.name, f"its quantizer says half_up={not half_up}, but its integer kernel rounds half_up={half_up}"
        )
    return grid(layer.activation)


def summands(layer, inputs: Sequence[Tensor], shape: Shape) -> tuple[str, ...]:
    """Names of what an addition takes.

    Raises:
        NotExportableError: Not two tensors of one shape.
    """
    if len(inputs) != 2 or any(tensor.shape != shape for tensor in inputs):
        raise NotExportableError(
            layer.name,
            f"it adds tensors of shapes {', '.join(str(tensor.shape) for tensor in inputs)}; an integer addition takes "
            "two of one shape",
        )
    return tuple(tensor.name for tensor in inputs)


def _add(layer, inputs, shape):
    return [Add(summands(layer, inputs, shape), Tensor(layer.name, shape, _output_grid(layer, half_up=True)))]


def _mean(layer, inputs, shape):
    (source,) = inputs
    return [Mean((source.name,), Tensor(layer.name, shape, _output_grid(layer)))]


def _relu(layer, source):
    """A clamp, where the maximum lies on the grid; nothing where the grid has no values to clamp."""
    maximum = graph.relu_maximum(layer) / source.grid.scale
    if maximum < source.grid.high and maximum != round(maximum):
        raise NotExportableError(layer.name, f"its maximum is no multiple of its input's scale {source.grid.scale}")
    clipped = dataclasses.replace(source.grid, low=max(source.grid.low, 0), high=int(min(source.grid.high, maximum)))
    if clipped == source.grid:
        return []
    return [Clip((source.name,), Tensor(layer.name, source.shape, clipped))]


def _keeping(make: Callable) -> Callable:
    """Reader of a layer with one input whose output is on the input's grid; `make(layer, source)` gives the rest."""

    def read_keeping(layer, inputs, shape):
        (source,) = inputs
        kind, fields = make(layer, source)
        return [kind((source.name,), Tensor(layer.name, shape, source.grid), **fields)]

    return read_keeping


def _pool(kind: type[Operation]) -> Callable:
    def make(layer, source):
        return kind, {"size": tuple(layer.pool_size), "strides": tuple(layer.strides), "padding": layer.padding}

    return _keeping(make)


def _global_max(layer, inputs, shape):
    (source,) = inputs
    size = source.shape[:2]
    name = layer.name if layer.keepdims else f"{layer.name}_map"
    pooled = Tensor(name, (1, 1, source.shape[-1]), source.grid)
    pool = MaxPool((source.name,), pooled, size=size, strides=size, padding="valid")
    return [pool] if layer.keepdims else [pool, Reshape((name,), Tensor(layer.name, shape, source.grid))]


def _upsample(layer, source):
    if layer.interpolation != "nearest":
        raise NotExportableError(layer.name, f"interpolation is {layer.interpolation!r}; only 'nearest' is exact")
    return Upsample, {"factors": tuple(layer.size)}


def _nothing(layer, inputs, shape):
    return []


_reshape = _keeping(lambda layer, source: (Reshape, {}))

READERS: dict[type, Callable] = {
    IntegerConv2D: _linear(Convolution),
    IntegerDepthwiseConv2D: _linear(DepthwiseConvolution),
    IntegerDense: _linear(Dense),
    QuantizedAdd: _add,
    QuantizedAveragePooling2D: _pool(AveragePool),
    QuantizedGlobalAveragePooling2D: _mean,
    keras.layers.Activation: _nothing,
    keras.layers.Cropping2D: _keeping(lambda layer, source: (Crop, {"margins": layer.cropping})),
    keras.layers.Dropout: _nothing,
    keras.layers.Flatten: _reshape,
    keras.layers.GlobalMaxPooling2D: _global_max,
    keras.layers.Identity: _nothing,
    keras.layers.MaxPooling2D: _pool(MaxPool),
    keras.layers.Permute: _keeping(
        lambda layer, source: (Transpose, {"permutation": tuple(axis - 1 for axis in layer.dims)})
    ),
    keras.layers.Reshape: _reshape,
    keras.layers.SpatialDropout2D: _nothing,
    keras.layers.UpSampling2D: _keeping(_upsample),
    keras.layers.ZeroPadding2D: _keeping(lambda layer, source: (Pad, {"margins": layer.padding})),
}
