"""Networks in Keras: float models, heads, folding, quantization.

Importing this package registers the quantized layers, so that `keras.models.load_model` reads a run's `.keras` files.
"""

from bompnas.networks.layers import (
    IntegerConv2D,
    IntegerDense,
    IntegerDepthwiseConv2D,
    QuantizedAdd,
    QuantizedAveragePooling2D,
    QuantizedGlobalAveragePooling2D,
)
from bompnas.networks.quantizers import ActivationQuantizer, WeightQuantizer

__all__ = [
    "ActivationQuantizer",
    "IntegerConv2D",
    "IntegerDense",
    "IntegerDepthwiseConv2D",
    "QuantizedAdd",
    "QuantizedAveragePooling2D",
    "QuantizedGlobalAveragePooling2D",
    "WeightQuantizer",
]
