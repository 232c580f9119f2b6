"""Mixed-precision networks for KerasTuner users: a tuner whose trials are those of BOMP-NAS.

    tuner = MixedPrecisionTuner("search_spaces/mobilenetv2_cifar10.yaml", outputs=10, constraints={"size_kb": 16})
    tuner.search(images, labels, validation_data=(more_images, more_labels))
    model = tuner.get_best_models()[0]

`run_trial` puts together parts that other tuners may use: `Images.of` checks the arrays, the oracle's space decodes a
trial's hyperparameters, `bompnas.trials.trial.train_quantized` trains in float, folds, quantizes and fine-tunes, and
`report` turns its result into the metrics that the oracle wants.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pydantic
from keras_tuner.engine.trial import Trial

import bompnas.networks  # registers the quantized layers  # noqa: F401
from bompnas.errors import InputError
from bompnas.experiment.sections import ObjectiveSettings, TrainingSettings
from bompnas.integrations.keras_tuner import BompOracle, TunerMixin
from bompnas.networks.head_layers import with_head
from bompnas.networks.heads import CLASSIFICATION, HeadSource
from bompnas.objectives import Constraint
from bompnas.space import loader
from bompnas.space.network import Network
from bompnas.space.space import NetworkSpace
from bompnas.training import arrays, data
from bompnas.training.loop import Phase
from bompnas.trials.trial import TrialResult, TrialTask, train_quantized
from bompnas.whole_files import replacing

OBJECTIVES = (
    ObjectiveSettings(reference=0.8).objective("accuracy"),
    ObjectiveSettings(reference=8.0).objective("size"),
)
"""Accuracy and size as eq. (1) of BOMP-NAS weighs them."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Images and labels of a search.

    Attributes:
        train: Images, (n, size, size, channels) uint8, and labels.
        validation: The same, which candidates are scored on.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls,
        space: NetworkSpace,
        task: str,
        x: np.ndarray,
        y: np.ndarray,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        validation_split: float = 0.2,
        seed: int = 0,
    ) -> "Images":
        """Checks arrays as KerasTuner's users give them to `search`.

        Args:
            space: Whose images they are to be.
            task: `classification` or `regression`.
            x: Images: whole numbers 0..255 or floats 0..1.
            y: Class numbers or targets.
            validation_data: Images and labels; where None, a share of `x` and `y`.
            validation_split: That share.
            seed: Of the split.

        Raises:
            InputError: They do not fit the space or the task.
        """
        if validation_data is None:
            shape = {"input_size": space.input_size, "input_channels": space.input_channels}
            share = {"validation": validation_split, "seed": seed}
            unused = {"x_test": x[:1], "y_test": y[:1]}  # or a test part would be held out too
            found = data.from_arrays(x, y, **unused, **shape, **share, task=task, name="x")
            return cls(*((part.images, part.labels) for part in (found.train, found.validation)))
        as_labels = arrays.as_class_ids if task == CLASSIFICATION else arrays.as_targets
        checked = []
        for place, (images, labels) in {"x": (x, y), "validation_data": validation_data}.items():
            if len(images) != len(labels):
                raise InputError(f"{place}: {len(images)} images and {len(labels)} labels, expected as many of both")
            pixels = arrays.as_bytes(np.asarray(images), space.input_size, space.input_channels, None, place)
            checked.append((pixels, as_labels(np.asarray(labels), place)))
        return cls(*checked)

    def checked(self, task: str, outputs: int) -> "Images":
        """These images, if their labels fit a head of so many classes or targets.

        Raises:
            InputError: They do not.
        """
        for place, (_, labels) in {"x": self.train, "validation_data": self.validation}.items():
            if task == CLASSIFICATION and labels.max() >= outputs:
                raise InputError(
                    f"{place}: class {labels.max()} found, expected 0 to {outputs - 1} (outputs={outputs})"
                )
            if task != CLASSIFICATION and labels.shape[1] != outputs:
                raise InputError(
                    f"{place}: {labels.shape[1]} targets per image, expected {outputs} (outputs={outputs})"
                )
        return self

    @property
    def parts(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By name, as trials want them."""
        return {"train": self.train, "validation": self.validation}


def phases(training: TrainingSettings) -> tuple[Phase, Phase]:
    """Float training and quantization-aware fine-tuning."""
    common = (
        training.schedule,
        training.batch_size,
        training.optimizer,
        training.weight_decay,
        training.augmentation,
    )
    return (
        Phase(training.epochs, training.learning_rate, *common),
        Phase(training.qaft_epochs, training.qaft_learning_rate, *common),
    )


def report(result: TrialResult, cost: Mapping[str, float], objective: keras_tuner.Objective) -> dict[str, float]:
    """What a trial's first policy measured, and its costs, as `run_trial` returns it.

    Raises:
        RuntimeError: Quantization or fine-tuning failed.
    """
    outcome = result.outcomes[0]
    if outcome.error is not None:
        raise RuntimeError(outcome.error)
    metrics = {**outcome.metrics, **{key: value for key, value in cost.items() if not key.startswith("-")}}
    return {**metrics, objective.name: objective.get_value(metrics)}


class MixedPrecisionTuner(TunerMixin, keras_tuner.Tuner):
    """Searches architecture and bit-widths together, as BOMP-NAS does, behind KerasTuner's interface.

    A trial trains the network in float for a few epochs, folds its batch normalizations, quantizes it by its policy,
    fine-tunes it quantization-aware and measures it. The oracle knows every network's size exactly and models only what
    is measured. Each trial's quantized model is saved as `model.keras` in its folder.

    Args:
        space: A search space or the path of its YAML file.
        outputs: Number of classes, or of targets where the head is for regression.
        head: `classification`, `regression`, an import path, or an object or callable (`bompnas.networks.heads`).
        training: Epochs, rates and so on of a trial (`bompnas.experiment.sections.TrainingSettings`), or a mapping.
        objective: See `BompOracle`; accuracy with reference 0.8 and size with reference 8 where None.
        max_trials: See `BompOracle`, as all that follow.
        num_initial_points: The seed network, then networks spread over sizes; 10 where None.
        acquisition: `ucb`, `ehvi` or `parego`.
        beta: Optimism of the confidence bound.
        preset: `bomp` or `paper`.
        seed: Of the search and of all trainings.
        max_retries_per_trial: How often a trial that crashed is run again.
        max_consecutive_failed_trials: After so many the search ends with an error.
        constraints: `{"size_kb": 16}`; known ones filter before any training.
        **kwargs: Of `keras_tuner.Tuner`: `directory`, `project_name`, `overwrite`, `tuner_id`.

    Raises:
        InputError: The space, the head or a setting is wrong.
    """

    def __init__(
        self,
        space: NetworkSpace | str | os.PathLike[str],
        outputs: int,
        head: Any = CLASSIFICATION,
        training: TrainingSettings | Mapping[str, Any] | None = None,
        objective: Any = None,
        max_trials: int = 10,
        num_initial_points: int | None = None,
        acquisition: str = "ucb",
        beta: float | Sequence[float] | None = None,
        preset: str = "bomp",
        seed: int | None = None,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        constraints: Mapping[str, float] | Iterable[Constraint] = (),
        **kwargs: Any,
    ):
        self.outputs = outputs
        self.head = head if isinstance(head, HeadSource) else HeadSource(head, outputs)
        self.task = self.head.head().task
        space = space if isinstance(space, NetworkSpace) else loader.load(space)
        self.space = with_head(space, self.head, outputs)
        self.training = _training(training)
        if objective is None and self.task != CLASSIFICATION:
            raise InputError(
                "MixedPrecisionTuner: objective: none given, expected one that a regression head measures, such as "
                "[bompnas.objectives.Objective('mse', 'val_mse', 0.1, maximize=False), ...]"
            )
        oracle = BompOracle(
            objective=list(OBJECTIVES) if objective is None else objective,
            max_trials=max_trials,
            num_initial_points=num_initial_points,
            acquisition=acquisition,
            beta=beta,
            preset=preset,
            seed=seed,
            allow_new_entries=False,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            constraints=constraints,
            space=self.space,
        )
        self._images: Images | None = None
        self._genes = oracle.network_parameters
        self._problem = oracle.problem
        self._seed = oracle.seed
        super().__init__(oracle=oracle, **kwargs)

    def search(
        self,
        x: np.ndarray,
        y: np.ndarray,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        validation_split: float = 0.2,
        epochs: int | None = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
    ) -> None:
        """Searches; called again, or after an interruption by a new tuner of the same project, it goes on.

        Args:
            x: Images of shape (n, size, size, channels), whole numbers 0..255 or floats 0..1.
            y: Class numbers from 0, or targets.
            validation_data: Images and labels that candidates are scored on; where None, a share of `x` and `y`.
            validation_split: That share.
            epochs: Of float training, in place of the settings'.
            batch_size: In place of the settings'.
            verbose: 0 prints nothing.

        Raises:
            InputError: The arrays do not fit the space or the head.
        """
        images = Images.of(self.space, self.task, x, y, validation_data, validation_split, self._seed % 2**32)
        self._images = images.checked(self.task, self.outputs)
        given = {"epochs": epochs, "batch_size": batch_size}
        given = {name: value for name, value in given.items() if value is not None}
        super().search(training=_training({**self.training.model_dump(), **given}), verbose=verbose)

    def network(self, trial: Trial) -> Network:
        """The network of a trial, with its policy."""
        return self.space.decode(self._genes.genotype(trial.hyperparameters.values))

    def run_trial(self, trial: Trial, training: TrainingSettings, verbose: int | str = "auto") -> dict[str, float]:
        """Trains, quantizes and measures a trial's network, and saves its model."""
        network = self.network(trial)
        early, qaft = phases(training)
        task = TrialTask(
            networks=(network,),
            head=self.head,
            data=None,
            early=early,
            qaft=qaft,
            seed=int(np.random.SeedSequence([self._seed, int(trial.trial_id)]).generate_state(1)[0]),
            keep_models=True,
        )
        result = train_quantized(task, self._images.parts)
        if (content := result.outcomes[0].model) is not None:
            with replacing(self._model_path(trial)) as draft:
                draft.write_bytes(content)
        return report(result, self._problem.cost(network), self.oracle.objective)

    def load_model(self, trial: Trial) -> keras.Model:
        """The quantized model of a trial, exactly as it was measured."""
        return keras.models.load_model(self._model_path(trial))

    def _model_path(self, trial: Trial) -> Path:
        return Path(self.get_trial_dir(trial.trial_id)) / "model.keras"


def _training(given: TrainingSettings | Mapping[str, Any] | None) -> TrainingSettings:
    if isinstance(given, TrainingSettings):
        return given
    try:
        return TrainingSettings(**(given or {}))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"MixedPrecisionTuner: training.{place}: {first['msg']}; found {first['input']!r}") from None
