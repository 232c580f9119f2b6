"""A bit-serial matrix multiplier on an FPGA, like BISMO: an array of dot products of bit planes, as HAQ priced with.

A product of w by a bits takes w * a passes over bit planes, so that every bit of width counts. The array waits for
whichever takes longest: its own passes, or the loads of the operands' bit planes, which overlap with them.
"""

import dataclasses

import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.layers import LayerTable
from bompnas.hardware.model import LayerwiseModel
from bompnas.hardware.quantities import CYCLES, LATENCY
from bompnas.space.batch import DENSE, DEPTHWISE, FLOAT


@dataclasses.dataclass(frozen=True)
class BitSerial(LayerwiseModel):
    """Cycles and latency of one batch; the defaults are the cloud configuration of HAQ (Xilinx VU9P).

    Per image, for m layers, with px output pixels, kw = ceil(in_channels * kernel**2 / word_bits) words a dot product:

    * conv: passes ceil(px / rows) * ceil(out_channels / columns) * kw * w * a, loads of inputs px * kw * a words, of
      weights out_channels * kw * w words;
    * depthwise: the same with kw = ceil(kernel**2 / word_bits), and the inputs are loaded once for every `columns`
      channels;
    * dense: as conv, the images of the batch in place of the pixels, so that weights are loaded once a batch;
    * `float`: nothing.

    A layer takes the most of the three; a word loaded takes `load_cycles`. Padding is not skipped, weights are loaded
    again for every image, and filling and draining the array costs nothing (small layers of few bits come out up to
    40 % too fast). The defaults were fitted to the latency table that HAQ ships for MobileNetV2 (53 layers, batch 16):
    its totals are met within 2 %.

    Attributes:
        rows: Dot products at a time along the output pixels.
        columns: Dot products at a time along the output channels.
        word_bits: Bits of one dot product, and of one load.
        load_cycles: Clock cycles in which one word of inputs and one of weights arrive.
        batch: Images that are computed together; cycles and latency are those of all of them.
        clock_mhz: Turns cycles into ms. HAQ does not tell its clocks: 200 MHz is what BISMO's own examples run at, so
            compare latencies of the cloud configuration only with each other.
    """

    quantities = (CYCLES, LATENCY)

    rows: int = 16
    columns: int = 16
    word_bits: int = 256
    load_cycles: int = 1
    batch: int = 16
    clock_mhz: float = 200.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise InputError(f"BitSerial: {field.name} is {getattr(self, field.name)}; expected more than 0")

    def price(self, layers: LayerTable) -> dict[str, np.ndarray]:
        """Cycles and latency of m layers for one batch, arrays of shape (m,)."""
        is_dense, is_depthwise = layers.kind == DENSE, layers.kind == DEPTHWISE
        channels = np.where(is_depthwise, 1, layers.in_channels)
        words = _ceil_divide(channels * layers.kernel**2, self.word_bits)
        column_tiles = _ceil_divide(layers.out_channels, self.columns)
        vectors = layers.output_size**2 * np.where(is_dense, self.batch, 1)
        width, input_width = layers.weight_bits, layers.input_bits

        passes = _ceil_divide(vectors, self.rows) * column_tiles * words * width * input_width
        input_loads = vectors * np.where(is_depthwise, column_tiles, 1) * words * input_width
        weight_loads = layers.out_channels * words * width
        slowest = np.maximum(passes, self.load_cycles * np.maximum(input_loads, weight_loads))
        cycles = np.where(layers.kind == FLOAT, 0, slowest * np.where(is_dense, 1, self.batch))
        return {"cycles": cycles, "latency_ms": cycles / (self.clock_mhz * 1000)}


CLOUD = BitSerial()
"""The cloud configuration of HAQ: a 16 x 16 array on a VU9P, batch 16."""

EDGE = BitSerial(rows=8, columns=8, word_bits=128, load_cycles=8, batch=1, clock_mhz=228.0)
"""An edge configuration: the 8 x 8 array of HAQ's Zynq-7020, batch 1; the rest is fitted.

No table of the edge device is published. Words, loads and clock were fitted to the uniform policies of Table 6 of
"Design Automation for Efficient Deep Learning Computing", whose columns are read as MobileNetV1 and MobileNetV2 on the
edge device (the right one has V2's accuracies, and Table 7 repeats it as V2): all eight latencies, of 4, 5, 6 and 8
bits, are met within 4 %.
"""


def _ceil_divide(dividend: np.ndarray, divisor: int) -> np.ndarray:
    return -(-dividend // divisor)
