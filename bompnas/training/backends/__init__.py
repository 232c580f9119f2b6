"""What depends on Keras' backend, behind one small interface: TensorFlow, or JAX."""

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np

from bompnas.errors import InputError

BACKENDS = "tensorflow", "jax"

Step = Callable[[Any, Any, Any, Any], tuple[Any, Any]]
"""`step(data, batch, constants, state)` returns the next state and the batch's loss."""


class Backend(Protocol):
    """How a backend differentiates, compiles and infers; a module with these functions."""

    @staticmethod
    def value_and_gradient(function: Callable, parameters: Any) -> tuple[tuple[Any, Any], Any]:
        """`function(parameters)`, a loss and something besides, and the loss's gradient by the parameters."""

    @staticmethod
    def epoch(step: Step) -> Callable:
        """A compiled `epoch(data, batches, constants, state, total)`: steps of an epoch, one after the other.

        `data` and `constants` are the same for all steps; `batches` are arrays whose first axis counts the steps. It
        returns the last state and the sum of `total` and all steps' losses, as arrays of the backend. An epoch may come
        in several calls.
        """

    @staticmethod
    def compiled(function: Callable) -> Callable:
        """A function of arrays, nested in tuples, compiled for each of their shapes."""

    @staticmethod
    def inference(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
        """The model's outputs for a batch of images; all batches should have one shape."""

    @staticmethod
    def has_gpu() -> bool:
        """Whether there is a GPU to compute on."""


def current() -> Backend:
    """The module for the backend that Keras runs on.

    Raises:
        InputError: It is none of ours.
    """
    name = keras.backend.backend()
    if name not in BACKENDS:
        raise InputError(f"KERAS_BACKEND: networks are trained on {' or '.join(BACKENDS)}; found {name}")
    return importlib.import_module(f"bompnas.training.backends.{name}")
