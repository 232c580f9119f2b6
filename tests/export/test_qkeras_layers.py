"""Models of stock QKeras layers: their integers exactly, and their outputs against Keras."""

import keras
import numpy as np
import pytest
from keras import layers
from qkeras import (
    QActivation,
    QConv2D,
    QDense,
    QDepthwiseConv2D,
    binary,
    quantized_bits,
    quantized_linear,
    quantized_po2,
    quantized_relu,
    quantized_ulaw,
    ternary,
)

from bompnas.errors import NotExportableError
from bompnas.export import emulator, graph
from bompnas.export.extract import extract

IMAGES = np.random.default_rng(5).integers(0, 256, (400, 12, 12, 3)).astype("uint8")


def auto(bits=4):
    return quantized_bits(bits, 0, 1, alpha="auto")


def signed(bits=8, integer=3):
    return quantized_bits(bits, integer, 0, alpha=1)


def image():
    inputs = keras.Input((12, 12, 3), name="image")
    return inputs, QActivation(signed(8, 0), name="grid")(layers.Rescaling(1 / 255)(inputs))


def convolution(values, **options):
    standard = {"filters": 4, "kernel_size": 3, "kernel_quantizer": auto(), "name": "conv"}
    return QConv2D(**{**standard, **options})(values)


def randomized(model, seed=0):
    """The model with random biases and normalizations, some of which turn the sign."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            channels = layer.moving_mean.shape
            gamma = generator.normal(1, 0.2, channels)
            gamma[::3] *= -1
            mean, beta = generator.normal(0, 0.3, (2, *channels))
            layer.set_weights([gamma, beta, mean, generator.uniform(0.5, 2, channels)])
        elif getattr(layer, "use_bias", False):
            layer.bias.assign(generator.normal(0, 0.1, layer.bias.shape))
    return model


def with_biases_on_the_grid(model):
    """A model without batch normalization whose biases are integers already."""
    integers = extract(model).graph
    for operation in integers.linear:
        unit = operation.steps.astype("float64") * integers.tensors[operation.inputs[0]].grid.scale
        if operation.bias is not None and model.get_layer(operation.name).use_bias:
            model.get_layer(operation.name).bias.assign(operation.bias * unit)
    return model


def levels_of(model, extracted, images=IMAGES):
    """Of the emulator and of Keras."""
    scale = extracted.graph.tensors[extracted.graph.output].grid.scale
    expected = np.round(model.predict(images, verbose=0) / scale)
    return emulator.emulate(extracted.graph, extracted.graph.levels(images)), expected


def residual_network(kernel, activation, total, normalize):
    """Every layer kind, with or without batch normalization."""
    normalization = layers.BatchNormalization if normalize else layers.Identity
    inputs, values = image()
    values = QConv2D(16, 3, strides=2, padding="same", kernel_quantizer=kernel(), name="first")(values)
    start = values = QActivation(activation())(normalization()(values))
    values = QDepthwiseConv2D(3, padding="same", depthwise_quantizer=kernel(), name="depthwise")(values)
    values = QActivation(signed())(layers.ReLU()(normalization()(values)))
    values = QConv2D(16, 1, kernel_quantizer=kernel(), name="project")(values)
    values = QActivation(signed())(normalization()(values))
    values = QActivation(total())(layers.Add()([start, values]))
    values = QActivation(activation())(layers.AveragePooling2D(2)(values))
    values = QConv2D(24, 2, kernel_quantizer=kernel(), activation=activation(), name="last")(values)
    values = QActivation(activation())(layers.GlobalAveragePooling2D()(values))
    values = QDense(10, kernel_quantizer=kernel(), activation=signed(), name="dense")(values)
    return randomized(keras.Model(inputs, values))


@pytest.mark.parametrize(
    "kernel",
    [
        auto,
        lambda: quantized_bits(8, 2, alpha="auto"),
        lambda: quantized_bits(6),  # QKeras makes alpha=None auto_po2
        lambda: quantized_bits(6, 0, 1, alpha=1.0),
        lambda: binary(alpha=0.5),
    ],
)
def test_without_normalization_and_with_biases_on_the_grid_keras_agrees_bit_for_bit(kernel):
    keras.utils.set_random_seed(1)
    model = residual_network(kernel, lambda: quantized_relu(8, 3), lambda: quantized_relu(8, 3), normalize=False)
    extracted = extract(with_biases_on_the_grid(model))
    found, expected = levels_of(model, extracted)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 20


def test_normalized_layers_agree_but_for_the_rounding_of_biases():
    keras.utils.set_random_seed(1)
    model = residual_network(lambda: auto(8), lambda: quantized_relu(8, 3), lambda: quantized_relu(8, 3), True)
    found, expected = levels_of(model, extract(model))
    assert (found.argmax(-1) == expected.argmax(-1)).mean() > 0.99
    assert (np.abs(found - expected) <= 1).mean() > 0.999
    assert (found == expected).mean() > 0.9


def test_residual_sums_differ_where_keras_rounds_ties_to_even():
    inputs, values = image()
    first, second = (convolution(values, name=name, activation=signed(8, 1)) for name in ("first", "second"))
    model = keras.Model(inputs, QActivation(signed(8, 2))(layers.Add(name="sum")([first, second])))
    extracted = extract(with_biases_on_the_grid(randomized(model)))
    found, expected = levels_of(model, extracted)
    assert isinstance(extracted.graph.operations[-1], graph.Add)
    assert set(np.unique(found - expected)) == {0, 1}
    parts = keras.Model(inputs, [first, second]).predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(found, np.floor(sum(parts) * 2.0**5 + 0.5).clip(-128, 127))


def integers_of_qkeras(kernel, bits, channel_axes):
    """What quantized_bits with alpha='auto' computes, restated."""
    levels = 2 ** (bits - 1) - 1
    axes = tuple(axis for axis in range(kernel.ndim) if axis not in channel_axes)
    scale = np.abs(kernel).max(axes, keepdims=True) * np.float32(2) / np.float32(2 * levels)
    return np.sign(kernel) * np.minimum(np.floor(np.abs(kernel) / scale + np.float32(0.5)), levels)


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_integers_are_those_of_qkeras(bits):
    keras.utils.set_random_seed(bits)
    inputs, values = image()
    values = convolution(values, kernel_quantizer=auto(bits), activation=signed())
    values = QDepthwiseConv2D(3, depthwise_quantizer=auto(bits), activation=signed(), name="depthwise")(values)
    per_channel = quantized_bits(bits, 0, 1, alpha="auto", scale_axis=2)
    values = QDepthwiseConv2D(3, depthwise_quantizer=per_channel, activation=signed(), name="per_channel")(values)
    values = QDense(7, kernel_quantizer=auto(bits), activation=signed(), name="dense")(layers.Flatten()(values))
    model = keras.Model(inputs, values)
    operations = {operation.name: operation for operation in extract(model).graph.linear}
    for name, channel_axes in {"conv": (3,), "depthwise": (), "per_channel": (2,), "dense": (1,)}.items():
        kernel = model.get_layer(name).get_weights()[0]
        expected = integers_of_qkeras(kernel, bits, channel_axes)
        np.testing.assert_array_equal(operations[name].weights, expected.reshape(operations[name].weights.shape))
        assert operations[name].bits == bits
    assert len(np.unique(operations["depthwise"].steps)) == 1


def test_fixed_scales_give_the_integers_that_follow_from_the_bits():
    inputs, values = image()
    model = keras.Model(
        inputs, convolution(values, kernel_quantizer=quantized_bits(5, 1, 0, alpha=0.75), activation=signed())
    )
    kernel = np.random.default_rng(0).uniform(-3, 3, model.get_layer("conv").kernel.shape).astype("float32")
    model.get_layer("conv").kernel.assign(kernel)
    (operation,) = extract(model).graph.operations
    np.testing.assert_array_equal(operation.weights, np.clip(np.round(kernel * 8), -16, 15))
    np.testing.assert_array_equal(operation.steps, np.full(4, 0.75 / 8))
    assert operation.bits == 6  # -16 is no symmetric 5-bit integer


@pytest.mark.parametrize(
    ("kernel", "bits", "largest"),
    [
        (binary(alpha="auto"), 2, 1),
        (ternary(alpha="auto"), 2, 1),
        (quantized_linear(5, 0, alpha="auto"), 5, 15),
    ],
)
def test_other_uniform_grids_are_read(kernel, bits, largest):
    inputs, values = image()
    model = keras.Model(inputs, convolution(values, kernel_quantizer=kernel, activation=signed()))
    layer = model.get_layer("conv")
    (operation,) = extract(model).graph.operations
    np.testing.assert_allclose(operation.weights * operation.steps, np.asarray(kernel(layer.kernel)), atol=1e-6)
    assert (operation.bits, np.abs(operation.weights).max()) == (bits, largest)


def test_a_normalization_turns_signs_and_scales_steps():
    inputs, values = image()
    values = QActivation(signed())(layers.BatchNormalization()(convolution(values, use_bias=False)))
    model = keras.Model(inputs, values)
    plain = integers_of_qkeras(model.get_layer("conv").get_weights()[0], 4, (3,))
    gamma, beta, mean, variance = (
        [2.0, -1.0, 0.0, 1e-9],
        [0.1, 0.2, 0.3, 0.4],
        [0.0, 1.0, 2.0, 0.5],
        [4.0, 1.0, 1.0, 1.0],
    )
    model.layers[-2].set_weights([np.array(values) for values in (gamma, beta, mean, variance)])
    (operation,) = extract(model).graph.operations
    multiples = np.abs(operation.weights).max((0, 1, 2)) // 7  # of 4-bit integers
    np.testing.assert_array_equal(operation.weights[..., 0], multiples[0] * plain[..., 0])
    np.testing.assert_array_equal(operation.weights[..., 1], multiples[1] * -plain[..., 1])
    assert not operation.weights[..., 2].any()
    np.testing.assert_allclose(operation.bias[1:] * operation.steps[1:] / 2**7, [1.2, 0.3, 0.4], rtol=1e-3)
    found, expected = levels_of(model, extract(model))
    assert np.abs(found - expected).max() <= 1
    np.testing.assert_array_equal(found[..., 2:], expected[..., 2:])


@pytest.mark.parametrize(
    ("quantizer", "grid"),
    [
        (signed(8, 2), graph.Grid(-5, -128, 127)),
        (quantized_bits(8, 2, 1, alpha=1), graph.Grid(-5, -127, 127)),
        (quantized_bits(4, 1, keep_negative=False, alpha=1), graph.Grid(-3, 0, 15, -128)),
        (quantized_relu(6, 2), graph.Grid(-4, 0, 63, -128)),
        (quantized_relu(8, 2, relu_upper_bound=1.5, is_quantized_clip=False), graph.Grid(-6, 0, 96, -128)),
        (quantized_linear(8, 0), graph.Grid(-7, -127, 127)),
    ],
)
def test_grids_of_activations(quantizer, grid):
    inputs, values = image()
    values = QActivation(quantizer)(convolution(values))
    assert extract(keras.Model(inputs, values)).graph.operations[0].output.grid == grid


@pytest.mark.parametrize(
    ("quantizer", "reason"),
    [
        ("quantized_tanh(8)", "expected quantized_relu or quantized_bits"),
        ("quantized_po2(4)", "expected quantized_relu or quantized_bits"),
        ("quantized_bits(9, 0, 0, alpha=1)", "do not fit INT8"),
        ("quantized_bits(8, 0, 0, alpha='auto')", "follows the values"),
        ("quantized_bits(8, 0, 0, alpha=0.3)", "scale is 0.002"),
        ("quantized_bits(1, 0, 0, alpha=1)", "levels become"),
        ("quantized_relu(8, 2, 0, 0.25)", "levels become"),
    ],
)
def test_quantizers_without_a_grid_are_refused_by_name(quantizer, reason):
    inputs, values = image()
    values = QActivation(quantizer, name="quantizer")(convolution(values))
    with pytest.raises(NotExportableError, match=rf"layer 'quantizer' .*{reason}"):
        extract(keras.Model(inputs, values))


def test_a_relu_before_a_signed_quantizer_cuts_its_grid():
    inputs, values = image()
    values = QActivation(signed(8, 2))(layers.ReLU(1.51)(convolution(values)))
    model = randomized(keras.Model(inputs, values))
    extracted = extract(with_biases_on_the_grid(model))
    assert extracted.graph.operations[0].output.grid == graph.Grid(-5, 0, 48, -128)
    np.testing.assert_array_equal(*levels_of(model, extracted))


def test_activations_inside_layers_are_read():
    inputs, values = image()
    values = convolution(values, activation=keras.activations.relu)
    values = layers.Dropout(0.5)(values)
    model = keras.Model(inputs, layers.Activation(signed(8, 2))(values))
    assert extract(model).graph.operations[0].output.grid.low == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda values: convolution(values), "'conv' .* its output is not quantized"),
        (lambda values: layers.Flatten()(convolution(values)), "'conv' .* its output is not quantized"),
        (lambda values: convolution(values, activation="softmax"), "'conv' .* its output is not quantized"),
        (lambda values: convolution(values, kernel_quantizer=None), "'conv' .* weights have no quantizer"),
        (
            lambda values: layers.Add(name="sum")([values, convolution(values, padding="same", filters=3)]),
            "'conv' .* not",
        ),
        (lambda values: layers.BatchNormalization(name="norm")(values), "'norm' .* computes in float"),
        (
            lambda values: layers.BatchNormalization(name="norm")(layers.ReLU()(convolution(values))),
            "'norm' .* directly",
        ),
        (
            lambda values: QActivation(signed())(layers.AveragePooling2D(5, padding="same", name="pool")(values)),
            "'pool' .* beyond the map's border",
        ),
        (lambda values: QActivation(signed(8, 2), name="other")(values), r"'other' .* from scale 2\^-7 to 2\^-5"),
        (
            lambda values: QDepthwiseConv2D(3, depth_multiplier=2, depthwise_quantizer=auto(), name="deep")(values),
            "'deep' .* depth multiplier",
        ),
    ],
)
def test_what_has_no_integers_is_refused_by_name(build, message):
    inputs, values = image()
    with pytest.raises(NotExportableError, match=message):
        extract(keras.Model(inputs, build(values)))


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (quantized_po2(8), "'conv' .* take 22 bits"),
        (quantized_ulaw(8), "'conv' .* steps away from a uniform grid"),
        (quantized_bits(8, alpha="auto", scale_axis=[2, 3]), "'conv' .* several scales in one output channel"),
    ],
)
def test_weights_on_no_uniform_grid_of_16_bits_are_refused(quantizer, message):
    inputs, values = image()
    model = keras.Model(inputs, convolution(values, kernel_quantizer=quantizer, activation=signed()))
    kernel = np.random.default_rng(0).uniform(0.1, 0.9, model.get_layer("conv").kernel.shape)
    kernel[0, 0] = np.array([[1.0], [2.0**-20], [0.1]])
    model.get_layer("conv").kernel.assign(kernel)
    with pytest.raises(NotExportableError, match=message):
        extract(model)


@pytest.mark.parametrize("quantizer", [None, signed(4, 0)])
def test_biases_are_rounded_to_the_accumulator_s_unit(quantizer):
    inputs, values = image()
    values = convolution(values, kernel_quantizer=auto(8), bias_quantizer=quantizer, activation=signed())
    model = randomized(keras.Model(inputs, values))
    (operation,) = extract(model).graph.operations
    bias = np.asarray(model.get_layer("conv").bias if quantizer is None else quantizer(model.get_layer("conv").bias))
    np.testing.assert_allclose(operation.bias, bias / (operation.steps * np.float32(2.0**-7)), atol=1)


def test_an_output_may_be_quantized_once():
    inputs, values = image()
    values = convolution(values)
    total = layers.Add()([QActivation(signed(8, 2))(values), QActivation(signed(8, 3))(values)])
    with pytest.raises(NotExportableError, match=r"'conv' .* quantized twice"):
        extract(keras.Model(inputs, QActivation(signed())(total)))


def test_a_dense_layer_without_quantizer_joins_the_float_end():
    inputs, values = image()
    values = layers.Flatten()(convolution(values, activation=quantized_relu(8, 3)))
    values = QDense(5, kernel_quantizer=auto(), name="dense")(values)
    model = randomized(keras.Model(inputs, layers.Softmax()(layers.BatchNormalization()(values))))
    with pytest.raises(NotExportableError, match=r"layer 'dense' .* not quantized.*export\.float_head: true"):
        extract(model)
    extracted = extract(model, float_head=True)
    assert [type(operation) for operation in extracted.graph.operations] == [graph.Convolution, graph.Reshape]
    values = emulator.emulate(extracted.graph, extracted.graph.levels(IMAGES)) * np.float32(2.0**-5)
    difference = np.abs(extracted.tail.predict(values, verbose=0) - model.predict(IMAGES, verbose=0))
    assert np.median(difference) < 1e-3
