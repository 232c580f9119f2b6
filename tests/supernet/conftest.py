import dataclasses
import functools

import keras
import numpy as np
import pytest

from bompnas.hardware.costs import network_costs
from bompnas.networks import float_model
from bompnas.networks.heads import HeadSource
from bompnas.networks.quantize import LayerBits
from bompnas.objectives import Objective
from bompnas.problem import Problem
from bompnas.space.head import DenseHead
from bompnas.space.loader import load
from bompnas.supernet import structure
from bompnas.supernet.single_path import Supernet, derived_weights

SMALL = """
family: mobilenetv2
name: small
input: {size: 8, channels: 1}
bits: [4, 8, 16]
bits_per: block
levels: nested
seed: {bits: 8}
stem: {filters: 4, kernel: 3, stride: 1, bits: 8}
blocks:
  - &group
    channels: 4
    stride: 1
    kernel: [3, 5]
    width: 1.0
    expansion: [3, 6]
    repetitions: [0, 1]
    seed: {kernel: 3, expansion: 6, repetitions: 1}
  - {<<: *group, channels: 6, stride: 2, repetitions: 1, seed: {kernel: 3, expansion: 6}}
last_conv: {filters: 12, bits: 8}
dense: {bits: 8}
"""


@pytest.fixture(scope="session")
def read_space(tmp_path_factory):
    """A function from a space file's text to the space, with a head of ten classes."""

    def read(text):
        path = tmp_path_factory.mktemp("spaces") / "space.yaml"
        path.write_text(text)
        return load(path, head=DenseHead(10))

    return read


@pytest.fixture(scope="session")
def small_text():
    """A group that may be skipped and adds its input, and one with stride 2."""
    return SMALL


@pytest.fixture(scope="session")
def small_space(read_space, small_text):
    return read_space(small_text)


@pytest.fixture(scope="session")
def small(small_space):
    return structure.read(small_space)


@pytest.fixture(scope="session")
def problem(small_space):
    over = (
        Objective("accuracy", "val_accuracy", 0.8, maximize=True),
        Objective("size", "size_bits", 8, maximize=False, transform="log10"),
    )
    return Problem(small_space, network_costs(), over)


@pytest.fixture(scope="session")
def head():
    return HeadSource("classification", 10)


@pytest.fixture(scope="session")
def make_supernet(small, head):
    """A function that makes a supernet of the small space with random weights everywhere; the same one once only."""

    @functools.cache
    def make(seed=0, literal=False):
        keras.utils.set_random_seed(seed)
        supernet = Supernet(small, head.head(), literal)
        generator = np.random.default_rng(seed)
        arrays = supernet.arrays
        for name, array in arrays.items():
            if name.endswith(("gamma", "beta", "bias")):
                arrays[name] = array + 0.3 * generator.standard_normal(array.shape).astype(np.float32)
        supernet.restore(arrays)
        return supernet

    return make


@pytest.fixture(scope="session")
def derive(small_space, head):
    """A function from a supernet and a genotype to the network and its float model, on the supernet's grids or off."""

    def make(supernet, genotype, quantized):
        network = small_space.decode(genotype)
        weights = derived_weights(supernet.arrays, network)
        if quantized:
            for layer in network.backbone:
                if layer.group.startswith("block"):
                    bits = LayerBits(layer.weight_bits, 8, layer.weight_levels)
                    quantizer = bits.quantizer(2 if layer.kind == "depthwise" else -1)
                    weights[f"{layer.name}/kernel"] = np.asarray(quantizer(weights[f"{layer.name}/kernel"]))
        headless = dataclasses.replace(network, layers=network.backbone)
        model = float_model.build(headless, head.head())
        float_model.restore(model, weights)
        return network, model

    return make


@pytest.fixture(scope="session")
def images():
    return np.random.default_rng(5).integers(0, 256, (32, 8, 8, 1)).astype(np.float32)
