"""The roofline: no layer runs faster than the multipliers allow, nor than its data arrives.

Follows Williams et al., 2009, and, for operation intensity in MACs a byte, section 4 of "Design Automation for
Efficient Deep Learning Computing".
"""

import dataclasses
from typing import Literal, get_args

import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.layers import LayerTable
from bompnas.hardware.model import LayerwiseModel
from bompnas.hardware.quantities import LATENCY
from bompnas.space.batch import FLOAT

Scaling = Literal["constant", "product", "powers_of_two"]


@dataclasses.dataclass(frozen=True)
class RooflinePoints:
    """Where m layers stand under the roof, arrays of shape (m,); all 0 for `float` layers, which have no MACs.

    Attributes:
        macs: Multiply-accumulate operations of a batch.
        traffic_b: What moves between DRAM and chip for a batch [B].
        intensity: MACs per byte of traffic.
        peak_gmacs: The flat part of the roof at the layer's widths [10^9 MACs a second].
        attainable_gmacs: The roof above the layer [10^9 MACs a second].
        compute_bound: Whether it is the flat part; else the bandwidth bounds the layer.
    """

    macs: np.ndarray
    traffic_b: np.ndarray
    intensity: np.ndarray
    peak_gmacs: np.ndarray
    attainable_gmacs: np.ndarray
    compute_bound: np.ndarray


@dataclasses.dataclass(frozen=True)
class Roofline(LayerwiseModel):
    """Latency of one batch on a device of which only peak performance and bandwidth are known.

    A layer moves its input map, its output map and its weights once, at their widths; weights once a batch. Biases,
    the added map of a residual, and what does not fit on the chip and moves again are left out. `float` layers cost
    nothing.

    Attributes:
        peak_gmacs: Multiply-accumulate operations per second when both operands have `full_bits` [10^9 / s].
        bandwidth_gb_s: Between DRAM and chip [10^9 B / s].
        full_bits: Width of the operands at the peak [bits].
        scaling: How the peak grows as operands of w and a bits get narrower than `full_bits`, and falls as they get
            wider: `constant`, not at all; `product`, by full_bits**2 / (w * a), as on bit-serial devices;
            `powers_of_two`, the same once w and a are rounded up to 2, 4, 8, 16, ..., as on devices that fuse small
            multipliers (BitFusion).
        batch: Images that are computed together; the latency is that of all of them.
    """

    quantities = (LATENCY,)

    peak_gmacs: float
    bandwidth_gb_s: float
    full_bits: int = 8
    scaling: Scaling = "constant"
    batch: int = 1

    def __post_init__(self) -> None:
        for name in ("peak_gmacs", "bandwidth_gb_s", "full_bits", "batch"):
            if not getattr(self, name) > 0:
                raise InputError(f"Roofline: {name} is {getattr(self, name)}; expected more than 0")
        if self.scaling not in get_args(Scaling):
            raise InputError(f"Roofline: scaling is {self.scaling!r}; expected one of {', '.join(get_args(Scaling))}")

    def points(self, layers: LayerTable) -> RooflinePoints:
        """Where m layers stand under the roof."""
        macs = layers.macs * self.batch
        inputs = layers.in_channels * layers.input_size**2 * layers.input_bits
        outputs = layers.out_channels * layers.output_size**2 * layers.output_bits
        traffic_bits = self.batch * (inputs + outputs) + layers.weights * layers.weight_bits
        traffic_b = np.where(layers.kind == FLOAT, 0, traffic_bits) / 8
        intensity = macs / np.maximum(traffic_b, 1 / 8)
        peak_gmacs = np.where(layers.kind == FLOAT, 0.0, self.peak_gmacs * self._speed_up(layers))
        slope_gmacs = intensity * self.bandwidth_gb_s
        attainable_gmacs = np.minimum(peak_gmacs, slope_gmacs)
        compute_bound = (peak_gmacs <= slope_gmacs) & (macs > 0)
        return RooflinePoints(macs, traffic_b, intensity, peak_gmacs, attainable_gmacs, compute_bound)

    def price(self, layers: LayerTable) -> dict[str, np.ndarray]:
        """Latency of m layers: the longer of computing and moving, which overlap; arrays of shape (m,)."""
        points = self.points(layers)
        compute_ms = points.macs / (self.peak_gmacs * self._speed_up(layers) * 1e6)
        return {"latency_ms": np.maximum(compute_ms, points.traffic_b / (self.bandwidth_gb_s * 1e6))}

    def _speed_up(self, layers: LayerTable) -> np.ndarray:
        """Peak performance at the layers' widths, relative to `full_bits`, shape (m,)."""
        if self.scaling == "constant":
            return np.ones(len(layers))
        widths, input_widths = layers.weight_bits, layers.input_bits
        if self.scaling == "powers_of_two":
            widths, input_widths = _power_of_two(widths), _power_of_two(input_widths)
        return self.full_bits**2 / (widths * input_widths)


def _power_of_two(bits: np.ndarray) -> np.ndarray:
    """The smallest of 2, 4, 8, ... that holds the width."""
    return 2 ** np.ceil(np.log2(np.maximum(bits, 2))).astype(np.int64)
