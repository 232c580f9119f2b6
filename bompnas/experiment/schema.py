"""The schema of an experiment file, and reading one.

An experiment is either exactly what its author wrote or an `InputError` that says where it is not. Reading one imports
neither Keras nor TensorFlow.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationInfo

from bompnas.errors import InputError
from bompnas.experiment import files
from bompnas.experiment.errors import NestedSettingsError, describe, explain, unknown
from bompnas.experiment.hardware import HardwareSettings, check_cost, check_objective, cost_objectives
from bompnas.experiment.sections import (
    MEASURED,
    METRICS,
    ClusterSettings,
    Count,
    DataSettings,
    ExportSettings,
    FinalSettings,
    HeadSettings,
    LocatedSettings,
    ObjectiveSettings,
    Positive,
    QuantizationSettings,
    TrainingSettings,
    Workers,
)
from bompnas.hardware.model import Quantity
from bompnas.hardware.quantities import OBJECTIVES
from bompnas.methods import METHODS
from bompnas.objectives import Constraint, Objective

FREE = (
    "export",
    "workers",
    "trial_timeout",
    "trial_retries",
    "worker_memory_gb",
    "checkpoint_every",
    "tensorboard",
    "cluster",
)
"""What is no part of what a run is, and so may change while it goes on."""


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", value, re.ASCII):
        raise ValueError(
            f"expected letters, digits, '.', '_' and '-' only, as it names the run's folder; found {describe(value)}"
        )
    return value


def _existing_file(value: str, info: ValidationInfo) -> str:
    files.find(value, info.context)
    return value


def _cost(value: str, info: ValidationInfo) -> str:
    check_cost(value, *_device(info))
    return value


def _objective(value: str, info: ValidationInfo) -> str:
    check_objective(value, *_device(info))
    return value


def _device(info: ValidationInfo) -> tuple[HardwareSettings | None, Sequence[Quantity] | None]:
    """The section `hardware` and what its device tells of; None where that is not known, or the section is wrong."""
    if "hardware" not in info.data:
        return None, None
    return info.data["hardware"], _told(info.data["hardware"])


def _told(hardware: HardwareSettings | None) -> Sequence[Quantity] | None:
    return () if hardware is None else hardware.quantities


def _method_name(value: str) -> str:
    if value not in METHODS:
        raise ValueError(unknown("method", value, METHODS))
    return value


def _or_none_at_all(value: Any) -> Any:
    """A section whose keys are all commented out is empty."""
    return {} if value is None else value


class _Method(pydantic.BaseModel):
    """What all methods' settings have in common; the name tells whose schema checks the rest."""

    name: Annotated[str, AfterValidator(_method_name)]


def _method(value: Any, info: ValidationInfo) -> Any:
    """Checks a method's settings with the schema that its name stands for."""
    if isinstance(value, pydantic.BaseModel):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a section such as {{name: bomp, trials: 100}}; found {describe(value)}")
    schema = _Method
    try:
        schema = METHODS[_Method.model_validate(value).name].load_settings()
        return schema.model_validate(value, context=info.context)
    except pydantic.ValidationError as error:
        raise NestedSettingsError(schema, error) from error


