"""A candidate: a network and everything measured about it."""

import dataclasses
import enum
from collections.abc import Mapping

from bompnas.space.space import Decoded, Genotype


class State(enum.StrEnum):
    """Where a candidate stands. Infeasible networks never become candidates."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One network with its policy, and what is known of it.

    Attributes:
        id: Number of the candidate in its run, from 1.
        trial: Number of the float training that it came from, from 1.
        network: The realised network; a `Point` where the space is one of plain genes.
        genotype: The genes that it was decoded from; None where a method has none.
        state: Pending, completed or failed.
        cost: What a hardware model says of it before any training; keys carry their unit (`size_bits`).
        metrics: What was measured (`val_accuracy`, ...); empty until completed.
        seconds: Wall time of each phase [s].
        score: The scalarized objectives; None until completed.
        error: Why it failed; None otherwise.
    """

    id: int
    trial: int
    network: Decoded
    genotype: Genotype | None
    state: State
    cost: Mapping[str, float]
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    score: float | None = None
    error: str | None = None

    @property
    def values(self) -> dict[str, float]:
        """Costs and metrics in one mapping: what objectives and constraints look up."""
        return {**self.cost, **self.metrics}
