"""Our search for AutoKeras: a mixed-precision MobileNetV2 as a block, and a tuner for `AutoModel`.

    images = autokeras.ImageInput()
    features = MobileNetV2Block("search_spaces/mobilenetv2_cifar10.yaml")(images)
    classes = autokeras.ClassificationHead()(features)
    model = autokeras.AutoModel(images, classes, tuner=BompAutoTuner, max_trials=50, constraints={"size_kb": 16})
    model.fit(x, y, epochs=20)
    model.export_model().save("network.keras")

Where the model has our block, a trial is one of BOMP-NAS (float training, folding, quantization by the policy,
quantization-aware fine-tuning) and the final model is trained likewise; any other model is trained as AutoKeras does.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import keras
import keras_tuner
import numpy as np
import pydantic
from keras_tuner.engine.trial import Trial, TrialStatus

from bompnas.errors import InputError
from bompnas.experiment.sections import FinalSettings, Settings, TrainingSettings
from bompnas.integrations.autokeras_block import AutoTuner, MobileNetV2Block, Networks
from bompnas.integrations.keras_tuner import BompOracle, TunerMixin
from bompnas.integrations.keras_tuner_objective import signed
from bompnas.integrations.mixed_precision import OBJECTIVES, phases, report
from bompnas.networks.heads import CLASSIFICATION
from bompnas.objectives import Constraint
from bompnas.space.network import Network
from bompnas.training import arrays
from bompnas.trials.trial import TrialResult, TrialTask, train_quantized
from bompnas.whole_files import replacing

__all__ = ["BompAutoTuner", "MobileNetV2Block"]

_SEARCH, _FINAL = 0, 1
_SMALLEST_SHARE = 0.1
_Model = TypeVar("_Model", bound=Settings)


class BompAutoTuner(TunerMixin, AutoTuner):
    """A tuner for `autokeras.AutoModel(tuner=...)`, which passes its own keyword arguments on.

    With a `MobileNetV2Block` the block's architecture and bits are searched, with exact sizes; hyperparameters of other
    blocks and of the head keep their defaults. After the search the best network is trained from fresh weights on the
    training part alone, so that what is measured on the validation part is of images that the model never saw. Without
    the block everything is searched and trained as AutoKeras does it.

    What else differs from AutoKeras 3.0: its heads work with Keras 3.13 and later; `export_model`, `predict` and
    `evaluate` use the finally trained model; and all that `BompOracle` mends.

    Args:
        hypermodel: Given by `AutoModel`, as are directory and project name.
        objective: See `BompOracle`. With our block in front of a classifier, AutoModel's default `val_loss` stands for
            accuracy with reference 0.8 and size with reference 8, as eq. (1) weighs them; for the loss alone give
            `keras_tuner.Objective("val_loss", "min")`.
        max_trials: The most trials.
        seed: Of the search and of all trainings.
        num_initial_points: Trials before the surrogate is asked; 10 where None.
        acquisition: `ucb`, `ehvi` or `parego`.
        beta: Optimism of the confidence bound.
        preset: `bomp` or `paper`.
        max_consecutive_failed_trials: After so many the search ends with an error.
        constraints: Limits on costs and metrics, `{"size_kb": 16}`.
        training: Of the trials of our block (`bompnas.experiment.sections.TrainingSettings`), or a mapping; epochs and
            batch size given to `fit` come first.
        final: Of the final training of our block (`bompnas.experiment.sections.FinalSettings`), or a mapping.
        **kwargs: Of `keras_tuner.Tuner`.

    Attributes:
        final_metrics: What the finally trained model of our block measured: `val_*`, `float_val_*` before
            quantization, its costs, and `score`, which the search maximizes; None before.

    Raises:
        InputError: The model, or a setting, is none that can be searched.
    """

    def __init__(
        self,
        hypermodel: Any,
        objective: Any = "val_loss",
        max_trials: int = 10,
        seed: int | None = None,
        num_initial_points: int | None = None,
        acquisition: str = "ucb",
        beta: float | Sequence[float] | None = None,
        preset: str = "bomp",
        max_consecutive_failed_trials: int = 3,
        constraints: Mapping[str, float] | Iterable[Constraint] = (),
        training: TrainingSettings | Mapping[str, Any] | None = None,
        final: FinalSettings | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        self.final_metrics: dict[str, float] | None = None
        self.training = _settings(TrainingSettings, "training", training)
        self.final = _settings(FinalSettings, "final", final)
        self._networks = Networks.of(hypermodel)
        self._data: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        searched = {}
        if self._networks is not None:
            if kwargs.get("max_model_size"):
                raise InputError(
                    f"AutoModel: max_model_size={kwargs['max_model_size']} found; with a MobileNetV2Block give "
                    "constraints={'params': ...} or {'size_kb': ...}, which are known before any training"
                )
            searched = {"space": self._networks.space, "scope": f"{self._networks.block.name}/"}
            if objective == "val_loss" and self._networks.source.head().task == CLASSIFICATION:
                objective = list(OBJECTIVES)
        oracle = BompOracle(
            objective=objective,
            max_trials=max_trials,
            num_initial_points=num_initial_points,
            acquisition=acquisition,
            beta=beta,
            preset=preset,
            seed=seed,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            constraints=constraints,
            **searched,
        )
        super().__init__(oracle=oracle, hypermodel=hypermodel, **kwargs)

    def search(
        self,
        epochs: int | None = None,
        callbacks: list[keras.callbacks.Callback] | None = None,
        validation_split: float = 0,
        verbose: int | str = 1,
        **fit_kwargs: Any,
    ) -> keras.callbacks.History | None:
        """Searches, then trains the best model finally; called by `AutoModel.fit`.

        Args:
            epochs: Of each trial; with our block of its float training, and the settings' where None.
            callbacks: Of Keras' `fit`; none with our block.
            validation_split: Share of the data that `AutoModel` has split off.
            verbose: 0 prints nothing.
            **fit_kwargs: Data, batch size and, without our block, more arguments of Keras' `fit`.

        Returns:
            The history of the final training; with our block the mean losses of its epochs, `float_loss` and
            `qaft_loss`. None where an earlier call has finished.

        Raises:
            InputError: The data do not fit our block, or it cannot be trained with these arguments.
        """
        if self._networks is not None and not self._finished:
            unknown = set(fit_kwargs) - {"x", "y", "validation_data", "batch_size"}
            if callbacks or unknown:
                found = ", ".join(sorted(unknown | ({"callbacks"} if callbacks else set())))
                raise InputError(
                    f"fit: {found} found; a MobileNetV2Block is trained by epochs and batch_size, and by the settings "
                    "training and final of AutoModel"
                )
            given = {"epochs": epochs, "batch_size": fit_kwargs.get("batch_size")}
            given = {name: value for name, value in given.items() if value is not None}
            self.training = _settings(TrainingSettings, "training", {**self.training.model_dump(), **given})
            epochs = self.training.epochs
            self._prepare_networks(fit_kwargs)
        history = super().search(
            epochs=epochs, callbacks=callbacks, validation_split=validation_split, verbose=verbose, **fit_kwargs
        )
        self.save()
        return history

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Trains and measures a trial's model; with our block, quantized."""
        seed = self._derived_seed(_SEARCH, trial)
        if self._networks is None:
            keras.utils.set_random_seed(seed)
            return super().run_trial(trial, *args, **kwargs)
        network, result = self._train(trial, self.training, seed)
        return report(result, self.oracle.problem.cost(network), self.oracle.objective)

    def final_fit(self, **kwargs: Any) -> tuple[Any, keras.Model, keras.callbacks.History]:
        """Trains the best trial's model from fresh weights; returns AutoKeras' pipeline, the model and the history."""
        best = self.oracle.get_best_trials(1)
        if not best or best[0].status != TrialStatus.COMPLETED:
            raise RuntimeError("no trial was completed, so there is nothing to train finally")
        seed = self._derived_seed(_FINAL, best[0])
        if self._networks is None:
            keras.utils.set_random_seed(seed)
            return super().final_fit(**kwargs)
        settings = self.training.model_copy(update=self.final.model_dump())
        network, result = self._train(best[0], settings, seed, keep_models=True)
        with replacing(self.best_model_path) as draft:
            draft.write_bytes(result.outcomes[0].model)
        metrics = report(result, self.oracle.problem.cost(network), self.oracle.objective)
        self.final_metrics = {**metrics, "score": float(self.oracle.problem.score(signed(metrics)))}
        model = keras.models.load_model(self.best_model_path)
        head = self._networks.source.head()
        model.compile("sgd", loss=head.loss, metrics=list(head.metrics), jit_compile=False)
        history = keras.callbacks.History()
        history.history = dict(result.curves)
        return self._pipeline, model, history

    def get_best_model(self) -> keras.Model:
        """The finally trained model.

        Raises:
            InputError: There is none yet.
        """
        if self._finished:
            return keras.models.load_model(self.best_model_path)
        if self._networks is not None:
            raise InputError("AutoModel: there is no finally trained model yet; call fit first")
        return super().get_best_model()

    def get_state(self) -> dict[str, Any]:
        """What a reloaded tuner needs, as JSON."""
        return {**super().get_state(), "final_metrics": self.final_metrics}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes a state over."""
        super().set_state(state)
        self.final_metrics = state.get("final_metrics")

    def _prepare_model_build(self, hp: keras_tuner.HyperParameters, **kwargs: Any) -> Any:
        prepared = super()._prepare_model_build(hp, **kwargs)
        heads = [node.in_blocks[0] for node in self.hypermodel.outputs]
        for node in [*self.hypermodel.inputs, *heads]:
            node.shape = tuple(map(int, node.shape))  # Keras takes no units of NumPy's types
        return prepared

    def _configure_tensorboard_dir(self, callbacks: list, trial: Trial, execution: int = 0) -> None:
        if any(type(callback).__name__ == "TensorBoard" for callback in callbacks):  # only then it is needed
            super()._configure_tensorboard_dir(callbacks, trial, execution)

    @staticmethod
    def _remove_early_stopping(callbacks: list[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
        kept = (callback for callback in callbacks if not isinstance(callback, keras.callbacks.EarlyStopping))
        return [copy.deepcopy(callback) for callback in kept]  # AutoKeras copies the whole list each time

    def _prepare_networks(self, data: Mapping[str, Any]) -> None:
        """Brings the data into the form of our trials, and builds the head behind our block."""
        self._pipeline, train, validation = self._prepare_model_build(self.oracle.get_space(), **data)
        task = self._networks.source.head().task
        parts = {"train": train, "validation": validation}
        self._data = {part: (x, _labels(y, task)) for part, (x, y) in parts.items()}
        range = self._networks.block.range
        if self._networks.block.inputs == self.hypermodel.inputs:
            for x, _ in self._data.values():
                _check_pixels(x, range)
        if self.training.augmentation != "none" and (train[0].ndim != 4 or range is None or range[0] != 0):
            raise InputError(
                f"BompAutoTuner: training.augmentation {self.training.augmentation!r} shifts zeros in; it needs images "
                f"of shape (n, height, width, channels) and range=(0, ...), found {train[0].shape} and range={range}"
            )
        outputs = train[1].shape[-1] if task != CLASSIFICATION else 1 + max(y.max() for _, y in self._data.values())
        self._networks.bind(int(outputs))

    def _train(
        self, trial: Trial, settings: TrainingSettings, seed: int, keep_models: bool = False
    ) -> tuple[Network, TrialResult]:
        network = self._networks.network(trial.hyperparameters)
        early, qaft = phases(settings)
        task = TrialTask((network,), self._networks.source, None, early, qaft, seed, keep_models=keep_models)
        images = self._data["train"][0]
        return network, train_quantized(
            task, self._data, build=lambda *built: self._networks.build(trial.hyperparameters, images, *built)
        )

    def _derived_seed(self, stage: int, trial: Trial) -> int:
        return int(np.random.SeedSequence([self.oracle.seed, stage, int(trial.trial_id)]).generate_state(1)[0])


def _settings(model: type[_Model], place: str, given: _Model | Mapping[str, Any] | None) -> _Model:
    if isinstance(given, model):
        return given
    try:
        return model(**(given or {}))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = ".".join([place, *map(str, first["loc"])])
        raise InputError(f"BompAutoTuner: {name}: {first['msg']}; found {first['input']!r}") from None


def _labels(labels: np.ndarray, task: str) -> np.ndarray:
    """What AutoKeras makes of labels, as trials take them: class numbers, shape (n,), or targets, shape (n, k)."""
    if task != CLASSIFICATION:
        return arrays.as_targets(labels, "y")
    if labels.ndim == 1 or labels.shape[1] == 1:
        return arrays.as_class_ids(labels, "y")
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        raise InputError("y: several labels for an image, or none, found; a MobileNetV2Block needs one class for each")
    return labels.argmax(axis=1)


def _check_pixels(images: np.ndarray, range: tuple[float, float] | None) -> None:
    low, high = float(images.min()), float(images.max())
    if range is None:
        return
    black, white = range
    if low < black or high > white or high - low < _SMALLEST_SHARE * (white - black):
        raise InputError(
            f"x: pixels from {low:g} to {high:g} found, but MobileNetV2Block has range=({black:g}, {white:g}); give it "
            "the values of black and white"
        )
