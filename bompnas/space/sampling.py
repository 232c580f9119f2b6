"""Random genotypes and moves between them, many at a time, as codes; pure given a generator."""

import numpy as np

from bompnas.space.space import SearchSpace

STEPS = 0.6
"""Share of a mutation's edits of ordered genes that move to a neighbouring value; the others take any."""
EXCHANGED = 16
"""Ordered genes with more values are exchanged by steps of 1, 2, 4, ... only."""


def uniform(space: SearchSpace, generator: np.random.Generator, count: int) -> np.ndarray:
    """Genotypes with every gene drawn uniformly; canonical codes of shape (count, genes)."""
    return tilted(space, generator, np.zeros(count))


def tilted(space: SearchSpace, generator: np.random.Generator, tilts: np.ndarray) -> np.ndarray:
    """Random genotypes that favour small or large values.

    An ordered gene with m values takes number floor(m x), x in [0, 1) with density proportional to exp(tilt x); a
    categorical one any.

    Args:
        space: The space.
        generator: Source of randomness.
        tilts: One for each genotype, shape (n,): 0 is uniform, negative favours small values and hence cheap networks,
            positive large ones.

    Returns:
        Canonical codes, shape (n, genes).
    """
    ordered = np.array([gene.ordered for gene in space.genes], dtype=bool)
    x = generator.random((len(tilts), len(space.genes)))
    slope = np.where(ordered, tilts[:, None], 0.0)
    safe = np.where(slope == 0, 1.0, slope)
    x = np.where(slope == 0, x, np.log1p(x * np.expm1(safe)) / safe)
    return space.canonical_codes(np.minimum((x * space.sizes).astype(np.intp), space.sizes - 1))


def mutate(
    space: SearchSpace, codes: np.ndarray, generator: np.random.Generator, edits: float = 2.0, part: str | None = None
) -> np.ndarray:
    """Genotypes with one or more active genes changed.

    Args:
        space: The space.
        codes: Genotypes of it, shape (n, genes).
        generator: Source of randomness.
        edits: Mean number of changed genes (geometric from 1), at least 1.
        part: Changes only genes of this part (`bits`); any where None.

    Returns:
        Canonical codes, shape (n, genes).
    """
    free = space.active(codes) & _of_part(space, part)
    lottery = np.where(free, generator.random(codes.shape), np.inf)
    ranks = np.argsort(np.argsort(lottery, axis=1, kind="stable"), axis=1, kind="stable")
    changed = free & (ranks < generator.geometric(1 / edits, len(codes))[:, None])
    last = space.sizes - 1
    ordered = np.array([gene.ordered for gene in space.genes], dtype=bool)
    up = (codes == 0) | ((codes < last) & (generator.random(codes.shape) < 0.5))
    step = codes + np.where(up, 1, -1)
    other = np.minimum((generator.random(codes.shape) * last).astype(np.intp), last - 1)
    other += other >= codes
    new = np.where(ordered & (generator.random(codes.shape) < STEPS), step, other)
    return space.canonical_codes(np.where(changed, new, codes))


def crossover(space: SearchSpace, a: np.ndarray, b: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Genotypes that take every gene from one of two others, row by row; canonical codes of shape (n, genes).

    A gene that only one of them uses comes from that one, so that an absent block does not hand down its defaults.
    """
    active_a, active_b = space.active(a), space.active(b)
    from_a = np.where(active_a == active_b, generator.random(a.shape) < 0.5, active_a)
    return space.canonical_codes(np.where(from_a, a, b))


def neighbours(space: SearchSpace, code: np.ndarray, part: str | None = None) -> np.ndarray:
    """Genotypes that differ from one, shape (genes,), in the value of one active gene; canonical, (m, genes).

    All of them, but of ordered genes with more than sixteen values only those a power of two away.
    """
    free = space.active(code[None])[0] & _of_part(space, part)
    columns, values = [], []
    for column in np.flatnonzero(free).tolist():
        here = int(code[column])
        others = _exchanges(here, int(space.sizes[column]), space.genes[column].ordered)
        columns += [column] * len(others)
        values += others
    moved = np.repeat(code[None], len(columns), axis=0)
    moved[np.arange(len(columns)), columns] = values
    return space.canonical_codes(moved)


def _exchanges(here: int, size: int, ordered: bool) -> list[int]:
    if not ordered or size <= EXCHANGED:
        return [place for place in range(size) if place != here]
    steps = [2**power for power in range(size.bit_length())]
    return [place for step in steps for place in (here - step, here + step) if 0 <= place < size]


def _of_part(space: SearchSpace, part: str | None) -> np.ndarray:
    return np.array([part in (None, gene.part) for gene in space.genes], dtype=bool)
