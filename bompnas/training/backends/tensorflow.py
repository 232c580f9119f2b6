"""Training and inference on TensorFlow.

A whole epoch is one graph. It is compiled with XLA on a GPU only: on the CPU XLA's depthwise convolutions are several
times slower than TensorFlow's kernels. Inference is not traced at all: a trial infers a few batches, and tracing a
graph takes longer than they do.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

from bompnas.training.backends import Step


def value_and_gradient(function: Callable, parameters: Any) -> tuple[tuple[Any, Any], Any]:
    """See `Backend`."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parameters)
        loss, besides = function(parameters)
    return (loss, besides), tape.gradient(loss, parameters, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def epoch(step: Step) -> Callable:
    """See `Backend`."""

    @tf.function(autograph=False, jit_compile=has_gpu())
    def run(data, batches, constants, state, total):
        steps = tf.shape(batches[0])[0]

        def body(index, total, state):
            batch = tuple(tf.gather(array, index) for array in batches)
            state, loss = step(data, batch, constants, state)
            return index + 1, total + loss, state

        _, total, state = tf.while_loop(
            lambda index, *_: index < steps, body, (0, total, state), maximum_iterations=steps
        )
        return state, total

    def called(data, batches, constants, state, total):
        arguments = tf.nest.map_structure(tf.convert_to_tensor, (data, tuple(batches), constants, state, total))
        data, batches, *others = tf.nest.map_structure(tf.TensorSpec.from_tensor, arguments)
        batches = tuple(tf.TensorSpec([None, *each.shape[1:]], each.dtype) for each in batches)  # one trace for any
        with _forgotten_gradients():
            return run.get_concrete_function(data, batches, *others)(*arguments)

    return called


def compiled(function: Callable) -> Callable:
    """See `Backend`."""
    run = tf.function(function, autograph=False, jit_compile=has_gpu())

    def called(*arguments):
        with _forgotten_gradients():
            return run(*tf.nest.map_structure(tf.convert_to_tensor, arguments))

    return called


def inference(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """See `Backend`."""

    def infer(images):
        with _full_precision():
            return model(tf.cast(images, tf.float32), training=False).numpy()

    return infer


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Without TF32, which has fewer digits than our integers."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextlib.contextmanager
def _forgotten_gradients() -> Iterator[None]:
    """Lets go of graphs: TensorFlow registers each custom gradient that it traces for ever, 8 MB with each trial."""
    registered = ops.gradient_registry._registry
    before = set(registered)
    yield
    for name in set(registered) - before:
        del registered[name]


@functools.cache
def has_gpu() -> bool:
    """See `Backend`."""
    return bool(tf.config.list_physical_devices("GPU"))
