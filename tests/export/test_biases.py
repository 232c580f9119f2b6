"""Rounded biases: against all sums that there are, and in QKeras models against Keras."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import layers
from qkeras import QActivation, QConv2D, QDense, quantized_bits, quantized_relu

from bompnas.export import biases, emulator
from bompnas.export.extract import extract

REACH = 60
LEVELS = 15


def middles(width):
    """Between the levels 0 to 15, which `width` sums share."""
    return (np.arange(LEVELS)[:, None] + 0.5) * width


def levels(bias, width):
    """Of every sum within reach, exactly, half to even."""
    factor = 1 / Fraction(width)
    return [min(max(round((total + bias) * factor), 0), LEVELS) for total in range(-REACH, REACH + 1)]


def round_one(bias, width, limit=127):
    multiples, integers = biases.rounded(
        np.array([bias]), middles(np.array([width])), reach=np.array([REACH]), limits=np.array([limit])
    )
    return int(multiples[0]), int(integers[0])


@pytest.mark.parametrize("seed", range(20))
def test_every_sum_gets_its_level_and_no_smaller_multiple_would_do(seed):
    generator = np.random.default_rng(seed)
    bias, width = generator.uniform(-20, 20), generator.uniform(2, 8)
    expected = levels(Fraction(bias), width)
    multiple, integer = round_one(bias, width)
    assert levels(Fraction(integer, multiple), width) == expected
    for smaller in range(1, multiple):
        for numerator in range(int(smaller * (bias - 1)), int(smaller * (bias + 1)) + 2):
            assert levels(Fraction(numerator, smaller), width) != expected


def test_a_bias_need_not_be_the_nearest_one():
    # Sums from 27 on get level 1: with a bias above 3.3, but not with the nearest integer, 3.
    assert round_one(3.4, 60.6) == (1, 4)


def test_integers_stay_what_they_are():
    assert round_one(7.0, 4.0) == (1, 7)
    assert round_one(-3.0, 1 / 3) == (1, -3)
    assert round_one(np.float64(np.float32(0.1)) * 12_340_000, 2.5)[0] == 1  # float32 knows it to 0.1


@pytest.mark.parametrize("bias", [0.75, 2.25, -1.25])
def test_where_sums_lie_on_middles_the_bias_is_exact(bias):
    assert Fraction(*reversed(round_one(bias, width=0.5))) == Fraction(bias)


def test_beyond_the_limit_the_nearest_bias_is_taken():
    width = 3 + 1 / LEVELS  # middles lie everywhere between two integers
    assert round_one(0.34, width)[0] > 2
    assert round_one(0.34, width, limit=2) == (2, 1)
    assert round_one(0.34, width, limit=1) == (1, 0)


def test_channels_are_rounded_each_by_itself():
    bias, width = np.array([0.34, 5.0, -2.7]), np.array([3.0, 4.0, 2.2])
    together = biases.rounded(bias, middles(width), reach=np.full(3, REACH), limits=np.array([127, 127, 9]))
    alone = [round_one(*channel) for channel in zip(bias, width, (127, 127, 9), strict=True)]
    assert list(zip(*(part.tolist() for part in together), strict=True)) == alone


# --- QKeras models ----------------------------------------------------------------------------------------------------


IMAGES = np.random.default_rng(5).integers(0, 256, (400, 12, 12, 3)).astype("uint8")


def auto(bits):
    return quantized_bits(bits, 0, 1, alpha="auto")


def network(bits):
    """Convolutions with random normalizations, 4-bit activations, and a dense layer."""
    generator = np.random.default_rng(0)
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 12, 3))
    values = QActivation(quantized_bits(8, 0, 0, alpha=1))(layers.Rescaling(1 / 255)(inputs))
    for strides, name in ((2, "first"), (1, "second")):
        values = QConv2D(8, 3, strides=strides, kernel_quantizer=auto(bits), name=name)(values)
        normalization = layers.BatchNormalization()
        values = QActivation(quantized_relu(4, 2))(normalization(values))
        gamma, beta, mean = generator.normal([[1], [0], [0]], [[0.2], [0.3], [0.3]], (3, 8))
        normalization.set_weights([gamma, beta, mean, generator.uniform(0.5, 2, 8)])
    dense = QDense(10, kernel_quantizer=auto(bits), name="dense")
    scores = QActivation(quantized_bits(8, 3, 0, alpha=1))(dense(layers.Flatten()(values)))
    dense.bias.assign(generator.normal(0, 0.1, 10))
    return keras.Model(inputs, scores)


def equal_outputs(model):
    """Share of the emulator's outputs that equal Keras'."""
    integers = extract(model).graph
    real = emulator.emulate(integers, integers.levels(IMAGES)) * 2.0**-4
    return np.mean(real == model.predict(IMAGES, verbose=0))


def test_weights_of_few_bits_leave_room_for_biases_that_hardly_any_output_tells_from_the_exact(monkeypatch):
    model = network(4)
    assert equal_outputs(model) > 0.995
    monkeypatch.setattr(biases, "LARGEST_MULTIPLE", 1)
    assert equal_outputs(model) < 0.9


@pytest.mark.parametrize(("bits", "largest"), [(4, 18), (6, 4), (7, 2), (8, 1)])
def test_weights_are_multiples_of_qkeras_integers_by_channel(bits, largest):
    model = network(bits)
    kernel = model.get_layer("dense").get_weights()[0]
    *_, dense = extract(model).graph.linear
    steps = np.abs(kernel).max(axis=0) / (2 ** (bits - 1) - 1)
    multiples = np.round(steps / dense.steps)
    np.testing.assert_array_equal(dense.weights, multiples * np.round(kernel / steps))
    assert multiples.max() == largest
    assert dense.bits == int(np.abs(dense.weights).max()).bit_length() + 1
