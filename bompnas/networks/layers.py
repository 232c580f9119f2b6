"""QKeras layers that train on fake-quantized values and infer with integers.

Training (QAFT) computes conv(x, K * step) + bias and quantizes the result, with straight-through gradients. Inference
computes what an integer kernel computes: the accumulator conv(x / input scale, K) is an exact integer, the INT32 bias
is added, the sum is multiplied by one float32 factor, rounded and clamped. So Keras, an integer emulator and LiteRT
agree bit for bit; taking conv(x, K * step) instead misses the integers' rounding at about one output in 10^5.

An accumulator is exact in float32 below 2^24. Where the worst case of a layer lies above, its integers are split into
digits of a smaller base, each digit's convolution is exact, and the digits are summed in int32, the accumulator of
integer kernels: a sum beyond it wraps here as it does there.
"""

import math

import keras
import numpy as np
import qkeras
from keras import ops

from bompnas.networks.fused import convolve
from bompnas.networks.quantizers import ActivationQuantizer, WeightQuantizer, straight_through

LARGEST_INPUT = 255
EXACT = 2**24
LARGEST_BIAS = {8: 2**22, 16: 2**29}
"""By the widest weights that it holds for [bits]: steps of wider ones than 8 bits are so fine that biases are large."""


class IntegerInference:
    """What the three quantized layers share: steps, integer biases and the two ways to compute.

    The layer's kernel holds float weights; `activation` is the quantizer of its output and `input_exponent` the log2 of
    its input's scale.
    """

    input_exponent: int
    given = None  # numbers in place of the layer's own, while a training step for several policies is traced

    @property
    def numbers(self) -> tuple[float, ...]:
        """What a policy changes in training: of the weights, the input, the bias and the output (scale, low, high)."""
        weights = self.weight_quantizer.number
        return (weights, self._input_scale(), float(self._largest_bias()), *self.activation.numbers)

    @property
    def weight_quantizer(self) -> WeightQuantizer:
        """The quantizer of the kernel."""
        return self.get_quantizers()[0]

    def step(self):
        """Step of each output channel, shape (out_channels,).

        A channel whose weights are tiny against its bias gets a larger step than its weights ask for, so that the bias
        stays a small integer; its weights hardly matter then.
        """
        return self._step(None, self._input_scale(), self._largest_bias())

    def integer_weights(self) -> np.ndarray:
        """The kernel's integers, int32, in the kernel's shape."""
        integers = self.weight_quantizer.integers(self._weights(), self._along_channels(self.step()))
        return ops.convert_to_numpy(integers).astype(np.int32)

    def integer_bias(self) -> np.ndarray:
        """The bias in units of input scale times step, int32, shape (out_channels,)."""
        if not self.use_bias:
            return np.zeros(self.step().shape, np.int32)
        return ops.convert_to_numpy(self._bias_integers(self.step())).astype(np.int32)

    def factor(self, step):
        """What turns accumulators into units of the output's scale, float32, shape (out_channels,)."""
        return step * (self._input_scale() / self.activation.scale)

    def call(self, inputs, training=None):
        """Quantized output values, on the output's grid in inference and in training."""
        if training:
            number, input_scale, largest_bias, *output = self.numbers if self.given is None else self.given
            step = self._step(number, input_scale, largest_bias)
            kernel = self.weight_quantizer(self._weights(), self._along_channels(step), number)
            outputs = self._linear(inputs, kernel)
            if self.use_bias:
                unit = ops.stop_gradient(step) * input_scale
                outputs = outputs + straight_through(self.bias, ops.round(self.bias / unit) * unit)
            return self.activation.fake(outputs, output)
        step = self.step()
        kernel = self.weight_quantizer.integers(self._weights(), self._along_channels(step))
        bias = self._bias_integers(step) if self.use_bias else 0.0
        accumulator = self._accumulate(inputs / self._input_scale(), kernel, bias)
        return self.activation.from_real_integers(accumulator * self.factor(step))

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "input_exponent": self.input_exponent, "kernel_constraint": None}

    def _step(self, number, input_scale, largest_bias):
        step = ops.reshape(self.weight_quantizer.step(self._weights(), number), (-1,))
        if self.use_bias:
            step = ops.maximum(step, ops.abs(self.bias) / (largest_bias * input_scale))
        return step

    def _largest_bias(self) -> int:
        return LARGEST_BIAS[8 if self._narrow() else 16]

    def _narrow(self) -> bool:
        return self.weight_quantizer.bits <= 8

    def _input_scale(self) -> float:
        return 2.0**self.input_exponent

    def _bias_integers(self, step):
        return ops.round(self.bias / (step * self._input_scale()))

    def _accumulate(self, inputs, kernel, bias):
        """float32 of the int32 sum of an integer convolution and a bias."""
        levels = self.weight_quantizer.levels
        fan_in = math.prod(kernel.shape) // kernel.shape[self.weight_quantizer.axis]
        if self._narrow() and levels * LARGEST_INPUT * fan_in < EXACT:
            return self._sum(inputs, kernel) + bias
        base = EXACT // (LARGEST_INPUT * fan_in)
        if base < 2:
            raise ValueError(f"layer {self.name}: {fan_in} inputs per output are too many for exact integer sums")
        total, power = ops.cast(bias, "int32"), 1
        while power * base < 2 * levels:
            quotient = ops.round(kernel / base)
            total = total + ops.cast(self._sum(inputs, kernel - quotient * base), "int32") * power
            kernel, power = quotient, power * base
        return ops.cast(total + ops.cast(self._sum(inputs, kernel), "int32") * power, "float32")

    def _sum(self, inputs, kernel):
        """The integer convolution; rounded, as fast algorithms of GPUs (Winograd's) miss integers by a little."""
        return ops.round(self._linear(inputs, kernel))

    def _weights(self):
        return self.kernel

    def _along_channels(self, step):
        """Per-channel values in a shape that broadcasts against the kernel."""
        shape = [1] * len(self._weights().shape)
        shape[self.weight_quantizer.axis] = -1
        return ops.reshape(step, shape)


