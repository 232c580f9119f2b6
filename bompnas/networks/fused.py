"""Batch normalization and activation quantization as few operations, for training.

Networks of this size spend more time between their convolutions than in them. The values and gradients are those of
the plain operations, which tests assert. TensorFlow has kernels for them on the CPU; other backends compile the plain
operations into as few by themselves.
"""

import keras
from keras import ops

_LANES = 32  # values that a row should hold, so that vector units are busy


def normalize(inputs, scale, offset, epsilon: float):
    """Batch normalization over all axes but the last.

    Args:
        inputs: Tensor, shape (batch, height, width, channels).
        scale: Shape (channels,).
        offset: Shape (channels,).
        epsilon: Added to the variance.

    Returns:
        The normalized tensor, and mean and (biased) variance of the channels, without gradients.
    """
    if keras.backend.backend() == "tensorflow":
        return _normalize_in_tensorflow(inputs, scale, offset, epsilon)
    mean, variance = ops.moments(inputs, axes=(0, 1, 2))
    outputs = (inputs - mean) * (ops.rsqrt(variance + epsilon) * scale) + offset
    return outputs, ops.stop_gradient(mean), ops.stop_gradient(variance)


def fake_quantize(values, scale, low, high, signed: bool):
    """Values on a grid, ties rounded up, with a straight-through gradient inside its range and none outside.

    Args:
        values: Any tensor.
        scale: Distance of neighbouring values, a power of two.
        low: Smallest integer, at least -128 if signed, else 0.
        high: Largest integer, at most 127 if signed, else 255.
        signed: Whether there are negative values.
    """
    if keras.backend.backend() == "tensorflow":
        return _fake_quantize_in_tensorflow(values, scale, low, high, -128.0 if signed else 0.0)
    clipped = ops.clip(values, low * scale, high * scale)
    return clipped + ops.stop_gradient(ops.floor(clipped / scale + 0.5) * scale - clipped)


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def _normalize_in_tensorflow(inputs, scale, offset, epsilon):
        scale, offset = (tf.convert_to_tensor(vector) for vector in (scale, offset))
        if inputs.shape[-1] % 4 == 0:  # what the fused kernel is vectorized for; it is slow otherwise
            return _normalize_fused(inputs, scale, offset, epsilon)
        outputs, mean, variance = _normalize_by_products(inputs, scale, offset, epsilon)
        return outputs, tf.stop_gradient(mean), tf.stop_gradient(variance)

    def _normalize_fused(inputs, scale, offset, epsilon):
        nothing = tf.zeros([0])
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=nothing, variance=nothing, epsilon=epsilon, is_training=True
        )
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        biased = variance * ((count - 1.0) / count)  # the kernel's is the unbiased one
        return outputs, tf.stop_gradient(mean), tf.stop_gradient(biased)

    @tf.custom_gradient
    def _normalize_by_products(inputs, scale, offset, epsilon):
        """Sums are products with a row of ones, the fastest way to sum over all but the last, short axis."""
        channels, shape = inputs.shape[-1], tf.shape(inputs)
        pixels = inputs.shape[1] * inputs.shape[2]
        lanes = next(count for count in range(max(1, _LANES // channels), 0, -1) if pixels % count == 0)
        rows = tf.size(inputs) // (lanes * channels)
        count = tf.cast(rows * lanes, tf.float32)
        ones = tf.ones([1, rows])
        fold = tf.tile(tf.eye(channels), [lanes, 1])

        def wide(tensor):
            return tf.reshape(tensor, [rows, lanes * channels])

        def total(tensor):
            return tf.matmul(tf.matmul(ones, tensor), fold)[0]

        def spread(vector):
            return tf.tile(vector, [lanes])

        mean = total(wide(inputs)) / count
        centred = wide(inputs) - spread(mean)
        variance = total(centred * centred) / count
        factor = tf.math.rsqrt(variance + epsilon)
        outputs = centred * spread(factor * scale) + spread(offset)

        def gradient(upstream, *_):
            upstream = wide(upstream)
            for_offset = total(upstream)
            for_scale = total(upstream * centred) * factor
            slope = factor * scale
            for_inputs = upstream * spread(slope) - (
                centred * spread(slope * factor * for_scale / count) + spread(slope * for_offset / count)
            )
            return tf.reshape(for_inputs, shape), for_scale, for_offset, None

        return (tf.ensure_shape(tf.reshape(outputs, shape), inputs.shape), mean, variance), gradient

    @tf.custom_gradient
    def _fake_quantize_in_tensorflow(values, scale, low, high, first):
        scale = tf.convert_to_tensor(scale, tf.float32)
        smallest, largest = low * scale, high * scale
        clipped = tf.raw_ops.ClipByValue(t=values, clip_value_min=smallest, clip_value_max=largest)
        outputs = tf.raw_ops.FakeQuantWithMinMaxVars(inputs=clipped, min=first * scale, max=(first + 255.0) * scale)

        def gradient(upstream):
            inside = tf.cast(tf.equal(clipped, values), values.dtype)
            return upstream * inside, None, None, None, None

        return outputs, gradient


def convolve(layer: keras.layers.Conv2D, inputs, kernel):
    """A convolution layer's linear part, which is a product of matrices where the kernel is a single pixel."""
    if layer.kernel_size == (1, 1) and layer.strides == (1, 1):
        return ops.matmul(inputs, ops.reshape(kernel, kernel.shape[2:]))
    return keras.layers.Conv2D.convolution_op(layer, inputs, kernel)


@keras.saving.register_keras_serializable("bompnas")
class Conv2D(keras.layers.Conv2D):
    """Keras' convolution, by `convolve`."""

    def convolution_op(self, inputs, kernel):
        """The linear part."""
        return convolve(self, inputs, kernel)


@keras.saving.register_keras_serializable("bompnas")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalization of images, with `normalize` in training."""

    def call(self, inputs, training=None, mask=None):
        """Normalizes; in training by the batch, whose statistics the moving ones follow."""
        plain = self.renorm or not (self.scale and self.center) or self.axis not in (-1, 3)
        if plain or not (training and self.trainable) or mask is not None or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        values = ops.cast(inputs, "float32")
        outputs, mean, variance = normalize(
            values, ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32"), self.epsilon
        )
        share = 1.0 - self.momentum
        self.moving_mean.assign(self.moving_mean + (mean - self.moving_mean) * share)
        self.moving_variance.assign(self.moving_variance + (variance - self.moving_variance) * share)
        return ops.cast(outputs, self.compute_dtype)
