"""Wall and CPU time, by phase and by epoch."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Moment:
    """A moment on both clocks [s]."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Moment":
        """This moment; CPU time is that of the whole process."""
        return cls(time.perf_counter(), time.process_time())


class Phases:
    """Adds up wall and CPU time by phase, in `wall` and `cpu`."""

    def __init__(self):
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Counts the time inside the `with` block."""
        start = Moment.now()
        try:
            yield
        finally:
            end = Moment.now()
            self.wall[phase] = self.wall.get(phase, 0.0) + end.wall - start.wall
            self.cpu[phase] = self.cpu.get(phase, 0.0) + end.cpu - start.cpu


def epochs(total: float, ends: Sequence[float]) -> list[float]:
    """Time of each epoch of a phase that took `total`, of which the ends of the epochs are known.

    What goes before the first epoch counts with it: there the step is traced.
    """
    later = np.diff(ends).tolist()
    return [total - sum(later), *later]


def steady(times: Sequence[float]) -> float | None:
    """Time of an epoch once everything is traced; None if there is no second epoch to tell."""
    return float(np.median(times[1:])) if len(times) > 1 else None


def split(trial: Mapping[str, Any], clock: str, qaft_epoch: float | None) -> dict[str, float]:
    """Where a trial's time went, by `PHASES`.

    Args:
        trial: What a worker measured.
        clock: `wall` or `cpu`.
        qaft_epoch: Time of one traced epoch of fine-tuning, where it is known from elsewhere.
    """
    spent, total = dict(trial[clock]), trial["total"][clock]
    float_epoch = steady(trial["epochs"]["float"][clock])
    qaft = trial["epochs"]["qaft"][clock]
    found = {
        "build": spent.pop("build", 0.0),
        "quantize": spent.pop("quantize", 0.0),
        "evaluate": spent.pop("evaluate", 0.0),
    }
    train, fine_tune = spent.pop("train", 0.0), spent.pop("qaft", 0.0)
    found["train"] = train if float_epoch is None else min(train, float_epoch * len(trial["epochs"]["float"][clock]))
    found["trace"] = train - found["train"]
    found["qaft"] = fine_tune if qaft_epoch is None else min(fine_tune, qaft_epoch * len(qaft))
    found["trace qaft"] = fine_tune - found["qaft"]
    found["rest"] = total - sum(found.values())
    return {phase: found[phase] for phase in PHASES}


PHASES = ("build", "trace", "train", "evaluate", "quantize", "trace qaft", "qaft", "rest")
"""In order; `trace` is what the first epoch takes longer than the others."""
