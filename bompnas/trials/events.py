"""What is told of a job while it goes on."""

import dataclasses
from collections.abc import Mapping

SEARCH = "search"
"""The phase of a job that trains a supernet and searches in it; also that job's name."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """An epoch has ended.

    Attributes:
        phase: `float`, `qaft` or `search`.
        policy: Which of the trial's policies is fine-tuned, from 0; 0 in the other phases.
        number: The epoch, from 1.
        total: Epochs of the phase.
        loss: Mean training loss of the epoch.
    """

    phase: str
    policy: int
    number: int
    total: int
    loss: float


@dataclasses.dataclass(frozen=True)
class Values:
    """What a job measured in an epoch; told after the epoch has ended, and written to the record.

    Attributes:
        number: The epoch, from 1.
        values: What was measured, by name; NaN where an epoch has no such value.
    """

    number: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Note:
    """Something that the user should know; it is logged.

    Attributes:
        text: What there is to know of the job.
    """

    text: str


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A state from which the trial can go on.

    Attributes:
        state: An .npz file's content.
    """

    state: bytes


@dataclasses.dataclass(frozen=True)
class Lost:
    """The process that carried out the trial went away; told by who started it.

    Attributes:
        reason: What happened to it, and what follows, in one line.
    """

    reason: str
