"""Whether the accelerated KerasTuner oracle suggests what the original suggests from the same state."""

import copy
import dataclasses
import time

from bompnas.space.space import Genotype
from quality.peers import KerasTuner
from quality.study import Trials
from quality.task import Task


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two suggestions from one state.

    Attributes:
        completed: Number of completed trials.
        ours: What the accelerated oracle suggests.
        original: What KerasTuner suggests.
        seconds: Of the accelerated one [s].
        original_seconds: Of the original [s].
    """

    completed: int
    ours: Genotype
    original: Genotype
    seconds: float
    original_seconds: float

    @property
    def different_genes(self) -> int:
        """In how many genes they differ."""
        return sum(self.ours[name] != value for name, value in self.original.items())


def compare(task: Task, lengths: tuple[int, ...]) -> list[Comparison]:
    """Searches with the accelerated oracle, and asks the original at some lengths of the record."""
    fast, slow = (KerasTuner(task.problem, task.instance, exact_gradient=exact) for exact in (True, False))
    trail = Trials(task)
    for genotype in task.initial:
        trail.begin(genotype)
        trail.end()
    comparisons = []
    for length in range(len(trail.completed), max(lengths) + 1):
        random_state = copy.deepcopy(fast.oracle._random_state)
        start = time.perf_counter()
        genotype = fast(trail.completed, ())
        middle = time.perf_counter()
        if length in lengths:
            slow.oracle._random_state = random_state
            suggestion = slow(trail.completed, ())
            comparisons.append(
                Comparison(length, genotype, suggestion, middle - start, time.perf_counter() - middle),
            )
            slow = KerasTuner(task.problem, task.instance, exact_gradient=False)
        trail.begin(genotype)
        trail.end()
    return comparisons
