"""Folded float model + policy -> QKeras model with integer inference.

Works on any functional model of the supported layers: those that a `Network` builds, and a user's head behind them. A
tensor is either on a known power-of-two grid or not; Conv, Dense, Add and global average pooling put their output on
one, reshaping, pooling and a ReLU keep it, everything else (a softmax, a layer normalization) leaves it and computes in
float. A Conv or Dense that meets a tensor off the grid gets a quantizer in front. Conv, Dense and Add clip as the ReLU
behind them does, and so take its place.
"""

import dataclasses
import math
from collections.abc import Mapping

import keras
import numpy as np
import qkeras

from bompnas.errors import InputError
from bompnas.networks import calibrate, float_model, graph
from bompnas.networks.layers import (
    IntegerConv2D,
    IntegerDense,
    IntegerDepthwiseConv2D,
    QuantizedAdd,
    QuantizedAveragePooling2D,
    QuantizedGlobalAveragePooling2D,
)
from bompnas.networks.quantizers import ActivationQuantizer, WeightQuantizer
from bompnas.space.levels import finest
from bompnas.space.network import HEAD, Network

KEEPS_GRID = (
    keras.layers.Cropping2D,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.Identity,
    keras.layers.MaxPooling2D,
    keras.layers.Permute,
    keras.layers.Reshape,
    keras.layers.SpatialDropout2D,
    keras.layers.ZeroPadding2D,
)
PIXEL_EXPONENT = -7
INPUT = "image_grid"


@dataclasses.dataclass(frozen=True)
class LayerBits:
    """Bit-widths of one layer: its weights and its output.

    Attributes:
        weights: Width of a weight [bits].
        activations: Width of an output value [bits].
        levels: Largest integer of a weight where its grid is nested in finer ones; None for the full grid of its bits.
    """

    weights: int
    activations: int
    levels: int | None = None

    def quantizer(self, axis: int = -1) -> WeightQuantizer:
        """The quantizer of a kernel with its output channels along an axis."""
        if self.levels is None:
            return WeightQuantizer(self.weights, axis)
        return WeightQuantizer(self.weights, axis, self.levels, finest(self.weights, self.levels))


