"""The tuners that users could pick instead, each behind one function: what is known -> the next genotype.

Every one is given the finished trials in the order in which they ended, the ten initial ones first, and maximizes the
observed score of eq. (1). None is told the networks' sizes: they have no place for them.
"""

import collections
import tempfile
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from bompnas.candidate import Candidate
from bompnas.problem import Problem
from bompnas.space.space import Gene, Genotype, SearchSpace

INITIAL = 10
ATTEMPTS = 1000


class Searcher(Protocol):
    """A search under way."""

    def __call__(self, completed: Sequence[Candidate], pending: Sequence[Candidate]) -> Genotype | None:
        """The next genotype; None when the space is exhausted."""


def uniform(space: SearchSpace, generator: np.random.Generator) -> dict:
    """A canonical genotype with every gene drawn uniformly."""
    return space.canonical({gene.name: gene.values[generator.integers(len(gene.values))] for gene in space.genes})


def untried(space: SearchSpace, generator: np.random.Generator, candidates: Sequence[Candidate]) -> Genotype | None:
    """A uniform genotype of a network that is none of the candidates'; None when there seems to be none."""
    taken = {candidate.network.key for candidate in candidates}
    for _ in range(ATTEMPTS):
        genotype = uniform(space, generator)
        if space.decode(genotype).key not in taken:
            return genotype
    return None


class Random:
    """Uniform genotypes, no network twice."""

    def __init__(self, problem: Problem, seed: int):
        self._space, self._generator = problem.space, np.random.default_rng([seed, 1])

    def __call__(self, completed: Sequence[Candidate], pending: Sequence[Candidate]) -> Genotype | None:
        """See `Searcher`."""
        return untried(self._space, self._generator, [*completed, *pending])


class Aging:
    """Regularized evolution (Real et al., 2019): the best of a tournament has one active gene changed.

    The population are the trials that finished last.
    """

    def __init__(self, problem: Problem, seed: int, population: int, sample: int):
        self._space, self._generator = problem.space, np.random.default_rng([seed, 2])
        self._population, self._sample = population, sample

    def __call__(self, completed: Sequence[Candidate], pending: Sequence[Candidate]) -> Genotype | None:
        """See `Searcher`."""
        everything = [*completed, *pending]
        if len(completed) < self._population:
            return untried(self._space, self._generator, everything)
        alive = completed[-self._population :]
        drawn = self._generator.choice(len(alive), size=min(self._sample, len(alive)), replace=False)
        parent = max((alive[place] for place in drawn), key=lambda candidate: candidate.score).genotype
        taken = {candidate.network.key for candidate in everything}
        for _ in range(ATTEMPTS):
            active = [gene for gene in self._space.genes if gene.active(parent)]
            gene = active[self._generator.integers(len(active))]
            others = [value for value in gene.values if value != parent[gene.name]]
            child = self._space.canonical({**parent, gene.name: others[self._generator.integers(len(others))]})
            if self._space.decode(child).key not in taken:
                return child
        return untried(self._space, self._generator, everything)


class KerasTuner:
    """`keras_tuner`'s Bayesian oracle, driven as its tuners drive it.

    Genes are ordered `Choice`s, in conditional scopes or all in one flat space. The initial networks enter as completed
    trials, and the oracle is told to ask for no others at random (its default of three times the dimensions would be
    147).
    """

    def __init__(self, problem: Problem, seed: int, exact_gradient: bool = True, scopes: bool = True):
        import keras_tuner
        from keras_tuner.oracles import BayesianOptimizationOracle

        from quality.exact_gradient import ExactGradientOracle

        kind = ExactGradientOracle if exact_gradient else BayesianOptimizationOracle
        self._space, self._scopes, self._told = problem.space, scopes, 0
        self._running: dict[str, collections.deque] = {}
        self.oracle = kind(
            objective=keras_tuner.Objective("score", "max"),
            max_trials=100_000,
            num_initial_points=INITIAL,
            seed=seed + 1,  # it takes 0 for no seed
            hyperparameters=hyper_parameters(problem.space, scopes),
            allow_new_entries=False,
            max_consecutive_failed_trials=100_000,
        )
        self.oracle.verbose = 0
        self._folder = tempfile.TemporaryDirectory(prefix="keras_tuner_")
        self.oracle._set_project_dir(self._folder.name, "search")

    def __call__(self, completed: Sequence[Candidate], pending: Sequence[Candidate]) -> Genotype | None:
        """See `Searcher`."""
        self.tell(completed)
        trial = self.oracle.create_trial(f"tuner{self._told + len(pending)}")
        genotype = self._space.canonical({**self._space.seed, **trial.hyperparameters.values})
        self._running.setdefault(self._space.decode(genotype).key, collections.deque()).append(trial)
        return genotype

    def tell(self, completed: Sequence[Candidate]) -> None:
        """Ends the trials that ended since the last time."""
        for candidate in completed[self._told :]:
            waiting = self._running.get(candidate.network.key)
            trial = waiting.popleft() if waiting else self._inject(candidate)
            self.oracle.update_trial(trial.trial_id, {"score": candidate.score})
            trial.status = "COMPLETED"
            self.oracle.end_trial(trial)
        self._told = len(completed)

    def _inject(self, candidate: Candidate) -> object:
        """Starts a trial with a candidate's values, as `Oracle.create_trial` starts one with values of its own."""
        from keras_tuner.src.engine.trial import Trial

        oracle = self.oracle
        hyperparameters = oracle.hyperparameters.copy()
        used = {gene.name for gene in self._space.genes if not self._scopes or gene.active(candidate.genotype)}
        hyperparameters.values = {name: value for name, value in candidate.genotype.items() if name in used}
        trial = Trial(hyperparameters=hyperparameters, trial_id=f"{len(oracle.trials):06d}", status="RUNNING")
        oracle._record_values(trial)
        oracle.ongoing_trials[f"given{trial.trial_id}"] = trial
        oracle.trials[trial.trial_id] = trial
        oracle.start_order.append(trial.trial_id)
        return trial


