"""From an experiment to everything that its run needs; what the user got wrong shows here, before anything is made."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bompnas.candidate import Candidate
from bompnas.errors import InputError
from bompnas.experiment import Experiment
from bompnas.experiment.sections import MEASURED
from bompnas.hardware.costs import network_costs
from bompnas.hardware.model import CostModel, MeasuredModel
from bompnas.hardware.quantities import FACTS
from bompnas.networks.head_layers import with_head
from bompnas.networks.heads import HeadSource
from bompnas.problem import Problem
from bompnas.search import feasible
from bompnas.space import loader
from bompnas.space.space import NetworkSpace
from bompnas.training import data
from bompnas.training.data import Dataset
from bompnas.training.loop import Phase
from bompnas.trials import checks
from bompnas.trials.executors.contract import Arrays, Shared
from bompnas.trials.trial import PARTS, TrialTask

_LABELS = 8  # enough to try a head


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
    checks.objectives(experiment, task)
    checks.device(experiment)
    device = None if experiment.hardware is None else experiment.hardware.device
    space = loader.load(experiment.space_file, bits=experiment.quantization.bits)
    data_given = dataset is not None
    if dataset is None:
        dataset = data.load(experiment.data, space.input_size, space.input_channels, experiment.seed, task)
    else:
        checks.dataset(dataset, space, task)
    outputs = dataset.classes if dataset.classes is not None else dataset.train.labels.shape[1]
    source = dataclasses.replace(source, outputs=outputs)
    space = with_head(space, source, outputs)
    if not isinstance(source.given, str) or source.given not in MEASURED:
        checks.head(source.head(), space.decode(space.seed), dataset.train.labels[:_LABELS])
    if isinstance(device, CostModel):
        checks.prices(device, space)
    problem = _problem(experiment, space, device)
    feasible.sample(problem, np.random.default_rng(experiment.seed), 1)
    return Setup(experiment, source, dataset, problem, device, data_given)


def parts(dataset: Dataset) -> Arrays:
    """Images and labels by part."""
    return {part: (getattr(dataset, part).images, getattr(dataset, part).labels) for part in PARTS}


def _problem(experiment: Experiment, space: NetworkSpace, device: CostModel | MeasuredModel | None) -> Problem:
    try:
        objectives = experiment.objective_list()
    except ValueError as error:
        raise InputError(f"objectives: {error}") from None
    constraints = experiment.constraint_list()
    asked = [item.key for item in (*objectives, *constraints)]
    costs = network_costs(device if isinstance(device, CostModel) else None, asked)
    return Problem(space, costs, objectives, constraints, frozenset(FACTS))


def _derived_seed(seed: int, stage: int, trial: int) -> int:
    return int(np.random.SeedSequence([seed, stage, trial]).generate_state(1)[0])
