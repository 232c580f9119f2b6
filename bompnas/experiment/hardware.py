"""The section `hardware` of an experiment file: a device, and which costs it makes known."""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Self

import pydantic
from pydantic import AfterValidator

from bompnas.errors import InputError
from bompnas.experiment.errors import unknown
from bompnas.experiment.sections import IMPORT_PATH, METRICS, LocatedSettings
from bompnas.hardware import registry
from bompnas.hardware.counts import Counts
from bompnas.hardware.model import CostModel, MeasuredModel, Quantity
from bompnas.hardware.quantities import OBJECTIVES, TABLE

COUNTED = tuple(quantity.name for quantity in Counts.quantities)
"""Costs that need no device."""


def _model_name(value: str) -> str:
    if value not in registry.MODELS and not IMPORT_PATH.fullmatch(value):
        raise ValueError(
            f"{unknown('model', value, registry.MODELS)}, or an import path such as my_package.devices:MyModel"
        )
    return value


class HardwareSettings(LocatedSettings):
    """The device that networks are to run on; all keys but `model` are the model's parameters.

    Attributes:
        model: A name of `bompnas.hardware.registry.MODELS`, or an import path `module:name`.
    """

    model_config = pydantic.ConfigDict(extra="allow")

    model: Annotated[str, AfterValidator(_model_name)]

    @functools.cached_property
    def device(self) -> CostModel | MeasuredModel:
        """The model with its parameters; imports it.

        Raises:
            InputError: It cannot be imported, is no cost model, or has other parameters.
        """
        return registry.load(self.model, self.model_extra, self._directory)

    @property
    def resolved(self) -> dict[str, Any]:
        """All parameters as plain data, defaults filled in, files as absolute `Path`s; imports the model."""
        return registry.resolve(self.model, self.model_extra, self._directory)

    @property
    def quantities(self) -> tuple[Quantity, ...] | None:
        """What the device tells of; None for the user's own, which is not imported to read an experiment."""
        return self.device.quantities if self.model in registry.MODELS else None

    @pydantic.model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        try:
            self.quantities  # noqa: B018
        except InputError as error:
            raise ValueError(str(error).removeprefix("hardware.")) from None
        return self


def cost_objectives(told: Sequence[Quantity] | None) -> tuple[str, ...]:
    """What may be an objective besides metrics: costs that are counted or that a device tells of.

    Args:
        told: What the device tells of; None where that is not known yet, and everything of the table may be.
    """
    names = [quantity.name for quantity in told or ()]
    known = [name for name, cost in OBJECTIVES.items() if told is None or cost in (*COUNTED, *names)]
    return tuple(dict.fromkeys([*known, *names]))


def check_objective(name: str, hardware: HardwareSettings | None, told: Sequence[Quantity] | None) -> None:
    """Refuses an objective that nothing tells of.

    Args:
        name: The objective.
        hardware: The experiment's device.
        told: What it tells of; None where that is not known yet.

    Raises:
        InputError: Nothing tells of it.
    """
    known = (*METRICS, *cost_objectives(told))
    if told is not None and name not in known:
        cost = OBJECTIVES.get(name, name)
        raise InputError(_untold(name, cost, hardware, told) or unknown("objective", name, known))


def check_cost(name: str, hardware: HardwareSettings | None, told: Sequence[Quantity] | None) -> None:
    """Refuses a constraint on a cost that nothing tells of; arguments and errors are those of `check_objective`."""
    known = (*COUNTED, *(quantity.name for quantity in told or ()))
    if told is not None and name not in known:
        raise InputError(_untold(name, name, hardware, told) or unknown("cost", name, dict.fromkeys(known)))


def _untold(name: str, cost: str, hardware: HardwareSettings | None, told: Sequence[Quantity]) -> str | None:
    """Says that a known cost needs another device; None where the cost is not known at all."""
    if cost not in TABLE:
        return None
    if hardware is None:
        return f"{name} depends on the device; name one in a section hardware, such as {{model: bitfusion}}"
    names = ", ".join(quantity.name for quantity in told)
    return f"the device {hardware.model} does not tell of {cost}, only of {names}; name another one, or remove {name}"
