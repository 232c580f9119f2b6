"""What a policy changes about a quantized model's training, as data.

Bit-widths and scales enter a training step as a few numbers of each layer. A step that takes them as an argument is
traced once for all policies of a network.
"""

import contextlib
import json
from collections.abc import Iterator

import keras
import numpy as np

_NUMBERS = 6  # of a layer at most
_CONFIGURED = "bits", "levels", "exponent", "maximum", "input_exponent"  # where a layer's configuration holds them
_FIXED = "QActivation", "QuantizedAveragePooling2D"  # layers that train with the numbers they were made with


def of(model: keras.Model) -> np.ndarray:
    """The numbers of a model's layers, float32, shape (quantized layers, 6), rows padded with zeros."""
    rows = [layer.numbers for layer in _layers(model)]
    padded = [(*row, *[0.0] * (_NUMBERS - len(row))) for row in rows]
    return np.asarray(padded, np.float32).reshape(-1, _NUMBERS)


@contextlib.contextmanager
def given(model: keras.Model, rows) -> Iterator[None]:
    """Lets a model train with the numbers of another policy, tensors while a step is traced.

    Args:
        model: A quantized model, or a float one, which has no such numbers.
        rows: As `of` returns them, for a model of the same `structure`.
    """
    layers = _layers(model)
    values = iter(keras.ops.unstack(keras.ops.reshape(rows, (-1,))) if layers else ())
    for layer in layers:
        row = [next(values) for _ in range(_NUMBERS)]
        layer.given = tuple(row[: len(layer.numbers)])
    try:
        yield
    finally:
        for layer in layers:
            layer.given = None


def structure(model: keras.Model) -> str:
    """What models must have in common to share a training step: everything but these numbers."""
    return json.dumps(_without_numbers(json.loads(model.to_json())["config"]), sort_keys=True)


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if hasattr(layer, "numbers")]


def _without_numbers(config):
    if isinstance(config, dict):
        if config.get("class_name") in _FIXED:
            return config
        return {key: _without_numbers(value) for key, value in config.items() if key not in _CONFIGURED}
    return list(map(_without_numbers, config)) if isinstance(config, list) else config
