"""Counted costs of a network: packed size, parameters, multiply-accumulate operations."""

from bompnas.space.network import FLOAT_BITS, Network

BIAS_BITS = 32
SCALE_BITS = 32
BITS_PER_KB = 8000


def counts(network: Network) -> dict[str, float]:
    """Size, parameters and operations of a network, exactly.

    A quantized layer holds its weights at its bit-width and, for each output channel, a bias and a scale of 32 bits; a
    `float` layer holds 32 bits a parameter and no scale.

    Returns:
        `size_bits` (packed) [bits], `size_kb` the same [1000 bytes], `size_without_scales_bits` [bits],
        `float_size_bits`: of the float network, its batch normalizations folded [bits],
        `macs`: for one image, `params`: weights and biases.
    """
    weights = weight_bits = biases = scales = macs = 0
    for layer in network.layers:
        layer_weights = layer.weights
        weights += layer_weights
        if layer.kind == "float":
            weight_bits += layer_weights * FLOAT_BITS
            continue
        weight_bits += layer_weights * layer.weight_bits
        macs += layer.macs
        scales += layer.out_channels
        biases += layer.out_channels if layer.bias else 0
    size_without_scales_bits = weight_bits + biases * BIAS_BITS
    size_bits = size_without_scales_bits + scales * SCALE_BITS
    return {
        "size_bits": size_bits,
        "size_kb": size_bits / BITS_PER_KB,
        "size_without_scales_bits": size_without_scales_bits,
        "float_size_bits": (weights + biases) * FLOAT_BITS,
        "macs": macs,
        "params": weights + biases,
    }
