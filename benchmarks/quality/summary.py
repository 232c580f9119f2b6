"""Statistics of studies: means with their errors, paired differences, wins, and Markdown of them."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from bompnas import pareto
from quality.study import Record, incumbent

SCORE, VOLUME = "score", "hypervolume"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over instances.

    Attributes:
        values: (n,), one for each instance.
    """

    values: np.ndarray

    @property
    def mean(self) -> float:
        """The mean."""
        return float(self.values.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean; not a number for a single value."""
        return float(self.values.std(ddof=1) / np.sqrt(len(self.values))) if len(self.values) > 1 else float("nan")

    @property
    def half_interval(self) -> float:
        """Half the width of the mean's 95 % interval (Student's t)."""
        return float(stats.t.ppf(0.975, max(1, len(self.values) - 1))) * self.error

    @property
    def wins(self) -> int:
        """How many values are above zero."""
        return int((self.values > 0).sum())


class Curves:
    """What came of one method's studies, by instance.

    Attributes:
        name: The method.
        records: Instance -> study.
    """

    def __init__(self, name: str, records: Mapping[int, Record]):
        self.name, self.records = name, dict(sorted(records.items()))

    @property
    def instances(self) -> list[int]:
        """Of which instances there is a study."""
        return list(self.records)

    @functools.cached_property
    def score(self) -> dict[int, np.ndarray]:
        """Instance -> true score of the best-observed trial, after each trial."""
        return {number: _padded(incumbent(record), record["trials"]) for number, record in self.records.items()}

    @functools.cached_property
    def hypervolume(self) -> dict[int, np.ndarray]:
        """Instance -> volume under the trials' front of true accuracy and log10 size, after each trial."""
        return {number: _padded(volumes(record), record["trials"]) for number, record in self.records.items()}

    @property
    def seconds(self) -> float:
        """Mean CPU seconds per proposal; 0 where nothing was proposed."""
        spent = [value for record in self.records.values() for value in record["seconds"] if value is not None]
        return float(np.mean(spent)) if spent else 0.0

    @property
    def distinct(self) -> float:
        """Mean number of distinct networks of a study."""
        return float(np.mean([record["distinct"] for record in self.records.values()]))

    def at(self, quantity: str, trial: int, instances: Iterable[int] | None = None) -> Estimate:
        """A quantity after a number of trials."""
        curves, chosen = getattr(self, quantity), self.instances if instances is None else instances
        return Estimate(np.array([curves[number][trial - 1] for number in chosen]))

    def mean(self, quantity: str) -> np.ndarray:
        """Mean over the instances after each trial, (trials,)."""
        return np.mean(list(getattr(self, quantity).values()), axis=0)

    def error(self, quantity: str) -> np.ndarray:
        """Standard error of the mean after each trial, (trials,)."""
        rows = np.array(list(getattr(self, quantity).values()))
        return rows.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros(rows.shape[1])


def curves(records: Iterable[Record], suite: str, trials: int) -> dict[str, Curves]:
    """Method -> its curves in one suite, best final score first.

    Raises:
        ValueError: Two methods that should have begun with the same networks did not.
    """
    grouped: dict[str, dict[int, Record]] = {}
    for record in records:
        if record["suite"] == suite and record["trials"] == trials:
            grouped.setdefault(record["method"], {})[record["instance"]] = record
    _check_starts(grouped)
    found = [Curves(name, rows) for name, rows in grouped.items()]
    found.sort(key=lambda row: -row.at(SCORE, trials).mean)
    return {row.name: row for row in found}


def volumes(record: Record) -> list[float]:
    """Hypervolume of the first n trials of a study for each n."""
    accuracy, size = record["reference"]
    points = np.column_stack([record["accuracy"], np.log10(record["size_bits"])])
    found, front, volume = [], np.empty((0, 2)), 0.0
    for point in points:
        if not ((front[:, 0] >= point[0]) & (front[:, 1] <= point[1])).any():
            front = np.vstack([front, point])
            front = front[pareto.front(front, (True, False))]
            volume = pareto.hypervolume(front, (accuracy, size), (True, False))
        found.append(volume)
    return found


def difference(first: Curves, second: Curves, quantity: str, trial: int, second_trial: int | None = None) -> Estimate:
    """Paired difference on the instances that both have, after `trial` trials; of the second, after `second_trial`."""
    both = [number for number in first.instances if number in second.records]
    later = trial if second_trial is None else second_trial
    return Estimate(first.at(quantity, trial, both).values - second.at(quantity, later, both).values)


def trials_to_reach(curve: Curves, level: float) -> int | None:
    """After how many trials the mean score is at a level; None if never."""
    reached = np.flatnonzero(curve.mean(SCORE) >= level)
    return int(reached[0]) + 1 if len(reached) else None


def results_table(
    methods: Mapping[str, Curves], checkpoints: Sequence[int], optima: Mapping[int, float] | None = None
) -> list[str]:
    """Markdown: a row for each method."""
    columns = [f"score @{trial}" for trial in checkpoints] + [f"hypervolume @{trial}" for trial in checkpoints[-2:]]
    columns += (["regret"] if optima else []) + ["CPU s / proposal", "distinct", "n"]
    lines = ["| method | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in methods.values():
        cells = [_plain(row.at(SCORE, trial)) for trial in checkpoints]
        cells += [_plain(row.at(VOLUME, trial)) for trial in checkpoints[-2:]]
        if optima:
            known = [number for number in row.instances if number in optima]
            best = np.mean([optima[number] for number in known]) if known else float("nan")
            cells.append(f"{best - row.at(SCORE, checkpoints[-1], known).mean:.4f}")
        cells += [f"{row.seconds:.3f}", f"{row.distinct:.1f}", f"{len(row.instances)}"]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return lines


def paired_table(methods: Mapping[str, Curves], first: str, quantity: str, checkpoints: Sequence[int]) -> list[str]:
    """Markdown: the method `first` minus each other one, on the same instances."""
    lines = [
        f"| {first} minus | " + " | ".join(f"{quantity} @{trial}" for trial in checkpoints) + " |",
        "|---" * (len(checkpoints) + 1) + "|",
    ]
    for name, row in methods.items():
        if name == first:
            continue
        pairs = [difference(methods[first], row, quantity, trial) for trial in checkpoints]
        if len(pairs[0].values):
            cells = [f"{signed(pair)}, wins {pair.wins}/{len(pair.values)}" for pair in pairs]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def signed(estimate: Estimate) -> str:
    """Mean with its sign and half its 95 % interval."""
    return f"{estimate.mean:+.4f} ± {estimate.half_interval:.4f}"


def _plain(estimate: Estimate) -> str:
    return f"{estimate.mean:.4f} ± {estimate.error:.4f}"


def _padded(values: Sequence[float], length: int) -> np.ndarray:
    """A search that exhausted its space keeps its last value."""
    return np.array([*values, *[values[-1]] * (length - len(values))])


def _check_starts(grouped: Mapping[str, Mapping[int, Record]]) -> None:
    starts: dict[int, tuple[str, list[float]]] = {}
    for name, rows in grouped.items():
        for number, record in rows.items():
            given = sum(value is None for value in record["seconds"])
            if not given:
                continue
            start = record["observed"][:given]
            other, expected = starts.setdefault(number, (name, start))
            if not np.allclose(start, expected, rtol=0, atol=1e-6):
                raise ValueError(f"instance {number}: {name} and {other} began with different networks")
