"""Our quantized models: every tensor of the graph against Keras, bit for bit; heads; what is refused."""

import keras
import numpy as np
import pytest
import qkeras
from keras import layers

from bompnas.errors import NotExportableError
from bompnas.export import emulator, graph, keras_layers
from bompnas.export.extract import extract
from bompnas.networks import fold, quantize
from bompnas.networks.layers import (
    IntegerConv2D,
    IntegerDense,
    QuantizedAdd,
    QuantizedAveragePooling2D,
    QuantizedGlobalAveragePooling2D,
)
from bompnas.networks.quantizers import ActivationQuantizer, WeightQuantizer

IMAGES = np.random.default_rng(3).integers(0, 256, (60, 9, 9, 1)).astype("uint8")


def begin():
    image = keras.Input((9, 9, 1), name="image")
    return image, layers.Rescaling(1 / 128, -1.0, name="centre")(image)


def quantized(model, weights=8, activations=8, seed=0):
    """The model with random weights, among them dead channels, quantized."""
    generator = np.random.default_rng(seed)
    folded = fold.fold(model)
    for layer in folded.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            kernel = generator.normal(0, 1.5 / np.sqrt(kernel[..., 0].size), kernel.shape)
            kernel[..., 1:2, :] *= 0 if isinstance(layer, layers.DepthwiseConv2D) else 1
            kernel[..., 2:4] = 0
            bias = generator.normal(0, 0.3, bias.shape)
            bias[3:4] = 0
            layer.set_weights([kernel, bias])
    policy = quantize.Policy({}, quantize.LayerBits(weights, activations))
    return quantize.quantize(folded, policy, quantize.Calibration.of(folded, IMAGES))


def assert_exact(model, extracted, images=IMAGES):
    """Every tensor that is a Keras layer's output equals it."""
    names = {name: layer for name, layer in extracted.layers.items() if name in extracted.graph.tensors}
    with_keras = keras.Model(model.inputs, {name: model.get_layer(layer).output for name, layer in names.items()})
    expected = with_keras.predict_on_batch(images)
    for name, levels in emulator.trace(extracted.graph, extracted.graph.levels(images)):
        if name in expected:
            scale = extracted.graph.tensors[name].grid.scale
            np.testing.assert_array_equal(levels * scale, expected[name], err_msg=name)


def chain(*steps):
    """A quantized model of a convolution and more layers."""
    image, values = begin()
    for layer in (layers.Conv2D(6, 3, padding="same", name="first"), *steps):
        values = layer(values)
    return quantized(keras.Model(image, values))


def on_grid(exponent=-7, shape=(9, 9, 1)):
    image = keras.Input(shape, name="image")
    return image, qkeras.QActivation(ActivationQuantizer(8, exponent), name="grid")(image)


def convolution(**options):
    standard = {"filters": 2, "kernel_size": 1, "input_exponent": -7, "activation": ActivationQuantizer(8, -4)}
    return IntegerConv2D(kernel_quantizer=WeightQuantizer(4), name="conv", **{**standard, **options})


def kinds(extracted):
    return [type(operation) for operation in extracted.graph.operations]


