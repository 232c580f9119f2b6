"""What a study searches: a problem, an oracle that measures networks, and the truth about them."""

import dataclasses
import functools
import os
from collections.abc import Callable

import numpy as np
import tables

from bompnas.errors import InputError
from bompnas.problem import Problem
from bompnas.space.hyperspace import HyperSpace, Point, Points
from bompnas.space.space import Genotype
from quality.instances import OBJECTIVES, Instance
from quality.peers import INITIAL, uniform

SYNTHETIC = "synthetic"
SIZE = "size_bits"


@dataclasses.dataclass(frozen=True)
class Task:
    """One search to be made.

    Attributes:
        suite: What it belongs to: `synthetic`, or a table's name.
        instance: Its number there; the seed of its initial networks and of the methods.
        problem: Space, costs and objectives; the cost is `size_bits`.
        metric: What the first objective calls the accuracy.
        observe: (point, replicate) -> accuracy that a training shows.
        truth: Point -> accuracy without noise.
        reference: Accuracy and log10 size [bits] that bound the hypervolume.
        optimum: Best true score of the space; None where it is not known.
    """

    suite: str
    instance: int
    problem: Problem
    metric: str
    observe: Callable[[object, int], float]
    truth: Callable[[object], float]
    reference: tuple[float, float]
    optimum: float | None = None

    @functools.cached_property
    def initial(self) -> list[Genotype]:
        """The ten uniform random networks that all methods start from: distinct, canonical."""
        generator = np.random.default_rng([self.instance, INITIAL])
        found: dict[str, Genotype] = {}
        while len(found) < INITIAL:
            genotype = uniform(self.problem.space, generator)
            found.setdefault(self.problem.space.decode(genotype).key, genotype)
        return list(found.values())


def synthetic(seed: int) -> Task:
    """An instance of the synthetic family."""
    instance = Instance(seed)
    problem = instance.problem
    return Task(SYNTHETIC, seed, problem, "val_accuracy", instance.observe, instance.accuracy, (0.4, 6.4))


def from_table(path: str | os.PathLike[str], metric: str, cost: str) -> Callable[[int], Task]:
    """Searches of a complete table: number -> task; the number chooses the initial points and is the methods' seed.

    Args:
        path: A CSV file that `tables.load` reads.
        metric: Column that a trial measures, a fraction of which more is better.
        cost: Column that is known beforehand, above 1, of which less is better.

    Raises:
        InputError: The file is no complete table, or lacks one of the columns or a measurement in them.
    """
    table = tables.load(path)
    for column in (metric, cost):
        if column not in table.metrics:
            raise InputError(f"{path}: no column {column!r} of numbers, expected one of {', '.join(table.metrics)}")
        missing = [row for row in table.rows if column not in row.metrics]
        if missing:
            raise InputError(f"{path}: {dict(missing[0].genes)} has no {column}, expected one in every row")
    measured, costs = (np.array([row.metrics[column] for row in table.rows]) for column in (metric, cost))
    if costs.min() <= 1:
        raise InputError(f"{path}: {cost} is {costs.min():g} in a row, expected above 1, for its logarithm is used")
    if len(table.rows) < 2 * INITIAL:
        raise InputError(f"{path}: {len(table.rows)} rows found, expected at least {2 * INITIAL} to search among")
    accuracy, size = OBJECTIVES
    numbers = _numbers(table.space, table.space.encode(row.genes for row in table.rows))
    problem = Problem(
        table.space,
        functools.partial(_looked_up, numbers, costs),
        (dataclasses.replace(accuracy, key=metric), dataclasses.replace(size, key=SIZE)),
    )

    def observe(point: Point, replicate: int = 0) -> float:
        return table.row(point.values).metrics[metric]

    best = (measured / accuracy.reference + size.reference / np.log10(costs)).max()
    reference = (float(measured.min()), float(np.log10(costs.max())))
    return lambda number: Task(table.name, number, problem, metric, observe, observe, reference, float(best))


def _numbers(space: HyperSpace, codes: np.ndarray) -> np.ndarray:
    """One number for each canonical genotype, shape (n,)."""
    return np.ravel_multi_index(tuple(space.canonical_codes(codes).T), tuple(space.sizes))


def _looked_up(rows: np.ndarray, costs: np.ndarray, points: Points) -> dict[str, np.ndarray]:
    """Costs of points: those of the rows with the same numbers."""
    order = np.argsort(rows)
    places = order[np.searchsorted(rows[order], _numbers(points.space, points.codes))]
    return {SIZE: costs[places]}
