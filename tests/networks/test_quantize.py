import dataclasses

import keras
import numpy as np
import pytest
import qkeras

from bompnas.errors import InputError
from bompnas.networks import calibrate, float_model, fold, quantize
from bompnas.networks.heads import HeadSource
from bompnas.networks.layers import IntegerInference, QuantizedAveragePooling2D
from bompnas.space import levels


def quantized_model(network, images, trained, head):
    keras.utils.set_random_seed(0)
    model = fold.fold(trained(float_model.build(network, head)))
    calibration = quantize.Calibration.of(model, images)
    return model, quantize.quantize(model, quantize.Policy.of(network), calibration)


def test_every_layer_gets_its_policy_s_bits(network, images, trained):
    _, model = quantized_model(network, images, trained, HeadSource("classification", 10).head())
    for layer in network.layers:
        quantized = model.get_layer(layer.name)
        assert isinstance(quantized, IntegerInference)
        assert quantized.weight_quantizer.bits == layer.weight_bits
        assert quantized.activation.bits == layer.activation_bits
        integers = quantized.integer_weights()
        assert np.abs(integers).max() == 2 ** (layer.weight_bits - 1) - 1
        per_channel = np.moveaxis(integers, quantized.weight_quantizer.axis, 0).reshape(layer.out_channels, -1)
        assert all(len(np.unique(row)) <= 2**layer.weight_bits - 1 for row in per_channel)


def test_levels_of_a_policy_reach_the_quantizers(network, images, trained, tmp_path):
    def nested(layer, bits):
        return dataclasses.replace(layer, weight_bits=bits, weight_levels=levels.nested(bits, 4))

    stem, *inner, last, head = network.layers
    inner = [nested(layer, bits) for layer, bits in zip(inner, (4, 8, 16, 8, 4), strict=True)]
    network = dataclasses.replace(network, layers=(stem, *inner, last, head))
    _, model = quantized_model(network, images, trained, HeadSource("classification", 10).head())
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    for layer in network.layers:
        quantizer = model.get_layer(layer.name).weight_quantizer
        assert (quantizer.bits, quantizer.levels) == (layer.weight_bits, layer.levels)
        assert quantizer.finest == (None if layer.weight_levels is None else 30583)
        integers = model.get_layer(layer.name).integer_weights()
        assert np.abs(integers).max() == layer.levels
        np.testing.assert_array_equal(reloaded.get_layer(layer.name).integer_weights(), integers)
    np.testing.assert_array_equal(reloaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_eight_bits_are_close_to_float(network, images, trained):
    network = network.with_bits(8)
    model, quantized = quantized_model(network, images, trained, HeadSource("classification", 10).head())
    expected, found = (m.predict(images, verbose=0) for m in (model, quantized))
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.998


def test_values_between_layers_lie_on_their_grids(network, images, trained):
    _, model = quantized_model(network, images, trained, HeadSource("classification", 10).head())
    quantizers = {layer.name: layer.activation for layer in model.layers if hasattr(layer, "activation")}
    outputs = keras.Model(model.inputs, {name: model.get_layer(name).output for name in quantizers})
    for name, values in outputs.predict(images, verbose=0).items():
        integers = values / quantizers[name].scale
        np.testing.assert_array_equal(integers, np.round(integers))
        assert quantizers[name].low <= integers.min()
        assert integers.max() <= quantizers[name].high


def test_input_exponents_follow_the_graph(network, images, trained):
    _, model = quantized_model(network, images, trained, HeadSource("classification", 10).head())
    assert model.get_layer("stem").input_exponent == -7
    assert model.get_layer("block1_1_depthwise").input_exponent == model.get_layer("stem").activation.exponent
    add = model.get_layer("block1_1_project_add")
    assert add.activation.half_up
    assert model.get_layer("block2_1_expand").input_exponent == add.activation.exponent
    assert model.get_layer("head_dense").input_exponent == model.get_layer("pool").activation.exponent


def test_reload_is_bit_identical(network, images, trained, tmp_path):
    _, model = quantized_model(network, images, trained, HeadSource("classification", 10).head())
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_a_user_s_head_is_quantized_where_it_can_be(network, images, trained, tmp_path):
    def head(features):
        values = keras.layers.Conv2D(6, 2, padding="same", use_bias=False, dilation_rate=2)(features)
        values = keras.layers.MaxPooling2D()(keras.layers.BatchNormalization()(values))
        values = keras.layers.LayerNormalization()(keras.layers.Flatten()(values))
        values = keras.layers.Dense(12, activation="relu")(values)
        values = keras.layers.Dense(8, activation="tanh")(values)
        return keras.layers.Dense(10, activation="softmax")(values)

    _, model = quantized_model(network, images, trained, HeadSource(head, features="map").head())
    kinds = {layer.name: type(layer).__name__ for layer in model.layers if layer.name.startswith("head")}
    assert kinds == {
        "head_conv2d": "IntegerConv2D",
        "head_max_pooling2d": "MaxPooling2D",
        "head_flatten": "Flatten",
        "head_layer_normalization": "LayerNormalization",
        "head_dense_input": "QActivation",
        "head_dense": "IntegerDense",
        "head_dense_2": "IntegerDense",
        "head_dense_2_activation": "Activation",
        "head_dense_3_input": "QActivation",
        "head_dense_3": "IntegerDense",
        "head_dense_3_activation": "Activation",
    }
    assert not model.get_layer("head_dense").activation.signed
    outputs = model.predict(images, verbose=0)
    np.testing.assert_allclose(outputs.sum(-1), 1, atol=1e-5)
    assert model.get_layer("head_dense").weight_quantizer.bits == network.layers[-1].weight_bits
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded.predict(images, verbose=0), outputs)


