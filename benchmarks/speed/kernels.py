"""The limit: a network's bare convolutions, forwards and backwards, without anything else.

Every convolution, depthwise convolution and product of a network runs with its shapes on arrays that are already
there: forwards one after the other, then backwards the gradients of inputs and weights (not the input's of the first
layer). No batch normalization, activation, quantizer, loss, optimizer or data. Several steps are unrolled in one graph,
chained, so that calls from Python hardly count.
"""

import statistics
import time
from typing import Any

import numpy as np

from bompnas.space.network import Layer, Network

UNROLLED = 4
REPETITIONS = 9


def measure(network: str, batch: int) -> dict[str, Any]:
    """Seconds of a training step and of an inference step, medians.

    Args:
        network: JSON of the network.
        batch: Images in a step.

    Returns:
        `step` and `inference` [s], and `cpu_step`, CPU time of a training step [s].
    """
    import tensorflow as tf

    operations = [_Operation(layer, batch) for layer in Network.from_json(network).layers]
    if len({operation.name for operation in operations}) < len(operations):
        raise ValueError("layers share a name")

    def forwards(made: list) -> None:
        for operation in operations:
            with tf.control_dependencies(made[-1:]):
                made.append(operation.forward())

    def backwards(made: list) -> None:
        for place, operation in reversed(list(enumerate(operations))):
            with tf.control_dependencies(made[-2:]):
                made += operation.backward(of_input=place > 0)

    def some(made: list):
        """A value of every result, or TensorFlow would leave out what nobody reads."""
        return tf.add_n([tf.reshape(result, [-1])[0] for result in made])

    @tf.function
    def train():
        made: list = []
        for _ in range(UNROLLED):
            forwards(made)
            backwards(made)
        return some(made)

    @tf.function
    def infer():
        made: list = []
        for _ in range(UNROLLED):
            forwards(made)
        return some(made)

    step, cpu = _seconds(train)
    inference, _ = _seconds(infer)
    return {"step": step, "inference": inference, "cpu_step": cpu}


class _Operation:
    """One layer's arrays and operations."""

    def __init__(self, layer: Layer, batch: int):
        import tensorflow as tf

        generator = np.random.default_rng(0)

        def array(*shape: int):
            return tf.Variable(generator.normal(size=shape).astype("float32"))

        self.name, self._layer = layer.name, layer
        kernel = (layer.kernel, layer.kernel)
        if layer.kind == "depthwise":
            self._weights = array(*kernel, layer.in_channels, 1)
        elif layer.kind == "conv":
            self._weights = array(*kernel, layer.in_channels, layer.out_channels)
        else:
            self._weights = array(layer.in_channels, layer.out_channels)
        self._inputs = array(*_shape(layer, batch, layer.input_size, layer.in_channels))
        self._gradients = array(*_shape(layer, batch, layer.output_size, layer.out_channels))
        self._common = {"strides": [1, layer.stride, layer.stride, 1], "padding": "SAME"}

    def forward(self):
        import tensorflow as tf

        if self._layer.kind == "depthwise":
            return tf.raw_ops.DepthwiseConv2dNative(input=self._inputs, filter=self._weights, **self._common)
        if self._layer.kind == "conv":
            return tf.raw_ops.Conv2D(input=self._inputs, filter=self._weights, **self._common)
        return tf.matmul(self._inputs, self._weights)

    def backward(self, of_input: bool) -> list:
        import tensorflow as tf

        inputs, weights, gradients = self._inputs, self._weights, self._gradients
        if self._layer.kind not in ("depthwise", "conv"):
            made = [tf.matmul(inputs, gradients, transpose_a=True)]
            return [*made, tf.matmul(gradients, weights, transpose_b=True)] if of_input else made
        raw = tf.raw_ops
        if self._layer.kind == "depthwise":
            to_weights = raw.DepthwiseConv2dNativeBackpropFilter
            to_inputs = raw.DepthwiseConv2dNativeBackpropInput
        else:
            to_weights, to_inputs = raw.Conv2DBackpropFilter, raw.Conv2DBackpropInput
        common = {"out_backprop": gradients, **self._common}
        made = [to_weights(input=inputs, filter_sizes=weights.shape, **common)]
        return [*made, to_inputs(input_sizes=inputs.shape, filter=weights, **common)] if of_input else made


def _shape(layer: Layer, batch: int, size: int, channels: int) -> tuple[int, ...]:
    return (batch, channels) if layer.kind == "dense" else (batch, size, size, channels)


def _seconds(function) -> tuple[float, float]:
    """Median wall and CPU seconds of one of the unrolled steps."""
    function()  # traces
    function()
    wall, cpu = [], []
    for _ in range(REPETITIONS):
        start, used = time.perf_counter(), time.process_time()
        function().numpy()
        wall.append((time.perf_counter() - start) / UNROLLED)
        cpu.append((time.process_time() - used) / UNROLLED)
    return statistics.median(wall), statistics.median(cpu)
