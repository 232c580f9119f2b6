"""An oracle of KerasTuner that searches with our engine."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np
import pydantic
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src.engine.objective import MultiObjective

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.hardware.costs import network_costs
from bompnas.hardware.quantities import FACTS
from bompnas.integrations.keras_tuner_objective import ScoreObjective, raw, resolve, resolve_constraints, signed
from bompnas.integrations.keras_tuner_space import HyperParameterSpace
from bompnas.integrations.network_parameters import NetworkParameters
from bompnas.integrations.reliable_oracle import INFEASIBLE, LARGEST_SEED, ReliableOracle, is_infeasible
from bompnas.objectives import Constraint
from bompnas.problem import Problem
from bompnas.search.bayesian import BompSettings
from bompnas.space.space import NetworkSpace, Value

_log = logging.getLogger(__name__)

Cost = Callable[[Mapping[str, Value]], float]


class BompOracle(ReliableOracle):
    """Chooses hyperparameters by Bayesian optimization with learned edit weights (`bompnas.search.bayesian`).

    Takes the place of `keras_tuner.oracles.BayesianOptimizationOracle`, whose projects it can go on with. Besides what
    `ReliableOracle` mends:

    - No two trials have the same values; when all were tried the search ends, and the log says "space exhausted".
    - A proposal is a function of the trials, the earlier fits (which are saved) and the seed: a reloaded search goes on
      exactly as the undisturbed one would have.
    - Values in training on other workers are taken into account.
    - A failed trial, or an infeasible one, says that its neighbourhood is bad.
    - Costs that are functions of the values are exact: values that break a constraint on one are never proposed.

    Args:
        objective: As KerasTuner's: a name, a `keras_tuner.Objective` or a list of them; also
            `bompnas.objectives.Objective`s, which make the score that of eq. (1).
        max_trials: The most trials; None for no limit.
        num_initial_points: Trials before the surrogate is asked: the default values, then others at random; 10 where
            None.
        acquisition: `ucb` of the score; for the Pareto front of several objectives `ehvi`, if all but one are known
            costs, or `parego`.
        beta: Optimism of the confidence bound [posterior standard deviations]: one, or several of which each trial
            draws one.
        preset: `bomp`, or `paper` for BOMP-NAS' own surrogate.
        seed: Of all random numbers; drawn where None.
        hyperparameters: As KerasTuner's; of a `space`, what there is besides its genes, kept at the defaults.
        allow_new_entries: As KerasTuner's. In trials before, a new entry counts as having had its default.
        tune_new_entries: As KerasTuner's.
        max_retries_per_trial: As KerasTuner's.
        max_consecutive_failed_trials: As KerasTuner's; counts the trials that ended last.
        costs: Name -> function of a mapping of active values to a number, known before any training. A constraint or
            an objective may name it.
        constraints: Name of a cost or of a metric that every trial reports -> its largest allowed value, or
            `bompnas.objectives.Constraint`s.
        space: A space of networks, whose genes are searched with their exact costs (`size_bits`, `macs`, ...), instead
            of the hyperparameters.
        scope: Begins the names of the space's hyperparameters.

    Raises:
        InputError: A setting of the search has a wrong value.
    """

    def __init__(
        self,
        objective: Any = None,
        max_trials: int | None = 10,
        num_initial_points: int | None = None,
        acquisition: str = "ucb",
        beta: float | Sequence[float] | None = None,
        preset: str = "bomp",
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        costs: Mapping[str, Cost] | None = None,
        constraints: Mapping[str, float] | Iterable[Constraint] = (),
        space: NetworkSpace | None = None,
        scope: str = "",
    ):
        if costs and space is not None:
            raise InputError(f"BompOracle: costs: found {', '.join(costs)} beside space, whose costs are its own")
        self._costs = dict(costs or {})
        self.network_parameters = None if space is None else NetworkParameters(space, scope)
        self.constraints = resolve_constraints(constraints)
        self._network_costs = network_costs(asked=_asked(objective, self.constraints))
        counted = () if space is None else self._network_costs(space.batch(space.defaults[None]))
        self.known_costs = frozenset({*self._costs, *counted})
        shown, self._objectives = resolve(objective, self.known_costs)
        exact = sum(raw(item.key) in self.known_costs for item in self._objectives)
        if acquisition == "ehvi" and (len(self._objectives) - exact != 1 or exact not in (1, 2)):
            raise InputError(
                f"BompOracle: acquisition: ehvi found {len(self._objectives) - exact} measured objectives and {exact} "
                "that are costs, expected one measured one and one or two costs; use parego"
            )
        if space is not None:
            hyperparameters = _merged(self.network_parameters.hyperparameters(), hyperparameters)
        super().__init__(
            objective=shown,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        self._proposer = _settings(num_initial_points, acquisition, beta, preset).proposer()
        self._proposals: dict[str, dict[str, Any]] = {}
        self._searched: tuple[list, Any, Problem] | None = None
        self._points: dict[tuple, tuple[Any, dict[str, float]]] = {}

    @property
    def problem(self) -> Problem:
        """What is searched at present."""
        return self._current()[1]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of the next trial; see `keras_tuner.Oracle.populate_space`."""
        translation, problem = self._current()
        if not translation.space.genes:
            return self._without_choice(translation)
        candidates = [self.candidate(number, trial) for number, trial in enumerate(self.trials.values(), 1)]
        proposal = self._proposer.propose(
            problem,
            [candidate for candidate in candidates if candidate.state is not State.PENDING],
            [candidate for candidate in candidates if candidate.state is State.PENDING],
            self.seed % LARGEST_SEED,
            len(self.trials),
            self._fits(),
        )
        if not proposal.genotypes:
            return _exhausted()
        told = {"details": dict(proposal.details), "fit": proposal.fit, "modelled": self._modelled()}
        self._proposals[trial_id] = told
        return {"status": TrialStatus.RUNNING, "values": translation.values(proposal.genotypes[0])}

    def score_trial(self, trial: Trial) -> None:
        """Sets score and best step; a score that is not finite makes the trial invalid."""
        if not isinstance(self.objective, MultiObjective):
            super().score_trial(trial)
            return
        names = self.objective.name_to_direction
        steps = {seen.step for name in names for seen in trial.metrics.get_history(name)} or {0}
        logs = {step: {name: _at(trial, name, step) for name in names} for step in sorted(steps)}
        finite = [step for step, values in logs.items() if all(map(math.isfinite, values.values()))]
        if not finite:
            trial.score = math.nan
            return
        sign = 1 if self.objective.direction == "max" else -1
        trial.best_step = max(finite, key=lambda step: sign * self.objective.get_value(logs[step]))
        score = float(self.problem.score(self._values(trial)))
        trial.score = score if isinstance(self.objective, ScoreObjective) else sign * score

    def candidate(self, number: int, trial: Trial) -> Candidate:
        """A trial as the search engine sees it, as candidate `number`."""
        genotype, point, cost = self._known(trial)
        state, metrics, score = _state(trial), {}, None
        if state is State.COMPLETED:
            metrics = self._metrics(trial)
            score = float(self.problem.score({**cost, **metrics}))
        return Candidate(number, number, point, genotype, state, cost, metrics, score=score)

    def keeps_constraints(self, trial: Trial) -> bool:
        """Whether a completed trial keeps all constraints, measured ones too."""
        values = self._values(trial)
        return all(constraint.satisfied(values) for constraint in self.constraints)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """The best trials; completed ones that break a constraint come after those that keep them all."""
        sign = 1 if self.objective.direction == "min" else -1
        completed = [trial for trial in self.trials.values() if _state(trial) is State.COMPLETED]
        completed.sort(key=lambda trial: (not self.keeps_constraints(trial), sign * trial.score))
        others = [trial for trial in self.trials.values() if _state(trial) is not State.COMPLETED]
        return [*completed, *others][:num_trials]

    def get_pareto_trials(self) -> list[Trial]:
        """The completed trials that keep all constraints and that no other beats in every objective."""
        kept = [t for t in self.trials.values() if _state(t) is State.COMPLETED and self.keeps_constraints(t)]
        gains = np.array([self._gains(trial) for trial in kept])
        return [
            trial
            for trial, gain in zip(kept, gains, strict=True)
            if not ((gains >= gain).all(axis=1) & (gains > gain).any(axis=1)).any()
        ]

    def get_state(self) -> dict[str, Any]:
        """All that a reloaded oracle needs, as JSON, but for the trials."""
        return {**super().get_state(), "proposals": self._proposals}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes a state over; that of another oracle of KerasTuner does as well."""
        super().set_state(state)
        self._proposals = dict(state.get("proposals", {}))

    def _current(self) -> tuple[Any, Problem]:
        """How values are translated, and the problem; made anew when hyperparameters were added."""
        entries = list(self.hyperparameters.space)
        if self._searched is None or not _same(self._searched[0], entries):
            translation = self.network_parameters or HyperParameterSpace(self.hyperparameters)

            def costs(batch: Any) -> dict[str, np.ndarray]:
                return signed(self._cost_columns(translation, batch))

            facts = None if self.network_parameters is None else frozenset(signed(dict.fromkeys(FACTS, 0)))
            problem = Problem(translation.space, costs, self._objectives, self.constraints, facts)
            self._searched, self._points = (entries, translation, problem), {}
        return self._searched[1:]

    def _cost_columns(self, translation: Any, batch: Any) -> dict[str, np.ndarray]:
        if self.network_parameters is not None:
            return self._network_costs(batch)
        if not self._costs:
            return {}
        rows = [translation.values(genotype) for genotype in translation.space.genotypes(batch.codes)]
        return {name: np.array([_cost(name, cost, row) for row in rows]) for name, cost in self._costs.items()}

    def _without_choice(self, translation: Any) -> dict[str, Any]:
        """The next values where nothing can be chosen, or not yet: the first trial may tell what can be."""
        if not self.trials:
            return {"status": TrialStatus.RUNNING, "values": translation.values({})}
        if self.allow_new_entries and self.tune_new_entries and not self.end_order:
            return {"status": TrialStatus.IDLE}
        return _exhausted()

    def _known(self, trial: Trial) -> tuple[dict[str, Value], Any, dict[str, float]]:
        """A trial's genotype, what it decodes to, and its known costs."""
        translation, problem = self._current()
        genotype = translation.genotype(trial.hyperparameters.values)
        key = tuple(genotype.values())
        if key not in self._points:
            point = translation.space.decode(genotype)
            self._points[key] = point, problem.cost(point)
        return genotype, *self._points[key]

    def _values(self, trial: Trial) -> dict[str, float]:
        """Known costs and measured values of a completed trial."""
        return {**self._known(trial)[2], **self._metrics(trial)}

    def _gains(self, trial: Trial) -> list[float]:
        values = self._values(trial)
        return [values[o.key] if o.maximize else -values[o.key] for o in self._objectives]

    def _metrics(self, trial: Trial) -> dict[str, float]:
        """What a completed trial measured, under its names and, negated, under those of minimized values."""
        if not isinstance(self.objective, MultiObjective):
            values = {self.objective.name: float(trial.score)}
        else:
            values = {name: _at(trial, name, trial.best_step) for name in self.objective.name_to_direction}
        for constraint in self.constraints:
            if constraint.key not in self.known_costs:
                values[constraint.key] = _at(trial, constraint.key, trial.best_step)
        return signed(values)

    def _modelled(self) -> list[str]:
        """What a stored fit is of: fits of other objectives are of no use."""
        keys = [*self._objectives, *self.constraints]
        return [self._proposer.preset, *(item.key for item in keys)]

    def _fits(self) -> list[Mapping[str, Any]]:
        modelled = self._modelled()
        told = [self._proposals[id] for id in self.trials if id in self._proposals]
        return [proposal["fit"] for proposal in told if proposal["fit"] and proposal["modelled"] == modelled]

    def _check_objective_found(self, metrics: Mapping[str, float]) -> None:
        super()._check_objective_found(metrics)
        missing = {constraint.key for constraint in self.constraints} - self.known_costs - set(metrics)
        if missing and INFEASIBLE not in metrics:
            raise keras_tuner.errors.FatalValueError(
                f"constraints: found no value of {', '.join(sorted(missing))} among the trial's metrics "
                f"({', '.join(metrics)}), expected a metric or the name of a cost"
            )


