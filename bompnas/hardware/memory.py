"""Peak activation memory: what tensors take up together in the best order of execution.

As uNAS counts it [Liberis et al. 2021, `resource_models/models.py`]: an operator needs its inputs, its output and all
other tensors that are still to be read; a network needs the most that any of its operators needs. Weights and the input
image do not count, an activation is fused into the layer before it, and a sum is accumulated in one of its addends. A
value takes a byte whatever the policy, for that is how INT8 kernels store it.
"""

import dataclasses
import heapq
from collections.abc import Iterable, Mapping

import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.layers import present_columns, reads_pooled
from bompnas.space.batch import ABSENT, FLOAT, NetworkBatch
from bompnas.space.network import Network


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What an operator makes, or an input of the graph.

    Attributes:
        size: What it takes up; 0 for what is not to count, such as the input.
        inputs: Names of the tensors that its operator reads; none for an input of the graph.
        in_place: Whether the operator may overwrite an input of its output's size that nobody else will read.
    """

    size: int
    inputs: tuple[str, ...] = ()
    in_place: bool = False


def minimum_peak(tensors: Mapping[str, Tensor], outputs: Iterable[str]) -> int:
    """The least memory in which a graph can be carried out, over all orders of its operators.

    From the outputs back to the inputs: a state is the set of tensors that are held, a step takes back the operator
    that made one of them, and of all paths the one is found whose largest step is smallest. The number of states grows
    exponentially with the number of parallel branches, and linearly with their length.

    Args:
        tensors: By name; every tensor stands behind those that its operator reads.
        outputs: Names of the tensors that must be held in the end.

    Returns:
        Memory in the unit of the sizes.

    Raises:
        InputError: A tensor or the outputs name a tensor that is not there, or not before it.
    """
    graph = _Graph(tensors)
    end = graph.set_of("the outputs", outputs)
    queue, settled = [(graph.size(end), end)], set()
    while queue:
        peak, held = heapq.heappop(queue)
        if not held & graph.made:
            return peak
        if held in settled:
            continue
        settled.add(held)
        for needed, before in graph.steps_back(held):
            heapq.heappush(queue, (max(peak, needed), before))
    raise AssertionError("every operator can be taken back in some order")


class _Graph:
    """Tensors as bits of integers, sets of them as integers.

    Attributes:
        made: The tensors that an operator makes.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._bits: dict[str, int] = {}
        self._tensors: dict[int, Tensor] = {}
        self._inputs: dict[int, int] = {}
        self._ancestors: dict[int, int] = {}
        self.made = 0
        for place, (name, tensor) in enumerate(tensors.items()):
            bit = 1 << place
            inputs = self.set_of(f"tensor {name!r}", tensor.inputs)
            self._tensors[bit], self._inputs[bit] = tensor, inputs
            self._ancestors[bit] = inputs | self._ancestors_of(inputs)
            self._bits[name] = bit
            self.made |= bit if tensor.inputs else 0

    def set_of(self, reader: str, names: Iterable[str]) -> int:
        """The set of some tensors by name."""
        tensors = 0
        for name in names:
            if name not in self._bits:
                known = ", ".join(self._bits) or "none"
                raise InputError(f"{reader}: found {name!r}, expected names of tensors before: {known}")
            tensors |= self._bits[name]
        return tensors

    def size(self, tensors: int) -> int:
        """Memory of a set of tensors."""
        return sum(self._tensors[bit].size for bit in _members(tensors))

    def steps_back(self, held: int) -> Iterable[tuple[int, int]]:
        """For each operator that may have run last: the memory that it needs, and what was held before it."""
        for bit in _members(held & self.made):
            rest = held & ~bit
            if self._ancestors_of(rest) & bit:
                continue  # something that is held already was computed from it
            before = rest | self._inputs[bit]
            made = 0 if self._overwrites(bit, rest) else self._tensors[bit].size
            yield self.size(before) + made, before

    def _overwrites(self, bit: int, rest: int) -> bool:
        size = self._tensors[bit].size
        free = _members(self._inputs[bit] & ~rest)
        return self._tensors[bit].in_place and any(self._tensors[other].size == size for other in free)

    def _ancestors_of(self, tensors: int) -> int:
        ancestors = 0
        for bit in _members(tensors):
            ancestors |= self._ancestors[bit]
        return ancestors


