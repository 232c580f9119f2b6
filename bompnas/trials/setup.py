"""From an experiment to everything that its run needs; what the user got wrong shows here, before anything is made."""

import dataclasses
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bompnas.candidate import Candidate
from bompnas.errors import InputError
from bompnas.experiment import Experiment
from bompnas.experiment.hardware import check_cost, check_objective, cost_objectives
from bompnas.experiment.schema import FREE
from bompnas.experiment.sections import MEASURED, METRICS, LocatedSettings
from bompnas.hardware.costs import network_costs
from bompnas.hardware.model import CostModel, MeasuredModel
from bompnas.hardware.quantities import FACTS
from bompnas.networks import float_model, fold, heads, quantize
from bompnas.networks.heads import Head, HeadSource
from bompnas.problem import Problem
from bompnas.search import feasible
from bompnas.space import loader, sampling
from bompnas.space.network import Layer, Network
from bompnas.space.space import NetworkSpace
from bompnas.training import data
from bompnas.training.data import Dataset
from bompnas.training.image_files import ImageFiles
from bompnas.training.loop import Phase
from bompnas.training.loss import Criterion
from bompnas.trials.executors.contract import Arrays, Shared
from bompnas.trials.trial import PARTS, TrialTask

PRICED = 256
"""Networks that a device prices before a run."""
_PACKAGES = ("bompnas", "tensorflow", "keras", "qkeras-v3", "numpy")