@keras.saving.register_keras_serializable("bompnas")
class IntegerConv2D(IntegerInference, qkeras.QConv2D):
    """QConv2D with integer inference.

    Args:
        filters: Output channels.
        kernel_size: Kernel size.
        input_exponent: log2 of the input's scale.
        **kwargs: As `QConv2D`; `kernel_quantizer` is a `WeightQuantizer`, `activation` an `ActivationQuantizer`.
    """

    def __init__(self, filters, kernel_size, *, input_exponent: int, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.input_exponent = input_exponent
        self.kernel_constraint = self.bias_constraint = None  # QKeras would clip the kernel

    def _linear(self, inputs, kernel):
        return convolve(self, inputs, kernel)


@keras.saving.register_keras_serializable("bompnas")
class IntegerDepthwiseConv2D(IntegerInference, qkeras.QDepthwiseConv2D):
    """QDepthwiseConv2D with integer inference and one step per channel.

    Args:
        kernel_size: Kernel size.
        input_exponent: log2 of the input's scale.
        **kwargs: As `QDepthwiseConv2D`; `depthwise_quantizer` is a `WeightQuantizer` with axis 2.
    """

    def __init__(self, kernel_size, *, input_exponent: int, **kwargs):
        super().__init__(kernel_size, **kwargs)
        self.input_exponent = input_exponent
        self.depthwise_constraint = self.bias_constraint = None

    def _weights(self):
        return self.depthwise_kernel

    def _linear(self, inputs, kernel):
        return ops.depthwise_conv(
            inputs, kernel, strides=self.strides, padding=self.padding, dilation_rate=self.dilation_rate
        )

    def get_config(self):
        """Constructor arguments."""
        config = super().get_config()
        del config["kernel_constraint"]
        return {**config, "depthwise_constraint": None}


@keras.saving.register_keras_serializable("bompnas")
class IntegerDense(IntegerInference, qkeras.QDense):
    """QDense with integer inference.

    Args:
        units: Output features.
        input_exponent: log2 of the input's scale.
        **kwargs: As `QDense`; `kernel_quantizer` is a `WeightQuantizer`, `activation` an `ActivationQuantizer`.
    """

    def __init__(self, units, *, input_exponent: int, **kwargs):
        super().__init__(units, **kwargs)
        self.input_exponent = input_exponent
        self.kernel_constraint = self.bias_constraint = None

    def _linear(self, inputs, kernel):
        return ops.matmul(inputs, kernel)


class _Quantized(keras.layers.Layer):
    """A layer without weights whose output is quantized by `activation`."""

    given = None

    @property
    def numbers(self) -> tuple[float, ...]:
        """What training takes from the policy: the output's scale, low and high."""
        return self.activation.numbers

    def _fake_quantized(self, values):
        return self.activation.fake(values, self.given)

    def __init__(self, activation: ActivationQuantizer, **kwargs):
        super().__init__(**kwargs)
        self.activation = activation

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "activation": keras.saving.serialize_keras_object(self.activation)}

    @classmethod
    def from_config(cls, config):
        """Inverse of `get_config`."""
        return cls(**{**config, "activation": keras.saving.deserialize_keras_object(config["activation"])})


