"""How a convolution is cut into tiles, and in which order its loops over them run.

Three streams of values flow: inputs, sums (outputs, whole or partial) and weights. Axes of arrays are, in this order: o
orders of the loops, 3 streams or 4 loops, t choices of the tiles' sizes.
"""

import dataclasses
import functools
import itertools

import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.bitfusion.configuration import Configuration

NATIVE_BITS = 8
"""The widest operand that is multiplied in one step."""
SUM_BITS = 32
BYTE_BITS = 8

SUMS = 1
BATCH, MAP, IN, OUT = range(4)
ADVANCES = np.array([(True, True, False), (True, True, False), (True, False, True), (False, True, True)])
"""Whether a step of a loop (BATCH, MAP, IN, OUT) goes on to other inputs, sums, weights, shape (4, 3)."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """A dense convolution, as far as its schedules depend on it.

    Attributes:
        kernel: Height and width of the kernel, which is never cut.
        stride: Stride in both directions.
        size: Height and width of the output map.
        ins: Input channels.
        in_unit: Input channels of the smallest tile.
        outs: Output channels.
        out_unit: Output channels of the smallest tile.
        input_stored: Bits in which an input is stored.
        weight_stored: Bits in which a weight is stored.
    """

    kernel: int
    stride: int
    size: int
    ins: int
    in_unit: int
    outs: int
    out_unit: int
    input_stored: int
    weight_stored: int


@dataclasses.dataclass(frozen=True)
class Schedules:
    """All ways to carry out a convolution that fit the buffers.

    Attributes:
        configuration: The accelerator.
        busy: Cycles in which the array computes, shape (t,).
        accesses: Values that the array reads from the buffers (of sums: reads and writes), shape (3, t). It holds a
            sum until all products of a tile are added, and fetches inputs and weights for each product: with two rows
            or more no other order takes less energy.
        moved: Values that come from DRAM; as many sums go back, shape (o, 3, t).
        kept: Those of them that have to be there before the first tile is computed; as many sums are left after the
            last one, shape (o, 3, t).
    """

    configuration: Configuration
    busy: np.ndarray
    accesses: np.ndarray
    moved: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, configuration: Configuration, shape: Shape) -> "Schedules":
        """All schedules of a convolution.

        Raises:
            InputError: Not even the smallest tile fits the buffers.
        """
        full = np.array([configuration.batch, shape.size, shape.ins, shape.outs])
        units = (1, 1, shape.in_unit, shape.out_unit)
        sizes = np.stack([axis.ravel() for axis in np.meshgrid(*map(_doubled, units, full), indexing="ij")])
        room, capacity = _room(configuration, shape, sizes), _capacity(configuration)
        fitting = (room <= capacity).all(axis=0)
        if not fitting.any():
            raise InputError(
                f"BitFusion: not even the smallest tile of {shape} fits the buffers, expected larger buffers or a "
                "smaller kernel"
            )
        sizes, room = sizes[:, fitting], room[:, fitting]
        counts = quotient(full[:, None], sizes)
        moved, kept = _traffic(counts, _values(shape, sizes), room, capacity)

        batch, side, ins, outs = sizes
        tiles = counts.prod(axis=0) * counts[MAP]  # two loops run over the map
        pixels, area = batch * side**2, shape.kernel**2
        lanes = _lanes(configuration, shape)
        steps = pixels * area * quotient(ins, lanes) * quotient(outs, configuration.columns)
        products = pixels * area * ins * outs
        return cls(
            configuration,
            tiles * steps * _repeats(shape.input_stored) * _repeats(shape.weight_stored),
            tiles * np.stack([products, pixels * outs, products]),
            moved,
            kept,
        )

    def best(self, input_bits: int, weight_bits: int) -> tuple[int, float]:
        """Cycles and energy [nJ] of the schedule of fewest cycles at these widths; of the least energy among equals."""
        bits = np.array([input_bits, SUM_BITS, weight_bits])
        both_ways = np.array([input_bits, 2 * SUM_BITS, weight_bits])
        first, last = bits @ self.kept, SUM_BITS * self.kept[:, SUMS]
        between = both_ways @ self.moved - first - last
        width = self.configuration.dram_bits_per_cycle
        cycles = np.maximum(self.busy, quotient(between, width)) + quotient(first, width) + quotient(last, width)
        fewest = cycles.min()
        order, tile = np.nonzero(cycles == fewest)
        energy = self.configuration.energy
        dynamic = (
            energy.busy_cycle * self.busy[tile]
            + (energy.buffers * bits) @ self.accesses[:, tile]
            + (energy.transfers * both_ways) @ self.moved[order, :, tile].T
        )
        return int(fewest), float(energy.cycle * fewest + dynamic.min())


def parallel(stored_bits: int | np.ndarray) -> np.ndarray:
    """Operands of a stored width that a unit takes at a time."""
    return np.maximum(NATIVE_BITS // stored_bits, 1)


def quotient(total: int | np.ndarray, part: int | np.ndarray) -> int | np.ndarray:
    """Quotient, rounded up."""
    return -(-total // part)


def _repeats(stored_bits: int) -> int:
    """Steps in which an operand of a stored width is computed."""
    return quotient(stored_bits, NATIVE_BITS)


def _lanes(configuration: Configuration, shape: Shape) -> int:
    """Input channels that the array takes at a time."""
    return configuration.rows * parallel(shape.input_stored) * parallel(shape.weight_stored)


def _doubled(unit: int, full: int) -> list[int]:
    """A unit, doubled as long as that is less than all, and all."""
    doubled = (unit << times for times in itertools.count())
    return [*itertools.takewhile(lambda size: size < full, doubled), full]


def _values(shape: Shape, sizes: np.ndarray) -> np.ndarray:
    """Values in a tile, shape (3, t); `sizes`: of the tiles, shape (4, t)."""
    batch, side, ins, outs = sizes
    window = shape.kernel + (side - 1) * shape.stride
    return np.stack([batch * window**2 * ins, batch * side**2 * outs, shape.kernel**2 * ins * outs])


def _room(configuration: Configuration, shape: Shape, sizes: np.ndarray) -> np.ndarray:
    """What a tile takes in the buffers, padded to whole rows and columns of the array [bits], shape (3, t)."""
    batch, side, ins, outs = sizes
    lanes = _lanes(configuration, shape)
    outs = quotient(outs, configuration.columns) * configuration.columns
    window = shape.kernel + (side - 1) * shape.stride
    return np.stack(
        [
            batch * window**2 * quotient(ins, lanes) * lanes * shape.input_stored,
            batch * side**2 * outs * SUM_BITS,
            quotient(shape.kernel**2 * ins, lanes) * lanes * outs * shape.weight_stored,
        ]
    )


def _capacity(configuration: Configuration) -> np.ndarray:
    """Halves of the buffers [bits], shape (3, 1)."""
    sizes = configuration.input_buffer_b, configuration.output_buffer_b, configuration.weight_buffer_b
    return np.array(sizes)[:, None] * BYTE_BITS // 2


def _traffic(
    counts: np.ndarray, values: np.ndarray, room: np.ndarray, capacity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What is moved for all tiles, and what of it is kept at a time.

    A stream is kept in its buffer over the innermost loops, as long as what they use of it fits; every loop further out
    moves it again.

    Args:
        counts: Tiles that each loop runs through, shape (4, t).
        values: Values in a tile, shape (3, t).
        room: What they take in the buffers [bits], shape (3, t).
        capacity: Room in the buffers [bits], shape (3, 1).

    Returns:
        `Schedules.moved` and `Schedules.kept`.
    """
    orders = _orders(bool((counts[BATCH] > 1).any()))
    moved = np.broadcast_to(values, (len(orders), *values.shape))
    kept, used, fits = moved, np.ones_like(moved), np.ones(moved.shape, dtype=bool)
    for loop in orders.T:
        count, advances = counts[loop][:, None], ADVANCES[loop][..., None]
        moved = moved * np.where(advances | ~fits, count, 1)
        used = used * np.where(advances, count, 1)
        fits = room * used <= capacity
        kept = np.where(fits, moved, kept)
    return moved, kept


@functools.cache
def _orders(batched: bool) -> np.ndarray:
    """All different orders of the loops, innermost first, shape (o, loops)."""
    loops = (BATCH,) * batched + (MAP, MAP, IN, OUT)
    return np.array(sorted(set(itertools.permutations(loops))))
