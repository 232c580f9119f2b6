"""From the rows of a study to figures: pure."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from speed import clocks
from speed.clocks import PHASES

Row = Mapping[str, Any]
FIXED = ("build", "trace", "quantize", "trace qaft", "rest")
"""Phases that take as long however much data there is."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median and how far the values lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Of one value or more."""
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        """Median (lowest to highest)."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of means and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> "Difference":
        """Of independent samples of two values or more."""
        error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
        return cls(statistics.fmean(ours) - statistics.fmean(theirs), error)

    @classmethod
    def paired(cls, ours: Sequence[float], theirs: Sequence[float]) -> "Difference":
        """Of samples of which one belongs to the other, two pairs or more."""
        differences = [one - other for one, other in zip(ours, theirs, strict=True)]
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        return cls(statistics.fmean(differences), error)


@dataclasses.dataclass(frozen=True)
class Study:
    """The rows of one case with so many threads.

    Attributes:
        rows: All of the case's rows.
        threads: Of each side.
    """

    rows: Sequence[Row]
    threads: int

    @property
    def networks(self) -> list[str]:
        """Names of the networks with trials, in order."""
        return list(dict.fromkeys(row["of"]["network"] for row in self._of("trial")))

    @property
    def facts(self) -> Row:
        """How much a trial does."""
        (found,) = [row for row in self.rows if row["of"]["kind"] == "facts"]
        return found

    def trials(self, side: str, network: str, kind: str = "trial") -> list[Row]:
        """A network's trials, by seed."""
        found = [row for row in self._of(kind) if row["of"]["side"] == side and row["of"]["network"] == network]
        return sorted(found, key=lambda row: row["of"]["seed"])

    def total(self, side: str, network: str, clock: str) -> Spread:
        """Time of a trial [s]."""
        return Spread.of(row["total"][clock] for row in self.trials(side, network))

    def ratio(self, network: str, clock: str) -> Spread:
        """How many times as long the baseline takes: of the medians, and of the trials with one seed."""
        theirs, ours = (self.trials(side, network) for side in ("baseline", "ours"))
        pairs = [one["total"][clock] / other["total"][clock] for one, other in zip(theirs, ours, strict=False)]
        medians = self.total("baseline", network, clock).median / self.total("ours", network, clock).median
        return Spread(medians, min(pairs), max(pairs))

    def phases(self, side: str, network: str, clock: str) -> dict[str, float]:
        """Where the time of a trial goes [s]; medians of the phases."""
        qaft_epoch = self.qaft_epoch(side, network, clock)
        found = [clocks.split(row, clock, qaft_epoch) for row in self.trials(side, network)]
        return {phase: statistics.median(split[phase] for split in found) for phase in PHASES}

    def epoch(self, side: str, network: str, clock: str) -> float:
        """A traced epoch of float training [s]."""
        return statistics.median(
            time for row in self.trials(side, network) for time in row["epochs"]["float"][clock][1:]
        )

    def qaft_epoch(self, side: str, network: str, clock: str) -> float | None:
        """A traced epoch of fine-tuning [s], if it was measured."""
        for row in self._of("long qaft"):
            if row["of"]["side"] == side and row["of"]["network"] == network:
                return clocks.steady(row["epochs"]["qaft"][clock])
        return None

    def metric(self, side: str, network: str, name: str, kinds: Sequence[str] = ("trial", "accuracy")) -> list[float]:
        """A metric by seed: of each trial, and of the further float trainings that only tell accuracies."""
        rows = [row for kind in kinds for row in self.trials(side, network, kind)]
        return [row["metrics"][name] for row in rows if name in row["metrics"]]

    def policy_shares(self, network: str, clock: str) -> list[Spread]:
        """What each further policy of a network costs, as a share of the trial with the first one alone."""
        rows = [row for row in self._of("policies") if row["of"]["network"] == network]
        if not rows:
            return []
        count = len(rows[0]["policies"])
        return [
            Spread.of(
                row["policies"][place][clock]
                / (row["total"][clock] - sum(other[clock] for other in row["policies"][1:]))
                for row in rows
            )
            for place in range(1, count)
        ]

    def bare(self, network: str) -> Row | None:
        """Seconds of the bare convolutions, if they were measured."""
        return next((row for row in self._of("bare") if row["of"]["network"] == network), None)

    def firsts(self) -> dict[str, Row]:
        """The first trial of each side's process."""
        return {row["of"]["side"]: row for row in self._of("first")}

    def _of(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row["of"]["kind"] == kind and row["of"].get("threads") == self.threads]


def bare_seconds(bare: Row, facts: Row) -> dict[str, float]:
    """Time of the bare convolutions of a whole trial, by phase [s]."""
    epoch = bare["step"] * (facts["images"] // facts["batch"])
    batches = math.ceil(facts["validation"] / facts["batch"])
    return {
        "train": epoch * facts["epochs"],
        "qaft": epoch * facts["qaft_epochs"],
        "evaluate": 2 * bare["inference"] * batches,
    }


def extrapolated(phases: Mapping[str, float], facts: Row, images: int, epochs: int) -> float:
    """Time of a trial with more images and epochs [s].

    Training and fine-tuning grow with images and epochs; evaluation is left as it is, and the rest does not grow.
    """
    more = images / facts["images"]
    fixed = sum(phases[phase] for phase in FIXED) + phases["evaluate"]
    return fixed + phases["train"] * more * epochs / facts["epochs"] + phases["qaft"] * more