@keras.saving.register_keras_serializable("bompnas")
class QuantizedAdd(_Quantized):
    """Sum of tensors on power-of-two grids, exact in float32, then quantized (half up, as LiteRT's ADD)."""

    def call(self, inputs, training=None):
        """Sums a list of tensors of one shape."""
        total = sum(inputs[1:], start=inputs[0])
        return self._fake_quantized(total) if training else self.activation(total)

    def compute_output_shape(self, input_shape):
        """Shape of the first input."""
        return input_shape[0]


@keras.saving.register_keras_serializable("bompnas")
class QuantizedAveragePooling2D(keras.layers.AveragePooling2D):
    """Average over windows that keeps the grid of its input.

    The average of what INT8 storage holds, zero point included, rounded half away from zero, as LiteRT's
    AVERAGE_POOL_2D; padding does not count.

    Args:
        pool_size: Size of a window.
        input_exponent: log2 of the input's scale.
        zero_point: What INT8 storage holds for 0 in the input.
        **kwargs: As `AveragePooling2D`.
    """

    def __init__(self, pool_size, *, input_exponent: int, zero_point: int, **kwargs):
        super().__init__(pool_size, **kwargs)
        self.input_exponent = input_exponent
        self.zero_point = zero_point

    def call(self, inputs, training=None):
        """Averages; gradients are those of the ordinary average."""
        scale = 2.0**self.input_exponent
        count = self._count(inputs.shape[1:3])
        average = super().call(inputs / scale + float(self.zero_point))
        total = ops.cast(ops.round(average * count), "int32")
        rounded = ops.sign(total) * ((ops.abs(total) + count // 2) // count)
        quantized = (ops.cast(rounded, "float32") - float(self.zero_point)) * scale
        return straight_through(super().call(inputs), quantized) if training else quantized

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "input_exponent": self.input_exponent, "zero_point": self.zero_point}

    def _count(self, size: tuple[int, int]) -> np.ndarray:
        """Number of values in each window, int32, shape (output height, output width, 1)."""

        def along(size, window, stride):
            outputs = -(-size // stride) if self.padding == "same" else (size - window) // stride + 1
            margin = max((outputs - 1) * stride + window - size, 0) // 2 if self.padding == "same" else 0
            begins = np.arange(outputs) * stride - margin
            return np.minimum(begins + window, size) - np.maximum(begins, 0)

        height, width = map(along, size, self.pool_size, self.strides)
        return np.multiply.outer(height, width)[..., None].astype(np.int32)


@keras.saving.register_keras_serializable("bompnas")
class QuantizedGlobalAveragePooling2D(_Quantized):
    """Global average of a map, shape (batch, channels).

    The integer sum times one float32 factor, rounded half to even, as LiteRT's MEAN.

    Args:
        activation: Quantizer of the output.
        input_exponent: log2 of the input's scale.
        keepdims: Keep the averaged axes with size 1.
    """

    def __init__(self, activation: ActivationQuantizer, input_exponent: int, keepdims: bool = False, **kwargs):
        super().__init__(activation, **kwargs)
        self.input_exponent = input_exponent
        self.keepdims = keepdims

    def call(self, inputs, training=None):
        """Averages over height and width."""
        if training:
            return self._fake_quantized(ops.mean(inputs, axis=(1, 2), keepdims=self.keepdims))
        total = ops.sum(inputs / 2.0**self.input_exponent, axis=(1, 2), keepdims=self.keepdims)
        scale = 2.0**self.input_exponent / self.activation.scale
        factor = np.float32(scale / (inputs.shape[1] * inputs.shape[2]))
        return self.activation.from_real_integers(total * factor)

    def compute_output_shape(self, input_shape):
        """(batch, channels), or (batch, 1, 1, channels) with `keepdims`."""
        batch, _, _, channels = input_shape
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "input_exponent": self.input_exponent, "keepdims": self.keepdims}