def test_a_model_from_outside_gets_a_quantizer_in_front(images):
    inputs = keras.Input((8, 8, 1))
    values = keras.layers.Conv2D(4, 3, activation="relu", name="first")(keras.layers.Rescaling(1 / 255)(inputs))
    model = fold.fold(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(values)))
    policy = quantize.Policy({}, quantize.LayerBits(4, 6))
    quantized = quantize.quantize(model, policy, quantize.Calibration.of(model, images))
    assert isinstance(quantized.get_layer("first_input"), qkeras.QActivation)
    assert quantized.get_layer("first").weight_quantizer.bits == 4
    assert quantized.get_layer("first").activation.bits == 6


@pytest.mark.parametrize("flat", [True, False])
def test_a_model_without_any_scaling_gets_one_too(flat):
    inputs = keras.Input((2, 3))
    values = keras.layers.Flatten()(inputs) if flat else inputs
    model = fold.fold(keras.Model(inputs, keras.layers.Dense(4, name="dense")(values)))
    images = np.random.default_rng(0).normal(size=(50, 2, 3)).astype("float32")
    policy = quantize.Policy({}, quantize.LayerBits(8, 8))
    quantized = quantize.quantize(model, policy, quantize.Calibration.of(model, images))
    difference = quantized.predict(images, verbose=0) - model.predict(images, verbose=0)
    assert np.abs(difference).max() < 0.1


def test_subclasses_and_interpolation_stay_in_float(images):
    @keras.saving.register_keras_serializable("test")
    class Difference(keras.layers.Add):
        def call(self, inputs):
            return inputs[0] - inputs[1]

    inputs = keras.Input((8, 8, 1))
    first, second = (keras.layers.Conv2D(3, 3, padding="same", name=name)(inputs) for name in ("first", "second"))
    values = keras.layers.UpSampling2D(interpolation="bilinear")(Difference(name="difference")([first, second]))
    model = fold.fold(keras.Model(inputs, keras.layers.Conv2D(2, 1, name="last")(values)))
    policy = quantize.Policy({}, quantize.LayerBits(8, 8))
    quantized = quantize.quantize(model, policy, quantize.Calibration.of(model, images))
    assert type(quantized.get_layer("difference")) is Difference
    assert isinstance(quantized.get_layer("last_input"), qkeras.QActivation)
    expected, found = (m.predict(images, verbose=0) for m in (model, quantized))
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.99