@pytest.mark.parametrize(("weights", "activations"), [(2, 8), (4, 2), (8, 5), (12, 7), (16, 8)])
def test_every_tensor_of_a_network_equals_keras(weights, activations):
    image, values = begin()
    values = layers.Conv2D(6, 4, strides=2, padding="same", name="even_strided")(values)
    start = values = layers.ReLU(6.0)(values)
    values = layers.ReLU(6.0)(layers.DepthwiseConv2D(6, padding="same", name="even_depthwise")(values))
    values = layers.Conv2D(6, 1, name="project")(values)
    values = layers.ReLU()(layers.Add(name="residual")([start, values]))
    values = layers.Conv2D(1, (2, 3), padding="valid", name="one_channel")(values)
    values = layers.DepthwiseConv2D(2, padding="same", dilation_rate=2, name="one_channel_depthwise")(values)
    values = layers.Conv2D(8, 3, padding="same", activation="relu", name="widen")(values)
    values = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(values)
    values = layers.Dense(10, name="dense")(layers.Flatten()(values))
    model = quantized(keras.Model(image, values), weights, activations)
    extracted = extract(model)
    assert extracted.tail is None
    assert extracted.graph.centring == (1 / 128, -1.0)
    assert {operation.bits for operation in extracted.graph.linear} == {weights}
    for operation in extracted.graph.linear:
        assert np.abs(operation.weights).max() <= 2 ** (weights - 1) - 1
    assert extracted.graph.tensors["residual"].grid.low == 0
    assert extracted.layers["image"] == "image_grid"
    assert_exact(model, extracted)


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_integers_are_the_weights_in_steps_of_their_channel(bits):
    image, values = begin()
    values = layers.Conv2D(5, 3, name="conv")(values)
    values = layers.DepthwiseConv2D(3, name="depthwise")(values)
    values = layers.Dense(7, name="dense")(layers.Flatten()(values))
    model = quantized(keras.Model(image, values), bits)
    operations = {operation.name: operation for operation in extract(model).graph.linear}
    assert set(operations) == {"conv", "depthwise", "dense"}
    for name, operation in operations.items():
        kernel = model.get_layer(name).get_weights()[0]
        kernel = kernel[..., 0] if name == "depthwise" else kernel
        np.testing.assert_array_equal(operation.weights, np.round(kernel / operation.steps))
        assert np.abs(operation.weights).max() == 2 ** (bits - 1) - 1
        assert operation.weights.dtype == operation.bias.dtype == np.int32
        assert operation.steps.dtype == np.float32


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([QuantizedAveragePooling2D(2, input_exponent=-4, zero_point=0)], [graph.AveragePool]),
        ([layers.MaxPooling2D(3, 2, "same")], [graph.MaxPool]),
        ([layers.MaxPooling2D(2), layers.ReLU()], [graph.MaxPool, graph.Clip]),
        ([layers.Cropping2D(((1, 2), (0, 3))), layers.ReLU(1.0)], [graph.Crop, graph.Clip]),
        ([layers.ZeroPadding2D(((1, 0), (2, 3)))], [graph.Pad]),
        ([layers.UpSampling2D((2, 3)), layers.Dropout(0.5)], [graph.Upsample]),
        ([layers.Permute((3, 1, 2)), layers.Activation("linear")], [graph.Transpose]),
        ([layers.Reshape((9, 36)), layers.Identity()], [graph.Reshape]),
        ([layers.Flatten()], [graph.Reshape]),
        ([layers.GlobalMaxPooling2D()], [graph.MaxPool, graph.Reshape]),
        ([layers.GlobalMaxPooling2D(keepdims=True)], [graph.MaxPool]),
        ([QuantizedGlobalAveragePooling2D(ActivationQuantizer(8, -6), input_exponent=-4)], [graph.Mean]),
        ([layers.SpatialDropout2D(0.5), layers.ReLU(), layers.ReLU()], [graph.Clip]),
        ([qkeras.QActivation(ActivationQuantizer(4, -4, signed=False))], [graph.Clip]),
        ([qkeras.QActivation(ActivationQuantizer(8, -4))], []),
    ],
)
def test_layers_behind_a_convolution_are_exact(steps, expected):
    image, values = on_grid(exponent=-4)
    values = convolution(filters=4, kernel_size=3, padding="same", input_exponent=-4)(values)
    for layer in steps:
        values = type(layer).from_config(layer.get_config())(values)
    model = keras.Model(image, values)
    extracted = extract(model)
    assert kinds(extracted) == [graph.Convolution, *expected]
    assert_exact(model, extracted, IMAGES / 16 - 8)


