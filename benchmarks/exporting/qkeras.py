"""Stock QKeras models of digits: how far their files agree with Keras.

They are not made for integers: biases are real numbers, also behind batch normalizations, and sums round half to even.
"""

import dataclasses
from collections.abc import Callable, Iterator
from unittest import mock

import keras
import numpy as np
from keras import layers
from qkeras import (
    QActivation,
    QConv2D,
    QDense,
    QDepthwiseConv2D,
    quantized_bits,
    quantized_relu,
    ternary,
)

from bompnas import experiment as experiments
from bompnas.export import biases, emulator, litert
from bompnas.export.extract import extract
from bompnas.export.graph import IntegerGraph
from bompnas.export.interpreter import Interpreter, litert_levels
from bompnas.trials import setup
from exporting import engines, subjects

SEEDS = range(2)
EPOCHS = 8
BATCH = 64
LEARNING_RATE = 3e-3
Quantizers = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class StockModel:
    """A model to train and compare.

    Attributes:
        kind: Key of `MODELS`.
        seed: Of weights and training.
    """

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """What results call it."""
        return f"{self.kind}, seed {self.seed}"


def all_of() -> Iterator[StockModel]:
    """Every model with every seed."""
    return (StockModel(kind, seed) for kind in MODELS for seed in SEEDS)


def compare(stock: StockModel) -> dict:
    """Trains a model and compares it on all images of digits, and on shifted ones, with its files; see the keys."""
    parts = setup.parts(setup.prepare(experiments.load(subjects.DIGITS, [])).dataset)
    images = np.concatenate([parts[part][0] for part in ("test", "validation", "train")])
    images = np.concatenate([images, subjects.shifted(images)])
    labels = parts["test"][1]
    model = _trained(stock, *parts["train"])
    with mock.patch.object(biases, "LARGEST_MULTIPLE", 1):
        coarse = extract(model).graph
    graph = extract(model).graph
    expected = engines.keras_levels(model, graph, images)
    levels = graph.levels(images)
    emulated = emulator.emulate(graph, levels)
    found = litert_levels(Interpreter(litert.write(graph)), graph, levels)
    tested = {"Keras": expected, "emulator": emulated, "LiteRT": found}
    return {
        "name": stock.name,
        "images": len(images),
        "accuracy": {name: engines.accuracy(outputs, labels) for name, outputs in tested.items()},
        "litert_equal": bool(np.array_equal(found, emulated)),
        "coarse": _agreement(coarse, emulator.emulate(coarse, levels), expected),
        "fine": _agreement(graph, emulated, expected),
    }


def _agreement(graph: IntegerGraph, levels: np.ndarray, expected: np.ndarray) -> dict:
    return {
        **dataclasses.asdict(engines.Difference.of(levels, expected)),
        "within_one": float(np.mean(np.abs(levels - expected) <= 1)),
        "bits": [operation.bits for operation in graph.linear],
        "packed_bytes": -(-graph.size_bits // 8),
    }


def _trained(stock: StockModel, images: np.ndarray, labels: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(stock.seed)
    model = MODELS[stock.kind]()
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * -(-len(images) // BATCH))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(images, labels, BATCH, EPOCHS, verbose=0)
    return model


# --- Models -----------------------------------------------------------------------------------------------------------


def _plain(kernel: Quantizers, activation: Quantizers) -> keras.Model:
    """Convolutions with batch normalizations, and a dense layer with a bias."""
    inputs, values = _image()
    values = _normalized(QConv2D(16, 3, padding="same", kernel_quantizer=kernel())(values), activation)
    depthwise = QDepthwiseConv2D(3, strides=2, padding="same", depthwise_quantizer=kernel())
    values = _normalized(depthwise(values), activation)
    values = _normalized(QConv2D(32, 1, kernel_quantizer=kernel())(values), activation)
    values = _normalized(QConv2D(32, 3, strides=2, padding="same", kernel_quantizer=kernel())(values), activation)
    return keras.Model(inputs, _scores(layers.Flatten()(values), kernel))


def _residual(kernel: Quantizers, integer: int) -> keras.Model:
    """Two inverted bottlenecks with residual sums of `integer` bits above the point; of all they add, 3."""

    def activation():
        return quantized_relu(8, 3)

    inputs, values = _image()
    values = _normalized(QConv2D(16, 3, padding="same", kernel_quantizer=kernel())(values), activation)
    for _ in range(2):
        branch = _normalized(QConv2D(32, 1, kernel_quantizer=kernel())(values), activation)
        depthwise = QDepthwiseConv2D(3, padding="same", depthwise_quantizer=kernel())
        branch = _normalized(depthwise(branch), activation)
        branch = _normalized(QConv2D(16, 1, kernel_quantizer=kernel())(branch), lambda: _signed(2))
        values = QActivation(quantized_relu(8, integer))(layers.Add()([values, branch]))
    values = _normalized(QConv2D(32, 3, strides=2, padding="same", kernel_quantizer=kernel())(values), activation)
    return keras.Model(inputs, _scores(layers.Flatten()(values), kernel))


def _image() -> tuple[keras.KerasTensor, keras.KerasTensor]:
    inputs = keras.Input((8, 8, 1))
    return inputs, QActivation(_signed(0))(layers.Rescaling(1 / 255)(inputs))


def _normalized(values: keras.KerasTensor, activation: Quantizers) -> keras.KerasTensor:
    return QActivation(activation())(layers.BatchNormalization(momentum=0.9)(values))


def _scores(values: keras.KerasTensor, kernel: Quantizers) -> keras.KerasTensor:
    return QActivation(_signed(4))(QDense(10, kernel_quantizer=kernel())(values))


def _signed(integer: int):
    return quantized_bits(8, integer, 0, alpha=1)


def _weights(bits: int, alpha) -> Quantizers:
    return lambda: quantized_bits(bits, 0, 1, alpha=alpha)


def _activations(bits: int) -> Quantizers:
    return lambda: quantized_relu(bits, 2)


MODELS: dict[str, Callable[[], keras.Model]] = {
    "8-bit weights, fixed scale; 8-bit activations": lambda: _plain(_weights(8, 1), _activations(8)),
    "6-bit weights, auto_po2; 6-bit activations": lambda: _plain(_weights(6, "auto_po2"), _activations(6)),
    "4-bit weights, auto; 8-bit activations": lambda: _plain(_weights(4, "auto"), _activations(8)),
    "4-bit weights, auto; 4-bit activations": lambda: _plain(_weights(4, "auto"), _activations(4)),
    "ternary weights; 8-bit activations": lambda: _plain(lambda: ternary(alpha="auto"), _activations(8)),
    "residual, 8/8 bits": lambda: _residual(_weights(8, "auto"), 4),
    "residual, 8/8 bits, one scale": lambda: _residual(_weights(8, "auto"), 3),
}
"""Bits and scales of weights; bits of activations. Sums of the last are on the scale of what they add: no ties."""
