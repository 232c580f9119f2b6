"""The widths that cost models go by are those that quantized models have."""

import dataclasses

import keras
import numpy as np
import pytest

from bompnas.hardware.layers import LayerTable
from bompnas.networks import float_model, fold, heads, quantize
from bompnas.networks.heads import Head, HeadSource
from bompnas.space.batch import NetworkBatch
from bompnas.space.network import Layer, Network


def layer(name, kind, channels, **others):
    values = {"activation": "relu6", "group": "block1", **others}
    return Layer(name, kind, 1, 1, *channels, 6, 6, 4, 8, **values)


def small_network():
    return Network(
        6,
        1,
        (
            layer("stem", "conv", (1, 4), group="stem"),
            layer("block1_1_depthwise", "depthwise", (4, 4)),
            layer("block1_1_project", "conv", (4, 4), activation="linear", residual="stem"),
            layer("last_conv", "conv", (4, 8), group="last_conv"),
        ),
    )


def hidden(features):
    values = keras.layers.Dense(5, activation=None)(features)
    return keras.layers.Dense(3)(keras.layers.ReLU()(values))


def normalized(features):
    return keras.layers.Dense(3)(keras.layers.LayerNormalization()(features))


def flattened(features):
    values = keras.layers.Conv2D(3, 3, padding="same")(features)
    return keras.layers.Dense(3)(keras.layers.Flatten()(values))


@pytest.mark.parametrize(
    "head",
    [
        HeadSource("classification", 3).head(),
        Head(hidden, "mean_squared_error"),
        Head(normalized, "mean_squared_error"),
        Head(flattened, "mean_squared_error", features="map"),
        HeadSource("classification", 3, features="map").head(),
    ],
    ids=["dense", "hidden layer", "normalization", "flattened map", "pools by itself"],
)
def test_input_bits_are_those_of_the_quantized_model(head):
    backbone = small_network()
    described = heads.layers(head, float_model.feature_shape(backbone, head))
    widths = (5, 3, 6, 4, 7, 2)
    layers = [
        dataclasses.replace(one, weight_bits=4, activation_bits=bits)
        for one, bits in zip((*backbone.layers, *described), widths, strict=False)
    ]
    network = Network(6, 1, tuple(layers))
    folded = fold.fold(float_model.build(network, head))
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1)).astype("uint8")
    calibration = quantize.Calibration.of(folded, images)
    model = quantize.quantize(folded, quantize.Policy.of(network), calibration)

    def width(name):
        tensor = model.get_layer(name).input
        while not hasattr(getattr(tensor._keras_history.operation, "activation", None), "bits"):
            tensor = tensor._keras_history.operation.input  # a layer that keeps its grid
        return tensor._keras_history.operation.activation.bits

    quantized = [place for place, one in enumerate(network.layers) if one.kind != "float"]
    found = LayerTable.of(NetworkBatch.of([network])).input_bits[quantized].tolist()
    assert found == [width(network.layers[place].name) for place in quantized]
