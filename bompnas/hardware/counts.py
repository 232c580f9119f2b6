"""Counted costs of networks: packed size, parameters, operations, peak activation memory."""

import dataclasses
from typing import ClassVar

import numpy as np

from bompnas.hardware.layers import LayerTable
from bompnas.hardware.memory import peak_memory_b
from bompnas.hardware.model import CostModel, Quantity
from bompnas.space.batch import ABSENT, FLOAT, NetworkBatch
from bompnas.space.network import FLOAT_BITS

BIAS_BITS = 32
SCALE_BITS = 32
BITS_PER_KB = 8000
BYTES_PER_KB = 1000


def counts(networks: NetworkBatch) -> dict[str, np.ndarray]:
    """Size, parameters and operations of n networks, exactly.

    A quantized layer holds its weights at its bit-width and, for each output channel, a bias and a scale of 32 bits; a
    `float` layer holds 32 bits a parameter and no scale.

    Returns:
        Arrays of shape (n,): `size_bits` (packed) [bits], `size_kb` the same [1000 bytes], `size_without_scales_bits`
        [bits], `float_size_bits`: of the float network, its batch normalizations folded [bits], `macs`: for one image,
        `params`: weights and biases.
    """
    return _with_kb({name: values.sum(axis=1) for name, values in _by_layer(networks).items()})


@dataclasses.dataclass(frozen=True)
class Counts(CostModel):
    """What can be counted of a network whatever the device: `counts`, operations on bits and peak memory.

    `bitops`: MACs x bits of a weight x bits of an input value, for one image; `peak_memory_b`: as
    `bompnas.hardware.memory` counts it [bytes], `peak_memory_kb` the same [1000 bytes], no sum over layers. `float`
    layers have a size, but no operations and no activations.
    """

    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("size_bits", "packed size [bits]", 1),
        Quantity("size_kb", "packed size [kB]", BITS_PER_KB),
        Quantity("size_without_scales_bits", "packed size without scales [bits]", 1),
        Quantity("float_size_bits", "float size [bits]", 1),
        Quantity("macs", "MACs", 1),
        Quantity("params", "parameters", 1),
        Quantity("bitops", "BitOps", 1),
        Quantity("peak_memory_b", "peak activation memory [B]", 1),
        Quantity("peak_memory_kb", "peak activation memory [kB]", BYTES_PER_KB),
    )

    def costs(self, networks: NetworkBatch) -> dict[str, np.ndarray]:
        """See `CostModel.costs`."""
        memory = peak_memory_b(networks)
        return {
            **counts(networks),
            "bitops": bitops(networks).sum(axis=1),
            "peak_memory_b": memory,
            "peak_memory_kb": memory / BYTES_PER_KB,
        }

    def by_layer(self, networks: NetworkBatch) -> dict[str, np.ndarray]:
        """See `CostModel.by_layer`."""
        return {**_with_kb(_by_layer(networks)), "bitops": bitops(networks)}


def bitops(networks: NetworkBatch) -> np.ndarray:
    """MACs x bits of a weight x bits of an input value of each layer, int64, shape (n, L)."""
    layers = LayerTable.of(networks)
    operations = np.zeros(networks.kind.shape, dtype=np.int64)
    operations[networks.kind != ABSENT] = layers.macs * layers.weight_bits * layers.input_bits
    return operations


def _by_layer(networks: NetworkBatch) -> dict[str, np.ndarray]:
    """The counts of each layer but `size_kb`, int64, shape (n, L)."""
    is_float = networks.kind == FLOAT
    channels = np.where(is_float | (networks.kind == ABSENT), 0, networks.out_channels)
    biases = channels * networks.bias
    params = networks.weights + biases
    weight_bits = networks.weights * np.where(is_float, FLOAT_BITS, networks.weight_bits)
    size_without_scales_bits = weight_bits + biases * BIAS_BITS
    return {
        "size_bits": size_without_scales_bits + channels * SCALE_BITS,
        "size_without_scales_bits": size_without_scales_bits,
        "float_size_bits": params * FLOAT_BITS,
        "macs": networks.macs.copy(),
        "params": params,
    }


def _with_kb(sizes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`size_bits` in kB beside it, in the place that records know."""
    return {"size_bits": sizes["size_bits"], "size_kb": sizes["size_bits"] / BITS_PER_KB, **sizes}