@dataclasses.dataclass(frozen=True)
class Setup:
    """An experiment with its parts in hand.

    Attributes:
        experiment: The experiment.
        head: Where its head comes from.
        dataset: Its images.
        problem: What is searched.
        device: What networks are to run on; None for no device.
        data_given: Whether the data set was given in Python, in place of the experiment's.
    """

    experiment: Experiment
    head: HeadSource
    dataset: Dataset
    problem: Problem
    device: CostModel | MeasuredModel | None = None
    data_given: bool = False

    @property
    def measured(self) -> MeasuredModel | None:
        """The device, if it has to run trained networks."""
        return self.device if isinstance(self.device, MeasuredModel) else None

    def trial_task(self, candidates: Sequence[Candidate], shared: Shared, checkpoint: bytes | None = None) -> TrialTask:
        """The task of a trial, whose candidates share an architecture.

        Args:
            candidates: One for each policy.
            shared: The data set, as the executor shares it.
            checkpoint: What to go on from; None to begin.
        """
        training, mode = self.experiment.training, self.experiment.quantization.mode
        return TrialTask(
            networks=tuple(candidate.network for candidate in candidates),
            head=self.head,
            data=shared,
            early=self.training_phase(),
            qaft=self._phase(
                training.qaft_epochs if mode == "qaft" else 0, training.qaft_learning_rate, training.schedule
            ),
            seed=_derived_seed(self.experiment.seed, 0, candidates[0].trial),
            device=self.measured,
            precision=training.precision,
            checkpoint_every=self.experiment.checkpoint_every,
            checkpoint=checkpoint,
        )

    def final_task(
        self,
        candidates: Sequence[Candidate],
        shared: Shared,
        checkpoint: bytes | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> TrialTask:
        """The task of a final training, tested, with the models.

        Args:
            candidates: As of `trial_task`.
            shared: As of `trial_task`.
            checkpoint: As of `trial_task`.
            weights: What it begins with (`bompnas.networks.float_model.restore`); fresh ones where None.
        """
        final, mode = self.experiment.final, self.experiment.quantization.final
        return TrialTask(
            networks=tuple(candidate.network for candidate in candidates),
            head=self.head,
            data=shared,
            early=self._phase(final.epochs, final.learning_rate, final.schedule),
            qaft=self._phase(final.qaft_epochs if mode == "qaft" else 0, final.qaft_learning_rate, final.schedule),
            seed=_derived_seed(self.experiment.seed, 1, candidates[0].trial),
            test=True,
            keep_models=True,
            device=self.measured,
            checkpoint_every=self.experiment.checkpoint_every,
            checkpoint=checkpoint,
            weights=weights,
        )

    def training_phase(self) -> Phase:
        """Float training as the section `training` says."""
        training = self.experiment.training
        return self._phase(training.epochs, training.learning_rate, training.schedule)

    def meta(self, threads: int) -> dict[str, Any]:
        """What the run's record begins with."""
        return {
            "experiment": self._resolved(),
            "identity": self._identity(),
            "versions": _versions(),
            "threads": threads,
            "seed_network": self._seed_network().key,
            "quantities": [dataclasses.asdict(quantity) for quantity in self.experiment.told],
        }

    def _phase(self, epochs: int, learning_rate: float, schedule: str) -> Phase:
        training = self.experiment.training
        return Phase(
            epochs,
            learning_rate,
            schedule,
            training.batch_size,
            training.optimizer,
            training.weight_decay,
            training.augmentation,
        )

    def _seed_network(self) -> Network:
        return self.problem.space.decode(self.problem.space.seed)

    @property
    def _method_files(self) -> dict[str, Any]:
        method = self.experiment.method
        return method.resolved if isinstance(method, LocatedSettings) else {}

    def _resolved(self) -> dict[str, Any]:
        """The experiment as nested mappings, defaults filled in and paths absolute.

        It can be run as it is, unless a head object or a data set was given in Python, which it can only name.
        """
        document = self.experiment.model_dump(mode="json", by_alias=True, exclude_none=True)
        document["space"] = str(self.experiment.space_file)
        if self.data_given:
            document["data"] = {"dataset": self.dataset.name}
        elif self.experiment.data.file is not None:
            document["data"]["path"] = str(self.experiment.data.file)
        document["method"] |= _paths_as(str, self._method_files)
        document["head"]["class"] = _head_name(self.head)
        if self.device is not None:
            document["hardware"] |= _paths_as(str, self.experiment.hardware.resolved)
        return document

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a run to be continued: contents count, not paths, workers or exported files."""
        document = self._resolved()
        document["space"] = yaml.safe_load(self.experiment.space_file.read_text(encoding="utf-8"))
        document["data"].pop("path", None)
        if not document["data"].get("stream"):
            document["data"].pop("stream", None)  # as in records from before there was the key
        document["data"]["fingerprint"] = _fingerprint(self.dataset)
        document["head"]["layers"] = [  # tells heads of one class but other arguments apart
            f"{layer.name}: {layer.weights} weights" for layer in self._seed_network().head
        ]
        document["method"] |= _paths_as(_content, self._method_files)
        if self.device is not None:
            document["hardware"] |= _paths_as(_content, self.experiment.hardware.resolved)
        for free in FREE:
            document.pop(free, None)
        return document


def prepare(experiment: Experiment, head: Any = None, dataset: Dataset | None = None) -> Setup:
    """Loads and checks everything that an experiment names.

    Args:
        experiment: The experiment.
        head: An object or callable in place of the experiment's head.
        dataset: Images in place of the experiment's data.

    Raises:
        InputError: Something is missing, or does not fit the rest.
    """
    settings = experiment.head
    source = HeadSource(
        settings.class_ if head is None else head, 1, settings.arguments, settings.features, settings.loss
    )
    task = source.head().task
    _check_objectives(experiment, task)
    device = _device(experiment)
    space = loader.load(experiment.space_file, bits=experiment.quantization.bits)
    data_given = dataset is not None
    if dataset is None:
        dataset = data.load(experiment.data, space.input_size, space.input_channels, experiment.seed, task)
    else:
        _check_fits(dataset, space, task)
    outputs = dataset.classes if dataset.classes is not None else dataset.train.labels.shape[1]
    source = dataclasses.replace(source, outputs=outputs)
    space = with_head(space, source, outputs)
    if not isinstance(source.given, str) or source.given not in MEASURED:
        _rehearse(source.head(), space.decode(space.seed), dataset)
    if isinstance(device, CostModel):
        _price(device, space)
    problem = _problem(experiment, space, device)
    feasible.sample(problem, np.random.default_rng(experiment.seed), 1)
    return Setup(experiment, source, dataset, problem, device, data_given)


def parts(dataset: Dataset) -> Arrays:
    """Images and labels by part."""
    return {part: (getattr(dataset, part).images, getattr(dataset, part).labels) for part in PARTS}


def _check_objectives(experiment: Experiment, task: str) -> None:
    for name in experiment.objectives:
        if name in METRICS and name not in MEASURED[task]:
            raise InputError(
                f"objectives: the head is for {task} (its loss tells), which measures no {name}; choose among "
                f"{', '.join((*MEASURED[task], *cost_objectives(experiment.told)))}"
            )


def _device(experiment: Experiment) -> CostModel | MeasuredModel | None:
    """The experiment's device, which tells of all that is asked for; one of the user's own is known only now."""
    settings = experiment.hardware
    if settings is None:
        return None
    for name in experiment.objectives:
        check_objective(name, settings, experiment.told)
    for name in experiment.constraints:
        check_cost(name, settings, experiment.told)
    return settings.device


def _price(device: CostModel, space: NetworkSpace) -> None:
    """Prices random networks, so that a device that cannot shows it before the run."""
    batch = space.batch(sampling.uniform(space, np.random.default_rng(0), PRICED))
    try:
        costs = device.costs(batch)
        shapes = {name: np.asarray(values, dtype=float).shape for name, values in costs.items()}
        wrong = [name for name, values in costs.items() if not np.isfinite(values).all()]
    except InputError as error:
        raise InputError(f"hardware: {error}") from error
    except Exception as error:
        raise InputError(
            f"hardware: pricing networks of the space failed ({type(error).__name__}: {error}); expected a model that "
            "passes bompnas.testing.cost_models.CostModelConformance"
        ) from error
    expected = {quantity.name: (len(batch),) for quantity in device.quantities}
    if shapes != expected:
        raise InputError(f"hardware: costs of {len(batch)} networks have shapes {shapes}, expected {expected}")
    if wrong:
        raise InputError(f"hardware: {wrong[0]} of some networks is not finite")


def _problem(experiment: Experiment, space: NetworkSpace, device: CostModel | MeasuredModel | None) -> Problem:
    try:
        objectives = experiment.objective_list()
    except ValueError as error:
        raise InputError(f"objectives: {error}") from None
    constraints = experiment.constraint_list()
    asked = [item.key for item in (*objectives, *constraints)]
    costs = network_costs(device if isinstance(device, CostModel) else None, asked)
    return Problem(space, costs, objectives, constraints, frozenset(FACTS))


def _paths_as(write: Callable[[Path], str], value: Any) -> Any:
    """Plain data with its paths in another form."""
    if isinstance(value, dict):
        return {name: _paths_as(write, part) for name, part in value.items()}
    if isinstance(value, list):
        return [_paths_as(write, part) for part in value]
    return write(value) if isinstance(value, Path) else value


def _content(file: Path) -> str:
    """What stands for a file's content."""
    return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest() if file.is_file() else str(file)


def _check_fits(dataset: Dataset, space: NetworkSpace, task: str) -> None:
    expected = (space.input_size, space.input_size, space.input_channels)
    found = dataset.train.images.shape[1:]
    if found != expected:
        raise InputError(f"data: images of shape {found} do not fit the search space, which expects {expected}")
    labels = heads.REGRESSION if dataset.classes is None else heads.CLASSIFICATION
    if labels != task:
        raise InputError(f"data: its labels are for {labels}, but the head is for {task}; change one of the two")


def with_head(space: NetworkSpace, source: HeadSource, outputs: int) -> NetworkSpace:
    """The space with the head's layers behind its features.

    Raises:
        InputError: The head's output does not have the shape of `outputs` classes or targets.
    """
    head = source.head()
    last = space.decode(space.seed).backbone[-1]

    def shape(features: int) -> tuple[int, ...]:
        return (last.output_size, last.output_size, features) if head.features == "map" else (features,)

    found = heads.output_shape(head, shape(last.out_channels))
    expected = {(outputs,), (1,)} if head.task == heads.CLASSIFICATION and outputs == 2 else {(outputs,)}
    if found not in expected:
        what = "classes" if head.task == heads.CLASSIFICATION else "targets"
        raise InputError(
            f"head: its output has shape {found} for an image, but the data has {outputs} {what}; expected ({outputs},)"
        )
    return dataclasses.replace(space, head=_HeadLayers(source, last.output_size))


@dataclasses.dataclass(frozen=True)
class _HeadLayers:
    """The head's layers behind so many features; can be sent to another process."""

    source: HeadSource
    size: int
    known: dict[int, tuple[Layer, ...]] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __call__(self, features: int) -> tuple[Layer, ...]:
        if features not in self.known:
            head = self.source.head()
            shape = (self.size, self.size, features) if head.features == "map" else (features,)
            self.known[features] = heads.layers(head, shape)
        return self.known[features]


def _rehearse(head: Head, network: Network, dataset: Dataset) -> None:
    """Takes a user's head once through quantization and measuring, so that what fails does so before the run."""
    labels = dataset.train.labels[:8]
    shape = float_model.feature_shape(network, head)
    features = np.random.default_rng(0).uniform(0, 6, (len(labels), *shape)).astype("float32")
    try:
        folded = fold.fold(heads.alone(head, shape))
        calibration = quantize.Calibration.of(folded, features)
        policy = quantize.Policy({}, quantize.LayerBits(8, 8))
        quantized = quantize.quantize(folded, policy, calibration)
        outputs = np.asarray(quantized(features, training=False))
        Criterion.of(head, quantized).measure(labels, outputs)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"head: quantizing it, or measuring its loss and metrics, failed ({type(error).__name__}: {error}); "
            "expected layers that Keras can trace, and a loss and metrics that take its outputs"
        ) from error


def _head_name(source: HeadSource) -> str:
    if isinstance(source.given, str):
        return source.given
    named = source.given if hasattr(source.given, "__qualname__") else type(source.given)
    return f"{named.__module__}:{named.__qualname__}"


def _derived_seed(seed: int, stage: int, trial: int) -> int:
    return int(np.random.SeedSequence([seed, stage, trial]).generate_state(1)[0])


def _fingerprint(dataset: Dataset) -> str:
    """Of all images and labels; images in files are known by the files' names and sizes."""
    digest = hashlib.blake2b(digest_size=8)
    for arrays in parts(dataset).values():
        for array in arrays:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.files.tobytes() if isinstance(array, ImageFiles) else np.ascontiguousarray(array))
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            continue
    return versions
