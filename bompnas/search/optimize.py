"""Search for the untried, feasible network of the largest acquisition value.

Spaces of up to two thousand genotypes are searched exactly; others by evolution from the best observed and from random
networks, then by greedy one-exchange: single edits, along which the surrogate is smooth.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from bompnas.candidate import Genotype
from bompnas.problem import Problem
from bompnas.search import feasible
from bompnas.space import sampling
from bompnas.space.network import Network
from bompnas.space.space import SearchSpace

Acquisition = Callable[[Sequence[Network]], np.ndarray]
"""Values of networks, larger is better: (m networks) -> shape (m,)."""

# Effort: about 700 networks in the evolution and up to 200 in each exchange of Table I's space.
ENUMERABLE = 2000  # genotypes of a space that is searched exactly
PARENTS = 12  # best networks that mutants and offspring come from
MUTANTS = 120
RANDOM = 100
GENERATIONS = 6
OFFSPRING = 80  # in each generation
CROSSOVER = 0.25  # share of offspring with two parents
EXCHANGES = 10  # most steps of the greedy climb


def maximize(
    problem: Problem,
    acquisition: Acquisition,
    tried: Sequence[Genotype],
    taken: Collection[str],
    generator: np.random.Generator,
) -> Genotype | None:
    """The best network found that keeps the constraints and was not tried yet.

    Args:
        problem: Space and constraints.
        acquisition: What to maximize.
        tried: Genotypes to start from, most promising first.
        taken: Keys of the networks that must not be proposed again.
        generator: Source of all random numbers.

    Returns:
        Its genotype; None when no further one was found: then a small space holds none, and of a large one all random
        samples and all one-exchanges of the tried networks are taken or infeasible.
    """
    pool = _Pool(problem, acquisition, taken)
    space = problem.space
    if math.prod(len(gene.values) for gene in space.genes) <= ENUMERABLE:
        pool.add(_enumerate(space))
        return pool.best()
    pool.add(tried[:PARENTS])
    pool.add(feasible.sample(problem, generator) for _ in range(RANDOM))
    pool.add(_mutants(space, tried[:PARENTS], MUTANTS, generator))
    for _ in range(GENERATIONS):
        pool.add(_offspring(space, pool.elite(PARENTS), OFFSPRING, generator))
    for _ in range(EXCHANGES):
        best = pool.best()
        if best is None:
            break
        pool.add(sampling.neighbours(space, best))
        if pool.best() is best:
            break
    for genotype in tried:
        if pool.best() is not None:
            break
        pool.add(sampling.neighbours(space, genotype))
    return pool.best()


class _Pool:
    """The feasible networks met so far; each is priced and valued once."""

    def __init__(self, problem: Problem, acquisition: Acquisition, taken: Collection[str]):
        self._problem = problem
        self._acquisition = acquisition
        self._taken = taken
        self._seen: set[str] = set()
        self._ranked: list[tuple[float, str, Genotype]] = []

    def add(self, genotypes: Iterable[Genotype]) -> None:
        """Values those genotypes whose networks are new and feasible."""
        found: dict[str, tuple[Genotype, Network]] = {}
        for genotype in genotypes:
            network = self._problem.space.decode(genotype)
            if network.key not in self._seen:
                self._seen.add(network.key)
                if self._problem.feasible(network):
                    found[network.key] = genotype, network
        if not found:
            return
        values = self._acquisition([network for _, network in found.values()])
        rows = zip(values.tolist(), found, (genotype for genotype, _ in found.values()), strict=True)
        self._ranked = sorted([*self._ranked, *rows], key=lambda row: (-row[0], row[1]))

    def elite(self, count: int) -> list[Genotype]:
        """The best, whether taken or not."""
        return [genotype for _, _, genotype in self._ranked[:count]]

    def best(self) -> Genotype | None:
        """The best that is not taken."""
        return next((genotype for _, key, genotype in self._ranked if key not in self._taken), None)


def _enumerate(space: SearchSpace) -> Iterable[Genotype]:
    names = [gene.name for gene in space.genes]
    for values in itertools.product(*(gene.values for gene in space.genes)):
        yield space.canonical(dict(zip(names, values, strict=True)))


def _mutants(
    space: SearchSpace, parents: Sequence[Genotype], count: int, generator: np.random.Generator
) -> Iterable[Genotype]:
    for number in range(count if parents else 0):
        yield sampling.mutate(space, parents[number % len(parents)], generator)


def _offspring(
    space: SearchSpace, parents: Sequence[Genotype], count: int, generator: np.random.Generator
) -> Iterable[Genotype]:
    for _ in range(count if parents else 0):
        first, second = (parents[generator.integers(len(parents))] for _ in range(2))
        crossed = generator.random() < CROSSOVER
        child = sampling.crossover(space, first, second, generator) if crossed else first
        yield sampling.mutate(space, child, generator)
