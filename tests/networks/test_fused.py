import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from bompnas.networks import fused

EPSILON = 1e-3


def normalized_exactly(inputs, scale, offset, upstream):
    """Outputs, statistics and gradients of the plain operations in float64."""
    tensors = [tf.constant(array, tf.float64) for array in (inputs, scale, offset)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        mean, variance = tf.nn.moments(tensors[0], (0, 1, 2))
        outputs = (tensors[0] - mean) / tf.sqrt(variance + EPSILON) * tensors[1] + tensors[2]
    return outputs, mean, variance, tape.gradient(outputs, tensors, output_gradients=tf.constant(upstream, tf.float64))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 10, 16, 22, 33, 48])
@pytest.mark.parametrize("size", [(5, 7), (8, 8)])
def test_normalization_has_the_values_and_gradients_of_the_plain_one(channels, size):
    generator = np.random.default_rng(channels)
    inputs = generator.normal(3, 2, (4, *size, channels)).astype("float32")
    scale, offset = generator.uniform(0.5, 2, (2, channels)).astype("float32")
    upstream = generator.normal(size=inputs.shape).astype("float32")
    tensors = [tf.constant(array) for array in (inputs, scale, offset)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs, mean, variance = fused.normalize(*tensors, EPSILON)
    gradients = tape.gradient(outputs, tensors, output_gradients=tf.constant(upstream))
    expected, expected_mean, expected_variance, expected_gradients = normalized_exactly(inputs, scale, offset, upstream)
    assert outputs.shape == inputs.shape
    for found, wanted in [
        (outputs, expected),
        (mean, expected_mean),
        (variance, expected_variance),
        *zip(gradients, expected_gradients, strict=True),
    ]:
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("channels", [3, 8])
def test_the_layer_trains_and_infers_as_that_of_keras(channels):
    inputs = np.random.default_rng(0).normal(1, 2, (6, 4, 4, channels)).astype("float32")
    ours, theirs = (kind(momentum=0.7) for kind in (fused.BatchNormalization, keras.layers.BatchNormalization))
    for _ in range(3):
        np.testing.assert_allclose(ours(inputs, training=True), theirs(inputs, training=True), atol=2e-5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours(inputs, training=False), theirs(inputs, training=False), atol=2e-5)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours)).momentum == 0.7


def test_a_frozen_layer_keeps_its_statistics():
    layer = fused.BatchNormalization()
    inputs = np.random.default_rng(0).normal(1, 2, (6, 4, 4, 8)).astype("float32")
    layer(inputs, training=True)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs, training=False))
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("exponent", [-7, -3, 2])
def test_fake_quantization_is_that_of_the_plain_operations(bits, signed, exponent):
    scale = 2.0**exponent
    low = -(2 ** (bits - 1)) if signed else 0
    high = (2 ** (bits - 1) if signed else 2**bits) - 1 - (bits > 2)  # a ReLU6 may end below the last level
    values = np.random.default_rng(bits).normal(0, high * scale, 20_000).astype("float32")
    values[:3] = low * scale, high * scale, 0
    upstream = np.random.default_rng(1).normal(size=values.shape).astype("float32")
    tensor = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        found = fused.fake_quantize(tensor, scale, float(low), float(high), signed)
    gradient = tape.gradient(found, tensor, output_gradients=tf.constant(upstream))
    clipped = np.clip(values, low * scale, high * scale)
    np.testing.assert_array_equal(found, np.floor(clipped / scale + 0.5) * scale)
    np.testing.assert_array_equal(gradient, np.where(clipped == values, upstream, 0))


def test_a_convolution_of_single_pixels_is_a_product():
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype("float32")
    for kernel_size, strides in [(1, 1), (1, 2), (3, 1)]:
        ours = fused.Conv2D(7, kernel_size, strides, padding="same")
        theirs = keras.layers.Conv2D(7, kernel_size, strides, padding="same")
        found = ours(inputs)
        theirs.build(inputs.shape)
        theirs.set_weights(ours.get_weights())
        np.testing.assert_allclose(found, theirs(inputs), atol=1e-5)
        assert ("MatMul" in operations(ours, inputs)) == ((kernel_size, strides) == (1, 1))


def operations(layer, inputs):
    graph = tf.function(layer).get_concrete_function(ops.convert_to_tensor(inputs)).graph
    return {
        kind for operation in graph.get_operations() for kind in [operation.type.replace("BatchMatMulV2", "MatMul")]
    }
