"""Our search engine for KerasTuner: `BompTuner` in place of `keras_tuner.BayesianOptimization`.

    tuner = BompTuner(build_model, objective="val_accuracy", max_trials=20, seed=0, directory="runs")
    tuner.search(x, y, validation_data=(x_val, y_val), epochs=5)
    model = tuner.get_best_models()[0]

The oracle alone, `BompOracle`, works with any tuner. `TunerMixin` goes in front of any tuner class (AutoKeras' too) and
does what an oracle cannot do for it. Networks of mixed precision: `bompnas.integrations.mixed_precision`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial

from bompnas.integrations.keras_tuner_oracle import BompOracle, Cost
from bompnas.integrations.reliable_oracle import INFEASIBLE
from bompnas.integrations.state_files import write_json
from bompnas.objectives import Constraint

__all__ = ["BompOracle", "BompTuner", "InfeasibleTrialError", "TunerMixin"]


class InfeasibleTrialError(keras_tuner.errors.FailedTrialError):
    """Raise it in a trial whose values are out of the question, such as a model that does not fit the device.

    Not a failure: the trial is `INVALID`, it is neither retried nor counted among the consecutive failures, and its
    values are not proposed again.
    """


class TunerMixin:
    """What a tuner itself must do for a search to be reliable; stands before a `keras_tuner.Tuner` among the bases.

    Saves its state at once and atomically, needs TensorBoard only where a callback does, reports an
    `InfeasibleTrialError` to the oracle (through the metric `infeasible`, which travels between processes), and raises
    one for a model of more than `max_model_size` parameters.
    """

    def on_search_begin(self) -> None:
        """Saves, so that a search that is killed during its first trial is found again."""
        super().on_search_begin()
        if not self._is_worker():
            self.save()

    def save(self) -> None:
        """Saves the tuner and its oracle."""
        if not self._is_worker():
            self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def _run_and_update_trial(self, trial: Trial, *fit_args: Any, **fit_kwargs: Any) -> None:
        try:
            super()._run_and_update_trial(trial, *fit_args, **fit_kwargs)
        except InfeasibleTrialError:
            self.oracle.update_trial(trial.trial_id, {INFEASIBLE: 1.0})
            raise

    def _configure_tensorboard_dir(self, callbacks: list, trial: Trial, execution: int = 0) -> None:
        if any(isinstance(callback, keras.callbacks.TensorBoard) for callback in callbacks):
            super()._configure_tensorboard_dir(callbacks, trial, execution)

    def _build_hypermodel(self, hp: keras_tuner.HyperParameters) -> Any:
        model = super()._build_hypermodel(hp)
        if self.max_model_size and isinstance(model, keras.Model) and model.built:
            size = sum(math.prod(weight.shape) for weight in model.trainable_weights)
            if size > self.max_model_size:
                raise InfeasibleTrialError(f"model of {size} parameters, max_model_size is {self.max_model_size}")
        return model


class BompTuner(TunerMixin, keras_tuner.Tuner):
    """Tunes Keras models with `BompOracle`.

    Arguments are those of `keras_tuner.BayesianOptimization` and the oracle's own.

    Args:
        hypermodel: As KerasTuner's: a `HyperModel` or a function from hyperparameters to a compiled model.
        objective: See `BompOracle`, as all that follow.
        max_trials: The most trials.
        num_initial_points: Trials before the surrogate is asked.
        acquisition: `ucb`, `ehvi` or `parego`.
        beta: Optimism of the confidence bound.
        preset: `bomp` or `paper`.
        seed: Of the search.
        hyperparameters: Registered in advance, or overriding those of the hypermodel.
        tune_new_entries: Whether hyperparameters that only the hypermodel names are tuned.
        allow_new_entries: Whether the hypermodel may name further hyperparameters.
        max_retries_per_trial: How often a trial that crashed is run again.
        max_consecutive_failed_trials: After so many the search ends with an error.
        costs: Known functions of the values.
        constraints: Limits on costs and on metrics.
        **kwargs: Of `keras_tuner.Tuner`: `directory`, `project_name`, `overwrite`, `max_model_size`, ...
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        num_initial_points: int | None = None,
        acquisition: str = "ucb",
        beta: float | Sequence[float] | None = None,
        preset: str = "bomp",
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        costs: Mapping[str, Cost] | None = None,
        constraints: Mapping[str, float] | Iterable[Constraint] = (),
        **kwargs: Any,
    ):
        oracle = BompOracle(
            objective=objective,
            max_trials=max_trials,
            num_initial_points=num_initial_points,
            acquisition=acquisition,
            beta=beta,
            preset=preset,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            costs=costs,
            constraints=constraints,
        )
        super().__init__(oracle=oracle, hypermodel=hypermodel, **kwargs)
