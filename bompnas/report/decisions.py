"""What the search of a supernet chooses between, read from its curves."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from bompnas.report.view import RunView
from bompnas.trials.record.entries import probability_of

_PARTS = ("stem", "", "last_conv", "head")
_CHOICES = ("kernel", "expansion", "repetitions", "bits")
_SKIP = {"0": "skip", "1": "keep"}


@dataclasses.dataclass(frozen=True, eq=False)
class Decision:
    """One gene of a supernet and how probable its values were.

    Attributes:
        gene: Its name (`block2.kernel`).
        values: Its values as text, ascending.
        probabilities: Of each value in every epoch, (values, epochs); NaN where an epoch has none.
    """

    gene: str
    values: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def part(self) -> str:
        """The part of the network that it is of: `block2`; empty where it is of the whole."""
        return self.gene.rpartition(".")[0]

    @property
    def choice(self) -> str:
        """What is chosen: `kernel`."""
        return self.gene.rpartition(".")[2]

    @property
    def optional(self) -> bool:
        """Whether it is about keeping its part or not."""
        return self.choice == "repetitions" and set(self.values) <= set(_SKIP)

    @property
    def labels(self) -> tuple[str, ...]:
        """Its values as they are shown."""
        return tuple(_SKIP[value] for value in self.values) if self.optional else self.values

    def last(self, value: object) -> float:
        """The last known probability of a value; NaN without one."""
        if str(value) not in self.values:
            return np.nan
        known = self.probabilities[self.values.index(str(value))]
        known = known[np.isfinite(known)]
        return float(known[-1]) if len(known) else np.nan


def decisions(view: RunView) -> tuple[Decision, ...]:
    """All decisions of a supernet, part by part in the order of the network."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, curve in view.curves.items():
        probability = probability_of(name)
        if probability is not None:
            gene, value = probability
            found.setdefault(gene, {})[value] = np.asarray(curve, dtype=np.float64)
    return tuple(sorted((_decision(gene, curves) for gene, curves in found.items()), key=_order))


def parts(found: tuple[Decision, ...]) -> list[str]:
    """The parts that there are decisions on, in the order of the network."""
    return list(dict.fromkeys(decision.part for decision in found))


def choices(found: tuple[Decision, ...]) -> list[str]:
    """What there is to choose, the kernel first."""
    return sorted({decision.choice for decision in found}, key=_choice_order)


def part_label(part: str) -> str:
    """A part in words: `block 2`."""
    return re.sub(r"(?<=[a-z])(?=\d)|_", " ", part) or "network"


def _decision(gene: str, curves: Mapping[str, np.ndarray]) -> Decision:
    values = tuple(sorted(curves, key=_value_order))
    epochs = min(map(len, curves.values()))
    return Decision(gene, values, np.stack([curves[value][:epochs] for value in values]))


def _value_order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def _order(decision: Decision) -> tuple:
    number = re.search(r"\d+", decision.part)
    place = _PARTS.index(decision.part) if decision.part in _PARTS else 1
    return place, int(number[0]) if number else 0, decision.part, _choice_order(decision.choice)


def _choice_order(choice: str) -> tuple[int, str]:
    return _CHOICES.index(choice) if choice in _CHOICES else len(_CHOICES), choice
