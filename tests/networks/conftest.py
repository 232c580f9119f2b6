import keras
import numpy as np
import pytest

from bompnas.space.head import DenseHead
from bompnas.space.network import Layer, Network


@pytest.fixture
def network():
    """Stem, a residual block without expansion, a strided block with an even kernel, last conv, dense head."""

    def layer(name, kind, kernel, stride, channels, sizes, activation, repetition=0, residual=None, bits=8):
        group = name.split("_")[0] if name.startswith("block") else name
        return Layer(name, kind, kernel, stride, *channels, *sizes, bits, 8, activation, group, repetition, residual)

    return Network(
        8,
        1,
        (
            layer("stem", "conv", 3, 1, (1, 8), (8, 8), "relu6", bits=5),
            layer("block1_1_depthwise", "depthwise", 3, 1, (8, 8), (8, 8), "relu6", 1, bits=7),
            layer("block1_1_project", "conv", 1, 1, (8, 8), (8, 8), "linear", 1, "stem", bits=4),
            layer("block2_1_expand", "conv", 1, 1, (8, 24), (8, 8), "relu6", 1, bits=6),
            layer("block2_1_depthwise", "depthwise", 4, 2, (24, 24), (8, 4), "relu6", 1, bits=8),
            layer("block2_1_project", "conv", 1, 1, (24, 12), (4, 4), "linear", 1, bits=4),
            layer("last_conv", "conv", 1, 1, (12, 32), (4, 4), "relu6", bits=5),
            *DenseHead(10)(32),
        ),
    )


@pytest.fixture
def images():
    return np.random.default_rng(3).integers(0, 256, (200, 8, 8, 1)).astype("uint8")


@pytest.fixture
def trained():
    """Gives a model's normalization layers statistics that are far from their initial values."""

    def randomize(model):
        generator = np.random.default_rng(1)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                channels = layer.gamma.shape[0]
                layer.set_weights(
                    [
                        generator.normal(1, 0.2, channels),
                        generator.normal(0, 0.3, channels),
                        generator.normal(0, 0.3, channels),
                        generator.uniform(0.5, 2, channels),
                    ]
                )
        return model

    return randomize
