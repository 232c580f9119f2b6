"""What a run's record holds besides its candidates, as plain data."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from bompnas.space.space import Genotype, Value


def probability_name(gene: str, value: Value) -> str:
    """What the curve of a value's probability is called: `p(block2.kernel=5)`."""
    return f"p({gene}={value})"


def probability_of(name: str) -> tuple[str, str] | None:
    """The gene and the value whose probability a curve is; None where it is of something else."""
    found = re.fullmatch(r"p\(([^=]+)=(.+)\)", name)
    return found and (found[1], found[2])


@dataclasses.dataclass(frozen=True)
class StoredProposal:
    """What a proposer saw and what it said.

    Attributes:
        index: Number of the proposal, from 0.
        trial: The trial that it became.
        genotypes: What was proposed, one for each policy.
        completed: Ids of the completed and failed candidates that it saw.
        pending: Ids of the pending candidates that it saw.
        details: What the proposer told of itself (its source, what it expected).
        fit: Hyper-parameters that were fitted for it; None if earlier ones served.
    """

    index: int
    trial: int
    genotypes: tuple[Genotype, ...]
    completed: tuple[int, ...]
    pending: tuple[int, ...]
    details: Mapping[str, float | str]
    fit: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Final:
    """A candidate's final training.

    Attributes:
        candidate: Id of the candidate.
        metrics: What was measured after it; empty if it failed.
        seconds: Wall time of each phase [s].
        score: The scalarized objectives of the final metrics; None if it failed.
        model: Path of the saved model within the run's folder; None if it failed.
        error: Why it failed; None otherwise.
    """

    candidate: int
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    score: float | None
    model: str | None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Export:
    """The integer files of a finally trained network, and what they were found to compute.

    Attributes:
        candidate: Id of the candidate.
        settings: The experiment's section `export` that they were made by.
        packed: Path of the packed file within the run's folder; None if there is none.
        packed_bytes: Its size.
        tflite: Path of the LiteRT file within the run's folder; None if there is none.
        tflite_bytes: Its size.
        not_exportable: Why there is no LiteRT file: the layer, and what stands in the way; None otherwise.
        images: Number of test images that were compared.
        metrics: Of the LiteRT file on the test part: `test_accuracy`, ...
        argmax: Smallest share of images on which two engines agree; None if nothing was compared.
        max_lsb: Largest difference of two engines' outputs [least significant bits].
        deviation: What differs first, where it is more than the limits allow; None otherwise.
        latency: Of the LiteRT file on the machine that exported it: `median_ms`, `low_ms`, `high_ms`, `threads`, `cpu`.
        error: Why the export failed, in one line; None otherwise.
    """

    candidate: int
    settings: Mapping[str, Any]
    packed: str | None = None
    packed_bytes: int | None = None
    tflite: str | None = None
    tflite_bytes: int | None = None
    not_exportable: str | None = None
    images: int = 0
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    argmax: float | None = None
    max_lsb: int | None = None
    deviation: str | None = None
    latency: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Incident:
    """What befell a trial, a final training or an export that went on, or failed, because of it.

    Attributes:
        source: `trial 3`, `final 3` or `export 3`.
        time: When it was noticed, in UTC, as ISO text.
        reason: What happened, in one line.
    """

    source: str
    time: str
    reason: str
