"""`Network` -> float Keras model: MobileNetV2 blocks with batch normalization and ReLU6."""

from collections.abc import Mapping

import keras
import numpy as np

from bompnas.networks import heads
from bompnas.networks.fused import BatchNormalization, Conv2D
from bompnas.networks.heads import Head
from bompnas.space.network import Layer, Network

# Early training is short: statistics must settle within a few hundred steps (Keras' default 0.99 lags behind).
BATCH_NORMALIZATION_MOMENTUM = 0.9

# Images enter as 0..255 and are centred so that they lie on an INT8 grid of step 2^-7 exactly.
PIXEL_SCALE = 1 / 128
PIXEL_OFFSET = -1.0


def build(network: Network, head: Head) -> keras.Model:
    """A float model with fresh weights; its layers with weights are named as the network's.

    Weights are drawn from Keras' global generator: call `keras.utils.set_random_seed` before.

    Args:
        network: The backbone's layers; those of its head are made by `head`.
        head: What follows the features.

    Returns:
        A functional model from images, shape (batch, size, size, channels) with values 0..255, to the head's output.
    """
    inputs = keras.Input((network.input_size, network.input_size, network.input_channels), name="image")
    values = keras.layers.Rescaling(PIXEL_SCALE, PIXEL_OFFSET, name="centre")(inputs)
    return heads.attach(head, inputs, features(network, values, head.features))


def restore(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Gives a float model weights by name.

    Args:
        model: From `build`.
        arrays: `<layer>/<weight>` -> array; a depthwise kernel is called `kernel` too. Weights that are not named, such
            as moving statistics, stay as they are.

    Raises:
        ValueError: A name is no weight of the model, or an array has another shape than its weight.
    """
    weights = {
        f"{layer.name}/{weight.name.removeprefix('depthwise_')}": weight
        for layer in model.layers
        for weight in layer.weights
    }
    for name, array in arrays.items():
        if name not in weights:
            raise ValueError(f"the model has no weight {name}; expected one of {', '.join(weights)}")
        weights[name].assign(array)


def features(network: Network, images, kind: str):
    """What the backbone makes of images, with fresh weights.

    Args:
        network: The backbone's layers.
        images: Keras tensor, shape (batch, size, size, channels), of centred pixels.
        kind: `pooled` or `map`.

    Returns:
        Keras tensor of the features, shape (batch, channels) or (batch, size, size, channels).
    """
    values, outputs = images, {}
    for layer in network.backbone:
        values = _unit(layer, values)
        if layer.residual is not None:
            values = keras.layers.Add(name=f"{layer.name}_add")([outputs[layer.residual], values])
        outputs[layer.name] = values
    return keras.layers.GlobalAveragePooling2D(name="pool")(values) if kind == "pooled" else values


def feature_shape(network: Network, head: Head) -> tuple[int, ...]:
    """Shape of what the head takes, without the batch axis."""
    last = network.backbone[-1]
    if head.features == "pooled":
        return (last.out_channels,)
    return (last.output_size, last.output_size, last.out_channels)


def _unit(layer: Layer, values):
    """Convolution, batch normalization, activation."""
    common = {
        "kernel_size": layer.kernel,
        "strides": layer.stride,
        "padding": "same",
        "use_bias": False,
        "name": layer.name,
    }
    if layer.kind == "depthwise":
        values = keras.layers.DepthwiseConv2D(depthwise_initializer="he_normal", **common)(values)
    else:
        values = Conv2D(layer.out_channels, kernel_initializer="he_normal", **common)(values)
    values = BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM, name=f"{layer.name}_normalization")(values)
    if layer.activation == "relu6":
        values = keras.layers.ReLU(max_value=6.0, name=f"{layer.name}_relu")(values)
    return values
