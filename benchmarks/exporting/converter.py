"""What TensorFlow's converter makes of the same network: post-training quantization, and its route for QAT.

Both begin at centred pixels, -1 to 127/128, and take and return INT8.

* `post_training`: the folded float model with representative images: weights of 8 bits, ranges of its own.
* `quantization_aware`: the quantized model again, of TensorFlow's layers with fake-quant nodes: per channel on the
  weights, with the layer's own number of bits, and on every tensor with 8 bits and the scale of our grid. `wide` gives
  the nodes on the weights 8 bits and a range of 127 of our steps instead, so that our integers are on their grid.
"""

import keras
import numpy as np
import tensorflow as tf

from bompnas.export.graph import Add, Dense, DepthwiseConvolution, Grid, IntegerGraph, Linear, Mean
from bompnas.networks import float_model, fold

REPRESENTATIVE_IMAGES = 128  # as many as our own calibration takes


def centred(images: np.ndarray) -> np.ndarray:
    """What both models take, float32."""
    return images.astype(np.float32) * np.float32(float_model.PIXEL_SCALE) + np.float32(float_model.PIXEL_OFFSET)


def post_training(trained: keras.Model, images: np.ndarray) -> bytes:
    """Converts a float model with its batch normalization.

    Args:
        trained: From pixels to logits.
        images: Pixels, of which the first are the representative ones.
    """
    folded = fold.fold(trained)
    model = keras.Model(folded.get_layer("centre").output, folded.output)
    return _converted(model, representative=centred(images[:REPRESENTATIVE_IMAGES]))


def quantization_aware(graph: IntegerGraph, wide: bool = False) -> bytes:
    """Converts a graph, rebuilt with fake-quant nodes."""
    return _converted(fake_quantized(graph, wide))


def fake_quantized(graph: IntegerGraph, wide: bool = False) -> keras.Model:
    """A Keras model of a graph of our networks, from centred pixels to logits, with TensorFlow's fake-quant nodes.

    Raises:
        TypeError: An operation that our networks do not have.
    """
    tensors = graph.tensors
    inputs = keras.Input(graph.input.shape, name="image")
    values = {graph.input.name: _FakeQuantized(graph.input.grid)(inputs)}
    for operation in graph.operations:
        given = [values[name] for name in operation.inputs]
        if isinstance(operation, Linear):
            made = _Linear(operation, tensors[operation.inputs[0]].grid, wide)(given[0])
            made = keras.layers.Activation(_activation(operation.output.grid))(made)
        elif isinstance(operation, Add):
            made = keras.layers.Add()(given)
        elif isinstance(operation, Mean):
            made = keras.layers.GlobalAveragePooling2D()(given[0])
        else:
            raise TypeError(f"{operation.name}: no fake-quantized {type(operation).__name__}")
        values[operation.name] = _FakeQuantized(operation.output.grid)(made)
    return keras.Model(inputs, values[graph.output])


def _activation(grid: Grid) -> str:
    """What the converter can fuse to clamp to a grid."""
    if grid.low < 0:
        return "linear"
    return "relu6" if grid.high < 255 else "relu"


class _FakeQuantized(keras.layers.Layer):
    """Values on a grid of 8 bits, in float."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.grid = grid

    def call(self, values):
        grid = self.grid
        low, high = (-128 - grid.zero_point) * grid.scale, (127 - grid.zero_point) * grid.scale
        return tf.quantization.fake_quant_with_min_max_args(values, low, high)


class _Linear(keras.layers.Layer):
    """A layer with fake-quantized weights; a dense one is a 1x1 convolution, as the converter refuses its product."""

    def __init__(self, operation: Linear, input_grid: Grid, wide: bool):
        super().__init__(name=operation.name)
        self.operation = operation
        self.bits = 8 if wide else operation.bits
        self.largest = (2 ** (self.bits - 1) - 1) * operation.steps
        dense = isinstance(operation, Dense)
        self.kernel = self._constant((operation.weights * operation.steps)[(None, None) if dense else ()])
        self.bias = self._constant(operation.bias * operation.steps * input_grid.scale)

    def call(self, values):
        operation = self.operation
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            self.kernel, -self.largest, self.largest, self.bits, narrow_range=True
        )
        if isinstance(operation, Dense):
            maps = tf.reshape(values, (-1, 1, 1, operation.weights.shape[0]))
            sums = tf.nn.bias_add(tf.nn.conv2d(maps, kernel, 1, "VALID"), self.bias)
            return tf.reshape(sums, (-1, operation.weights.shape[1]))
        strides, padding = (1, *operation.strides, 1), operation.padding.upper()
        if isinstance(operation, DepthwiseConvolution):
            kernel = tf.reshape(kernel, (*operation.weights.shape, 1))
            sums = tf.nn.depthwise_conv2d(values, kernel, strides, padding)
        else:
            sums = tf.nn.conv2d(values, kernel, strides, padding)
        return tf.nn.bias_add(sums, self.bias)

    def _constant(self, values: np.ndarray):
        return self.add_weight(shape=values.shape, initializer=lambda shape, dtype: tf.constant(values, dtype))


def _converted(model: keras.Model, representative: np.ndarray | None = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    if representative is not None:
        converter.representative_dataset = lambda: ([image[None]] for image in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()
