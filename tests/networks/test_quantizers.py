import keras
import numpy as np
import pytest
import tensorflow as tf

from bompnas.networks.quantizers import SMALLEST_STEP, ActivationQuantizer, WeightQuantizer
from bompnas.space import levels


@pytest.fixture
def kernel():
    return np.random.default_rng(0).normal(0, 2, (3, 3, 5, 7)).astype("float32")


@pytest.mark.parametrize("bits", [2, 4, 5, 8, 16])
def test_weights_lie_on_a_symmetric_grid_of_their_channel(kernel, bits):
    quantizer = WeightQuantizer(bits)
    values = np.asarray(quantizer(kernel))
    largest = 2 ** (bits - 1) - 1
    for channel in range(kernel.shape[-1]):
        step = np.abs(kernel[..., channel]).max() / largest
        integers = values[..., channel] / step
        np.testing.assert_allclose(integers, np.round(integers), atol=2e-5 * largest)
        assert np.abs(np.round(integers)).max() == largest
        assert len(np.unique(np.round(integers))) <= 2 * largest + 1


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


def nested(bits, axis=-1):
    return WeightQuantizer(bits, axis, levels.nested(bits, 4), levels.nested(16, 4))


WEIGHTS = np.random.default_rng(6).normal(0, 0.3, (3, 3, 300, 256)).astype("float32")


@pytest.mark.parametrize(("axis", "shape"), [(-1, WEIGHTS.shape), (2, (3, 3, 76_800, 1))])
@pytest.mark.parametrize(("narrow", "wide"), [(4, 8), (8, 16), (4, 16)])
def test_rounding_to_a_wider_nested_grid_first_changes_nothing(axis, shape, narrow, wide):
    kernel = WEIGHTS.reshape(shape)
    coarse, fine = nested(narrow, axis), nested(wide, axis)
    step = coarse.step(kernel)
    direct = np.asarray(coarse.integers(kernel, step))
    np.testing.assert_array_equal(np.asarray(coarse.integers(fine(kernel), step)), direct)
    np.testing.assert_array_equal(coarse(fine(kernel), step), coarse(kernel))
    integers = np.asarray(fine.integers(kernel, fine.step(kernel)))
    np.testing.assert_array_equal(np.round(integers / (fine.levels // coarse.levels)), direct)
    largest = np.abs(direct).max(axis=tuple(place for place in range(4) if place != axis % 4))
    assert (largest == coarse.levels).all()


def test_weights_in_the_middle_between_values_nest_too():
    """And those next to it in float32."""
    middles = (np.arange(-119, 119) + 0.5).astype("float32") / np.float32(119)
    near = [middles, np.nextafter(middles, np.float32(-1)), np.nextafter(middles, np.float32(1))]
    kernel = np.concatenate([[1.0], *near]).astype("float32")[:, None] * np.geomspace(0.1, 3, 50, dtype="float32")
    four, eight, sixteen = (np.asarray(nested(b).integers(kernel, nested(b).step(kernel))) for b in (4, 8, 16))
    np.testing.assert_array_equal(np.round(sixteen / 257), eight)
    np.testing.assert_array_equal(np.round(eight / 17), four)


def test_nested_grids_are_as_exact_as_grids_by_themselves():
    for bits in (4, 8, 16):
        quantizer, alone = nested(bits), WeightQuantizer(bits, levels=levels.nested(bits, 4))
        step = np.asarray(quantizer.step(WEIGHTS))
        np.testing.assert_allclose(step, alone.step(WEIGHTS), rtol=3e-7)
        assert (np.abs(np.asarray(quantizer(WEIGHTS)) - WEIGHTS) <= step * (0.5 + 1e-6 * quantizer.levels)).all()


def test_a_step_that_is_larger_makes_a_nested_grid_one_by_itself(kernel):
    quantizer = nested(8)
    step = np.asarray(quantizer.step(kernel)) * np.linspace(1, 4, 7, dtype="float32")
    integers = np.asarray(quantizer.integers(kernel, step))
    np.testing.assert_array_equal(integers[..., 1:], np.round(kernel / step)[..., 1:])
    assert np.abs(integers[..., 0]).max() == 119


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_nested_grids_are_the_same_bits_in_a_graph_and_out_of_it(bits):
    quantizer, kernel = nested(bits), tf.constant(WEIGHTS)
    np.testing.assert_array_equal(tf.function(quantizer.step)(kernel), quantizer.step(kernel))
    np.testing.assert_array_equal(tf.function(quantizer)(kernel), quantizer(kernel))


def test_a_nested_grid_takes_another_ones_number(kernel):
    found = nested(8)(kernel, number=tf.constant(nested(4).number))
    np.testing.assert_array_equal(found, nested(4)(kernel))


@pytest.mark.parametrize("finest", [7 * 18, 120])
def test_the_finest_levels_must_be_an_odd_multiple(finest):
    with pytest.raises(ValueError, match=f"odd multiple of 7, found {finest}"):
        WeightQuantizer(4, finest=finest)


def test_a_quantizer_without_finer_grids_is_stored_as_ever():
    assert WeightQuantizer(8).get_config() == {"bits": 8, "axis": -1, "levels": 127}


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
    "quantizer",
    [
        WeightQuantizer(5, axis=2, levels=9),
        nested(8, axis=2),
        ActivationQuantizer(6, -3, False, maximum=6.0, half_up=True),
    ],
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
