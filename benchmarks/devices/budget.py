"""Searches with and without a limit on a device's latency, in the table of real trainings of digits.

The space is that of `benchmarks/digits_table.py`: 972 networks, all trained and quantized. The device is BitFusion, and
the limit half the latency of the space's seed network, the middle choice of every gene. Searches maximize accuracy and
minimize packed size, as `experiments/digits.yaml` does, or latency, as `experiments/digits_bitfusion.yaml`, with the
limit and without it; their trials read the table.
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import digits_table
import numpy as np
import tables
import threadpoolctl

from bompnas import pareto
from bompnas.candidate import Candidate, State
from bompnas.experiment.sections import ObjectiveSettings
from bompnas.hardware.bitfusion import BitFusion
from bompnas.methods import METHODS
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem
from bompnas.space import loader
from bompnas.space.batch import NetworkBatch
from bompnas.space.hyperspace import Points
from bompnas.testing.problems import Trials
from bompnas.testing.search import search
from bompnas.trials.folder import RECORD
from bompnas.trials.record import Record

TABLE = Path(__file__).resolve().parents[1] / "results" / "digits_table.csv"
METRIC, LATENCY = "val_accuracy", "latency_ms"
GOALS = ("size", "latency")
"""What searches minimize beside maximizing accuracy."""
ACCURACY = ObjectiveSettings(reference=0.8).objective("accuracy")
COUNTED = ("size_bits", "macs", "params")
TRIALS, INITIAL = 16, 6
LIMITED, FREE = "limited", "free"


@dataclasses.dataclass(frozen=True, eq=False)
class Digits:
    """The table, priced on BitFusion.

    Attributes:
        table: All networks and their trainings.
        costs: Name -> one value a row of the table.
    """

    table: tables.Table
    costs: Mapping[str, np.ndarray]

    @classmethod
    def load(cls) -> "Digits":
        """Reads the table and prices its networks."""
        table, family = tables.load(TABLE), loader.load(digits_table.SPACE)
        networks = NetworkBatch.of([digits_table.decode(family, row.genes) for row in table.rows])
        counted = {name: np.array([row.metrics[name] for row in table.rows]) for name in COUNTED}
        return cls(table, {**counted, LATENCY: BitFusion().costs(networks)[LATENCY]})

    @functools.cached_property
    def limit_ms(self) -> float:
        """Half the latency of the space's seed network [ms]."""
        return self.problem("size", limited=False).cost(self.table.space.decode(self.table.space.seed))[LATENCY] / 2

    @functools.cached_property
    def accuracies(self) -> np.ndarray:
        """Of every row."""
        return np.array([row.metrics[METRIC] for row in self.table.rows])

    def problem(self, goal: str, limited: bool) -> Problem:
        """What is searched."""
        limits = (Constraint(LATENCY, self.limit_ms),) if limited else ()
        return Problem(self.table.space, self._look_up, objectives(goal), limits, frozenset(COUNTED))

    def study(self, seed: int, goal: str, limited: bool) -> dict[str, Any]:
        """One search.

        Returns:
            The accuracies, sizes [bits] and latencies [ms] of its networks in the order of the trials.
        """
        trials = Trials(
            self.problem(goal, limited), lambda genotype: {METRIC: self.table.row(genotype).metrics[METRIC]}
        )
        settings = METHODS["bomp"].load_settings()(name="bomp", trials=TRIALS, initial=INITIAL)
        with threadpoolctl.threadpool_limits(limits=1):
            found = search(settings.proposer(), trials, TRIALS, seed).candidates
        return {"seed": seed, "goal": goal, "search": LIMITED if limited else FREE, **_columns(found)}

    def _look_up(self, points: Points) -> dict[str, np.ndarray]:
        order = np.argsort(self._numbers)
        places = order[np.searchsorted(self._numbers[order], _numbers(points))]
        return {name: values[places] for name, values in self.costs.items()}

    @functools.cached_property
    def _numbers(self) -> np.ndarray:
        space = self.table.space
        return _numbers(Points(space, space.canonical_codes(space.encode(row.genes for row in self.table.rows))))


def objectives(goal: str) -> tuple[Objective, Objective]:
    """What a search of a goal is scored by."""
    return ACCURACY, ObjectiveSettings(reference=1.0).objective(goal)


def of_run(folder: Path) -> dict[str, Any]:
    """A finished run of `experiments/digits_bitfusion.yaml` as a study, with the limit of its experiment."""
    with Record(folder / RECORD, read_only=True) as record:
        settings = record.meta["experiment"]
        done = [candidate for candidate in record.candidates if candidate.state is State.COMPLETED]
    limit_ms = settings.get("constraints", {}).get(LATENCY)
    kind = FREE if limit_ms is None else LIMITED
    return {"seed": settings["seed"], "goal": "latency", "search": kind, "limit_ms": limit_ms, **_columns(done)}


def _numbers(points: Points) -> np.ndarray:
    """One number for each point, shape (n,)."""
    return np.ravel_multi_index(tuple(points.codes.T), tuple(points.space.sizes))


def _columns(candidates: Sequence[Candidate]) -> dict[str, list[float]]:
    keys = (METRIC, "size_bits", LATENCY)
    return {key: [candidate.values[key] for candidate in candidates] for key in keys}


def run(path: Path, seeds: Sequence[int]) -> None:
    """Makes the studies that a file of JSON lines does not hold yet."""
    digits = Digits.load()
    done = {(study["seed"], study["goal"], study["search"]) for study in read(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed, goal, limited in itertools.product(seeds, GOALS, (True, False)):
        if (seed, goal, LIMITED if limited else FREE) not in done:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(digits.study(seed, goal, limited)) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The studies of a file, none where it does not exist."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a search found within the limit.

    Attributes:
        trained: Networks that it trained.
        infeasible: Those of them over the limit.
        accuracy: The best within the limit; 0 if there is none.
        hypervolume: Of the front within the limit, in the plane of its score's terms.
    """

    trained: int
    infeasible: int
    accuracy: float
    hypervolume: float


def outcome(study: Mapping[str, Any], limit_ms: float) -> Outcome:
    """What a study found within a limit."""
    within = np.array(study[LATENCY]) <= limit_ms
    terms = np.stack([goal.term(np.array(study[goal.key])[within]) for goal in objectives(study["goal"])], axis=1)
    volume = pareto.hypervolume(terms, [0.0, 0.0], [True, True]) if within.any() else 0.0
    best = float(np.array(study[METRIC])[within].max(initial=0.0))
    return Outcome(len(within), int((~within).sum()), best, float(volume))
