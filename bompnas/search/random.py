"""Random search: uniform over the feasible genotypes, never the same network twice."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import pydantic

from bompnas.candidate import Candidate, Genotype
from bompnas.problem import Problem
from bompnas.search import feasible, optimize
from bompnas.search.proposer import Proposal

ATTEMPTS = 50


@dataclasses.dataclass(frozen=True)
class RandomProposer:
    """Proposes untried feasible networks at random."""

    def propose(
        self, problem: Problem, completed: Sequence[Candidate], pending: Sequence[Candidate], seed: int, index: int
    ) -> Proposal:
        """See `bompnas.search.proposer.Proposer.propose`."""
        generator = np.random.default_rng([seed, index])
        genotype = untried(problem, [*completed, *pending], generator)
        return Proposal(genotype, {"source": "random"})


def untried(problem: Problem, candidates: Collection[Candidate], generator: np.random.Generator) -> Genotype | None:
    """A random feasible network that is none of the candidates'; None when the space holds no further one."""
    taken = {candidate.network.key for candidate in candidates}
    for _ in range(ATTEMPTS):
        genotype = feasible.sample(problem, generator)
        if problem.space.decode(genotype).key not in taken:
            return genotype
    # Nearly all that can be met is taken: a search in which every network is worth a random number.
    tried = [candidate.genotype for candidate in candidates if candidate.genotype is not None]
    return optimize.maximize(problem, lambda networks: generator.random(len(networks)), tried, taken, generator)


class RandomSettings(pydantic.BaseModel):
    """Settings of the method `random`.

    Attributes:
        trials: Number of float trainings.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["random"] = "random"
    trials: int = pydantic.Field(default=100, ge=1)

    def proposer(self) -> RandomProposer:
        """The proposer of these settings."""
        return RandomProposer()
