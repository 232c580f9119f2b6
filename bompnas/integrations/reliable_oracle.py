"""KerasTuner's oracle with the faults mended that do not depend on how values are chosen."""

import functools
import json
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src.engine import oracle as oracle_module
from keras_tuner.src.engine.metrics_tracking import MetricsTracker

from bompnas.errors import InputError
from bompnas.integrations.keras_tuner_space import ScopedHyperParameters, complete
from bompnas.integrations.state_files import write_json

INFEASIBLE = "infeasible"
"""Metric by which a trial tells its oracle that its values are out of the question."""
LARGEST_SEED = 2**63
_POLL = 0.1


def synchronized(method: Callable) -> Callable:
    """`keras_tuner.synchronized`, which gives the oracle's lock back also when the method raises."""
    guarded = keras_tuner.synchronized(method)

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        me = threading.current_thread().name
        outermost = oracle_module.THREADS[self] != me
        try:
            return guarded(self, *args, **kwargs)
        except BaseException:
            if outermost and oracle_module.THREADS[self] == me:
                oracle_module.THREADS[self] = None
                oracle_module.LOCKS[self].release()
            raise

    return call


class ReliableOracle(keras_tuner.Oracle):
    """An oracle of KerasTuner that keeps its promises; still without `populate_space`.

    - State files are whole or as they were. What was cut short between two of them is put right by `reload`: an ended
      trial is not run again, one that was proposed but not recorded is forgotten.
    - Any seed counts, 0 too.
    - A trial whose values are out of the question, which its metric `INFEASIBLE` tells, ends as `INVALID`: it is not
      retried and does not count as a failure.
    - A retry starts afresh: what the earlier run measured is not averaged with what it measures.
    - Two conditional scopes may have hyperparameters of the same name; values that are missing are the defaults.
    - Too many failures raise after everything was saved; whatever raises, the lock is given back.

    Args:
        seed: Of all random numbers; drawn where None.
        **arguments: Of `keras_tuner.Oracle`.
    """

    def __init__(self, seed: int | None = None, **arguments: Any):
        super().__init__(seed=seed, **arguments)
        self.seed = self._seed_state = random.randrange(LARGEST_SEED) if seed is None else int(seed)

    def create_trial(self, tuner_id: str) -> Trial:
        """The next trial of a tuner; see `keras_tuner.Oracle.create_trial`."""
        trial = self._create_trial(tuner_id)
        if trial.status == TrialStatus.IDLE:
            time.sleep(_POLL)  # tuners ask again at once
        return trial

    @synchronized
    def _create_trial(self, tuner_id: str) -> Trial:
        return super().create_trial(tuner_id)

    @synchronized
    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Takes what a trial measured; see `keras_tuner.Oracle.update_trial`."""
        return super().update_trial(trial_id, metrics, step=step)

    @synchronized
    def end_trial(self, trial: Trial) -> None:
        """Ends a trial or sends it for retry; see `keras_tuner.Oracle.end_trial`.

        Raises:
            RuntimeError: Too many trials failed one after the other; all is saved then.
        """
        if is_infeasible(self.trials[trial.trial_id]):
            trial.status = TrialStatus.INVALID
        super().end_trial(trial)
        self._check_failures()

    def score_trial(self, trial: Trial) -> None:
        """Sets score and best step; a score that is not finite makes the trial invalid."""
        super().score_trial(trial)
        if not math.isfinite(trial.score):
            trial.score = math.nan

    def get_space(self) -> keras_tuner.HyperParameters:
        """A copy of the hyperparameters."""
        return ScopedHyperParameters.from_config(self.hyperparameters.get_config())

    def save(self) -> str:
        """Saves the state."""
        return write_json(self._get_oracle_fname(), self.get_state())

    def reload(self) -> None:
        """Loads what was saved, and sends for retry what was cut short.

        Raises:
            InputError: A file is damaged.
        """
        try:
            super().reload()
        except json.JSONDecodeError as error:
            raise InputError(
                f"{self._project_dir}: a state file is not whole ({error}), expected JSON; KerasTuner's own oracles "
                "leave such files when they are killed: start anew with overwrite=True"
            ) from error
        unrecorded = [id for id in self.trials if id not in self.start_order]
        for trial_id in unrecorded:
            if self.trials[trial_id].status == TrialStatus.RUNNING:
                del self.trials[trial_id]  # will be proposed again
        place = {trial_id: number for number, trial_id in enumerate(self.start_order)}
        self.trials = dict(sorted(self.trials.items(), key=lambda item: place.get(item[0], -1)))
        waiting = [id for id in dict.fromkeys(self._retry_queue) if id not in self.end_order]
        for trial in [self.trials[id] for id in waiting]:
            if _has_ended(trial):
                waiting.remove(trial.trial_id)
                self.end_order.append(trial.trial_id)
                self.update_space(trial.hyperparameters)
            else:
                _forget(trial)
        self._retry_queue = waiting

    def _save_trial(self, trial: Trial) -> None:
        write_json(f"{self._get_trial_dir(trial.trial_id)}/trial.json", trial.get_state())

    def _record_values(self, trial: Trial) -> None:
        complete(trial.hyperparameters)
        self._tried_so_far.discard(self._id_to_hash[trial.trial_id])
        self._id_to_hash[trial.trial_id] = self._compute_values_hash(trial.hyperparameters.values)
        self._tried_so_far.add(self._id_to_hash[trial.trial_id])

    def _check_objective_found(self, metrics: Mapping[str, float]) -> None:
        if INFEASIBLE not in metrics:
            super()._check_objective_found(metrics)

    def _retry(self, trial: Trial) -> bool:
        if is_infeasible(trial) or not super()._retry(trial):
            return False
        _forget(trial)
        return True

    def _check_consecutive_failures(self) -> None:
        """KerasTuner checks before it has saved; see `end_trial`."""

    def _check_failures(self) -> None:
        ended = [self.trials[id] for id in self.end_order if not is_infeasible(self.trials[id])]
        last = ended[-self.max_consecutive_failed_trials :]
        failed = sum(trial.status == TrialStatus.FAILED for trial in last)
        if failed == self.max_consecutive_failed_trials:
            raise RuntimeError(
                f"Number of consecutive failures exceeded the limit of {self.max_consecutive_failed_trials}; the last "
                f"one: {last[-1].message or 'no message'}"
            )


def is_infeasible(trial: Trial) -> bool:
    """Whether a trial found its values to be out of the question."""
    return trial.metrics.exists(INFEASIBLE)


def _has_ended(trial: Trial) -> bool:
    return trial.status in (TrialStatus.COMPLETED, TrialStatus.FAILED) or (
        trial.status == TrialStatus.INVALID and is_infeasible(trial)
    )


def _forget(trial: Trial) -> None:
    """Removes what an earlier run of a trial measured."""
    trial.metrics, trial.score = MetricsTracker(), None