def test_a_head_of_several_layers_is_exact():
    model = chain(
        layers.Conv2D(4, 2, padding="same", activation="relu"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(12, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(3),
    )
    extracted = extract(model)
    assert kinds(extracted)[1:] == [graph.Convolution, graph.AveragePool, graph.Reshape, graph.Dense, graph.Dense]
    assert_exact(model, extracted)


def test_every_layer_that_keeps_a_grid_has_a_reader():
    assert set(quantize.KEEPS_GRID) <= set(keras_layers.READERS)


def test_a_softmax_is_refused_by_name_or_stays_in_float():
    model = chain(layers.Flatten(), layers.Dense(5, name="logits"), layers.Softmax(name="probabilities"))
    with pytest.raises(NotExportableError, match=r"layer 'probabilities' .* Softmax .* export\.float_head: true"):
        extract(model)
    extracted = extract(model, float_head=True)
    assert extracted.graph.output == "logits"
    values = emulator.emulate(extracted.graph, extracted.graph.levels(IMAGES))
    values = values * np.float32(extracted.graph.tensors["logits"].grid.scale)
    np.testing.assert_array_equal(extracted.tail.predict(values, verbose=0), model.predict(IMAGES, verbose=0))


def test_a_float_end_has_layers_with_weights_and_branches():
    image, values = begin()
    values = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(values))
    normal = layers.LayerNormalization(name="normal")(values)
    values = layers.Dense(3, name="last")(layers.Concatenate()([normal, layers.Activation("tanh")(values)]))
    model = quantize_only_kernels(keras.Model(image, values))
    with pytest.raises(NotExportableError, match="layer 'normal'"):
        extract(model)
    extracted = extract(model, float_head=True)
    assert extracted.tail.get_layer("last") is model.get_layer("last")
    levels = emulator.emulate(extracted.graph, extracted.graph.levels(IMAGES))
    values = levels * np.float32(extracted.graph.tensors[extracted.graph.output].grid.scale)
    np.testing.assert_array_equal(extracted.tail.predict(values, verbose=0), model.predict(IMAGES, verbose=0))


def quantize_only_kernels(model):
    """Quantized with the weights that it has."""
    folded = fold.fold(model)
    policy = quantize.Policy({}, quantize.LayerBits(8, 8))
    return quantize.quantize(folded, policy, quantize.Calibration.of(folded, IMAGES))


def test_two_tensors_into_the_float_end_are_refused():
    image, values = begin()
    first = layers.Conv2D(4, 3, padding="same", name="first")(values)
    second = layers.Conv2D(4, 3, padding="same", name="second")(first)
    model = quantize_only_kernels(keras.Model(image, layers.Concatenate(name="both")([first, second])))
    with pytest.raises(NotExportableError, match=r"layer 'both' .* one tensor may connect"):
        extract(model, float_head=True)


def test_nested_and_sequential_models_are_flattened_and_left_as_they_are():
    inner = keras.Sequential(
        [
            keras.Input((9, 9, 1)),
            qkeras.QActivation(ActivationQuantizer(8, -7), name="grid"),
            IntegerConv2D(
                4,
                3,
                input_exponent=-7,
                kernel_quantizer=WeightQuantizer(4),
                activation=ActivationQuantizer(8, -4, signed=False),
                name="conv",
            ),
            layers.Flatten(name="flatten"),
        ]
    )
    dense = IntegerDense(
        3, input_exponent=-4, kernel_quantizer=WeightQuantizer(4), activation=ActivationQuantizer(8, -2), name="dense"
    )
    model = keras.Sequential([keras.Input((9, 9, 1), name="image"), layers.Rescaling(1 / 128, -1.0), inner, dense])
    calls = [len(layer._inbound_nodes) for layer in (*model.layers, *inner.layers)]
    extracted = extract(model)
    assert [operation.name for operation in extracted.graph.operations] == ["conv", "flatten", "dense"]
    assert [len(layer._inbound_nodes) for layer in (*model.layers, *inner.layers)] == calls
    levels = emulator.emulate(extracted.graph, extracted.graph.levels(IMAGES))
    np.testing.assert_array_equal(levels / 4, model.predict(IMAGES, verbose=0))


def test_a_nested_model_that_is_no_graph_stays_in_float():
    class Halves(keras.Model):
        def call(self, inputs):
            return inputs[..., :1], inputs[..., 1:]

    image, values = on_grid()
    values = layers.Subtract()(Halves(name="halves")(convolution()(values)))
    model = keras.Model(image, keras.Sequential([layers.Softmax()])(values))
    with pytest.raises(NotExportableError, match="layer 'halves' "):
        extract(model)
    extracted = extract(model, float_head=True)
    values = emulator.emulate(extracted.graph, extracted.graph.levels(IMAGES / 256)).astype("float32") / 16
    np.testing.assert_array_equal(extracted.tail.predict(values, verbose=0), model.predict(IMAGES / 256, verbose=0))


def test_layers_before_the_first_quantizer_move_values_only():
    inputs = keras.Input((4, 6), name="table")
    values = layers.Permute((2, 1), name="turned")(inputs)
    values = layers.Dense(3, name="dense")(layers.Flatten(name="flat")(values))
    folded = fold.fold(keras.Model(inputs, values))
    table = np.random.default_rng(0).normal(size=(50, 4, 6)).astype("float32")
    policy = quantize.Policy({}, quantize.LayerBits(8, 8))
    model = quantize.quantize(folded, policy, quantize.Calibration.of(folded, table))
    extracted = extract(model)
    assert extracted.graph.input.shape == (4, 6)
    assert kinds(extracted) == [graph.Transpose, graph.Reshape, graph.Dense]
    assert extracted.layers["flat"] == "dense_input"
    assert_exact(model, extracted, table)


def test_input_exponents_must_agree():
    image, values = on_grid(exponent=-6)
    with pytest.raises(NotExportableError, match=r"layer 'conv' .* takes values of scale 2\^-7, .* has scale 2\^-6"):
        extract(keras.Model(image, convolution()(values)))


def test_quantizers_must_round_as_their_kernels_do():
    image, values = on_grid()
    with pytest.raises(NotExportableError, match=r"layer 'conv' .* half_up=True"):
        extract(keras.Model(image, convolution(activation=ActivationQuantizer(8, -4, half_up=True))(values)))
    total = QuantizedAdd(ActivationQuantizer(8, -6), name="sum")([values, values])
    with pytest.raises(NotExportableError, match=r"layer 'sum' .* half_up=False"):
        extract(keras.Model(image, total))


def test_layers_must_be_called_once():
    image, values = on_grid()
    shared = layers.ReLU(name="shared")
    values = convolution(input_exponent=-7)(shared(values))
    with pytest.raises(NotExportableError, match=r"layer 'shared' .* called twice"):
        extract(keras.Model(image, shared(values)))


@pytest.mark.parametrize("count", [1, 3])
def test_additions_take_two_tensors_of_one_shape(count):
    image, values = on_grid()
    others = [values] * (count - 1) or [layers.GlobalMaxPooling2D(keepdims=True)(values)]
    total = QuantizedAdd(ActivationQuantizer(8, -5, half_up=True), name="sum")([values, *others])
    with pytest.raises(NotExportableError, match=r"layer 'sum' .* two of one shape"):
        extract(keras.Model(image, total))


def test_a_relu_s_maximum_must_lie_on_the_grid():
    image, values = on_grid()
    with pytest.raises(NotExportableError, match=r"layer 'relu' .* no multiple"):
        extract(keras.Model(image, layers.ReLU(0.3, name="relu")(values)))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.Dense(2, name="float"), "Dense computes in float"),
        (layers.Activation("sigmoid", name="float"), "activation sigmoid computes in float"),
        (layers.LeakyReLU(name="float"), "LeakyReLU computes in float"),
        (layers.Lambda(lambda values: values, name="float"), "Lambda computes in float"),
        (layers.UpSampling2D(interpolation="bilinear", name="float"), "only 'nearest'"),
        (layers.AveragePooling2D(2, name="float"), "its output is not quantized"),
    ],
)
def test_float_layers_are_refused_by_name(layer, message):
    image, values = on_grid()
    with pytest.raises(NotExportableError, match=f"layer 'float' cannot be exported: .*{message}") as error:
        extract(keras.Model(image, layer(convolution()(values))))
    assert error.value.layer == "float"


def test_models_need_one_input_one_output_a_fixed_shape_and_a_quantizer():
    image, values = on_grid()
    other = keras.Input((9, 9, 1), name="other")
    with pytest.raises(NotExportableError, match=r"'other' .* one of 2 inputs"):
        extract(keras.Model([image, other], layers.Add()([values, other])))
    with pytest.raises(NotExportableError, match=r"'conv' .* one of 2 outputs"):
        extract(keras.Model(image, [values, convolution()(values)]))
    image, values = on_grid(shape=(None, None, 1))
    with pytest.raises(NotExportableError, match=r"'image' .* not fixed"):
        extract(keras.Model(image, convolution()(values)))
    with pytest.raises(NotExportableError, match=r"'conv' .* before the model's first quantizer"):
        extract(keras.Model(image, convolution()(image)), float_head=True)
    with pytest.raises(NotExportableError, match=r"'image' .* no quantized layer"):
        extract(keras.Model(image, layers.Rescaling(2.0)(image)))
    with pytest.raises(NotExportableError, match="functional or a built sequential"):
        extract(keras.Sequential([layers.Dense(2)]))
