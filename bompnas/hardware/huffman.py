"""Size of trained weights under Huffman coding, as JASQ counts it."""

import heapq
from typing import Any, ClassVar

import numpy as np

from bompnas.hardware.model import MeasuredModel, Quantity

BUCKET = 256
"""Weights that share two numbers of 32 bits in JASQ's quantizer, the least and the largest of them."""
BUCKET_BITS = 64
BIAS_BITS = 32
BITS_PER_KB = 8000


class HuffmanSize(MeasuredModel):
    """Size of a network whose weights are Huffman coded, layer by layer, as JASQ's code counts it.

    Mean code length x number of weights, plus 64 bits a bucket of 256 weights (the last one counts for the share that
    is filled), plus 32 bits for every parameter that is not quantized, here the biases. The codes' own tables do not
    count (yukang2017/NAS-quantization, `helpers/evaluate.py`). Our quantizer has steps by output channel instead of
    buckets; JASQ's overhead is kept so that sizes compare with JASQ's.
    """

    quantities: ClassVar[tuple[Quantity, ...]] = (Quantity("huffman_kb", "Huffman-coded size [kB]", BITS_PER_KB),)

    def measure(self, graph: Any) -> dict[str, float]:
        """See `bompnas.hardware.model.MeasuredModel`."""
        bits = 0.0
        for layer in graph.linear:
            bits += coded_bits(layer.weights) + layer.weights.size / BUCKET * BUCKET_BITS
            bits += 0 if layer.bias is None else BIAS_BITS * layer.bias.size
        return {"huffman_kb": bits / BITS_PER_KB}


def coded_bits(values: np.ndarray) -> int:
    """Length of integers in the best prefix code of their own frequencies [bits]; any shape, the code not counted."""
    _, counts = np.unique(values, return_counts=True)
    return int(counts @ code_lengths(counts))


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Lengths of Huffman codes, an optimal prefix code [Huffman 1952].

    Args:
        counts: How often each of k symbols occurs, positive, shape (k,).

    Returns:
        Length of each symbol's code [bits], int64, shape (k,); 0 for a symbol that is alone.
    """
    queue = [(count, node) for node, count in enumerate(counts.tolist())]
    heapq.heapify(queue)
    parents = [0] * len(queue)
    while len(queue) > 1:
        (first, left), (second, right) = heapq.heappop(queue), heapq.heappop(queue)
        parents[left] = parents[right] = len(parents)
        heapq.heappush(queue, (first + second, len(parents)))
        parents.append(0)
    lengths = [0] * len(parents)
    for node in reversed(range(len(parents) - 1)):  # a parent stands behind its children, the root last
        lengths[node] = lengths[parents[node]] + 1
    return np.array(lengths[: len(counts)], dtype=np.int64)
