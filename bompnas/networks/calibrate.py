"""Calibration: which power-of-two scale fits a tensor, found once on training images and frozen."""

import math

import keras
import numpy as np

# Values kept of one tensor; enough for a stable estimate of the quantization error.
SAMPLE = 65_536


def sample(model: keras.Model, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Values of some operations' outputs on calibration images.

    Args:
        model: A float model.
        names: Operations to look at.
        images: Shape (n, size, size, channels); all go through the model at once.

    Returns:
        For each name at most about `SAMPLE` values, evenly spread over the tensor.
    """
    operations = {operation.name: operation for operation in model.operations}
    outputs = {}
    for name in names:
        tensor = operations[name].output
        stride = max(1, math.prod(tensor.shape[1:]) * len(images) // SAMPLE)
        stride += 1 - stride % 2  # an odd stride does not keep to a few channels
        outputs[name] = _Subsample(stride)(tensor)
    values = keras.Model(model.inputs, outputs)(keras.ops.cast(images, "float32"), training=False)
    return {name: keras.ops.convert_to_numpy(value) for name, value in values.items()}


def exponent(values: np.ndarray, bits: int, signed: bool, cover: bool = False) -> int:
    """Exponent of the power-of-two scale with the least squared quantization error.

    Args:
        values: A sample of the tensor.
        bits: Width of a quantized value.
        signed: Whether the grid is signed.
        cover: Take the smallest scale that clips nothing (for outputs whose order matters).
    """
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low = -(2 ** (bits - 1)) if signed else 0
    largest = float(np.max(np.abs(values) if signed else values, initial=0.0))
    if not largest > 0:
        return -bits
    covering = math.ceil(math.log2(largest / high))
    if cover:
        return covering

    def error(candidate: int) -> float:
        scale = 2.0**candidate
        return float(np.mean((np.clip(np.round(values / scale), low, high) * scale - values) ** 2))

    return min((covering - shrink for shrink in range(8)), key=error)


class _Subsample(keras.layers.Layer):
    """Every `stride`-th value of a flattened batch."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def call(self, inputs):
        return keras.ops.reshape(inputs, (-1,))[:: self.stride]

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((None,), inputs.dtype)
