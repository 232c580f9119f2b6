"""Evolution: mutants of the fittest candidates of a population.

A tournament chooses the parent: the fittest of a sample of the population. How the population is renewed is a setting:

* removal `oldest` is aging evolution (Real et al. 2019, "Regularized Evolution for Image Classifier Architecture
  Search", algorithm 1): the population is the youngest candidates, the sample is drawn with replacement.
* removal `worst` is the tournament evolution of JASQ (Chen et al. 2018, "Joint Neural Architecture Search and
  Quantization"), as its published code does it: a child takes the place of the least fit of the sample that its parent
  was the fittest of; the sample is drawn without replacement and may be the whole population.

There is no state: the population is computed again from the candidates of the record, in the order of their ids. A
candidate that was proposed early and finished late joins at the place of its id.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pydantic

from bompnas.candidate import Candidate
from bompnas.problem import Problem
from bompnas.search.fitness import Fitness, Ranked, ranked
from bompnas.search.proposer import Proposal
from bompnas.search.random import by_chance, keys, known, untaken, untried
from bompnas.space import sampling
from bompnas.space.space import BITS

MUTANTS = 64  # drawn at once; the first of them that may be proposed is
WIDENINGS = 4  # times that they are drawn, each time with twice the edits

Removal = Literal["oldest", "worst"]


@dataclasses.dataclass(frozen=True)
class EvolutionProposer:
    """Proposes mutants of the fittest of a population.

    Attributes:
        population: Candidates that are kept; as many random ones start the search.
        sample: Candidates of each tournament, at most `population`.
        removal: Who leaves the population for a new one: the `oldest` or the `worst` of the tournament.
        fitness: `score`, `limited` or `product`: see `bompnas.search.fitness.fitness`.
        target: T of the last two, in the unit of the minimized objective; None for the first population's mean.
        edits: Mean number of genes that a mutation changes, at least 1.
        policies: Policies of each float training.
    """

    population: int = 16
    sample: int = 4
    removal: Removal = "oldest"
    fitness: Fitness = "score"
    target: float | None = None
    edits: float = 2.0
    policies: int = 1

    def propose(
        self,
        problem: Problem,
        completed: Sequence[Candidate],
        pending: Sequence[Candidate],
        seed: int,
        index: int,
        fits: Sequence[Mapping[str, Any]] = (),
    ) -> Proposal:
        """See `bompnas.search.proposer.Proposer.propose`.

        Raises:
            InputError: The fitness weighs two objectives and the problem has others, or a constraint is on something
                that is not measured.
        """
        generator = np.random.default_rng([seed, index])
        taken = keys(problem, [*completed, *pending])
        parents = ranked(problem, completed, self.fitness, self.target, self.population)
        if not parents or len(parents) + len(pending) < self.population:
            return self._by_chance(problem, completed, pending, taken, generator)
        members = self._members(parents, seed)
        winner = max(self._tournament(members, generator), key=lambda place: parents[place].rank)
        parent = parents[winner]
        (code,) = known(problem, [parent.candidate])
        child = self._child(problem, code, taken, generator)
        if child is None:
            return self._by_chance(problem, completed, pending, taken, generator)
        chosen = [child, *self._policies(problem, child, taken, generator)]
        details = {"source": "mutation", "parent": parent.candidate.id, "parent fitness": parent.rank[1]}
        return Proposal(tuple(problem.space.genotypes(np.array(chosen))), details)

    def survivors(self, problem: Problem, completed: Sequence[Candidate], seed: int) -> list[Candidate]:
        """The population after some candidates, oldest first.

        Raises:
            InputError: As `propose`.
        """
        parents = ranked(problem, completed, self.fitness, self.target, self.population)
        return [parents[place].candidate for place in self._members(parents, seed)]

    def _members(self, parents: Sequence[Ranked], seed: int) -> list[int]:
        """Places of the population among the parents, oldest first."""
        if self.removal == "oldest":
            return list(range(len(parents)))[-self.population :]
        members = list(range(min(self.population, len(parents))))
        for newcomer in range(len(members), len(parents)):
            # In a run without parallel trials, the very tournament that the newcomer's parent won.
            generator = np.random.default_rng([seed, parents[newcomer].candidate.trial - 1])
            members.remove(min(self._tournament(members, generator), key=lambda place: parents[place].rank))
            members.append(newcomer)
        return members

    def _tournament(self, members: Sequence[int], generator: np.random.Generator) -> list[int]:
        """A sample of the population, oldest first, so that ties go to age."""
        replace = self.removal == "oldest"
        count = self.sample if replace else min(self.sample, len(members))
        return sorted(generator.choice(members, count, replace=replace).tolist())

    def _child(
        self, problem: Problem, parent: np.ndarray, taken: set[bytes], generator: np.random.Generator
    ) -> np.ndarray | None:
        """Codes of a feasible, untried mutant, shape (genes,); None when there seems to be none."""
        for widening in range(WIDENINGS):
            copies = np.repeat(parent[None], MUTANTS, axis=0)
            mutants = sampling.mutate(problem.space, copies, generator, self.edits * 2**widening)
            found = untaken(problem, mutants, taken)
            if found:
                return found[0]
        return None

    def _policies(
        self, problem: Problem, child: np.ndarray, taken: set[bytes], generator: np.random.Generator
    ) -> list[np.ndarray]:
        """Codes of further policies of the child: mutants of its bits, each of shape (genes,)."""
        if self.policies == 1:
            return []
        copies = np.repeat(child[None], MUTANTS * self.policies, axis=0)
        mutants = sampling.mutate(problem.space, copies, generator, self.edits, BITS)
        return untaken(problem, mutants, taken | set(problem.space.batch(child[None]).keys))[: self.policies - 1]

    def _by_chance(
        self,
        problem: Problem,
        completed: Sequence[Candidate],
        pending: Sequence[Candidate],
        taken: set[bytes],
        generator: np.random.Generator,
    ) -> Proposal:
        first = untried(problem, taken, known(problem, [*completed, *pending]), generator)
        return by_chance(problem, first, taken, self.policies, generator)


class EvolutionSettings(pydantic.BaseModel):
    """Settings of the method `evolution`.

    Attributes:
        trials: Number of float trainings.
        population: Candidates that are kept; as many random ones start the search.
        sample: Candidates of each tournament, at most `population`.
        removal: `oldest` (aging evolution) or `worst` (JASQ) leaves the population for a new candidate.
        fitness: `score`, or accuracy against size as in JASQ: `limited` or `product` (equations in
            `bompnas.search.fitness`).
        target: Size that `limited` and `product` compare with, in the unit of the minimized objective (size: bits); the
            first population's mean if not given.
        edits: Mean number of genes that a mutation changes; 1 always changes exactly one.
        policies_per_network: Policies that each float training is quantized and fine-tuned under.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["evolution"] = "evolution"
    trials: int = pydantic.Field(default=100, ge=1)
    population: int = pydantic.Field(default=16, ge=1)
    sample: int = pydantic.Field(default_factory=lambda settings: min(4, settings.get("population", 4)), ge=1)
    removal: Removal = "oldest"
    fitness: Fitness = "score"
    target: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)
    edits: float = pydantic.Field(default=2.0, ge=1, allow_inf_nan=False)
    policies_per_network: int = pydantic.Field(default=1, ge=1)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "EvolutionSettings":
        if self.sample > self.population:
            raise ValueError(
                f"sample: {self.sample} found, expected at most the population, which is {self.population}"
            )
        if self.fitness == "score" and self.target is not None:
            raise ValueError("target: fitness score has none; remove it, or set fitness to limited or product")
        return self

    def proposer(self) -> EvolutionProposer:
        """The proposer of these settings."""
        return EvolutionProposer(
            self.population, self.sample, self.removal, self.fitness, self.target, self.edits, self.policies_per_network
        )