def _asked(objective: Any, constraints: Iterable[Constraint]) -> set[str]:
    """What objectives, as users give them, and constraints name."""
    items = objective if isinstance(objective, list | tuple) else [objective]
    names = [getattr(item, "key", getattr(item, "name", item)) for item in items]
    return {raw(name) for name in (*names, *(limit.key for limit in constraints)) if isinstance(name, str)}


def _merged(
    hyperparameters: keras_tuner.HyperParameters, others: keras_tuner.HyperParameters | None
) -> keras_tuner.HyperParameters:
    if others is not None:
        hyperparameters.merge(others)
    return hyperparameters


def _settings(initial: int | None, acquisition: str, beta: Any, preset: str) -> BompSettings:
    beta = list(beta) if isinstance(beta, tuple) else beta
    given = {"initial": initial, "acquisition": acquisition, "beta": beta, "preset": preset}
    try:
        return BompSettings(**{name: value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "preset"
        name = "num_initial_points" if name == "initial" else name
        raise InputError(f"BompOracle: {name}: {first['msg']}; found {given.get(name, initial)!r}") from None


def _cost(name: str, cost: Cost, values: Mapping[str, Value]) -> float:
    try:
        return float(cost(values))
    except Exception as error:
        raise InputError(
            f"costs: {name} failed with {type(error).__name__}: {error} for the values {dict(values)}, expected a "
            "number; only active hyperparameters that are known so far have values"
        ) from error


def _exhausted() -> dict[str, Any]:
    _log.info("space exhausted: all values were tried that keep the constraints")
    return {"status": TrialStatus.STOPPED, "values": None}


def _state(trial: Trial) -> State:
    if trial.status == TrialStatus.COMPLETED and trial.score is not None:
        return State.COMPLETED
    if trial.status == TrialStatus.FAILED or is_infeasible(trial):
        return State.FAILED
    return State.PENDING


def _at(trial: Trial, name: str, step: int | None) -> float:
    """A metric at a step; its best value where there is none of that step."""
    for seen in trial.metrics.get_history(name):
        if seen.step == step:
            return float(seen.mean())
    return float(trial.metrics.get_best_value(name))


def _same(some: list, others: list) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
