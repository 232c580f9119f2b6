"""Random networks of the search spaces with random weights: exported, packed, and run on random images."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from bompnas.errors import NotExportableError
from bompnas.export import emulator, litert, packed
from bompnas.export.extract import extract
from bompnas.export.interpreter import Interpreter, litert_levels
from bompnas.networks import float_model, fold, quantize
from bompnas.networks.heads import HeadSource
from bompnas.space import loader, sampling
from bompnas.space.network import Network
from bompnas.space.space import NetworkSpace
from exporting import engines, files, subjects

IMAGES = 32
INPUT_SIZE = 8  # also of Table I's networks, whose strides make 2x2 of it
TILT = -2.0  # favours few repetitions and channels, so that a network takes a second
NARROW = 4  # every so many networks have activations of 2 to 7 bits
SPACES = {
    "digits": subjects.ROOT / "search_spaces" / "mobilenetv2_digits.yaml",
    "Table I": subjects.CIFAR10,
}


def check(seed: int) -> dict:
    """Exports the random network of a seed and compares everything that can be compared; see the keys."""
    tf.config.run_functions_eagerly(True)  # tracing a network takes longer than running it once
    try:
        return _check(seed)
    finally:
        tf.config.run_functions_eagerly(False)


def _check(seed: int) -> dict:
    name = list(SPACES)[seed % len(SPACES)]
    generator = np.random.default_rng(seed)
    network = draw(space(name), generator, narrow=seed // len(SPACES) % NARROW == 0)
    images = draw_images(network, generator)
    model = build(network, images, generator, seed)
    row = {
        "seed": seed,
        "space": name,
        "layers": len(network.layers),
        "weight_bits": sorted({layer.weight_bits for layer in network.layers}),
        "activation_bits": network.layers[0].activation_bits,
    }
    try:
        graph = extract(model).graph
        file = litert.write(graph)
    except NotExportableError as error:
        return {**row, "not_exportable": error.reason}
    levels = graph.levels(images)
    expected = emulator.emulate(graph, levels)
    unpacked = packed.unpack(packed.pack(graph))
    return {
        **row,
        "zero_channels": sum(engines.zero_channels(operation.weights) for operation in graph.linear),
        "classes_chosen": len(np.unique(expected.argmax(axis=1))),
        "levels_used": len(np.unique(expected)),
        "litert": int(np.abs(litert_levels(Interpreter(file), graph, levels) - expected).max()),
        "keras": int(np.abs(engines.keras_levels(model, graph, images) - expected).max()),
        "unpacked": int(np.abs(emulator.emulate(unpacked, levels) - expected).max()),
        "weights_equal": files.same_weights(file, graph),
    }


@functools.cache
def space(name: str) -> NetworkSpace:
    """A space with small inputs."""
    return dataclasses.replace(loader.load(SPACES[name]), input_size=INPUT_SIZE)


def draw(space: NetworkSpace, generator: np.random.Generator, narrow: bool) -> Network:
    """A random network and policy; with `narrow` its activations have 2 to 7 bits."""
    (genotype,) = space.genotypes(sampling.tilted(space, generator, np.array([TILT])))
    network = space.decode(genotype)
    bits = int(generator.integers(2, 8)) if narrow else 8
    layers = tuple(
        dataclasses.replace(
            layer, weight_bits=int(generator.integers(4, 9)), activation_bits=8 if layer.group == "head" else bits
        )
        for layer in network.layers
    )
    return dataclasses.replace(network, layers=layers)


def draw_images(network: Network, generator: np.random.Generator) -> np.ndarray:
    """Noise of a brightness, a colour and a contrast that differ from image to image, uint8."""
    noise = generator.uniform(-1.0, 1.0, (IMAGES, INPUT_SIZE, INPUT_SIZE, network.input_channels))
    brightness = generator.uniform(0.0, 255.0, (IMAGES, 1, 1, network.input_channels))
    contrast = generator.uniform(0.0, 255.0, (IMAGES, 1, 1, 1))
    return np.clip(brightness + contrast * noise, 0, 255).astype(np.uint8)


def build(network: Network, images: np.ndarray, generator: np.random.Generator, seed: int) -> keras.Model:
    """The quantized model with random weights, random normalizations and some output channels at zero."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = float_model.build(network, HeadSource("classification", 10).head())
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(generator.uniform(0.5, 2.0, layer.gamma.shape))
            layer.beta.assign(generator.normal(0.0, 1.0, layer.beta.shape))
            layer.momentum = 0.0
    model(images.astype(np.float32), training=True)  # signals of unit variance, as in a trained network
    folded = fold.fold(model)
    calibration = quantize.Calibration.of(folded, images[: IMAGES // 2])
    quantized = quantize.quantize(folded, quantize.Policy.of(network), calibration)
    subjects.zero_channels(quantized, generator)
    return quantized
