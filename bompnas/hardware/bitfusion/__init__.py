"""BitFusion [Sharma et al., ISCA 2018]: latency and energy on a bit-flexible systolic array.

An array of `rows` x `columns` units multiplies 8-bit operands, or several of 4 and 2 bits at a time: rows add up input
channels, columns hold output channels. Between DRAM and the array lie three double-buffered memories: half of each
holds a tile while the other half is filled. A layer is cut into tiles, and its loops over them are ordered, as takes
the fewest cycles; ties go to the lower energy.

The default configuration is the one that EMS / APQ search with. Their published table (4, 6 and 8 bits, batch 1) is met
within 2 cycles a pass and, but for few layers, 1 % of the energy. Other widths and batches are extrapolation:

* 2, 3, 5 and 7 bits: an operand is stored and computed as the next of 2, 4 and 8 bits, and moved at its own width; a
  depthwise pass has at most `columns` channels, or 2-bit layers would be slower than 4-bit ones;
* 9 to 16 bits: an operand is stored as 16 bits and computed in two steps.
"""

from bompnas.hardware.bitfusion.accelerator import BitFusion, LayerCost, layer_cost
from bompnas.hardware.bitfusion.configuration import Energy

__all__ = ["BitFusion", "Energy", "LayerCost", "layer_cost"]