def hyper_parameters(space: SearchSpace, scopes: bool = True) -> object:
    """KerasTuner's form of a space: a `Choice` for every gene, parents first, in its conditional scopes or without."""
    from keras_tuner import HyperParameters

    hyperparameters = HyperParameters()
    for gene in parents_first(space):
        with _scopes(hyperparameters, gene.conditions if scopes else ()):
            hyperparameters.Choice(gene.name, list(gene.values), ordered=_ordered(gene), default=gene.default)
    return hyperparameters


def parents_first(space: SearchSpace) -> list[Gene]:
    """The genes in an order in which those that conditions name come before those that have them."""
    placed: list[Gene] = []
    waiting = list(space.genes)
    while waiting:
        names = {gene.name for gene in placed}
        ready = [gene for gene in waiting if all(parent in names for parent, _ in gene.conditions)]
        placed += ready
        waiting = [gene for gene in waiting if gene not in ready]
    return placed


def _scopes(hyperparameters: object, conditions: Sequence[tuple[str, frozenset]]) -> object:
    import contextlib

    stack = contextlib.ExitStack()
    for parent, values in conditions:
        stack.enter_context(hyperparameters.conditional_scope(parent, sorted(values)))
    return stack


def _ordered(gene: Gene) -> bool:
    return getattr(gene, "ordered", True) and not isinstance(gene.values[0], str | bool)


class Tpe:
    """Optuna's TPE sampler, with conditional parameters asked for only where they matter.

    Ordered genes are whole numbers, the places of their values; others are categorical.
    """

    def __init__(self, problem: Problem, seed: int, **sampler: bool):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._space, self._told = optuna, problem.space, 0
        self._genes = parents_first(problem.space)
        self._running: dict[str, collections.deque] = {}
        self.study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(n_startup_trials=INITIAL, seed=seed, **sampler),
        )

    def __call__(self, completed: Sequence[Candidate], pending: Sequence[Candidate]) -> Genotype | None:
        """See `Searcher`."""
        for candidate in completed[self._told :]:
            waiting = self._running.get(candidate.network.key)
            if not waiting:
                self._given(candidate.genotype)
                waiting = self._running[candidate.network.key]
            self.study.tell(waiting.popleft(), candidate.score)
        self._told = len(completed)
        return self._ask()

    def _given(self, genotype: Genotype) -> None:
        active = [gene for gene in self._genes if gene.active(genotype)]
        self.study.enqueue_trial(
            {
                gene.name: gene.values.index(genotype[gene.name]) if _ordered(gene) else genotype[gene.name]
                for gene in active
            }
        )
        self._ask()

    def _ask(self) -> dict:
        trial = self.study.ask()
        genotype = self._space.seed
        for gene in self._genes:
            if not gene.active(genotype):
                continue
            if _ordered(gene):
                genotype[gene.name] = gene.values[trial.suggest_int(gene.name, 0, len(gene.values) - 1)]
            else:
                genotype[gene.name] = trial.suggest_categorical(gene.name, list(gene.values))
        genotype = self._space.canonical(genotype)
        self._running.setdefault(self._space.decode(genotype).key, collections.deque()).append(trial)
        return genotype


PEERS: dict[str, Callable[[Problem, int], Searcher]] = {
    "random": Random,
    "aging10": lambda problem, seed: Aging(problem, seed, population=10, sample=3),
    "aging20": lambda problem, seed: Aging(problem, seed, population=20, sample=5),
    "tpe": Tpe,
    "tpe_independent": lambda problem, seed: Tpe(problem, seed, multivariate=False),
    "tpe_group": lambda problem, seed: Tpe(problem, seed, multivariate=True, group=True),
    "keras_tuner": KerasTuner,
    "keras_tuner_flat": lambda problem, seed: KerasTuner(problem, seed, scopes=False),
    "keras_tuner_original": lambda problem, seed: KerasTuner(problem, seed, exact_gradient=False),
}
