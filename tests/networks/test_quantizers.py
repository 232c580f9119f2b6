import keras
import numpy as np
import pytest
import tensorflow as tf

from bompnas.networks.quantizers import SMALLEST_STEP, ActivationQuantizer, WeightQuantizer


@pytest.fixture
def kernel():
    return np.random.default_rng(0).normal(0, 2, (3, 3, 5, 7)).astype("float32")


@pytest.mark.parametrize("bits", [2, 4, 5, 8, 16])
def test_weights_lie_on_a_symmetric_grid_of_their_channel(kernel, bits):
    quantizer = WeightQuantizer(bits)
    values = np.asarray(quantizer(kernel))
    levels = 2 ** (bits - 1) - 1
    for channel in range(kernel.shape[-1]):
        step = np.abs(kernel[..., channel]).max() / levels
        integers = values[..., channel] / step
        np.testing.assert_allclose(integers, np.round(integers), atol=2e-5 * levels)
        assert np.abs(np.round(integers)).max() == levels
        assert len(np.unique(np.round(integers))) <= 2 * levels + 1


def test_four_bits_give_at_most_fifteen_levels_per_channel(kernel):
    quantizer = WeightQuantizer(4)
    integers = np.asarray(quantizer.integers(kernel, quantizer.step(kernel)))
    assert all(len(np.unique(integers[..., channel])) <= 15 for channel in range(7))


def test_depthwise_channels_have_steps_of_their_own():
    kernel = np.ones((3, 3, 4, 1), "float32") * np.array([1, 10, 100, 1000], "float32")[:, None]
    step = np.asarray(WeightQuantizer(4, axis=2).step(kernel))
    np.testing.assert_allclose(step.reshape(-1), np.array([1, 10, 100, 1000]) / 7, rtol=1e-6)


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 7, 8])
def test_steps_are_the_same_bits_in_a_graph_and_out_of_it(bits):
    kernel = tf.constant(np.random.default_rng(bits).normal(size=(50, 300)).astype("float32"))
    quantizer = WeightQuantizer(bits)
    np.testing.assert_array_equal(tf.function(quantizer.step)(kernel), quantizer.step(kernel))


def test_level_count_comes_from_the_policy_not_from_the_bits(kernel):
    quantizer = WeightQuantizer(8, levels=119)
    assert np.abs(np.asarray(quantizer.integers(kernel, quantizer.step(kernel)))).max() == 119


def test_an_all_zero_channel_stays_zero(kernel):
    kernel[..., 2] = 0
    quantizer = WeightQuantizer(4)
    assert np.asarray(quantizer.step(kernel)).reshape(-1)[2] == np.float32(SMALLEST_STEP)
    assert not np.asarray(quantizer(kernel))[..., 2].any()


def test_weight_gradient_passes_straight_through(kernel):
    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(WeightQuantizer(4)(variable) * kernel)
    np.testing.assert_array_equal(tape.gradient(loss, variable), kernel)


@pytest.mark.parametrize(("signed", "low", "high"), [(True, -128, 127), (False, 0, 255)])
def test_eight_bit_activations_use_the_whole_grid(signed, low, high):
    quantizer = ActivationQuantizer(8, -4, signed)
    values = np.asarray(quantizer(np.linspace(-100, 100, 100_001, dtype="float32")))
    assert set(values * 16) == set(range(low, high + 1))


def test_relu6_clips_on_the_grid():
    assert ActivationQuantizer(8, -5, signed=False, maximum=6.0).high == 192
    assert ActivationQuantizer(8, -6, signed=False, maximum=6.0).high == 255


def test_ties_round_to_even_or_up():
    ties = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], "float32")
    np.testing.assert_array_equal(ActivationQuantizer(8, 0)(ties), [-2, -2, 0, 0, 2, 2])
    np.testing.assert_array_equal(ActivationQuantizer(8, 0, half_up=True)(ties), [-2, -1, 0, 1, 2, 3])


def test_activation_gradient_vanishes_outside_the_range():
    variable = tf.Variable([-20.0, -1.3, 1.3, 20.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ActivationQuantizer(4, 0)(variable))
    np.testing.assert_array_equal(tape.gradient(loss, variable), [0, 1, 1, 0])


@pytest.mark.parametrize(
    "quantizer", [WeightQuantizer(5, axis=2, levels=9), ActivationQuantizer(6, -3, False, maximum=6.0, half_up=True)]
)
def test_configuration_survives_serialization(quantizer):
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(quantizer))
    assert restored.get_config() == quantizer.get_config()


@pytest.mark.parametrize("bits", [1, 17])
def test_weight_bits_outside_2_to_16_are_refused(bits):
    with pytest.raises(ValueError, match="2 to 16"):
        WeightQuantizer(bits)


@pytest.mark.parametrize("bits", [1, 9])
def test_activation_bits_outside_2_to_8_are_refused(bits):
    with pytest.raises(ValueError, match="2 to 8"):
        ActivationQuantizer(bits, 0)
