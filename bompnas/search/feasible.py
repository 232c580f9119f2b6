"""Random networks that keep a problem's constraints, and a set of them spread over sizes; pure given a generator.

Small and large networks are rare among uniform genotypes (2 % of Table I's are below 10 kB), so samples are tilted
(`bompnas.space.sampling.tilted`).
"""

import functools
import math

import numpy as np

from bompnas.candidate import Genotype
from bompnas.errors import InputError
from bompnas.problem import Problem
from bompnas.space.sampling import tilted

TILTS = (0.0, -0.5, -1.0, -2.0, -4.0, -8.0, -16.0, -32.0, -64.0)
FEASIBLE_SHARE = 1 / 8
TRIES = 1000


def sample(problem: Problem, generator: np.random.Generator) -> Genotype:
    """A random genotype whose network keeps the problem's constraints; canonical.

    Uniform over the feasible genotypes where they are not rare; where they are, drawn with the mildest tilt towards
    cheap networks that finds them.

    Raises:
        InputError: No feasible network was found; names the cheapest one.
    """
    space, tilt = problem.space, _feasible_tilt(problem)
    for _ in range(TRIES):
        genotype = tilted(space, generator, tilt)
        if problem.feasible(space.decode(genotype)):
            return genotype
    raise _infeasible(problem)


def stratified(problem: Problem, count: int, generator: np.random.Generator) -> list[Genotype]:
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
    found: dict[str, tuple[float, Genotype]] = {}

    def keep(genotype: Genotype) -> None:
        network = space.decode(genotype)
        if problem.feasible(network):
            found.setdefault(network.key, (math.log(problem.cost(network)["size_bits"]), genotype))

    for _ in range(max(256, 32 * count)):
        keep(tilted(space, generator, math.sinh(generator.uniform(-5, 5))))
    for _ in range(64 * count):
        if len(found) >= count:
            break
        keep(sample(problem, generator))

    rows = sorted(found.values(), key=lambda row: row[0])
    sizes = np.array([size for size, _ in rows])
    bins = np.digitize(sizes, np.linspace(sizes[0], sizes[-1], count + 1)[1:-1])
    taken = [generator.choice(members) for place in range(count) if len(members := np.flatnonzero(bins == place))]
    while len(taken) < min(count, len(rows)):
        gaps = np.abs(sizes[:, None] - sizes[taken]).min(axis=1)
        gaps[taken] = -1.0
        taken.append(np.argmax(gaps))
    return [rows[place][1] for place in sorted(taken)]


@functools.lru_cache(maxsize=64)
def _feasible_tilt(problem: Problem) -> float:
    """The mildest tilt at which feasible networks are not rare, from a fixed sequence of samples."""
    if not problem.constraints:
        return 0.0
    generator, space, draws = np.random.default_rng(0), problem.space, 64
    best, most = 0.0, 0
    for tilt in TILTS:
        feasible = sum(problem.feasible(space.decode(tilted(space, generator, tilt))) for _ in range(draws))
        if feasible > most:
            best, most = tilt, feasible
        if feasible >= FEASIBLE_SHARE * draws:
            break
    if not most:
        raise _infeasible(problem)
    return best


def _infeasible(problem: Problem) -> InputError:
    space = problem.space
    generator = np.random.default_rng(0)
    genotypes = [{gene.name: min(gene.values) for gene in space.genes}]
    genotypes += [tilted(space, generator, tilt) for tilt in TILTS for _ in range(16)]
    costs = [problem.cost(space.decode(genotype)) for genotype in genotypes]
    cheapest = min(costs, key=lambda cost: max(cost[limit.key] / limit.limit for limit in problem.constraints))
    broken = [limit for limit in problem.constraints if not limit.satisfied(cheapest)]
    found = " and ".join(f"{limit.key} {cheapest[limit.key]:g} where {limit.limit:g} is allowed" for limit in broken)
    return InputError(
        f"constraints: no network of space {space.name!r} was found that keeps them; the cheapest found has {found}: "
        "raise the limit or give the space smaller choices"
    )
