"""Random genotypes and moves between them; pure given a generator."""

import functools
from typing import TYPE_CHECKING

import numpy as np

from bompnas.space.space import Gene, SearchSpace

if TYPE_CHECKING:
    from bompnas.candidate import Genotype

STEPS = 0.6
"""Share of a mutation's edits that move to a neighbouring value; the others take any."""


def uniform(space: SearchSpace, generator: np.random.Generator) -> dict[str, int | float]:
    """A genotype with every gene drawn uniformly; canonical."""
    return tilted(space, generator, 0.0)


def mutate(
    space: SearchSpace, genotype: "Genotype", generator: np.random.Generator, edits: float = 2.0
) -> dict[str, int | float]:
    """A genotype with one or more active genes changed; canonical.

    Args:
        space: The space.
        genotype: A genotype of it.
        generator: Source of randomness.
        edits: Mean number of changed genes (geometric from 1), at least 1.
    """
    active = [gene for gene in space.genes if gene.active(genotype)]
    changed = dict(genotype)
    for place in generator.permutation(len(active))[: generator.geometric(1 / edits)].tolist():
        changed[active[place].name] = _other_value(active[place], genotype[active[place].name], generator)
    return space.canonical(changed)


def crossover(
    space: SearchSpace, a: "Genotype", b: "Genotype", generator: np.random.Generator
) -> dict[str, int | float]:
    """A genotype that takes every gene from one of two others; canonical.

    A gene that only one of them uses comes from that one, so that an absent block does not hand down its defaults.
    """
    from_a = (generator.random(len(space.genes)) < 0.5).tolist()
    child = {}
    for gene, first in zip(space.genes, from_a, strict=True):
        active_a, active_b = gene.active(a), gene.active(b)
        child[gene.name] = (a if (first if active_a == active_b else active_a) else b)[gene.name]
    return space.canonical(child)


def neighbours(space: SearchSpace, genotype: "Genotype") -> list[dict[str, int | float]]:
    """All genotypes that differ in the value of one active gene; canonical."""
    return [
        space.canonical({**genotype, gene.name: value})
        for gene in space.genes
        if gene.active(genotype)
        for value in gene.values
        if value != genotype[gene.name]
    ]


def tilted(space: SearchSpace, generator: np.random.Generator, tilt: float) -> dict[str, int | float]:
    """A random genotype that favours small or large values; canonical.

    A gene with m values in ascending order takes number floor(m x), x in [0, 1) with density proportional to
    exp(tilt x).

    Args:
        space: The space.
        generator: Source of randomness.
        tilt: 0 is uniform, negative favours small values and hence cheap networks, positive large ones.
    """
    values, counts = _ascending(space)
    x = generator.random(len(values))
    if tilt:
        x = np.log1p(x * np.expm1(tilt)) / tilt
    places = np.minimum(x * counts, counts - 1).astype(int).tolist()
    genotype = {gene.name: row[place] for gene, row, place in zip(space.genes, values, places, strict=True)}
    return space.canonical(genotype)


@functools.lru_cache(maxsize=64)
def _ascending(space: SearchSpace) -> tuple[list[list[int | float]], np.ndarray]:
    values = [sorted(gene.values) for gene in space.genes]
    return values, np.array([len(row) for row in values])


def _other_value(gene: Gene, value: int | float, generator: np.random.Generator) -> int | float:
    place, last = gene.values.index(value), len(gene.values) - 1
    if generator.random() < STEPS:
        up = place == 0 or (place < last and generator.random() < 0.5)
        return gene.values[place + 1 if up else place - 1]
    other = int(generator.integers(last))
    return gene.values[other + (other >= place)]
