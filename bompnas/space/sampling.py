"""Random genotypes and moves between them; pure given a generator.

Small and large networks are rare among uniform genotypes (2 % of Table I's are below 10 kB), so samples can be
tilted: a gene with m values in ascending order takes number floor(m x), x in [0, 1) with density proportional to
exp(tilt x). Tilt 0 is uniform, negative tilts favour small values and hence cheap networks, positive ones large.
"""

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from bompnas.errors import InputError
from bompnas.space.space import Gene, SearchSpace

if TYPE_CHECKING:
    from bompnas.candidate import Genotype
    from bompnas.problem import Problem

STEPS = 0.6
"""Share of a mutation's edits that move to a neighbouring value; the others take any."""
TILTS = (0.0, -0.5, -1.0, -2.0, -4.0, -8.0, -16.0, -32.0, -64.0)
FEASIBLE_SHARE = 1 / 8
TRIES = 1000


def uniform(space: SearchSpace, generator: np.random.Generator) -> dict[str, int | float]:
    """A genotype with every gene drawn uniformly; canonical."""
    return _tilted(space, generator, 0.0)


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


def feasible_sample(problem: "Problem", generator: np.random.Generator) -> dict[str, int | float]:
    """A random genotype whose network keeps the problem's constraints; canonical.

    Uniform over the feasible genotypes where they are not rare; where they are, drawn with the mildest tilt towards
    cheap networks that finds them.

    Raises:
        InputError: No feasible network was found; names the cheapest one.
    """
    space, tilt = problem.space, _feasible_tilt(problem)
    for _ in range(TRIES):
        genotype = _tilted(space, generator, tilt)
        if problem.feasible(space.decode(genotype)):
            return genotype
    raise _infeasible(problem)


def stratified(problem: "Problem", count: int, generator: np.random.Generator) -> list[dict[str, int | float]]:
    """Feasible genotypes of distinct networks that spread evenly in the logarithm of their packed size.

    The range between the smallest and the largest network that tilted sampling reaches is cut into `count` bins, and
    one network is taken from each; empty bins are made up for by the networks farthest from those taken.

    Args:
        problem: Space, costs (with `size_bits`) and constraints.
        count: How many genotypes.
        generator: Source of randomness.

    Returns:
        `count` canonical genotypes by ascending size; fewer only where the space seems to hold fewer feasible networks.

    Raises:
        InputError: No feasible network was found; names the cheapest one.
    """
    space = problem.space
    found: dict[str, tuple[float, dict[str, int | float]]] = {}

    def keep(genotype: dict[str, int | float]) -> None:
        network = space.decode(genotype)
        if problem.feasible(network):
            found.setdefault(network.key, (math.log(problem.cost(network)["size_bits"]), genotype))

    for _ in range(max(256, 32 * count)):
        keep(_tilted(space, generator, math.sinh(generator.uniform(-5, 5))))
    for _ in range(64 * count):
        if len(found) >= count:
            break
        keep(feasible_sample(problem, generator))

    rows = sorted(found.values(), key=lambda row: row[0])
    sizes = np.array([size for size, _ in rows])
    bins = np.digitize(sizes, np.linspace(sizes[0], sizes[-1], count + 1)[1:-1])
    taken = [generator.choice(members) for place in range(count) if len(members := np.flatnonzero(bins == place))]
    while len(taken) < min(count, len(rows)):
        gaps = np.abs(sizes[:, None] - sizes[taken]).min(axis=1)
        gaps[taken] = -1.0
        taken.append(np.argmax(gaps))
    return [rows[place][1] for place in sorted(taken)]


def _tilted(space: SearchSpace, generator: np.random.Generator, tilt: float) -> dict[str, int | float]:
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


@functools.lru_cache(maxsize=64)
def _feasible_tilt(problem: "Problem") -> float:
    """The mildest tilt at which feasible networks are not rare, from a fixed sequence of samples."""
    if not problem.constraints:
        return 0.0
    generator, space, draws = np.random.default_rng(0), problem.space, 64
    best, most = 0.0, 0
    for tilt in TILTS:
        feasible = sum(problem.feasible(space.decode(_tilted(space, generator, tilt))) for _ in range(draws))
        if feasible > most:
            best, most = tilt, feasible
        if feasible >= FEASIBLE_SHARE * draws:
            break
    if not most:
        raise _infeasible(problem)
    return best


def _infeasible(problem: "Problem") -> InputError:
    space = problem.space
    generator = np.random.default_rng(0)
    genotypes = [{gene.name: min(gene.values) for gene in space.genes}]
    genotypes += [_tilted(space, generator, tilt) for tilt in TILTS for _ in range(16)]
    costs = [problem.cost(space.decode(genotype)) for genotype in genotypes]
    cheapest = min(costs, key=lambda cost: max(cost[limit.key] / limit.limit for limit in problem.constraints))
    broken = [limit for limit in problem.constraints if not limit.satisfied(cheapest)]
    found = " and ".join(f"{limit.key} {cheapest[limit.key]:g} where {limit.limit:g} is allowed" for limit in broken)
    return InputError(
        f"constraints: no network of space {space.name!r} was found that keeps them; the cheapest found has {found}: "
        "raise the limit or give the space smaller choices"
    )