class Experiment(LocatedSettings):
    """An experiment: everything that a run needs to know, checked.

    Attributes:
        name: Names the run's folder.
        data: Images and their splits.
        space: The search-space file, as given.
        method: Settings of the search, an instance of the schema that the method names in `bompnas.methods`.
        training: Early training of a trial.
        quantization: When and how networks are quantized.
        hardware: The device whose costs are known or measured; None for none.
        objectives: What the score is made of.
        constraints: Largest allowed costs, those that a device measures included.
        head: The task's head.
        final: Final training of the front.
        export: Integer files of the finally trained networks.
        seed: Fixes splits, proposals and initial weights.
        cluster: Where trials run, if not on this machine alone.
        workers: Trials at the same time; 1, but as many as there is room for on a cluster.
        trial_timeout: After so long a trial, or a final training, is given up [s]; None for never.
        trial_retries: How often a trial is started again whose worker died.
        worker_memory_gb: What a worker process may use [GB]; None for no limit but the machine's.
        checkpoint_every: Epochs from one checkpoint of a training to the next; None for none.
        tensorboard: Whether TensorBoard logs are written.
    """

    name: Annotated[str, AfterValidator(_name)]
    data: DataSettings
    space: Annotated[str, AfterValidator(_existing_file)]
    method: Annotated[SerializeAsAny[pydantic.BaseModel], BeforeValidator(_method)] = Field(
        default={"name": "bomp"}, validate_default=True
    )
    training: TrainingSettings = TrainingSettings()
    quantization: QuantizationSettings = QuantizationSettings()
    hardware: HardwareSettings | None = None
    objectives: dict[Annotated[str, AfterValidator(_objective)], ObjectiveSettings] = Field(
        default={"accuracy": ObjectiveSettings(reference=0.8), "size": ObjectiveSettings(reference=8)}
    )
    constraints: Annotated[dict[Annotated[str, AfterValidator(_cost)], Positive], BeforeValidator(_or_none_at_all)] = (
        Field(default={})
    )
    head: HeadSettings = HeadSettings()
    final: FinalSettings = FinalSettings()
    export: ExportSettings = ExportSettings()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    cluster: ClusterSettings | None = None
    workers: Workers = Field(default_factory=lambda settings: "auto" if settings.get("cluster") else 1)
    trial_timeout: Positive | None = None
    trial_retries: Annotated[int, Field(ge=0)] = 1
    worker_memory_gb: Positive | None = None
    checkpoint_every: Count | None = None
    tensorboard: bool = False

    @property
    def space_file(self) -> Path:
        """The absolute path of the search-space file."""
        return files.find(self.space, self._directory)

    @property
    def told(self) -> tuple[Quantity, ...]:
        """What the device tells of; imports it."""
        return () if self.hardware is None else self.hardware.device.quantities

    def objective_list(self) -> tuple[Objective, ...]:
        """The objectives that score a trial; in mode `none` those of the 32-bit float network."""
        of_float = self.quantization.mode == "none"
        return tuple(settings.objective(name, of_float, self.told) for name, settings in self.objectives.items())

    def deployed_objectives(self) -> tuple[Objective, ...]:
        """The objectives of the quantized networks, which choose and score the final front."""
        return tuple(settings.objective(name, told=self.told) for name, settings in self.objectives.items())

    def constraint_list(self) -> tuple[Constraint, ...]:
        """The limits on costs."""
        return tuple(Constraint(cost, limit) for cost, limit in self.constraints.items())

    @pydantic.field_validator("objectives")
    @classmethod
    def _meaningful_objectives(
        cls, objectives: dict[str, ObjectiveSettings], info: ValidationInfo
    ) -> dict[str, ObjectiveSettings]:
        told = _device(info)[1]
        if not objectives:
            raise ValueError(f"expected at least one of {', '.join((*METRICS, *cost_objectives(told)))}; found none")
        for name, settings in objectives.items():
            if (
                told is not None or name in METRICS or name in OBJECTIVES
            ):  # else its device, which knows, is not imported yet
                settings.objective(name, told=told or ())
        return objectives

    @pydantic.model_validator(mode="after")
    def _head_measures_objectives(self) -> Self:
        measured = MEASURED.get(self.head.class_, METRICS)
        for name in self.objectives:
            if name in METRICS and name not in measured:
                raise ValueError(
                    f"objectives: a {self.head.class_} head measures no {name}; "
                    f"choose among {', '.join((*measured, *cost_objectives(_told(self.hardware))))}"
                )
        return self


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Reads and checks an experiment file.

    Args:
        path: The file, relative to the working directory; one of `experiments/` that is not there is taken from the
            installed package.
        overrides: Keys to replace, `training.epochs=3`; values are YAML.

    Raises:
        InputError: No such file, no YAML, or no experiment: one line per problem with file, key, what was found and
            what is expected.
    """
    file = files.find(path)
    return parse(files.read(file, str(path)), overrides, place=str(path), directory=file.parent)


def parse(
    document: Mapping[str, Any],
    overrides: Sequence[str] = (),
    place: str = "experiment",
    directory: Path | None = None,
) -> Experiment:
    """Checks an experiment given as nested mappings.

    Args:
        document: What an experiment file holds.
        overrides: Keys to replace, as in `load`.
        place: What errors call the document.
        directory: Where relative paths start; the working directory if not given.

    Raises:
        InputError: One line per problem.
    """
    document, origins = files.override(document, overrides)
    try:
        return Experiment.model_validate(document, context=directory or Path.cwd())
    except pydantic.ValidationError as error:
        raise InputError(explain(error, Experiment, {(): place} | origins)) from None
