"""Reading and rewriting the graph of a functional Keras model."""

import math
from collections.abc import Callable

import keras

from bompnas.errors import InputError
from bompnas.networks import fused

QUANTIZABLE = (keras.layers.Conv2D, fused.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def is_quantizable(operation) -> bool:
    """Whether it is a layer whose weights we quantize; subclasses may compute something else and stay float."""
    return type(operation) in QUANTIZABLE


def is_linear(layer) -> bool:
    """Whether the activation inside a layer does nothing."""
    return layer.activation is None or layer.activation is keras.activations.linear


def relu_maximum(operation) -> float | None:
    """Where a layer that is a ReLU clips, infinity if nowhere; None for anything else."""
    if type(operation) is keras.layers.ReLU and not operation.negative_slope and not operation.threshold:
        return math.inf if operation.max_value is None else float(operation.max_value)
    if type(operation) is keras.layers.Activation:
        return {keras.activations.relu: math.inf, keras.activations.relu6: 6.0}.get(operation.activation)
    return None


def sources(operation) -> list:
    """The operations whose outputs an operation takes.

    Raises:
        InputError: The layer is called more than once; shared layers have no single place in a network.
    """
    calls = len(operation._inbound_nodes)
    if calls != 1:
        raise InputError(
            f"layer {operation.name!r} is called {calls} times; a layer to be quantized must be called once: create "
            "one layer for each call"
        )
    tensors = keras.tree.flatten(operation.input)
    return [tensor._keras_history.operation for tensor in tensors]


def consumers(model: keras.Model) -> dict[str, list]:
    """For each operation's name, the operations that take its output."""
    result: dict[str, list] = {operation.name: [] for operation in model.operations}
    for operation in model.operations:
        if not isinstance(operation, keras.layers.InputLayer):
            for source in sources(operation):
                result[source.name].append(operation)
    return result


def flatten(model: keras.Model) -> keras.Model:
    """The same graph with nested models replaced by their layers (which stay shared with `model`)."""

    def call(layer, *arguments, **keywords):
        inline = layer.call if isinstance(layer, keras.Model) else layer
        return inline(*arguments, **keywords)

    while any(isinstance(operation, keras.Model) for operation in model.operations):
        model = rewrite(model, clone=lambda layer: layer, call=call)
    return model


def rewrite(model: keras.Model, clone: Callable, call: Callable | None = None) -> keras.Model:
    """A new model over new inputs.

    Args:
        model: A functional model.
        clone: Returns the layer that takes a layer's place.
        call: Called as `call(new_layer, *arguments, **keywords)`; returns the new outputs. Calls the layer if None.
    """
    return keras.models.clone_model(model, clone_function=clone, call_function=call)


def changed(layer, **configuration):
    """A copy of a layer with its own fresh weights and parts of its configuration changed.

    Operations that are no layers (`keras.ops.relu` on a Keras tensor) are copied as they are.
    """
    if not isinstance(layer, keras.layers.Layer):
        return type(layer).from_config(layer.get_config())
    return type(layer).from_config({**layer.get_config(), **configuration})


def copy_weights(source, target) -> None:
    """Gives a layer the weights of another of the same kind."""
    target.set_weights(source.get_weights())
    if isinstance(target, keras.layers.Normalization):
        target.finalize_state()  # computes with constants made from its weights
