"""Random genotypes that keep a problem's constraints, and a set of them spread over sizes; pure given a generator.

Small and large networks are rare among uniform genotypes (2 % of Table I's are below 10 kB), so samples are tilted
(`bompnas.space.sampling.tilted`).
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from bompnas.errors import InputError
from bompnas.objectives import Constraint
from bompnas.problem import Problem
from bompnas.search import optimize
from bompnas.space.sampling import mutate, tilted, uniform

TILTS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
FEASIBLE_SHARE = 1 / 8
ROUNDS = 100
SIZE = "size_bits"


def sample(problem: Problem, generator: np.random.Generator, count: int) -> np.ndarray:
    """Random genotypes that keep the problem's constraints on costs; canonical codes of shape (count, genes).

    Uniform over the feasible genotypes where they are not rare; where they are, drawn with the mildest tilt towards
    cheap networks, or dear ones, that finds them; where none does, mutants of the one that keeps the limits best.

    Raises:
        InputError: No feasible network was found; names the nearest one.
    """
    if not problem.known_limits:
        return uniform(problem.space, generator, count)
    tilt = _feasible_tilt(problem)
    if tilt is None:
        return _around(problem, _nearest(problem), generator, count)
    found: list[np.ndarray] = []
    for _ in range(ROUNDS):
        codes = tilted(problem.space, generator, np.full(max(16, 2 * count), tilt))
        found.append(codes[_feasible(problem, codes)])
        if sum(map(len, found)) >= count:
            return np.concatenate(found)[:count]
    return _around(problem, _nearest(problem), generator, count)


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
def _feasible_tilt(problem: Problem) -> float | None:
    """The mildest tilt at which feasible networks are not rare, from a fixed sequence of samples; None if none is."""
    generator, draws = np.random.default_rng(0), 64
    best, most = 0.0, 0
    for tilt in _tilts(problem):
        feasible = _feasible(problem, tilted(problem.space, generator, np.full(draws, tilt))).sum()
        if feasible > most:
            best, most = tilt, feasible
        if feasible >= FEASIBLE_SHARE * draws:
            break
    return best if most else None


def _tilts(problem: Problem) -> list[float]:
    """Tilts from mild to strong: towards cheap networks, and towards dear ones too where a limit asks for them."""
    dear = any(limit.at_least for limit in problem.known_limits)
    return [0.0, *(tilt for size in TILTS for tilt in ((-size, size) if dear else (-size,)))]


def _around(problem: Problem, start: np.ndarray, generator: np.random.Generator, count: int) -> np.ndarray:
    """Feasible mutants of a feasible genotype, shape (genes,), and of these again, with repetitions if they are few."""
    found = start[None]
    for _ in range(ROUNDS):
        mutants = mutate(problem.space, found[generator.integers(len(found), size=max(16, 2 * count))], generator)
        found = np.unique(np.concatenate([found, mutants[_feasible(problem, mutants)]]), axis=0)
        if len(found) >= 2 * count:
            break
    return found[generator.permutation(np.resize(np.arange(len(found)), max(count, len(found))))[:count]]


@functools.lru_cache(maxsize=64)
def _nearest(problem: Problem) -> np.ndarray:
    """The feasible genotype that stays farthest from the limits, as far as a search finds, shape (genes,).

    Raises:
        InputError: None was found; says by how much the nearest breaks the limits, and whether that is proven.
    """
    space, generator = problem.space, np.random.default_rng(0)
    ends = np.stack([np.zeros_like(space.sizes), space.sizes - 1])
    starts = np.concatenate([space.canonical_codes(ends), tilted(space, generator, np.repeat(_tilts(problem), 16))])
    starts = starts[np.argsort(_excess(problem, problem.costs(space.batch(starts))), kind="stable")]
    unlimited = dataclasses.replace(problem, constraints=())
    best = optimize.maximize(
        unlimited, lambda codes, batch, costs: -_excess(problem, costs), starts, frozenset(), generator, sample
    )
    costs = problem.cost(space.decode(*space.genotypes(best[None])))
    broken = [limit for limit in problem.known_limits if not limit.satisfied(costs)]
    if not broken:
        return best
    found = " and ".join(_over(limit, costs[limit.key]) for limit in broken)
    how = "was found that keeps them, by a search that proves nothing; the nearest found"
    if optimize.enumerable(space):
        how = "keeps them, as pricing every one of them proves; the nearest"
    raise InputError(
        f"constraints: no network of space {space.name!r} {how} has {found}: change the limit or the choices of the "
        "space"
    )


def _over(limit: Constraint, cost: float) -> str:
    """A broken limit in words."""
    bound, side = ("at least ", "little") if limit.at_least else ("", "much")
    excess, share = abs(cost - limit.limit), ""
    if limit.limit:
        percent = 100 * excess / abs(limit.limit)
        share = f" ({percent:.3g} %)" if percent < 1000 else f" ({percent:,.0f} %)"
    return f"{limit.key} {cost:g} where {bound}{limit.limit:g} is allowed, {excess:.3g}{share} too {side}"


def _excess(problem: Problem, costs: Mapping[str, np.ndarray]) -> np.ndarray:
    """By how much rows of costs break the worst broken limit, as a share of it; negative where all are kept."""
    return np.max([_relative(limit, costs[limit.key]) for limit in problem.known_limits], axis=0)


def _relative(limit: Constraint, costs: np.ndarray) -> np.ndarray:
    """By how much costs break a limit, as a share of it, shape (n,)."""
    return (limit.limit - costs if limit.at_least else costs - limit.limit) / (abs(limit.limit) or 1.0)
