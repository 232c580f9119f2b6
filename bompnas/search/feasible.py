"""Random genotypes that keep a problem's constraints, and a set of them spread over sizes; pure given a generator.

Small and large networks are rare among uniform genotypes (2 % of Table I's are below 10 kB), so samples are tilted
(`bompnas.space.sampling.tilted`).
"""

import functools

import numpy as np

from bompnas.errors import InputError
from bompnas.objectives import Constraint
from bompnas.problem import Problem
from bompnas.space.sampling import tilted, uniform

TILTS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
FEASIBLE_SHARE = 1 / 8
ROUNDS = 100
SIZE = "size_bits"


def sample(problem: Problem, generator: np.random.Generator, count: int) -> np.ndarray:
    """Random genotypes that keep the problem's constraints on costs; canonical codes of shape (count, genes).

    Uniform over the feasible genotypes where they are not rare; where they are, drawn with the mildest tilt towards
    cheap networks, or dear ones, that finds them.

    Raises:
        InputError: No feasible network was found; names the nearest one.
    """
    if not problem.known_limits:
        return uniform(problem.space, generator, count)
    tilt, found = _feasible_tilt(problem), []
    for _ in range(ROUNDS):
        codes = tilted(problem.space, generator, np.full(max(16, 2 * count), tilt))
        found.append(codes[_feasible(problem, codes)])
        if sum(map(len, found)) >= count:
            return np.concatenate(found)[:count]
    raise _infeasible(problem)


def stratified(problem: Problem, count: int, generator: np.random.Generator) -> np.ndarray:
    """Feasible genotypes that decode to distinct networks and spread evenly in the logarithm of their packed size.

    The range between the smallest and the largest network that tilted sampling reaches is cut into `count` bins, and
    one network is taken from each; empty bins are made up for by the networks farthest from those taken. Where the
    problem knows no size, the genotypes are random and distinct.

    Args:
        problem: Space, costs and constraints.
        count: How many genotypes.
        generator: Source of randomness.

    Returns:
        Canonical codes by ascending size, shape (count, genes); fewer only where the space seems to hold fewer feasible
        networks.

    Raises:
        InputError: No feasible network was found; names the nearest one.
    """
    sized = SIZE in problem.analytic
    spread = np.sinh(generator.uniform(-5, 5, max(256, 32 * count)))
    codes = tilted(problem.space, generator, spread if sized else np.zeros(len(spread)))
    codes = _distinct(problem, codes[_feasible(problem, codes)])
    if len(codes) < count:
        codes = _distinct(problem, np.concatenate([codes, sample(problem, generator, 64 * count)]))
    if not sized:
        return codes[:count]
    sizes = np.log(problem.costs(problem.space.batch(codes))[SIZE])
    order = np.argsort(sizes, kind="stable")
    codes, sizes = codes[order], sizes[order]
    bins = np.digitize(sizes, np.linspace(sizes[0], sizes[-1], count + 1)[1:-1])
    taken = [generator.choice(members) for place in range(count) if len(members := np.flatnonzero(bins == place))]
    while len(taken) < min(count, len(codes)):
        gaps = np.abs(sizes[:, None] - sizes[taken]).min(axis=1)
        gaps[taken] = -1.0
        taken.append(np.argmax(gaps))
    return codes[np.sort(taken)]


def _feasible(problem: Problem, codes: np.ndarray) -> np.ndarray:
    """Which genotypes keep the constraints on costs, shape (n,)."""
    costs = problem.costs(problem.space.batch(codes)) if problem.known_limits else {}
    return problem.feasible(costs, len(codes))


def _distinct(problem: Problem, codes: np.ndarray) -> np.ndarray:
    """The first genotype of each network."""
    firsts = {key: place for place, key in reversed(list(enumerate(problem.space.batch(codes).keys)))}
    return codes[sorted(firsts.values())]


@functools.lru_cache(maxsize=64)
def _feasible_tilt(problem: Problem) -> float:
    """The mildest tilt at which feasible networks are not rare, from a fixed sequence of samples."""
    generator, draws = np.random.default_rng(0), 64
    best, most = 0.0, 0
    for tilt in _tilts(problem):
        feasible = _feasible(problem, tilted(problem.space, generator, np.full(draws, tilt))).sum()
        if feasible > most:
            best, most = tilt, feasible
        if feasible >= FEASIBLE_SHARE * draws:
            break
    if not most:
        raise _infeasible(problem)
    return best


def _tilts(problem: Problem) -> list[float]:
    """Tilts from mild to strong: towards cheap networks, and towards dear ones too where a limit asks for them."""
    dear = any(limit.at_least for limit in problem.known_limits)
    return [0.0, *(tilt for size in TILTS for tilt in ((-size, size) if dear else (-size,)))]


def _infeasible(problem: Problem) -> InputError:
    space, generator = problem.space, np.random.default_rng(0)
    ends = np.stack([np.zeros_like(space.sizes), space.sizes - 1])
    codes = np.concatenate([ends, tilted(space, generator, np.repeat(_tilts(problem), 16))])
    costs = problem.costs(space.batch(codes))
    excess = np.max([_excess(limit, costs[limit.key]) for limit in problem.known_limits], axis=0)
    nearest = {key: values[np.argmin(excess)].item() for key, values in costs.items()}
    broken = [limit for limit in problem.known_limits if not limit.satisfied(nearest)]
    found = " and ".join(
        f"{limit.key} {nearest[limit.key]:g} where {'at least ' * limit.at_least}{limit.limit:g} is allowed"
        for limit in broken
    )
    return InputError(
        f"constraints: no network of space {space.name!r} was found that keeps them; the nearest found has {found}: "
        "change the limit or the choices of the space"
    )


def _excess(limit: Constraint, costs: np.ndarray) -> np.ndarray:
    """By how much costs break a limit, as a share of it, shape (n,)."""
    return (limit.limit - costs if limit.at_least else costs - limit.limit) / (abs(limit.limit) or 1.0)
