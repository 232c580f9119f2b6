"""The device that a run searched for: its name, its parameters, and what it charges for a network.

A record names the device of its experiment. Devices of the package are made anew from that; a model of the user's own
is code, which reading a record must not run: it is used where it has been imported already, as at the end of its run.
"""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from bompnas.errors import InputError
from bompnas.hardware import registry
from bompnas.hardware.bitfusion import BitFusion
from bompnas.hardware.counts import Counts
from bompnas.hardware.model import CostModel
from bompnas.hardware.quantities import CYCLES, LATENCY
from bompnas.hardware.roofline import Roofline

COUNTED = ("size_bits", "macs", "bitops")
"""What is shown of layers where no device prices them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Device:
    """What a run searched for.

    Attributes:
        name: Of the model.
        parameters: Of the model, as the record has them: all that plain data can express.
        model: What prices networks; None where the record does not suffice, or only trained networks have a cost.
    """

    name: str
    parameters: Mapping[str, Any]
    model: CostModel | None

    @property
    def text(self) -> str:
        """The name with the parameters."""
        told = ", ".join(f"{name} {_number(value)}" for name, value in _flat(self.parameters))
        return f"{self.name} ({told})" if told else self.name

    @property
    def key(self) -> tuple[str, str]:
        """Equal for equal devices."""
        return self.name, repr(sorted(_flat(self.parameters)))

    @property
    def shown(self) -> tuple[str, ...]:
        """The costs to show, in the model's order; the same latency is not shown twice, as time and as cycles."""
        names = [] if self.model is None else [quantity.name for quantity in self.model.quantities]
        return tuple(name for name in names if name != CYCLES.name or LATENCY.name not in names)

    @property
    def roofline(self) -> Roofline | None:
        """Peak performance and bandwidth, where the model has such."""
        if isinstance(self.model, BitFusion):
            per_second = self.model.frequency_mhz / 1000
            return Roofline(
                peak_gmacs=self.model.rows * self.model.columns * per_second,
                bandwidth_gb_s=self.model.dram_bits_per_cycle / 8 * per_second,
                scaling="powers_of_two",
                batch=self.model.batch,
            )
        return self.model if isinstance(self.model, Roofline) else None


def device_of(experiment: Mapping[str, Any]) -> Device | None:
    """The device of an experiment as its record has it; None where it named none."""
    section = dict(experiment.get("hardware") or {})
    if "model" not in section:
        return None
    name = section.pop("model")
    if name not in registry.MODELS and name.partition(":")[0] not in sys.modules:
        return Device(name, section, None)
    try:
        model = registry.load(name, section)
    except InputError:  # a table that has moved, parameters of another version
        return Device(name, section, None)
    return Device(name, section, model if isinstance(model, CostModel) else None)


def pricing(device: Device | None) -> tuple[CostModel, tuple[str, ...]]:
    """What prices the layers of a run's networks, and the costs to show: the device's, or counted ones without it."""
    if device is None or device.model is None or isinstance(device.model, Counts):
        return Counts(), COUNTED
    return device.model, device.shown


def _flat(parameters: Mapping[str, Any], place: str = "") -> list[tuple[str, Any]]:
    """Nested parameters as pairs of a name and a plain value."""
    found = []
    for name, value in parameters.items():
        here = f"{place}{name}"
        found += _flat(value, f"{here}.") if isinstance(value, Mapping) else [(here, value)]
    return found


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
