"""Training and inference on JAX, compiled with XLA."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp

from bompnas.training.backends import Step


def value_and_gradient(function: Callable, parameters: Any) -> tuple[tuple[Any, Any], Any]:
    """See `Backend`."""
    return jax.value_and_grad(function, has_aux=True)(parameters)


def epoch(step: Step) -> Callable:
    """See `Backend`."""

    @functools.partial(jax.jit, donate_argnums=3)
    def run(data, batches, constants, state, total):
        state, losses = jax.lax.scan(lambda state, batch: step(data, batch, constants, state), state, batches)
        return state, total + jnp.sum(losses)

    def called(data, batches, constants, state, total):
        return run(data, batches, constants, jax.tree.map(jnp.array, state), total)  # a copy: donated buffers are gone

    return called


def compiled(function: Callable) -> Callable:
    """See `Backend`."""
    return jax.jit(function)


def inference(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """See `Backend`."""

    @jax.jit
    def infer(trained, others, images):
        with jax.default_matmul_precision("highest"):  # integers have more digits than TF32
            outputs, _ = model.stateless_call(trained, others, images.astype("float32"), training=False)
        return outputs

    trained = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    return lambda images: np.asarray(infer(trained, others, images))


def has_gpu() -> bool:
    """See `Backend`."""
    return jax.default_backend() == "gpu"