def _members(tensors: int) -> Iterable[int]:
    while tensors:
        bit = tensors & -tensors
        yield bit
        tensors ^= bit


def tensors(network: Network) -> dict[str, Tensor]:
    """A network's activations [bytes] in the order of execution; the last one is its output.

    `float` layers are passed over: they do not say what they write. Where a layer reads pooled features, or another
    number of values than the one before it wrote, something stands between that turns the one into the other.
    """
    layers = [layer for layer in network.layers if layer.kind != "float"]
    pooled = reads_pooled(*present_columns(_without_floats(NetworkBatch.of([network]))))
    found, sums, last = {"image": Tensor(0)}, {}, "image"

    def add(name: str, tensor: Tensor) -> str:
        found[name] = tensor
        return name

    for place, layer in enumerate(layers):
        read, written = _values(layer.in_channels, layer.input_size), _values(layer.out_channels, layer.output_size)
        if place and (pooled[place] or read != found[last].size):
            last = add(f"input of {layer.name}", Tensor(read, (last,)))
        last = add(layer.name, Tensor(written, (last,)))
        if layer.residual is not None:
            last = add(f"sum of {layer.name}", Tensor(written, (sums[layer.residual], last), in_place=True))
        sums[layer.name] = last
    return found


def peak_memory_b(networks: NetworkBatch) -> np.ndarray:
    """`minimum_peak` of the `tensors` of n networks [bytes], int64, shape (n,).

    Every layer reads what the one before it wrote, so that there is one order. While a layer runs it holds its input,
    its output and the other outputs that a later sum, or its own, will add; a sum holds nothing more than the layer
    before it did.
    """
    column, first = present_columns(_without_floats(networks))
    read = _values(column["in_channels"], column["input_size"])
    written = _values(column["out_channels"], column["output_size"])
    before = np.where(first, 0, np.roll(written, 1))
    between = ~first & (reads_pooled(column, first) | (read != before))
    kept, before_is_kept = _kept(column["residual"], first, written)
    others = kept - np.where(before_is_kept, before, 0)
    turning = np.where(between, others + before + read, 0)
    running = np.where(between, kept, others) + np.where(first, 0, read) + written
    peaks = np.zeros(networks.kind.shape, dtype=np.int64)
    peaks[(networks.kind != ABSENT) & (networks.kind != FLOAT)] = np.maximum(turning, running)
    return peaks.max(axis=1, initial=0)


def _kept(residual: np.ndarray, first: np.ndarray, written: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What earlier layers' outputs take up that this layer's or a later layer's sum adds, as each of m layers runs.

    Returns:
        Their size, shape (m,), and whether the layer just before is among them, shape (m,).
    """
    places = np.arange(len(residual))
    start = np.maximum.accumulate(np.where(first, places, 0))
    reader = np.flatnonzero(residual)
    source = start[reader] + residual[reader] - 1
    last_reader = np.full(len(residual), -1)
    np.maximum.at(last_reader, source, reader)
    source = np.flatnonzero(last_reader >= 0)
    change = np.zeros(len(residual) + 1, dtype=np.int64)
    change[source + 1] += written[source]
    change[last_reader[source] + 1] -= written[source]
    return change.cumsum()[:-1], ~first & (np.roll(last_reader, 1) >= places)


def _values(channels: np.ndarray | int, size: np.ndarray | int) -> np.ndarray | int:
    return channels * size**2


def _without_floats(networks: NetworkBatch) -> NetworkBatch:
    """Without `float` layers; these stand in heads, behind all residuals, whose places stay as they are."""
    return NetworkBatch(networks.fields * (networks.kind != FLOAT))
