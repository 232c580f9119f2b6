"""BOMP-NAS' search strategy: Gaussian processes on edit distances, and an acquisition function.

The engine (`preset: bomp`) models what trials measure with learned edit weights and takes costs as the exact functions
that they are. `preset: paper` is the paper's own recipe: one process on the score of eq. (1), all edits of equal
weight, Matern-5/2, UCB with a constant beta of 2.576. The paper leaves the start open: here it is the seed network and
a random set spread evenly over sizes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import threadpoolctl

from bompnas.candidate import Candidate, State
from bompnas.problem import Problem
from bompnas.search import feasible, gp, optimize, surrogate
from bompnas.search.acquisition import (
    Acquisition,
    HypervolumeImprovement,
    RandomScalarization,
    ScoreConfidenceBound,
    UpperConfidenceBound,
)
from bompnas.search.encoding import encoding
from bompnas.search.proposer import Proposal
from bompnas.search.random import by_chance, keys, known, untried
from bompnas.search.surrogate import SCORE, Memory, Surrogate

FEWEST_OBSERVATIONS = 2
"""Completed candidates below which there is no scale to standardize by."""
PAPER_BETA = 2.576
CAUTIOUS = 20
"""Observations below which a confidence bound of the score keeps to the smallest beta: deviations are then nearly the
same everywhere, and many of them outvote all that is known."""


@dataclasses.dataclass(frozen=True)
class BayesianProposer:
    """Proposes by Bayesian optimization.

    Attributes:
        initial: Number of proposals before the surrogate is asked.
        preset: `bomp` or `paper`.
        acquisition: `ucb`, `ehvi` or `parego`.
        betas: Optimism of the confidence bound [posterior standard deviations]; each proposal draws one of them;
            `ucb` keeps to the smallest while fewer than `CAUTIOUS` candidates are observed.
        policies: Policies of each float training.
    """

    initial: int
    preset: Literal["bomp", "paper"] = "bomp"
    acquisition: Acquisition = "ucb"
    betas: tuple[float, ...] = (0.5, 2.0, 4.0, 8.0)
    policies: int = 1
    _memory: Memory = dataclasses.field(default_factory=Memory, init=False, repr=False, compare=False)

    def propose(
        self,
        problem: Problem,
        completed: Sequence[Candidate],
        pending: Sequence[Candidate],
        seed: int,
        index: int,
        fits: Sequence[Mapping[str, Any]] = (),
    ) -> Proposal:
        """See `bompnas.search.proposer.Proposer.propose`."""
        # The last bits of a sum depend on its threads, and busy cores make several threads slower than one.
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            return self._propose(problem, completed, pending, seed, index, fits)

    def surrogate(
        self,
        problem: Problem,
        completed: Sequence[Candidate],
        pending: Sequence[Candidate],
        fits: Sequence[Mapping[str, Any]] = (),
    ) -> Surrogate:
        """What is known after some candidates, those in training conditioned on at their posterior mean."""
        paper = self.preset == "paper"
        observed = [candidate for candidate in completed if candidate.genotype is not None]
        known_so_far = surrogate.build(
            [SCORE] if paper else surrogate.targets(problem),
            gp.Model(tied=paper, linear=not paper),
            encoding(problem, summaries=not paper),
            (observed, known(problem, observed)),
            fits,
            self._memory,
        )
        return known_so_far.believing(known(problem, pending))

    def _propose(
        self,
        problem: Problem,
        completed: Sequence[Candidate],
        pending: Sequence[Candidate],
        seed: int,
        index: int,
        fits: Sequence[Mapping[str, Any]],
    ) -> Proposal:
        generator = np.random.default_rng([seed, index])
        everything = [*completed, *pending]
        taken = keys(problem, everything)
        if index < self.initial:
            start = initial_design(problem, self.initial, seed)
            if index < len(start) and problem.space.batch(start[index : index + 1]).keys[0] not in taken:
                return by_chance(problem, start[index], taken, self.policies, generator, "start")
        observed = [c for c in completed if c.state is State.COMPLETED and c.genotype is not None]
        if len(observed) < FEWEST_OBSERVATIONS:
            first = untried(problem, taken, known(problem, everything), generator)
            return by_chance(problem, first, taken, self.policies, generator)

        betas = self._betas(len(observed))
        beta = float(generator.choice(betas))
        belief = self.surrogate(problem, completed, pending, fits)
        value = self._acquisition(problem, belief, beta, generator)
        best = optimize.maximize(problem, value, _best_first(problem, completed), taken, generator, feasible.sample)
        details = {"source": "surrogate", "acquisition": self.acquisition, "beta": beta}
        new_fit = None if any(fit["length"] == belief.fit["length"] for fit in fits) else belief.fit
        if best is None:
            return Proposal((), details)
        predicted = belief.predict(belief.features(best[None]))
        objectives = {} if self.preset == "paper" else {objective.name: objective for objective in problem.objectives}
        for name, modelled in predicted.items():
            mean, deviation = objectives[name].expected(*modelled) if name in objectives else modelled
            details |= {f"{name} mean": mean.item(), f"{name} deviation": deviation.item()}
        chosen = [best]
        while len(chosen) < self.policies:
            taken = taken | set(problem.space.batch(best[None]).keys)
            belief = belief.believing(best[None])
            value = self._acquisition(problem, belief, float(generator.choice(betas)), generator)
            best = optimize.maximize_policy(problem, value, chosen[0], taken)
            if best is None:
                break
            chosen.append(best)
        return Proposal(tuple(problem.space.genotypes(np.array(chosen))), details, new_fit)

    def _betas(self, observations: int) -> Sequence[float]:
        return (min(self.betas),) if self.acquisition == "ucb" and observations < CAUTIOUS else self.betas

    def _acquisition(
        self, problem: Problem, belief: Surrogate, beta: float, generator: np.random.Generator
    ) -> optimize.Acquisition:
        if self.preset == "paper":
            return ScoreConfidenceBound(belief, beta)
        if self.acquisition == "ehvi":
            return HypervolumeImprovement(problem, belief)
        if self.acquisition == "parego":
            return RandomScalarization(problem, belief, beta, generator)
        return UpperConfidenceBound(problem, belief, beta)


def initial_design(problem: Problem, count: int, seed: int) -> np.ndarray:
    """The seed network, if feasible, then networks stratified by size, in random order.

    Returns:
        Codes of distinct networks, at most `count`, shape (n, genes).
    """
    generator = np.random.default_rng(seed)
    space = problem.space
    seed_codes = space.defaults[None]
    others = feasible.stratified(problem, count, generator)
    if not problem.keeps(space.decode(space.seed)):
        return generator.permutation(others)[:count]
    (seed_key,) = space.batch(seed_codes).keys
    other = [key != seed_key for key in space.batch(others).keys]
    return np.concatenate([seed_codes, generator.permutation(others[other])])[:count]


def _best_first(problem: Problem, candidates: Sequence[Candidate]) -> np.ndarray:
    """Codes of the candidates, by falling score; failed ones last."""
    return known(
        problem, sorted(candidates, key=lambda candidate: np.inf if candidate.score is None else -candidate.score)
    )


def _betas(value: Any) -> Any:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


class BompSettings(pydantic.BaseModel):
    """Settings of the method `bomp`.

    Attributes:
        trials: Number of float trainings.
        initial: How many of them start the search: the seed network and a set stratified by size. As many as `trials`,
            or more, leave nothing to the surrogate.
        preset: `bomp`, or `paper` for the paper's own recipe.
        acquisition: `ucb` of the score, `ehvi` for the Pareto front, or `parego`: random scalarizations.
        beta: Optimism of the upper confidence bound [posterior standard deviations]: one, or several of which each
            proposal draws one, though `ucb` the smallest up to the twentieth trial; 2.576 if the preset is `paper`.
        policies_per_network: Policies that each float training is quantized and fine-tuned under.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["bomp"] = "bomp"
    trials: int = pydantic.Field(default=100, ge=1)
    initial: int = pydantic.Field(default=10, ge=1)
    preset: Literal["bomp", "paper"] = "bomp"
    acquisition: Acquisition = "ucb"
    beta: Annotated[
        list[Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]],
        pydantic.BeforeValidator(_betas),
        pydantic.Field(min_length=1),
    ] = pydantic.Field(
        default_factory=lambda settings: [PAPER_BETA] if settings.get("preset") == "paper" else [0.5, 2.0, 4.0, 8.0]
    )
    policies_per_network: int = pydantic.Field(default=1, ge=1)

    @pydantic.model_validator(mode="after")
    def _paper_scores(self) -> "BompSettings":
        if self.preset == "paper" and self.acquisition != "ucb":
            raise ValueError(
                f"acquisition: preset paper models the score alone, which {self.acquisition} cannot use; "
                "remove one of the two"
            )
        return self

    def proposer(self) -> BayesianProposer:
        """The proposer of these settings."""
        return BayesianProposer(
            self.initial, self.preset, self.acquisition, tuple(self.beta), self.policies_per_network
        )
