"""Folding batch normalization into the layer before it, once, after float training."""

import keras
import numpy as np

from bompnas.networks import fused, graph

NORMALIZATIONS = keras.layers.BatchNormalization, fused.BatchNormalization


def foldable(model: keras.Model) -> dict[str, str]:
    """Layers that can absorb the batch normalization behind them: name of the layer -> name of the normalization."""
    pairs = {}
    consumers = graph.consumers(model)
    for layer in filter(graph.is_quantizable, model.layers):
        takers = consumers[layer.name]
        if len(takers) == 1 and _normalizes_channels(takers[0], layer) and graph.is_linear(layer):
            pairs[layer.name] = takers[0].name
    return pairs


def fold(model: keras.Model) -> keras.Model:
    """The same function without batch normalization: w' = w gamma / sqrt(variance + epsilon), b' likewise.

    Args:
        model: A trained functional model.

    Returns:
        A new model with the same layer names; every layer that absorbed a normalization has a bias, and an activation
        inside a quantizable layer has become a layer of its own, `<name>_activation`.
    """
    pairs = foldable(model)
    absorbed = set(pairs.values())

    def clone(layer):
        changes = {}
        if layer.name in pairs:
            changes = {"use_bias": True}
        elif graph.is_quantizable(layer):
            changes = {"activation": None}
        if getattr(layer, "compute_dtype", None) == "bfloat16":
            changes["dtype"] = "float32"  # what trained in mixed precision goes on in full
        return graph.changed(layer, **changes)

    def call(layer, *arguments, **keywords):
        if layer.name in absorbed:
            return arguments[0]
        output = layer(*arguments, **keywords)
        if graph.is_quantizable(layer) and not graph.is_linear(model.get_layer(layer.name)):
            activation = model.get_layer(layer.name).activation
            output = keras.layers.Activation(activation, name=f"{layer.name}_activation")(output)
        return output

    folded = graph.rewrite(model, clone, call)
    for layer in folded.layers:
        if layer.name in pairs:
            layer.set_weights(_folded_weights(model.get_layer(layer.name), model.get_layer(pairs[layer.name])))
        elif layer.weights:
            graph.copy_weights(model.get_layer(layer.name), layer)
    return folded


def _normalizes_channels(taker, layer) -> bool:
    last = (-1, len(layer.output.shape) - 1)
    return type(taker) in NORMALIZATIONS and taker.axis in last


def _folded_weights(layer, normalization) -> list[np.ndarray]:
    weights = layer.get_weights()
    bias = weights[1] if layer.use_bias else 0.0
    mean = np.asarray(normalization.moving_mean)
    factor = 1.0 / np.sqrt(np.asarray(normalization.moving_variance) + normalization.epsilon)
    if normalization.scale:
        factor = factor * np.asarray(normalization.gamma)
    shift = np.asarray(normalization.beta) if normalization.center else 0.0
    along = factor[:, None] if isinstance(layer, keras.layers.DepthwiseConv2D) else factor
    return [weights[0] * along, (bias - mean) * factor + shift]
