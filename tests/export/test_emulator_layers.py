"""The emulator against the layers that it speaks for."""

import keras
import numpy as np
import pytest

from bompnas.export.emulator import emulate, trace
from bompnas.export.graph import (
    Add,
    Clip,
    Convolution,
    Crop,
    Dense,
    DepthwiseConvolution,
    Grid,
    IntegerGraph,
    MaxPool,
    Mean,
    Pad,
    Reshape,
    Tensor,
    Transpose,
    Upsample,
)
from bompnas.networks.layers import (
    IntegerConv2D,
    IntegerDense,
    IntegerDepthwiseConv2D,
    QuantizedAdd,
    QuantizedGlobalAveragePooling2D,
)
from bompnas.networks.quantizers import ActivationQuantizer, WeightQuantizer

SIGNED = Grid(-5, -128, 127)
UNSIGNED = Grid(-5, 0, 255, -128)


def one(kind, source, grid, shape, **attributes):
    """A graph of one operation."""
    operation = kind((source.name,), Tensor("made", shape, grid), **attributes)
    return IntegerGraph(source, (operation,), "made")


def set_weights(layer, seed=1):
    generator = np.random.default_rng(seed)
    kernel = generator.normal(0, 0.4, layer.weights[0].shape).astype("float32")
    kernel[..., 0] = 0
    layer.set_weights([kernel, *(generator.normal(0, 1, w.shape).astype("float32") for w in layer.weights[1:])])


def linear(layer, weights):
    return {
        "weights": weights,
        "bits": layer.weight_quantizer.bits,
        "steps": np.asarray(layer.step()),
        "bias": layer.integer_bias() if layer.use_bias else None,
    }


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (2, 1, 1), (4, 2, 1), (6, 3, 1), (3, 1, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolutions_compute_what_their_layers_compute(bits, kernel, stride, dilation, padding, random_levels):
    grid, source = Grid(-4, 0, 96, -128), Tensor("x", (9, 7, 5), UNSIGNED)
    levels = random_levels(source, 4)
    common = {
        "input_exponent": source.grid.exponent,
        "padding": padding,
        "strides": stride,
        "dilation_rate": dilation,
        "activation": ActivationQuantizer(8, grid.exponent, signed=False, maximum=6.0),
    }
    window = {"strides": (stride, stride), "padding": padding, "dilation": (dilation, dilation)}
    convolution = IntegerConv2D(6, kernel, kernel_quantizer=WeightQuantizer(bits), use_bias=kernel != 4, **common)
    depthwise = IntegerDepthwiseConv2D(kernel, depthwise_quantizer=WeightQuantizer(bits, axis=2), **common)
    for layer, kind in ((convolution, Convolution), (depthwise, DepthwiseConvolution)):
        layer.build((None, *source.shape))
        set_weights(layer)
        expected = np.asarray(layer((levels * source.grid.scale).astype("float32"))) / grid.scale
        weights = layer.integer_weights()
        weights = weights[..., 0] if kind is DepthwiseConvolution else weights
        graph = one(kind, source, grid, expected.shape[1:], **linear(layer, weights), **window)
        np.testing.assert_array_equal(emulate(graph, levels), expected)


@pytest.mark.parametrize("bits", [3, 8, 16])
@pytest.mark.parametrize("shape", [(600,), (3, 4, 30)])
def test_dense_computes_what_its_layer_computes(bits, shape, random_levels):
    source = Tensor("x", shape, SIGNED)
    levels = random_levels(source, 8)
    activation = ActivationQuantizer(6, -2)
    layer = IntegerDense(4, kernel_quantizer=WeightQuantizer(bits), input_exponent=-5, activation=activation)
    layer.build((None, *shape))
    set_weights(layer)
    expected = np.asarray(layer((levels * SIGNED.scale).astype("float32"))) / activation.scale
    graph = one(Dense, source, Grid(-2, -32, 31), expected.shape[1:], **linear(layer, layer.integer_weights()))
    np.testing.assert_array_equal(emulate(graph, levels), expected)


@pytest.mark.parametrize("exponents", [(-5, -5, -5), (-5, -8, -4), (-6, -1, -2), (-3, -3, -6)])
def test_add_computes_what_its_layer_computes(exponents, random_levels):
    first, second, made = exponents
    source = Tensor("x", (200,), Grid(first, -128, 127))
    identity = {
        "weights": np.eye(200, dtype=np.int32)[::-1],
        "bits": 2,
        "steps": np.ones(200, np.float32),
        "bias": None,
    }
    turned = Dense(("x",), Tensor("turned", (200,), Grid(second, -128, 127)), **identity)
    add = Add(("x", "turned"), Tensor("sum", (200,), Grid(made, -128, 127)))
    values = dict(trace(IntegerGraph(source, (turned, add), "sum"), random_levels(source, 8)))
    layer = QuantizedAdd(ActivationQuantizer(8, made, half_up=True))
    expected = layer([(values["x"] * 2.0**first).astype("float32"), (values["turned"] * 2.0**second).astype("float32")])
    np.testing.assert_array_equal(values["sum"], np.asarray(expected) / 2.0**made)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (7, 1)])
def test_mean_computes_what_its_layer_computes(keepdims, size, random_levels):
    source = Tensor("x", (*size, 50), UNSIGNED)
    levels = random_levels(source, 8)
    layer = QuantizedGlobalAveragePooling2D(ActivationQuantizer(8, -7, signed=False), -5, keepdims=keepdims)
    expected = np.asarray(layer((levels * UNSIGNED.scale).astype("float32"))) / 2.0**-7
    graph = one(Mean, source, Grid(-7, 0, 255, -128), (1, 1, 50) if keepdims else (50,))
    np.testing.assert_array_equal(emulate(graph, levels), expected)


def test_values_move_as_in_keras(random_levels):
    source = Tensor("x", (4, 6, 3), SIGNED)
    levels = random_levels(source, 2)
    moves = [
        (
            keras.layers.MaxPooling2D((3, 2), (2, 1), "same"),
            MaxPool,
            {"size": (3, 2), "strides": (2, 1), "padding": "same"},
        ),
        (keras.layers.ReLU(), Clip, {}),
        (keras.layers.Reshape((8, 9)), Reshape, {}),
        (keras.layers.Permute((3, 1, 2)), Transpose, {"permutation": (2, 0, 1)}),
        (keras.layers.ZeroPadding2D(((1, 2), (0, 3))), Pad, {"margins": ((1, 2), (0, 3))}),
        (keras.layers.Cropping2D(((1, 2), (0, 3))), Crop, {"margins": ((1, 2), (0, 3))}),
        (keras.layers.UpSampling2D((2, 3)), Upsample, {"factors": (2, 3)}),
    ]
    for layer, kind, attributes in moves:
        expected = np.asarray(layer(levels.astype("float32")))
        grid = Grid(-5, 0, 127) if kind is Clip else SIGNED
        np.testing.assert_array_equal(
            emulate(one(kind, source, grid, expected.shape[1:], **attributes), levels), expected
        )
