"""What is known of a problem's measured values: one Gaussian process for each.

Costs are exact, so only what a trial measures is modelled: the objectives' metrics and the metrics under a constraint
(`targets`); the paper's preset models the score instead. Parameters are fitted at fixed numbers of observations
(`due`) and reported as JSON, from which a later proposal, also one of a resumed run, builds the same processes. Between
fits new observations are appended to the factor, one by one, so that a process remembered from the last proposal and
one built anew agree bit for bit.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.problem import Problem
from bompnas.search import gp
from bompnas.search.encoding import Encoding
from bompnas.search.kernel import Features, Parameters
from bompnas.space.space import Batch

DENSE = 30
"""Numbers of observations up to which every one is followed by a fit."""
GROWTH = 1.1
LARGEST_FIT = 400
"""Observations that a fit looks at, at most: the best and as many random ones."""
FAILED_QUANTILE = 0.1
FAILED_NOISE = 0.5
"""Extra variance of what a failed trial says, in squared deviations of the observations."""
OUTLYING = 3.0
"""Interquartile ranges below the median beyond which an observation counts as lying there."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A measured value that gets a Gaussian process.

    Attributes:
        name: Of its process, in fits and details.
        value: Candidate -> what was observed, on the scale that is modelled.
        maximize: Whether more is better; failures count as worse than most.
        bounded: Whether it cannot lie far out; else outliers on the bad side, a diverged loss, are put at an edge.
    """

    name: str
    value: Callable[[Candidate], float]
    maximize: bool
    bounded: bool = False


def targets(problem: Problem) -> list[Target]:
    """The measured values of a problem: metrics of its objectives and of its constraints."""
    found = {}
    for objective in problem.objectives:
        if objective.key not in problem.analytic:
            value = functools.partial(_modelled, objective)
            found[objective.name] = Target(objective.name, value, objective.maximize, bounded=objective.share)
    for constraint in problem.constraints:
        if constraint.key not in problem.analytic:
            name = f"constraint {constraint.key}"
            found[name] = Target(name, functools.partial(_metric, constraint.key), constraint.at_least)
    return list(found.values())


SCORE = Target("score", lambda candidate: candidate.score, maximize=True, bounded=True)
"""The scalarized objectives as one black box, which the paper models."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A Gaussian process on the scale of its observations.

    Attributes:
        posterior: Of the standardized observations.
        mean: Of the observations.
        deviation: Of the observations.
    """

    posterior: gp.Posterior
    mean: float
    deviation: float

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation at m genotypes, two arrays of shape (m,)."""
        mean, deviation = self.posterior.predict(features)
        return self.mean + self.deviation * mean, self.deviation * deviation


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """The processes of a problem's targets.

    Attributes:
        encoding: From genotypes to vectors.
        processes: Name of the target -> its process.
        observed: Codes of the observed genotypes, shape (n, genes).
        succeeded: Which of them completed, shape (n,).
        fit: The fitted parameters as JSON.
    """

    encoding: Encoding
    processes: Mapping[str, Process]
    observed: np.ndarray
    succeeded: np.ndarray
    fit: Mapping[str, Any]

    def features(self, codes: np.ndarray, batch: Batch | None = None, costs: dict | None = None) -> Features:
        """Vectors of m genotypes."""
        return self.encoding(codes, batch, costs)

    def predict(self, features: Features) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation of each target at m genotypes, arrays of shape (m,)."""
        return {name: process.predict(features) for name, process in self.processes.items()}

    def believing(self, codes: np.ndarray) -> "Surrogate":
        """The surrogate as if m genotypes in training, shape (m, genes), had met its expectations."""
        if not len(codes):
            return self
        features = self.features(codes)
        return dataclasses.replace(
            self,
            processes={
                name: dataclasses.replace(process, posterior=process.posterior.believing(features))
                for name, process in self.processes.items()
            },
        )


class Memory:
    """The factors of the last surrogate, to which the next one appends: saves time, changes no result."""

    def __init__(self):
        self._entries: dict[str, tuple[Encoding, Mapping[str, Any], np.ndarray, np.ndarray, gp.Factor]] = {}

    def factor(
        self, name: str, encoding: Encoding, fit: Mapping[str, Any], base: int, codes: np.ndarray, extra: np.ndarray
    ) -> gp.Factor:
        """The factor of observed genotypes: the first `base` at once, the others appended one by one."""
        entry = self._entries.get(name)
        parameters = _read(fit, encoding)
        if entry is not None and entry[0] is encoding and entry[1] == fit and _starts(codes, entry[2], extra, entry[3]):
            factor = entry[4]
        else:
            factor = gp.factorize(encoding(codes[:base]), extra[:base], parameters)
        rest = encoding(codes[len(factor.features) :])
        late = extra[len(factor.features) :]
        for place in range(len(rest)):
            factor = factor.append(rest[place : place + 1], late[place : place + 1])
        self._entries[name] = encoding, fit, codes, extra, factor
        return factor


def due(count: int) -> int:
    """The number of observations at which the fit that serves `count` of them was made.

    Every number up to 30, then every third, then every tenth part more.
    """
    length = min(count, DENSE)
    while True:
        following = max(length + 3, int(np.ceil(length * GROWTH)))
        if length < DENSE or following > count:
            return length
        length = following


def build(
    modelled: Sequence[Target],
    model: gp.Model,
    encoding: Encoding,
    observed: tuple[Sequence[Candidate], np.ndarray],
    fits: Sequence[Mapping[str, Any]],
    memory: Memory,
) -> Surrogate:
    """The surrogate of what was observed.

    Args:
        modelled: What gets a process.
        model: Which parameters are learned.
        encoding: From genotypes to vectors.
        observed: Completed (at least one) and failed candidates with genotypes, ordered by id, and their codes.
        fits: The fits of earlier proposals; one for the number of observations that is `due` is taken as it is.
        memory: Of the last surrogate.
    """
    candidates, codes = observed
    length = due(len(candidates))
    stored = {fit["length"]: fit for fit in fits}
    earlier = max((known for known in stored if known < length), default=None)
    fit = stored.get(length)
    if fit is None:
        start = {} if earlier is None else stored[earlier]["targets"]
        fitted = {}
        for target in modelled:
            base = candidates[:length], codes[:length]
            fitted[target.name] = _fit(target, model, encoding, *base, start.get(target.name))
        fit = {"length": length, "targets": fitted}
    processes = {}
    for target in modelled:
        own = fit["targets"][target.name]
        values, failed = observations(target, candidates)
        factor = memory.factor(target.name, encoding, own, length, codes, FAILED_NOISE * failed)
        standard = (values - own["mean"]) / own["deviation"]
        processes[target.name] = Process(gp.Posterior(factor, factor.whiten(standard)), own["mean"], own["deviation"])
    succeeded = np.array([candidate.state is State.COMPLETED for candidate in candidates])
    return Surrogate(encoding, processes, codes, succeeded, fit)


def observations(target: Target, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
    """What was observed of a target; failures and outliers on the bad side are put at its edge.

    Returns:
        The values, and which of them stand for failures: of the trial, or to measure a finite value; two of shape (n,).
    """
    completed = [candidate.state is State.COMPLETED for candidate in candidates]
    observed = (target.value(one) if done else np.nan for one, done in zip(candidates, completed, strict=True))
    values = np.fromiter(observed, dtype=float, count=len(candidates))
    failed = ~np.isfinite(values)
    if failed.all():
        return np.zeros(len(values)), failed
    gains = values if target.maximize else -values
    low, median, high = np.quantile(gains[~failed], [0.25, 0.5, 0.75])
    gains = np.maximum(gains, median - OUTLYING * (high - low)) if high > low and not target.bounded else gains
    gains[failed] = np.quantile(gains[~failed], FAILED_QUANTILE)
    return (gains if target.maximize else -gains), failed


def _fit(
    target: Target,
    model: gp.Model,
    encoding: Encoding,
    candidates: Sequence[Candidate],
    codes: np.ndarray,
    start: Mapping[str, Any] | None,
) -> dict[str, Any]:
    values, failed = observations(target, candidates)
    mean, deviation = values.mean().item(), values.std().item() or 1.0
    chosen = _looked_at(values if target.maximize else -values)
    standard = (values[chosen] - mean) / deviation
    features = encoding(codes[chosen])
    first = None if start is None or len(candidates) <= DENSE // 2 else _read(start, encoding)
    parameters = gp.fit(features, standard, FAILED_NOISE * failed[chosen], model, first)
    return {
        "mean": mean,
        "deviation": deviation,
        "signal": parameters.signal,
        "noise": parameters.noise,
        "linear": parameters.linear.tolist(),
        "weights": dict(zip(encoding.group_names, parameters.weights.tolist(), strict=True)),
    }


def _looked_at(gains: np.ndarray) -> np.ndarray:
    """Places of the observations that a fit looks at: all, or the best and as many random ones."""
    if len(gains) <= LARGEST_FIT:
        return np.arange(len(gains))
    order = np.argsort(-gains, kind="stable")
    best, rest = order[: LARGEST_FIT // 2], order[LARGEST_FIT // 2 :]
    others = np.random.default_rng(len(gains)).permutation(rest)[: LARGEST_FIT - len(best)]
    return np.sort(np.concatenate([best, others]))


def _read(fit: Mapping[str, Any], encoding: Encoding) -> Parameters:
    """Parameters from a fit; a group that the space did not have then weighs like the mean of the others."""
    usual = float(np.mean(list(fit["weights"].values())))
    weights = np.array([fit["weights"].get(name, usual) for name in encoding.group_names])
    return Parameters(weights, fit["signal"], np.array(fit["linear"]), fit["noise"])


def _starts(codes: np.ndarray, earlier: np.ndarray, extra: np.ndarray, earlier_extra: np.ndarray) -> bool:
    count = len(earlier)
    return np.array_equal(codes[:count], earlier) and np.array_equal(extra[:count], earlier_extra)


def _modelled(objective: Any, candidate: Candidate) -> float:
    return objective.modelled(candidate.metrics[objective.key])


def _metric(key: str, candidate: Candidate) -> float:
    if key not in candidate.metrics:
        raise InputError(
            f"constraints: {key} is neither a cost nor measured, expected one of {', '.join(sorted(candidate.values))}"
        )
    return candidate.metrics[key]
