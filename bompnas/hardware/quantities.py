"""What costs are called: the one table that experiments, tables, figures and the console read.

A cost is named after what it counts, with its unit at the end. Costs of a user's own model that are not in the table
are described by the model itself or, where it is out of reach, by their names.
"""

from collections.abc import Iterable

from bompnas.hardware.counts import Counts
from bompnas.hardware.huffman import HuffmanSize
from bompnas.hardware.model import Quantity

CYCLES = Quantity("cycles", "latency [cycles]", 1)
LATENCY = Quantity("latency_ms", "latency [ms]", 1e6)
ENERGY = Quantity("energy_mj", "energy [mJ]", 1e6)

FACTS = ("size_bits", "size_kb", "size_without_scales_bits", "float_size_bits", "macs", "params")
"""What `bompnas.hardware.counts.counts` tells: facts about a network itself, which every candidate's costs hold."""

TABLE = {quantity.name: quantity for quantity in (*Counts.quantities, LATENCY, ENERGY, CYCLES, *HuffmanSize.quantities)}
"""Every cost of the package's own models, but for the costs of a lookup table."""

OBJECTIVES = {
    "size": "size_bits",
    "macs": "macs",
    "params": "params",
    "bitops": "bitops",
    "peak_memory": "peak_memory_b",
    "latency": LATENCY.name,
    "energy": ENERGY.name,
}
"""What experiments call objectives -> the cost that it is."""

_UNITS = {"ms": "ms", "mj": "mJ", "kb": "kB", "b": "B", "bits": "bits"}
_FINEST = {"ms": 1e6, "mj": 1e6, "kb": 1e3, "b": 1, "bits": 1, "macs": 1, "bitops": 1, "cycles": 1}


def named(name: str, told: Iterable[Quantity] = ()) -> Quantity:
    """The quantity of a cost's name.

    Args:
        name: Such as `latency_ms`.
        told: What a model tells of; it knows its own best.
    """
    return {quantity.name: quantity for quantity in told}.get(name) or TABLE.get(name) or of_name(name)


def of_name(name: str) -> Quantity:
    """A cost as its name alone describes it."""
    words, _, unit = name.rpartition("_")
    known = _UNITS.get(unit) if words else None
    label = name.replace("_", " ") if known is None else f"{words.replace('_', ' ')} [{known}]"
    return Quantity(name, label, _FINEST.get(unit))
