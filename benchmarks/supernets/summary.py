"""From the rows of searches to figures: pure."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from speed.summary import Difference

from bompnas import pareto
from supernets import cases

Row = Mapping[str, Any]
WORST_ACCURACY = 0.9
"""Where hypervolumes begin; in latency they begin at that of MobileNetV2."""
MOBILENET, HQNAS = "MobileNetV2", "hqnas"


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean, and the standard deviation of the values; None of a single one."""

    value: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> "Mean":
        """Of one value or more."""
        values = list(values)
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def text(self, digits: int, factor: float = 1.0, sign: str = "") -> str:
        """Mean ± standard deviation, both times a factor."""
        mean = f"{factor * self.value:{sign}.{digits}f}"
        return mean if self.deviation is None else f"{mean} ± {factor * self.deviation:.{digits}f}"


@dataclasses.dataclass(frozen=True)
class Study:
    """All rows.

    Attributes:
        rows: As `supernets.study` keeps them.
    """

    rows: Sequence[Row]

    def of(self, part: str, name: str | None = None) -> list[Row]:
        """The rows of a part, of one name where one is given, by seed."""
        found = [row for row in self.rows if row["of"]["part"] == part]
        if name is not None:
            found = [row for row in found if row["of"]["name"] == name]
        return sorted(found, key=lambda row: row["of"]["seed"])

    def decided(self, prior: str) -> list[Row]:
        """What each search with a prior decided."""
        return [row["networks"][0] for row in self.of("prior", prior)]

    def best(self, method: str, prior: str) -> list[Row]:
        """Of each search the finally trained network of the largest reward on the validation part."""
        rows = self.of("prior", prior) if method == HQNAS else self.of("method", method)
        return [max(row["networks"], key=lambda network: network["rewards"][prior]["val"]) for row in rows]

    @property
    def baselines(self) -> list[Row]:
        """MobileNetV2, quantized, of each seed."""
        return [row["networks"][0] for row in self.of("baseline")]

    @property
    def float_accuracy(self) -> Mean:
        """Of MobileNetV2 in float, on the test part."""
        return Mean.of(network["metrics"]["float_test_accuracy"] for network in self.baselines)

    def error_difference(self, networks: Sequence[Row]) -> float:
        """Mean error of networks less that of MobileNetV2 in float."""
        return self.float_accuracy.value - accuracy(networks).value

    def hypervolumes(self, part: str, name: str) -> Mean:
        """Of the finally trained networks of each search, as a share of all that is better than the reference."""
        reference = (WORST_ACCURACY, self.baselines[0]["latency_ms"])
        whole = (1 - WORST_ACCURACY) * reference[1]

        def volume(networks: Sequence[Row]) -> float:
            points = [(network["metrics"]["test_accuracy"], network["latency_ms"]) for network in networks]
            return pareto.hypervolume(np.array(points), reference, [True, False]) / whole

        return Mean.of(volume(row["networks"]) for row in self.of(part, name))

    def inherited(self, epochs: int) -> tuple[Mean, Mean, Difference | None]:
        """Test accuracy after so many epochs from fresh weights, from inherited ones, and the paired difference."""
        fresh, inherited = (
            [
                training["metrics"]["test_accuracy"]
                for prior in cases.PRIORS
                for training in self.trainings(prior, kind, epochs)
            ]
            for kind in cases.WEIGHTS
        )
        difference = Difference.paired(inherited, fresh) if len(fresh) > 1 else None
        return Mean.of(fresh), Mean.of(inherited), difference

    def trainings(self, prior: str, weights: str, epochs: int) -> list[Row]:
        """The decided networks of a prior, trained from such weights for so many epochs."""
        return [
            training
            for row in self.of("prior", prior)
            for training in row["trainings"]
            if (training["weights"], training["epochs"]) == (weights, epochs)
        ]

    @property
    def epochs(self) -> list[int]:
        """Numbers of epochs that decided networks were finally trained for."""
        return sorted({training["epochs"] for row in self.of("prior") for training in row["trainings"]})

    def wins(self, part: str, device: str) -> tuple[int, int, int]:
        """Pairs of searches of one seed: where the network for a device is faster on it, where better, and all.

        Better is a larger reward; equal ones are no wins.
        """
        (other,) = set(cases.DEVICES) - {device}
        own, foreign = (
            {row["of"]["seed"]: row["on"][device] for row in self.of(part, name)} for name in (device, other)
        )
        pairs = [(own[seed], foreign[seed]) for seed in own.keys() & foreign.keys()]
        faster = sum(one["latency_ms"] < another["latency_ms"] for one, another in pairs)
        return faster, sum(one["reward"] > another["reward"] for one, another in pairs), len(pairs)


def accuracy(networks: Sequence[Row]) -> Mean:
    """Test accuracy, quantized."""
    return Mean.of(network["metrics"]["test_accuracy"] for network in networks)


def reward(networks: Sequence[Row], prior: str) -> Mean:
    """Of the test accuracy."""
    return Mean.of(network["rewards"][prior]["test"] for network in networks)


def apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether all of one are on one side of all others."""
    return max(one) < min(other) or max(other) < min(one)


def bits_of(networks: Sequence[Row]) -> Mean:
    """Mean bits of the groups that are not skipped."""
    return Mean.of(statistics.fmean(_of_present(network["genotype"], "bits")) for network in networks)


def kernel_of(networks: Sequence[Row]) -> Mean:
    """Mean kernel of the groups that are not skipped."""
    return Mean.of(statistics.fmean(_of_present(network["genotype"], "kernel")) for network in networks)


def expansion_of(networks: Sequence[Row]) -> Mean:
    """Mean expansion of the groups that are not skipped."""
    return Mean.of(statistics.fmean(_of_present(network["genotype"], "expansion")) for network in networks)


def groups_of(networks: Sequence[Row]) -> Mean:
    """Number of groups that are not skipped."""
    return Mean.of(len(_of_present(network["genotype"], "kernel")) for network in networks)


def _of_present(genotype: Mapping[str, int], gene: str) -> list[int]:
    names = [name.split(".")[0] for name in genotype if name.endswith(f".{gene}")]
    return [genotype[f"{name}.{gene}"] for name in names if genotype.get(f"{name}.repetitions", 1) > 0]
