"""Runs one method on one task, and many of them into a file of JSON lines that an interrupted run continues."""

import collections
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import threadpoolctl

from bompnas.candidate import Candidate, State
from bompnas.space.space import Genotype
from quality.peers import Searcher
from quality.task import Task

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to search, and how it is started.

    Attributes:
        name: Its row in the tables.
        start: (problem, seed) -> searcher.
        workers: Number of trials in training at a time; they end in the order in which they began.
        own_start: Whether it chooses its first networks itself instead of being given the task's initial ones.
    """

    name: str
    start: Callable[..., Searcher]
    workers: int = 1
    own_start: bool = False


class Trials:
    """The trials of a study: begun with a genotype, ended with an observation."""

    def __init__(self, task: Task):
        self.task = task
        self.completed: list[Candidate] = []
        self.pending: collections.deque[Candidate] = collections.deque()
        self.true: list[tuple[float, float, float]] = []
        self._trainings: collections.Counter[str] = collections.Counter()

    def begin(self, genotype: Genotype) -> None:
        """Sends a network to training."""
        problem = self.task.problem
        number = len(self.completed) + len(self.pending) + 1
        point = problem.space.decode(genotype)
        self.pending.append(Candidate(number, number, point, genotype, State.PENDING, problem.cost(point)))

    def end(self) -> None:
        """Observes the network that has been in training for longest."""
        candidate, problem = self.pending.popleft(), self.task.problem
        point = candidate.network
        observed = self.task.observe(point, self._trainings[point.key])
        self._trainings[point.key] += 1
        metrics = {self.task.metric: observed}
        score = problem.score({**candidate.cost, **metrics})
        self.completed.append(dataclasses.replace(candidate, state=State.COMPLETED, metrics=metrics, score=score))
        accuracy = self.task.truth(point)
        self.true.append(
            (problem.score({**candidate.cost, self.task.metric: accuracy}), accuracy, candidate.cost["size_bits"])
        )


def study(method: Method, task: Task, trials: int) -> Record:
    """Searches once.

    Returns:
        For every trial in the order of completion: `observed` score, `true` score, true `accuracy`, `size_bits`, and
        the `seconds` that its proposal computed (CPU; None for a given one), beside the task's name and bounds. A
        search that exhausts its space is shorter.
    """
    trail, seconds = Trials(task), []
    if not method.own_start:
        for genotype in task.initial:
            trail.begin(genotype)
            trail.end()
            seconds.append(None)
    searcher = method.start(task.problem, task.instance)
    exhausted = False
    with threadpoolctl.threadpool_limits(limits=1):
        while len(trail.completed) < trials:
            begun = len(trail.completed) + len(trail.pending)
            if begun < trials and len(trail.pending) < method.workers and not exhausted:
                start = time.process_time()
                genotype = searcher(trail.completed, tuple(trail.pending))
                if genotype is None:
                    exhausted = True
                    continue
                seconds.append(round(time.process_time() - start, 4))
                trail.begin(genotype)
            elif trail.pending:
                trail.end()
            else:
                break
    true = list(zip(*trail.true, strict=True))
    return {
        "suite": task.suite,
        "method": method.name,
        "instance": task.instance,
        "trials": trials,
        "reference": list(task.reference),
        "optimum": task.optimum,
        "observed": [round(candidate.score, 6) for candidate in trail.completed],
        "true": [round(score, 6) for score in true[0]],
        "accuracy": [round(accuracy, 6) for accuracy in true[1]],
        "size_bits": list(true[2]),
        "seconds": seconds,
        "distinct": len({candidate.network.key for candidate in trail.completed}),
    }


def read(folder: Path) -> list[Record]:
    """The studies of a folder of results; of equal ones the last. A line that was cut off is left out."""
    found: dict[tuple, Record] = {}
    for path in sorted(folder.glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[identity(record)] = record
    return list(found.values())


def identity(record: Mapping[str, Any]) -> tuple:
    """What tells one study from another."""
    return record["suite"], record["method"], record["instance"], record["trials"]


def append(path: Path, record: Record) -> None:
    """Adds a line in one write, so that several processes may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")  # else a killed run's line was cut off
    line = ("" if whole else "\n") + json.dumps(record) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def run(
    folder: Path,
    methods: Iterable[Method],
    instances: Iterable[int],
    task_of: Callable[[int], Task],
    suite: str,
    trials: int,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Makes the studies that are not there yet, instance by instance; a method's lie in `<suite>/<method>.jsonl`.

    Args:
        folder: Of the results.
        methods: Of each of these
        instances: on each of these,
        task_of: which becomes a task so.
        suite: Name of the tasks' suite.
        trials: Length of a search.
        shard: (k, n): this process makes every n-th study, from the k-th.
    """
    done = {identity(record) for record in read(folder)}
    methods = list(methods)
    wanted = [(instance, method) for instance in instances for method in methods]
    mine = wanted[shard[0] - 1 :: shard[1]]
    missing = [(instance, method) for instance, method in mine if (suite, method.name, instance, trials) not in done]
    tasks: dict[int, Task] = {}
    for number, (instance, method) in enumerate(missing, start=1):
        if instance not in tasks:
            tasks = {instance: task_of(instance)}
        start = time.perf_counter()
        record = study(method, tasks[instance], trials)
        append(folder / suite / f"{method.name}.jsonl", record)
        print(
            f"{number}/{len(missing)} {suite} {instance} {method.name}: best observed is truly "
            f"{incumbent(record)[-1]:.4f} after {len(record['true'])} trials, {time.perf_counter() - start:.0f} s",
            flush=True,
        )


def incumbent(record: Record) -> list[float]:
    """True score of the trial with the best observed score so far, after each trial."""
    best, path = 0, []
    for place, observed in enumerate(record["observed"]):
        if observed > record["observed"][best]:
            best = place
        path.append(record["true"][best])
    return path
