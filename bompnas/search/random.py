"""Random search: uniform over the feasible genotypes, never the same network twice."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pydantic

from bompnas.candidate import Candidate
from bompnas.problem import Problem
from bompnas.search import feasible, optimize
from bompnas.search.proposer import Proposal
from bompnas.space.space import BITS

ATTEMPTS = 64


@dataclasses.dataclass(frozen=True)
class RandomProposer:
    """Proposes untried feasible networks at random.

    Attributes:
        policies: Policies of each float training.
    """

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
        """See `bompnas.search.proposer.Proposer.propose`."""
        generator = np.random.default_rng([seed, index])
        taken = keys(problem, [*completed, *pending])
        first = untried(problem, taken, known(problem, [*completed, *pending]), generator)
        return by_chance(problem, first, taken, self.policies, generator)


def by_chance(
    problem: Problem,
    first: np.ndarray | None,
    taken: Collection[bytes],
    policies: int,
    generator: np.random.Generator,
    source: str = "random",
) -> Proposal:
    """The proposal of a genotype and of random further policies of it; the empty one where there is no genotype."""
    if first is None:
        return Proposal((), {"source": source})
    chosen = [first, *random_policies(problem, first, taken, policies - 1, generator)]
    return Proposal(tuple(problem.space.genotypes(np.array(chosen))), {"source": source})


def keys(problem: Problem, candidates: Sequence[Candidate]) -> set[bytes]:
    """What candidates decode to, as `Batch.keys`."""
    others = [candidate.network for candidate in candidates if candidate.genotype is None]
    return {*problem.space.batch(known(problem, candidates)).keys, *problem.space.collect(others).keys}


def known(problem: Problem, candidates: Sequence[Candidate]) -> np.ndarray:
    """Canonical codes of those candidates that have a genotype, shape (n, genes)."""
    genotypes = (candidate.genotype for candidate in candidates if candidate.genotype is not None)
    return problem.space.canonical_codes(problem.space.encode(genotypes))


def untried(
    problem: Problem, taken: Collection[bytes], tried: np.ndarray, generator: np.random.Generator
) -> np.ndarray | None:
    """Codes of a random feasible network that is not taken, shape (genes,); None when there is no further one."""
    found = untaken(problem, feasible.sample(problem, generator, ATTEMPTS), taken)
    if found:
        return found[0]

    def worth(codes, *_):
        return generator.random(len(codes))

    # Nearly all that can be met is taken: a search in which every network is worth a random number.
    return optimize.maximize(problem, worth, tried, taken, generator, feasible.sample)


def random_policies(
    problem: Problem, architecture: np.ndarray, taken: Collection[bytes], count: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Codes of up to `count` further feasible, untried policies of an architecture, shape (genes,)."""
    space = problem.space
    bits = np.array([gene.part == BITS for gene in space.genes], dtype=bool)
    if not count or not bits.any():
        return []
    drawn = generator.integers(space.sizes, size=(ATTEMPTS * count, len(bits)))
    drawn = space.canonical_codes(np.where(bits, drawn, architecture))
    return untaken(problem, drawn, {*taken, *space.batch(architecture[None]).keys})[:count]


def untaken(problem: Problem, codes: np.ndarray, taken: Collection[bytes]) -> list[np.ndarray]:
    """Those codes, in their order, that stand for different feasible networks that are not taken.

    Args:
        problem: Space and constraints.
        codes: Genotypes, shape (n, genes).
        taken: Keys (`Batch.keys`) of the networks that must not be proposed again.

    Returns:
        Codes of shape (genes,) each.
    """
    batch, found = problem.space.batch(codes), {}
    for code, key, fits in zip(codes, batch.keys, problem.feasible(problem.costs(batch), len(batch)), strict=True):
        if fits and key not in taken:
            found.setdefault(key, code)
    return list(found.values())


class RandomSettings(pydantic.BaseModel):
    """Settings of the method `random`.

    Attributes:
        trials: Number of float trainings.
        policies_per_network: Policies that each of them is quantized and fine-tuned under.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["random"] = "random"
    trials: int = pydantic.Field(default=100, ge=1)
    policies_per_network: int = pydantic.Field(default=1, ge=1)

    def proposer(self) -> RandomProposer:
        """The proposer of these settings."""
        return RandomProposer(self.policies_per_network)
