"""Counted costs of networks: packed size, parameters, multiply-accumulate operations."""

import numpy as np

from bompnas.space.batch import ABSENT, FLOAT, NetworkBatch
from bompnas.space.network import FLOAT_BITS

BIAS_BITS = 32
SCALE_BITS = 32
BITS_PER_KB = 8000


def counts(networks: NetworkBatch) -> dict[str, np.ndarray]:
    """Size, parameters and operations of n networks, exactly.

    A quantized layer holds its weights at its bit-width and, for each output channel, a bias and a scale of 32 bits; a
    `float` layer holds 32 bits a parameter and no scale.

    Returns:
        Arrays of shape (n,): `size_bits` (packed) [bits], `size_kb` the same [1000 bytes], `size_without_scales_bits`
        [bits], `float_size_bits`: of the float network, its batch normalizations folded [bits], `macs`: for one image,
        `params`: weights and biases.
    """
    is_float = networks.kind == FLOAT
    channels = np.where(is_float | (networks.kind == ABSENT), 0, networks.out_channels)
    weights = networks.weights.sum(axis=1)
    biases = (channels * networks.bias).sum(axis=1)
    weight_bits = (networks.weights * np.where(is_float, FLOAT_BITS, networks.weight_bits)).sum(axis=1)
    size_without_scales_bits = weight_bits + biases * BIAS_BITS
    size_bits = size_without_scales_bits + channels.sum(axis=1) * SCALE_BITS
    return {
        "size_bits": size_bits,
        "size_kb": size_bits / BITS_PER_KB,
        "size_without_scales_bits": size_without_scales_bits,
        "float_size_bits": (weights + biases) * FLOAT_BITS,
        "macs": networks.macs.sum(axis=1),
        "params": weights + biases,
    }
