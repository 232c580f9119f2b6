"""What runs for different devices found, priced on each other's devices ("Design Automation ...", Table 5)."""

import dataclasses
from collections.abc import Mapping
from html import escape

from bompnas.candidate import Candidate
from bompnas.errors import InputError
from bompnas.report.comparison.legend import mark
from bompnas.report.comparison.runs import Comparison, Member
from bompnas.report.device import Device
from bompnas.report.layer_costs import best_network
from bompnas.report.quantities import DASH, quantity
from bompnas.report.tables import cell, table


@dataclasses.dataclass(frozen=True, eq=False)
class Entrant:
    """A run's best network.

    Attributes:
        member: The run.
        candidate: The network with the best score of that run, finally trained where there are such.
    """

    member: Member
    candidate: Candidate

    @property
    def device(self) -> Device | None:
        """What it was searched for."""
        return self.member.view.device


def devices(comparison: Comparison) -> tuple[Device, ...]:
    """The different devices that runs searched for, in the order of the runs."""
    found = [member.view.device for member in comparison.members]
    return tuple({device.key: device for device in found if device is not None and device.shown}.values())


def entrants(comparison: Comparison) -> list[Entrant]:
    """The best network of every run that has one."""
    found = [(member, best_network(member.view)) for member in comparison.members]
    return [Entrant(member, best) for member, best in found if best is not None]


def cross_table(comparison: Comparison) -> str | None:
    """Every run's best network on every device; None where all runs searched for the same.

    One column for each device and cost; a network's own device in bold.
    """
    columns = devices(comparison)
    networks = entrants(comparison)
    if len(columns) < 2 or not networks:
        return None
    quality = quantity(comparison.final_plane.key)
    rows = []
    for entrant in networks:
        number = next(series.number for series in comparison.series if entrant.member in series.members)
        cells = [
            cell(f"{mark(number)}{escape(entrant.member.label)}", "label"),
            cell(escape(entrant.device.name) if entrant.device else DASH),
            cell(f"№ {entrant.candidate.id}"),
            cell(quality.number(entrant.candidate.values.get(quality.key))),
        ]
        for device in columns:
            own = entrant.device is not None and entrant.device.key == device.key
            costs = price(entrant.candidate, device)
            cells += [cell(quantity(name).number(costs.get(name)), "best" if own else "") for name in device.shown]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    named = names(columns)
    heads = [f"{quantity(name).axis_label} on {named[device.key]}" for device in columns for name in device.shown]
    return table(["Runs", "Searched for", "Network", quality.axis_label, *heads], rows)


def names(found: tuple[Device, ...]) -> dict[tuple[str, str], str]:
    """What columns call devices: their names, with the parameters that tell those of one name apart."""
    named = {}
    for device in found:
        alike = [other for other in found if other.name == device.name and other is not device]
        different = [
            f"{name} {value}"
            for name, value in device.parameters.items()
            if any(other.parameters.get(name) != value for other in alike)
        ]
        named[device.key] = f"{device.name} ({', '.join(different)})" if different else device.name
    return named


def price(candidate: Candidate, device: Device) -> Mapping[str, float]:
    """What a network costs on a device; nothing where the device cannot run it."""
    try:
        return device.model.cost(candidate.network).total
    except InputError:  # such as an operator that is not in a lookup table
        return {}
