"""Search for the untried, feasible networks of the largest acquisition value.

Spaces of up to two thousand genotypes are searched exactly; others by evolution from the best observed and from random
networks, then by greedy one-exchange: single edits, along which the surrogate is smooth.
"""

import itertools
import math
from collections.abc import Callable, Collection, Mapping

import numpy as np

from bompnas.problem import Problem
from bompnas.space import sampling
from bompnas.space.space import BITS, Batch, SearchSpace

Acquisition = Callable[[np.ndarray, Batch, Mapping[str, np.ndarray]], np.ndarray]
"""Values of genotypes, larger is better: (codes of shape (m, genes), what they decode to, its costs) -> shape (m,)."""

Sample = Callable[[Problem, np.random.Generator, int], np.ndarray]
"""Draws feasible genotypes, which may repeat: codes of shape (count, genes)."""

# Effort: about 1,300 networks in the evolution and up to 200 in each exchange of Table I's space.
ENUMERABLE = 2000  # genotypes of a space that is searched exactly
PARENTS = 12  # best networks that mutants and offspring come from
MUTANTS = 120
RANDOM = 300
GENERATIONS = 8
OFFSPRING = 120  # in each generation
CROSSOVER = 0.25  # share of offspring with two parents
EXCHANGES = 10  # most steps of the greedy climb
POLICY_EXCHANGES = 40  # the same for a policy alone, in which nothing but the climb moves


def maximize(
    problem: Problem,
    acquisition: Acquisition,
    tried: np.ndarray,
    taken: Collection[bytes],
    generator: np.random.Generator,
    sample: Sample,
) -> np.ndarray | None:
    """The best network found that keeps the constraints on costs and was not tried yet.

    Args:
        problem: Space and constraints.
        acquisition: What to maximize.
        tried: Codes to start from, most promising first, shape (n, genes).
        taken: Keys (`Batch.keys`) of the networks that must not be proposed again.
        generator: Source of all random numbers.
        sample: What else to start from (`bompnas.search.feasible.sample`).

    Returns:
        Its codes, shape (genes,); None when no further one was found: then a small space holds none, and of a large one
        all random samples and all one-exchanges of the tried networks are taken or infeasible.
    """
    pool = _Pool(problem, acquisition, taken)
    space = problem.space
    if enumerable(space):
        pool.add(_enumerate(space))
        return pool.best()
    start = tried[:PARENTS]
    pool.add(np.concatenate([start, sample(problem, generator, RANDOM)]))
    if len(start):
        pool.add(sampling.mutate(space, start[np.arange(MUTANTS) % len(start)], generator))
    for _ in range(GENERATIONS):
        elite = pool.elite(PARENTS)
        first, second = elite[generator.integers(len(elite), size=(2, OFFSPRING))]
        crossed = generator.random(OFFSPRING) < CROSSOVER
        children = np.where(crossed[:, None], sampling.crossover(space, first, second, generator), first)
        pool.add(sampling.mutate(space, children, generator))
    return _climb(pool, space, tried, EXCHANGES)


def enumerable(space: SearchSpace) -> bool:
    """Whether a space is small enough to be searched exactly."""
    return math.prod(space.sizes.tolist()) <= ENUMERABLE


def maximize_policy(
    problem: Problem, acquisition: Acquisition, architecture: np.ndarray, taken: Collection[bytes]
) -> np.ndarray | None:
    """The best untried, feasible policy of a given architecture: a greedy climb over single bit-widths.

    Args:
        problem: Space and constraints.
        acquisition: What to maximize.
        architecture: Codes whose architecture genes are kept and whose policy the climb starts from, shape (genes,).
        taken: As in `maximize`.

    Returns:
        Its codes, shape (genes,); None when all policies around are taken or infeasible.
    """
    pool = _Pool(problem, acquisition, taken)
    pool.add(architecture[None])
    return _climb(pool, problem.space, architecture[None], POLICY_EXCHANGES, part=BITS)


class _Pool:
    """The feasible networks met so far; each is priced and valued once."""

    def __init__(self, problem: Problem, acquisition: Acquisition, taken: Collection[bytes]):
        self._problem = problem
        self._acquisition = acquisition
        self._taken = taken
        self._seen: set[bytes] = set()
        self._codes = np.empty((0, len(problem.space.genes)), dtype=np.intp)
        self._values = np.empty(0)
        self._free = np.empty(0, dtype=bool)

    def add(self, codes: np.ndarray) -> None:
        """Values those genotypes whose networks are new and feasible."""
        batch = self._problem.space.batch(codes)
        costs = self._problem.costs(batch)
        new = []
        for place, key in enumerate(batch.keys):
            if key not in self._seen:
                self._seen.add(key)
                new.append(place)
        keep = np.array(new, dtype=np.intp)
        keep = keep[self._problem.feasible(costs, len(batch))[keep]]
        if not len(keep):
            return
        new_costs = {name: values[keep] for name, values in costs.items()}
        values = self._acquisition(codes[keep], batch[keep], new_costs)
        free = [batch.keys[place] not in self._taken for place in keep]
        codes = np.concatenate([self._codes, codes[keep]])
        values, free = np.concatenate([self._values, values]), np.concatenate([self._free, free])
        order = np.argsort(-values, kind="stable")
        self._codes, self._values, self._free = codes[order], values[order], free[order]

    def elite(self, count: int) -> np.ndarray:
        """The best, whether taken or not."""
        return self._codes[:count]

    def best(self) -> np.ndarray | None:
        """The best that is not taken."""
        places = np.flatnonzero(self._free)
        return self._codes[places[0]] if len(places) else None


def _climb(
    pool: _Pool, space: SearchSpace, tried: np.ndarray, steps: int, part: str | None = None
) -> np.ndarray | None:
    """Greedy one-exchange from the pool's best; where nothing is free, from the tried ones until something is."""
    for start in tried:
        if pool.best() is not None:
            break
        pool.add(sampling.neighbours(space, start, part))
    best = pool.best()
    for _ in range(steps):
        if best is None:
            break
        pool.add(sampling.neighbours(space, best, part))
        better = pool.best()
        if np.array_equal(better, best):
            break
        best = better
    return best


def _enumerate(space: SearchSpace) -> np.ndarray:
    grid = np.array(list(itertools.product(*map(range, space.sizes.tolist()))), dtype=np.intp)
    return np.unique(space.canonical_codes(grid), axis=0)
