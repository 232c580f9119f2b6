"""The BitFusion accelerator as a cost model."""

import dataclasses
import itertools

import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.bitfusion.configuration import Configuration
from bompnas.hardware.bitfusion.schedules import Schedules, Shape, parallel, quotient
from bompnas.hardware.layers import LayerTable, distinct
from bompnas.hardware.model import LayerwiseModel
from bompnas.hardware.quantities import CYCLES, ENERGY, LATENCY
from bompnas.space.batch import CONV, DENSE, DEPTHWISE, FLOAT, KINDS

STORED_BITS = np.array([2, 4, 8, 16])
"""Widths in which operands are stored and computed; the least and the most are the least and the most of all."""
DEPTHWISE_CHANNELS = 8
"""Channels of a depthwise pass at 8 bits, as the published table implies."""
COMPUTED = tuple(KINDS[kind] for kind in (CONV, DEPTHWISE, DENSE))
NJ_PER_MJ = 1e6


@dataclasses.dataclass(frozen=True)
class BitFusion(Configuration, LayerwiseModel):
    """A BitFusion accelerator. Costs are those of a whole batch; `float` layers have none.

    A convolution of fewer input channels than `rows`, in practice the one that reads the image, is unfolded (im2col):
    the places of its kernel share the rows with the channels, most of which would idle otherwise. The published table
    does so with the image's layer, and with no other.
    """

    quantities = (LATENCY, ENERGY, CYCLES)

    def price(self, layers: LayerTable) -> dict[str, np.ndarray]:
        """See `LayerwiseModel.price`.

        Raises:
            InputError: A width is out of range, or not even the smallest tile of a layer fits the buffers.
        """
        computed = np.flatnonzero(layers.kind != FLOAT)
        cycles, energy_mj = np.zeros(len(layers), dtype=np.int64), np.zeros(len(layers))
        cycles[computed], energy_mj[computed] = self._computed(layers[computed])
        return {"latency_ms": cycles / (1e3 * self.frequency_mhz), "energy_mj": energy_mj, "cycles": cycles}

    def _computed(self, layers: LayerTable) -> tuple[np.ndarray, np.ndarray]:
        """Cycles and energy [mJ] of m layers that compute, shape (m,)."""
        _check_widths(layers)
        shapes, passes = self._passes(layers)
        jobs = (*shapes, layers.input_bits, layers.weight_bits)
        examples, numbers = distinct(jobs)
        rows = np.stack(jobs, axis=1)[examples].tolist()
        best: list[tuple[int, float]] = []
        # Rows come sorted, equal shapes side by side: one search through the tiles serves all widths of a shape.
        for shape, group in itertools.groupby(rows, key=lambda row: row[:-2]):
            schedules = Schedules.of(self, Shape(*shape))
            best += [schedules.best(*row[-2:]) for row in group]
        cycles, energy_nj = np.array(best).reshape(-1, 2)[numbers].T
        return passes * cycles.astype(np.int64), passes * energy_nj / NJ_PER_MJ

    def _passes(self, layers: LayerTable) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Layers as the array carries them out: each in equal passes, which are dense convolutions.

        Returns:
            The fields of a pass' `Shape`, and how many passes a layer takes, all of shape (m,).
        """
        stored = [STORED_BITS[np.searchsorted(STORED_BITS, bits)] for bits in (layers.input_bits, layers.weight_bits)]
        unfolded = (layers.kind == CONV) & (layers.kernel > 1) & (layers.in_channels < self.rows)
        places = np.where(unfolded, layers.kernel**2, 1)
        depthwise = layers.kind == DEPTHWISE
        together = np.minimum(DEPTHWISE_CHANNELS * parallel(stored[0]) * parallel(stored[1]), self.columns)
        shapes = (
            np.where(unfolded, 1, layers.kernel),
            np.where(unfolded, 1, layers.stride),
            layers.output_size,
            np.where(depthwise, together, places * layers.in_channels),
            places,
            np.where(depthwise, together, layers.out_channels),
            np.where(unfolded, 1, self.columns),
            *stored,
        )
        return shapes, np.where(depthwise, quotient(layers.out_channels, together), 1)


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes:
        cycles: Clock cycles.
        latency_ms: The same as time [ms].
        energy_mj: Energy [mJ].
    """

    cycles: int
    latency_ms: float
    energy_mj: float


def layer_cost(
    kind: str,
    in_channels: int,
    out_channels: int,
    input_size: int,
    kernel_size: int,
    stride: int,
    weight_bits: int,
    activation_bits: int,
    padding: str = "same",
) -> LayerCost:
    """What one layer costs for one image on the default accelerator.

    Args:
        kind: `conv`, `depthwise`, or `dense`, whose `input_size`, `kernel_size` and `stride` are 1.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        input_size: Height and width of the input map.
        kernel_size: Height and width of the kernel.
        stride: Stride in both directions.
        weight_bits: Width of a weight, 2 to 16 [bits].
        activation_bits: Width of a value that the layer reads, 2 to 16 [bits].
        padding: `same` or `valid`.

    Raises:
        InputError: An argument is not one of these.
    """
    if kind not in COMPUTED:
        raise InputError(f"layer_cost: kind is {kind!r}, expected one of {', '.join(COMPUTED)}")
    if padding not in ("same", "valid"):
        raise InputError(f"layer_cost: padding is {padding!r}, expected 'same' or 'valid'")
    sizes = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "input_size": input_size,
        "kernel_size": kernel_size,
        "stride": stride,
    }
    for name, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"layer_cost: {name} is {value!r}, expected a positive integer")
    if kind == "dense" and (input_size, kernel_size, stride) != (1, 1, 1):
        raise InputError("layer_cost: input_size, kernel_size and stride of a dense layer are 1, as it reads a vector")
    if kind == "depthwise" and in_channels != out_channels:
        raise InputError(
            f"layer_cost: in_channels is {in_channels} and out_channels {out_channels}, expected the same of a "
            "depthwise layer"
        )
    span = input_size if padding == "same" else input_size - kernel_size + 1
    if span < 1:
        raise InputError(f"layer_cost: kernel_size is {kernel_size}, expected at most input_size, {input_size}")
    layer = {
        "kind": KINDS.index(kind),
        "kernel": kernel_size,
        "stride": stride,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "input_size": input_size,
        "output_size": quotient(span, stride),
        "weight_bits": weight_bits,
        "input_bits": activation_bits,
        "output_bits": activation_bits,
        "bias": 0,
    }
    prices = BitFusion().price(LayerTable(**{name: np.array([value]) for name, value in layer.items()}))
    return LayerCost(**{name: values[0].item() for name, values in prices.items()})


def _check_widths(layers: LayerTable) -> None:
    least, most = STORED_BITS[0], STORED_BITS[-1]
    for operand, bits in (("weights", layers.weight_bits), ("inputs", layers.input_bits)):
        wrong = np.flatnonzero((bits < least) | (bits > most))
        if len(wrong):
            place = wrong[0]
            kind, kernel = KINDS[layers.kind[place]], layers.kernel[place]
            channels = f"{layers.in_channels[place]} to {layers.out_channels[place]} channels"
            raise InputError(
                f"BitFusion: a {kind} layer, {kernel}x{kernel}, {channels}, has {operand} of {bits[place]} bits, "
                f"expected {least} to {most}"
            )