@dataclasses.dataclass(frozen=True)
class Policy:
    """Bit-widths of a model's layers.

    Attributes:
        layers: By layer name.
        default: For layers that are not named.
    """

    layers: Mapping[str, LayerBits]
    default: LayerBits

    @classmethod
    def of(cls, network: Network, built: Network | None = None) -> "Policy":
        """The policy of a network; layers of the head without a name of their own get the head's bits.

        Args:
            network: Whose bits.
            built: The network that the model was built from, if it is another one of the same architecture: one
                architecture may stand in different blocks of a space, and so have different names.
        """
        names = [layer.name for layer in (built or network).layers]
        layers = {
            name: LayerBits(layer.weight_bits, layer.activation_bits, layer.weight_levels)
            for name, layer in zip(names, network.layers, strict=True)
        }
        quantized_head = [
            layers[name]
            for name, layer in zip(names, network.layers, strict=True)
            if layer.group == HEAD and layer.kind != "float"
        ]
        return cls(layers, quantized_head[-1] if quantized_head else LayerBits(8, 8))

    def __getitem__(self, name: str) -> LayerBits:
        return self.layers.get(name, self.default)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Samples of a folded model's tensors, from which the scales of any policy follow.

    Attributes:
        samples: Values by operation name.
    """

    samples: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, folded: keras.Model, images: np.ndarray) -> "Calibration":
        """Runs the images through the folded model."""
        fused = _fused_activations(folded)
        names = [operation.name for operation in folded.operations if operation.name not in fused]
        return cls(calibrate.sample(folded, names, images))


def quantize(folded: keras.Model, policy: Policy, calibration: Calibration) -> keras.Model:
    """The quantized model, with the folded model's weights.

    Args:
        folded: A functional model without batch normalization that could be folded.
        policy: Bit-widths by layer name.
        calibration: Samples of the folded model.

    Returns:
        A functional model of QKeras layers; layers with weights keep their names.

    Raises:
        InputError: A convolution has groups, a depth multiplier or its channels first.
    """
    quantizer = _Rewriter(folded, policy, calibration)
    quantized = graph.rewrite(folded, clone=lambda layer: layer, call=quantizer.call)
    for layer in folded.layers:
        if layer.weights:
            graph.copy_weights(layer, quantized.get_layer(layer.name))
    return quantized


class _Rewriter:
    """Calls each operation's quantized counterpart and keeps track of the tensors' grids."""

    def __init__(self, folded: keras.Model, policy: Policy, calibration: Calibration):
        self.policy = policy
        self.samples = calibration.samples
        self.fused = _fused_activations(folded)
        self.taken_over = {activation.name for activation in self.fused.values()}
        self.outputs = {tensor._keras_history.operation.name for tensor in folded.outputs}
        self.grids: dict[int, ActivationQuantizer] = {}
        self.alive: list = []  # ids stay unique while the tensors live

    def call(self, operation, *arguments, **keywords):
        """Returns the new output for an operation of the folded model."""
        inputs = arguments[0] if arguments else None
        if graph.is_quantizable(operation):
            return self._weighted(operation, inputs)
        if operation.name in self.taken_over:
            return inputs
        if type(operation) is keras.layers.Add:
            return self._add(operation, inputs)
        if type(operation) is keras.layers.GlobalAveragePooling2D:
            return self._mean(operation, inputs)
        if type(operation) is keras.layers.AveragePooling2D:
            return self._pool(operation, inputs)
        output = graph.changed(operation)(*arguments, **keywords)
        if _is_centring(operation):
            quantizer = ActivationQuantizer(8, PIXEL_EXPONENT)
            return self._on_grid(qkeras.QActivation(quantizer, name=INPUT)(output), quantizer)
        if id(inputs) in self.grids and _keeps_grid(operation, self.grids[id(inputs)].scale):
            return self._on_grid(output, self.grids[id(inputs)])
        return output

    def _weighted(self, layer, inputs):
        _check_supported(layer)
        values = self._gridded(layer, inputs)
        bits = self.policy[layer.name]
        quantizer = self._output_quantizer(layer.name, bits.activations, signed=True)
        common = {
            "name": layer.name,
            "use_bias": layer.use_bias,
            "activation": quantizer,
            "input_exponent": self.grids[id(values)].exponent,
        }
        if isinstance(layer, keras.layers.Dense):
            weights = {"kernel_quantizer": bits.quantizer(), "kernel_initializer": "zeros"}
            made = IntegerDense(layer.units, **weights, **common)
        else:
            common |= {"strides": layer.strides, "padding": layer.padding, "dilation_rate": layer.dilation_rate}
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                weights = {"depthwise_quantizer": bits.quantizer(axis=2), "depthwise_initializer": "zeros"}
                made = IntegerDepthwiseConv2D(layer.kernel_size, **weights, **common)
            else:
                weights = {"kernel_quantizer": bits.quantizer(), "kernel_initializer": "zeros"}
                made = IntegerConv2D(layer.filters, layer.kernel_size, **weights, **common)
        return self._on_grid(made(values), quantizer)

    def _add(self, layer, inputs):
        values = [self._gridded(layer, tensor) for tensor in inputs]
        source = graph.sources(layer)[-1].name
        quantizer = self._output_quantizer(layer.name, self.policy[source].activations, half_up=True)
        return self._on_grid(QuantizedAdd(quantizer, name=layer.name)(values), quantizer)

    def _mean(self, layer, inputs):
        values = self._gridded(layer, inputs)
        quantizer = self._quantizer(layer.name, 8)
        pool = QuantizedGlobalAveragePooling2D(
            quantizer, self.grids[id(values)].exponent, keepdims=layer.keepdims, name=layer.name
        )
        return self._on_grid(pool(values), quantizer)

    def _pool(self, layer, inputs):
        values = self._gridded(layer, inputs)
        quantizer = self.grids[id(values)]
        grid = {"input_exponent": quantizer.exponent, "zero_point": quantizer.zero_point}
        pool = QuantizedAveragePooling2D.from_config({**layer.get_config(), **grid})
        return self._on_grid(pool(values), quantizer)

    def _gridded(self, layer, tensor):
        """The tensor itself where it is on a grid, else quantized."""
        if id(tensor) in self.grids:
            return tensor
        source = tensor._keras_history.operation.name
        quantizer = self._quantizer(source, 8)
        return self._on_grid(qkeras.QActivation(quantizer, name=f"{layer.name}_input")(tensor), quantizer)

    def _output_quantizer(self, name: str, bits: int, signed: bool | None = None, **options) -> ActivationQuantizer:
        """Quantizer of an operation's output, which may take over the ReLU behind it."""
        if name not in self.fused:
            return self._quantizer(name, bits, signed, **options)
        maximum = graph.relu_maximum(self.fused[name])
        maximum = None if maximum == math.inf else maximum
        return self._quantizer(self.fused[name].name, bits, signed=False, maximum=maximum, **options)

    def _quantizer(self, name: str, bits: int, signed: bool | None = None, **options) -> ActivationQuantizer:
        """Quantizer of an operation's output; signed where the sample says so unless given."""
        values = self.samples[name]
        signed = bool(values.min() < 0) if signed is None else signed
        exponent = calibrate.exponent(values, bits, signed, cover=name in self.outputs)
        return ActivationQuantizer(bits, exponent, signed, **options)

    def _on_grid(self, tensor, quantizer: ActivationQuantizer):
        self.grids[id(tensor)] = quantizer
        self.alive.append(tensor)
        return tensor


def _fused_activations(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Layers whose only consumer is a ReLU: name -> that ReLU, which the layer's quantizer takes over."""
    consumers = graph.consumers(model)
    outputs = {tensor._keras_history.operation.name for tensor in model.outputs}
    return {
        layer.name: consumers[layer.name][0]
        for layer in model.layers
        if (graph.is_quantizable(layer) or type(layer) is keras.layers.Add)
        and layer.name not in outputs
        and len(consumers[layer.name]) == 1
        and graph.relu_maximum(consumers[layer.name][0]) is not None
    }


def _keeps_grid(operation, scale: float) -> bool:
    """Whether an operation turns values on a grid of a scale into values on the same grid."""
    maximum = graph.relu_maximum(operation)
    if maximum is not None:
        return maximum == math.inf or (maximum / scale).is_integer()
    if type(operation) is keras.layers.Activation:
        return graph.is_linear(operation)
    if type(operation) is keras.layers.UpSampling2D:
        return operation.interpolation == "nearest"
    return type(operation) in KEEPS_GRID


def _check_supported(layer) -> None:
    for option, expected in (("groups", 1), ("depth_multiplier", 1), ("data_format", "channels_last")):
        found = getattr(layer, option, expected)
        if found != expected:
            raise InputError(f"layer {layer.name!r} has {option}={found!r}; only {expected!r} can be quantized")


def _is_centring(operation) -> bool:
    return (
        type(operation) is keras.layers.Rescaling
        and operation.scale == float_model.PIXEL_SCALE
        and operation.offset == float_model.PIXEL_OFFSET
    )