def quantized_head(head, images):
    """A convolution and what a head makes of it, quantized to 4-bit weights and 6-bit activations."""
    inputs = keras.Input((8, 8, 1))
    values = keras.layers.Conv2D(4, 3, padding="same", name="conv")(keras.layers.Rescaling(1 / 128, -1.0)(inputs))
    folded = fold.fold(keras.Model(inputs, head(values)))
    policy = quantize.Policy({}, quantize.LayerBits(4, 6))
    return quantize.quantize(folded, policy, quantize.Calibration.of(folded, images))


def test_an_addition_takes_over_the_relu_behind_it(images):
    def head(values):
        other = keras.layers.Conv2D(4, 1)(values)
        return keras.layers.ReLU(2.0, name="relu")(keras.layers.Add(name="sum")([values, other]))

    model = quantized_head(head, images)
    quantizer = model.get_layer("sum").activation
    assert (quantizer.signed, quantizer.half_up, quantizer.maximum) == (False, True, 2.0)
    assert "relu" not in {layer.name for layer in model.layers}
    values = model.predict(images, verbose=0)
    assert values.min() == 0
    assert values.max() <= 2


@pytest.mark.parametrize("maximum", [None, 0.5, 0.3])
def test_a_relu_keeps_the_grid_where_its_maximum_lies_on_it(maximum, images):
    def head(values):
        values = keras.layers.ReLU(maximum)(keras.layers.MaxPooling2D()(values))
        return keras.layers.Conv2D(2, 1, name="last")(values)

    names = {layer.name for layer in quantized_head(head, images).layers}
    assert ("last_input" in names) == (maximum == 0.3)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_average_pooling_keeps_the_grid_of_its_input(activation, images):
    def head(values):
        values = keras.layers.AveragePooling2D(3, 2, padding="same", name="average")(
            keras.layers.Conv2D(4, 1, activation=activation, name="before")(values)
        )
        return keras.layers.Conv2D(2, 1, name="last")(values)

    model = quantized_head(head, images)
    average, before = model.get_layer("average"), model.get_layer("before").activation
    assert type(average) is QuantizedAveragePooling2D
    assert average.pool_size == (3, 3)
    assert average.strides == (2, 2)
    assert average.zero_point == before.zero_point == (0 if activation is None else -128)
    assert average.input_exponent == model.get_layer("last").input_exponent == before.exponent


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.Conv2D(4, 3, groups=2, name="grouped"), "layer 'grouped' has groups=2"),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep"), "layer 'deep' has depth_multiplier=2"),
    ],
)
def test_convolutions_with_groups_are_refused(layer, message, images):
    with pytest.raises(InputError, match=message):
        quantized_head(layer, images)


def test_a_policy_meets_the_layers_of_the_model_that_was_built(network):
    twin = dataclasses.replace(
        network.with_bits(3),
        layers=tuple(
            dataclasses.replace(layer, name=layer.name.replace("block2", "block3"), group="block3")
            if layer.group == "block2"
            else layer
            for layer in network.with_bits(3).layers
        ),
    )
    assert twin.architecture_key == network.architecture_key
    policy = quantize.Policy.of(twin, network)
    assert all(policy.layers[layer.name].weights == 3 for layer in network.layers)


def test_shared_layers_are_refused():
    inputs = keras.Input((8,))
    shared = keras.layers.Dense(8, name="shared")
    with pytest.raises(InputError, match="layer 'shared' is called 2 times"):
        fold.fold(keras.Model(inputs, shared(shared(inputs))))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_exponent_minimizes_the_squared_error(bits):
    values = np.random.default_rng(0).normal(0, 3, 10_000).astype("float32")
    values[0] = 80.0

    def error(exponent):
        scale, half = 2.0**exponent, 2 ** (bits - 1)
        return np.mean((np.clip(np.round(values / scale), -half, half - 1) * scale - values) ** 2)

    found = calibrate.exponent(values, bits, signed=True)
    assert error(found) <= min(error(found - 1), error(found + 1))
    covering = calibrate.exponent(values, bits, signed=True, cover=True)
    assert 80.0 <= 2.0**covering * (2 ** (bits - 1) - 1) < 160.0


def test_exponent_of_a_constant_zero_is_defined():
    assert calibrate.exponent(np.zeros(10, "float32"), 8, signed=False) == -8
