"""BOMP-NAS' search strategy: a Gaussian process on edit distances and an upper confidence bound.

This is the paper's preset: one process on the score of eq. (1), all edits of equal weight, Matern-5/2, UCB with a
constant beta. The paper leaves the start open: here it is the seed network and a random set spread evenly over sizes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pydantic
import threadpoolctl

from bompnas.candidate import Candidate, Genotype, State
from bompnas.problem import Problem
from bompnas.search import feasible, gp, kernel, optimize
from bompnas.search.acquisition import upper_confidence_bound
from bompnas.search.proposer import Proposal
from bompnas.search.random import untried
from bompnas.space.network import Network
from bompnas.space.space import SearchSpace

FEWEST_OBSERVATIONS = 2
"""Completed candidates below which there is no scale to standardize by."""


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """What a Gaussian process says of the score.

    Attributes:
        space: Whose embedding places the networks.
        posterior: Of the standardized score.
        mean: Of the observed scores.
        deviation: Of the observed scores.
    """

    space: SearchSpace
    posterior: gp.Posterior
    mean: float
    deviation: float

    def predict(self, networks: Sequence[Network]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the score of m networks, two arrays of shape (m,)."""
        mean, deviation = self.posterior.predict(embed(self.space, networks))
        return self.mean + self.deviation * mean, self.deviation * deviation


@dataclasses.dataclass(frozen=True)
class BayesianProposer:
    """Proposes by Bayesian optimization.

    Attributes:
        initial: Number of proposals before the surrogate is asked.
        beta: Optimism of the upper confidence bound [posterior standard deviations].
    """

    initial: int
    beta: float

    def propose(
        self, problem: Problem, completed: Sequence[Candidate], pending: Sequence[Candidate], seed: int, index: int
    ) -> Proposal:
        """See `bompnas.search.proposer.Proposer.propose`."""
        # The last bits of a sum depend on its threads, and busy cores make several threads slower than one.
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            return self._propose(problem, completed, pending, seed, index)

    def _propose(
        self, problem: Problem, completed: Sequence[Candidate], pending: Sequence[Candidate], seed: int, index: int
    ) -> Proposal:
        generator = np.random.default_rng([seed, index])
        candidates = [*completed, *pending]
        taken = {candidate.network.key for candidate in candidates}
        if index < self.initial:
            start = initial_design(problem, self.initial, seed)
            if index < len(start) and problem.space.decode(start[index]).key not in taken:
                return Proposal(start[index], {"source": "start"})
        if sum(candidate.state is State.COMPLETED for candidate in completed) < FEWEST_OBSERVATIONS:
            return Proposal(untried(problem, candidates, generator), {"source": "random"})

        surrogate = fit_surrogate(problem.space, completed, pending)

        def acquisition(networks: Sequence[Network]) -> np.ndarray:
            return upper_confidence_bound(*surrogate.predict(networks), self.beta)

        genotype = optimize.maximize(problem, acquisition, _best_first(completed), taken, generator)
        if genotype is None:
            return Proposal(None, {"source": "surrogate"})
        mean, deviation = surrogate.predict([problem.space.decode(genotype)])
        theta = dataclasses.asdict(surrogate.posterior.hyper_parameters)
        return Proposal(
            genotype,
            {"source": "surrogate", "mean": mean.item(), "deviation": deviation.item(), "beta": self.beta, **theta},
        )


def initial_design(problem: Problem, count: int, seed: int) -> list[Genotype]:
    """The seed network, if feasible, then networks stratified by size, in random order: distinct, at most `count`."""
    generator = np.random.default_rng(seed)
    space = problem.space
    seed_network = space.decode(space.seed)
    first = [space.seed] if problem.feasible(seed_network) else []
    others = [
        genotype
        for genotype in feasible.stratified(problem, count, generator)
        if not first or space.decode(genotype).key != seed_network.key
    ]
    return [*first, *(others[position] for position in generator.permutation(len(others)))][:count]


def fit_surrogate(space: SearchSpace, completed: Sequence[Candidate], pending: Sequence[Candidate]) -> Surrogate:
    """Fits a Gaussian process to the scores.

    Args:
        space: Whose embedding places the networks.
        completed: Completed candidates, at least one, and failed ones, which count as the worst completed score.
        pending: Candidates in training, conditioned on at the posterior mean.
    """
    worst = min(candidate.score for candidate in completed if candidate.state is State.COMPLETED)
    scores = np.array([candidate.score if candidate.state is State.COMPLETED else worst for candidate in completed])
    mean, deviation = scores.mean(), scores.std() or 1.0
    features = embed(space, [candidate.network for candidate in completed])
    targets = (scores - mean) / deviation
    posterior = gp.posterior(features, targets, gp.fit(features, targets))
    if pending:
        posterior = posterior.condition(embed(space, [candidate.network for candidate in pending]))
    return Surrogate(space, posterior, mean.item(), float(deviation))


def embed(space: SearchSpace, networks: Sequence[Network]) -> np.ndarray:
    """Embeddings in which every edit weighs the same, shape (m, F)."""
    embedding = space.embedding
    return kernel.weigh(embedding.features(networks), embedding.groups, np.ones(len(embedding.group_names)))


def _best_first(candidates: Sequence[Candidate]) -> list[Genotype]:
    """Genotypes of the candidates, by falling score; failed ones last."""
    ranked = sorted(candidates, key=lambda candidate: np.inf if candidate.score is None else -candidate.score)
    return [candidate.genotype for candidate in ranked if candidate.genotype is not None]


class BompSettings(pydantic.BaseModel):
    """Settings of the method `bomp`.

    Attributes:
        trials: Number of float trainings.
        initial: How many of them start the search: the seed network and a set stratified by size. As many as `trials`,
            or more, leave nothing to the surrogate.
        beta: Optimism of the upper confidence bound [posterior standard deviations].
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["bomp"] = "bomp"
    trials: int = pydantic.Field(default=100, ge=1)
    initial: int = pydantic.Field(default=10, ge=1)
    beta: float = pydantic.Field(default=2.576, ge=0, allow_inf_nan=False)

    def proposer(self) -> BayesianProposer:
        """The proposer of these settings."""
        return BayesianProposer(self.initial, self.beta)
