"""Integer inference against a NumPy twin that computes in int64."""

import keras
import numpy as np
import pytest
import qkeras
import tensorflow as tf

from bompnas.networks.layers import (
    IntegerConv2D,
    IntegerDense,
    IntegerDepthwiseConv2D,
    QuantizedAdd,
    QuantizedAveragePooling2D,
    QuantizedGlobalAveragePooling2D,
)
from bompnas.networks.quantizers import ActivationQuantizer, WeightQuantizer

INPUT_EXPONENT = -5


def same_padding(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def integer_convolution(inputs, kernel, stride, depthwise):
    """SAME convolution of int64 arrays, written for clarity."""
    size, (before, after) = kernel.shape[0], same_padding(inputs.shape[1], kernel.shape[0], stride)
    padded = np.pad(inputs, ((0, 0), (before, after), (before, after), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    if depthwise:
        return np.einsum("bxycij,ijc->bxyc", windows, kernel[..., 0])
    return np.einsum("bxycij,ijco->bxyo", windows, kernel)


def twin(layer, accumulator):
    """Bias, one float32 factor, round half to even, clamp: what an integer kernel ends with."""
    step = np.asarray(layer.step())
    output = layer.activation
    factor = step * np.float32(2.0**INPUT_EXPONENT / output.scale)
    values = (accumulator + layer.integer_bias().astype(np.int64)).astype(np.float32) * factor
    return np.clip(np.round(values), output.low, output.high) * output.scale


def grid_inputs(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape)


def set_weights(layer, seed=1, zero_channel=None):
    generator = np.random.default_rng(seed)
    kernel = generator.normal(0, 0.4, layer.weights[0].shape).astype("float32")
    if zero_channel is not None:
        kernel[..., zero_channel] = 0
    layer.set_weights([kernel, generator.normal(0, 1, layer.weights[1].shape).astype("float32")])


@pytest.mark.parametrize("bits", [2, 4, 5, 8, 12, 16])
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (2, 2), (4, 1), (6, 2), (7, 4)])
def test_convolution_is_exact(bits, kernel_size, stride):
    layer = IntegerConv2D(
        6,
        kernel_size,
        strides=stride,
        padding="same",
        input_exponent=INPUT_EXPONENT,
        kernel_quantizer=WeightQuantizer(bits),
        activation=ActivationQuantizer(8, -3),
    )
    inputs = grid_inputs((2, 9, 9, 5))
    layer.build(inputs.shape)
    set_weights(layer, zero_channel=3)
    outputs = np.asarray(layer((inputs * 2.0**INPUT_EXPONENT).astype("float32")))
    accumulator = integer_convolution(inputs, layer.integer_weights().astype(np.int64), stride, depthwise=False)
    np.testing.assert_array_equal(outputs, twin(layer, accumulator))
    assert np.abs(layer.integer_weights()).max() <= 2 ** (bits - 1) - 1
    assert not layer.integer_weights()[..., 3].any()


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (4, 2), (7, 1)])
def test_depthwise_convolution_is_exact(kernel_size, stride):
    layer = IntegerDepthwiseConv2D(
        kernel_size,
        strides=stride,
        padding="same",
        input_exponent=INPUT_EXPONENT,
        depthwise_quantizer=WeightQuantizer(5, axis=2),
        activation=ActivationQuantizer(8, -4, signed=False, maximum=6.0),
    )
    inputs = grid_inputs((2, 8, 8, 7))
    layer.build(inputs.shape)
    set_weights(layer)
    outputs = np.asarray(layer((inputs * 2.0**INPUT_EXPONENT).astype("float32")))
    accumulator = integer_convolution(inputs, layer.integer_weights().astype(np.int64), stride, depthwise=True)
    np.testing.assert_array_equal(outputs, twin(layer, accumulator))
    assert outputs.max() <= 6


@pytest.mark.parametrize(("features", "bits"), [(10, 4), (600, 8), (5000, 8), (300, 16)])
def test_dense_is_exact_even_where_float32_sums_would_not_be(features, bits):
    layer = IntegerDense(
        4,
        input_exponent=INPUT_EXPONENT,
        kernel_quantizer=WeightQuantizer(bits),
        activation=ActivationQuantizer(8, 4),
    )
    inputs = grid_inputs((16, features))
    layer.build(inputs.shape)
    set_weights(layer)
    layer.set_weights([np.abs(layer.get_weights()[0]), layer.get_weights()[1]])  # drive the sums up
    outputs = np.asarray(layer((inputs * 2.0**INPUT_EXPONENT).astype("float32")))
    np.testing.assert_array_equal(outputs, twin(layer, inputs @ layer.integer_weights().astype(np.int64)))


def test_a_dead_channel_keeps_its_bias():
    layer = IntegerDense(
        2, input_exponent=-7, kernel_quantizer=WeightQuantizer(4), activation=ActivationQuantizer(8, -5)
    )
    layer.build((None, 3))
    layer.set_weights([np.zeros((3, 2), "float32"), np.array([1.5, 0.0], "float32")])
    np.testing.assert_array_equal(layer(np.ones((1, 3), "float32")), [[1.5, 0.0]])
    assert np.abs(layer.integer_bias()).max() <= 2**22


def test_training_and_inference_agree_but_for_rounding_ties():
    layer = IntegerConv2D(
        8,
        3,
        padding="same",
        input_exponent=INPUT_EXPONENT,
        kernel_quantizer=WeightQuantizer(5),
        activation=ActivationQuantizer(8, -3),
    )
    inputs = (grid_inputs((8, 12, 12, 6)) * 2.0**INPUT_EXPONENT).astype("float32")
    layer.build(inputs.shape)
    set_weights(layer)
    difference = np.abs(np.asarray(layer(inputs, training=True)) - np.asarray(layer(inputs, training=False)))
    assert difference.max() <= 2.0**-3
    assert (difference > 0).mean() < 1e-3


def test_quantized_layers_are_qkeras_layers_without_hidden_clipping():
    quantizer = WeightQuantizer(4)
    options = {"input_exponent": 0, "activation": ActivationQuantizer(8, 0)}
    convolution = IntegerConv2D(2, 3, kernel_quantizer=quantizer, **options)
    depthwise = IntegerDepthwiseConv2D(3, depthwise_quantizer=WeightQuantizer(4, axis=2), **options)
    dense = IntegerDense(2, kernel_quantizer=quantizer, **options)
    assert isinstance(convolution, qkeras.QConv2D)
    assert isinstance(depthwise, qkeras.QDepthwiseConv2D)
    assert isinstance(dense, qkeras.QDense)
    for layer, shape in ((convolution, (1, 5, 5, 2)), (depthwise, (1, 5, 5, 2)), (dense, (1, 5))):
        layer.build(shape)
        assert all(weight.constraint is None for weight in layer.weights)


def test_addition_rounds_half_up():
    layer = QuantizedAdd(ActivationQuantizer(8, 0, half_up=True))
    outputs = layer([np.array([[0.5, -0.5, 1.0]], "float32"), np.array([[1.0, 0.0, 200.0]], "float32")])
    np.testing.assert_array_equal(outputs, [[2, 0, 127]])


@pytest.mark.parametrize("size", [2, 3, 7])
def test_average_pooling_is_exact(size):
    layer = QuantizedGlobalAveragePooling2D(ActivationQuantizer(8, -6, signed=False), input_exponent=-5)
    inputs = grid_inputs((64, size, size, 3))
    outputs = np.asarray(layer((inputs * 2.0**-5).astype("float32")))
    total = inputs.sum((1, 2)).astype(np.float32)
    expected = np.clip(np.round(total * np.float32(2.0 / size**2)), 0, 255) * 2.0**-6
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize("zero_point", [0, -128])
@pytest.mark.parametrize(("size", "strides", "padding"), [(2, 2, "valid"), ((3, 4), (2, 1), "same"), (5, 3, "same")])
def test_windows_are_averaged_half_away_from_zero_without_their_padding(size, strides, padding, zero_point):
    layer = QuantizedAveragePooling2D(
        size, strides=strides, padding=padding, input_exponent=INPUT_EXPONENT, zero_point=zero_point
    )
    raw = np.random.default_rng(0).integers(-128, 128, (4, 9, 7, 3))
    inputs = ((raw - zero_point) * 2.0**INPUT_EXPONENT).astype("float32")
    outputs = np.asarray(layer(inputs)) / 2.0**INPUT_EXPONENT + zero_point
    (height, width), (down, right) = layer.pool_size, layer.strides
    margins = [
        same_padding(n, k, s) if padding == "same" else (0, 0) for n, k, s in ((9, height, down), (7, width, right))
    ]
    padded = np.ma.masked_all((4, *(n + sum(margin) for n, margin in zip((9, 7), margins, strict=True)), 3))
    padded[:, margins[0][0] : margins[0][0] + 9, margins[1][0] : margins[1][0] + 7] = raw
    for y, x in np.ndindex(outputs.shape[1:3]):
        average = padded[:, y * down : y * down + height, x * right : x * right + width].mean((1, 2))
        np.testing.assert_array_equal(outputs[:, y, x], np.sign(average) * np.floor(np.abs(average) + 0.5))


def test_training_passes_the_average_s_gradient():
    layer = QuantizedAveragePooling2D(2, input_exponent=-1, zero_point=0)
    variable = tf.Variable([[[[0.5], [1.0]], [[0.0], [0.0]]]])
    with tf.GradientTape() as tape:
        output = layer(variable, training=True)
    np.testing.assert_array_equal(output, [[[[0.5]]]])  # 3/4 of a level rounds to 1
    np.testing.assert_array_equal(tape.gradient(output, variable), np.full((1, 2, 2, 1), 0.25))


def test_layers_reload_bit_identically(tmp_path):
    inputs = keras.Input((6, 6, 3))
    values = IntegerConv2D(
        4,
        3,
        padding="same",
        input_exponent=-7,
        kernel_quantizer=WeightQuantizer(4),
        activation=ActivationQuantizer(8, -4, signed=False, maximum=6.0),
        name="conv",
    )(inputs)
    branch = IntegerDepthwiseConv2D(
        4,
        padding="same",
        input_exponent=-4,
        depthwise_quantizer=WeightQuantizer(5, axis=2),
        activation=ActivationQuantizer(8, -5),
        name="depthwise",
    )(values)
    values = QuantizedAdd(ActivationQuantizer(8, -4, half_up=True))([values, branch])
    values = QuantizedAveragePooling2D(2, input_exponent=-4, zero_point=0)(values)
    values = QuantizedGlobalAveragePooling2D(ActivationQuantizer(8, -5), input_exponent=-4)(values)
    outputs = IntegerDense(
        10, input_exponent=-5, kernel_quantizer=WeightQuantizer(7), activation=ActivationQuantizer(8, -3), name="dense"
    )(values)
    model = keras.Model(inputs, outputs)
    for name in ("conv", "depthwise", "dense"):
        set_weights(model.get_layer(name))
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    images = (grid_inputs((32, 6, 6, 3)) * 2.0**-7).astype("float32")
    np.testing.assert_array_equal(reloaded.predict(images, verbose=0), model.predict(images, verbose=0))
