"""From the rows of a study to figures: pure."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from speed.summary import Spread

LAST = 5
"""Epochs whose mean accuracy is what a search ends with."""
SHARES = (0.95, 0.99)
"""Of what the search from scratch ends with: when do searches reach it?"""

Course = Mapping[str, Any]


def end(course: Course) -> float:
    """The mean accuracy of the last epochs."""
    return statistics.fmean(course["accuracy"][-LAST:])


def reached(course: Course, accuracy: float) -> tuple[int, float] | None:
    """The first epoch, from 1, with at least this accuracy, and the seconds until its end; None if there is none."""
    for epoch, (found, seconds) in enumerate(zip(course["accuracy"], course["seconds"], strict=True), start=1):
        if found >= accuracy:
            return epoch, seconds
    return None


@dataclasses.dataclass(frozen=True)
class Study:
    """The rows of a study.

    Attributes:
        rows: As they were measured; those of a seed count once all of its searches have ended.
    """

    rows: Sequence[Mapping[str, Any]]

    @property
    def plan(self) -> Mapping[str, Any]:
        """What was searched."""
        return next(row for row in self.rows if row["of"]["kind"] == "plan")

    @property
    def added(self) -> list[int]:
        """Numbers of classes after each update."""
        return list(self.plan["classes"][1:])

    @property
    def seeds(self) -> list[int]:
        """Those that are complete."""
        done = [row["of"]["seed"] for row in self.rows if row["of"]["kind"] == "updates"]
        scratch = {(row["of"]["seed"], row["of"].get("classes")) for row in self.rows if "seed" in row["of"]}
        return [seed for seed in done if all((seed, classes) in scratch for classes in self.added)]

    def update(self, seed: int, classes: int) -> Course:
        """The search that goes on to so many classes; for the first number that from scratch."""
        steps = next(row for row in self.rows if row["of"] == {"kind": "updates", "seed": seed})["steps"]
        return next(step for step in steps if step["classes"] == classes)

    def scratch(self, seed: int, classes: int) -> Course:
        """The search that begins anew with so many classes."""
        if classes == self.plan["classes"][0]:
            return self.update(seed, classes)
        of = {"kind": "from scratch", "seed": seed, "classes": classes}
        return next(row for row in self.rows if row["of"] == of)

    def until(self, side: str, classes: int, share: float) -> list[tuple[int, float] | None]:
        """Of each seed, epochs and seconds until a share of what the search from scratch ends with is reached.

        Args:
            side: `update` or `scratch`.
            classes: How many.
            share: Of that accuracy.
        """
        return [
            reached(getattr(self, side)(seed, classes), share * end(self.scratch(seed, classes))) for seed in self.seeds
        ]

    def totals(self, seed: int) -> dict[str, float]:
        """CPU seconds of one seed: `first` search, all `updates`, and one search from `scratch` on all classes."""
        first, *_, last = self.plan["classes"]
        return {
            "first": self.update(seed, first)["whole_seconds"],
            "updates": sum(self.update(seed, classes)["whole_seconds"] for classes in self.added),
            "scratch": self.scratch(seed, last)["whole_seconds"],
        }

    def stopped(self, seed: int, share: float) -> dict[str, tuple[int, float]]:
        """Epochs and CPU seconds of one seed if each search ended once it has reached a share.

        Args:
            seed: The seed.
            share: Of what the search from scratch on the same classes ends with.

        Returns:
            Of the `lifelong` searches, the first one and all updates, and of one from `scratch` on all classes.
        """

        def spent(course: Course, classes: int) -> tuple[int, float]:
            whole = len(course["accuracy"]), course["whole_seconds"]
            return reached(course, share * end(self.scratch(seed, classes))) or whole

        epochs, seconds = zip(
            *(spent(self.update(seed, classes), classes) for classes in self.plan["classes"]), strict=True
        )
        last = self.added[-1]
        return {"lifelong": (sum(epochs), sum(seconds)), "scratch": spent(self.scratch(seed, last), last)}

    def start(self, seed: int) -> float:
        """CPU seconds before the first epoch of a search, such as for compiling: the mean of one seed's updates."""
        courses = [self.update(seed, classes)["seconds"] for classes in self.added]
        return statistics.fmean(
            seconds[0] - (seconds[-1] - seconds[0]) / (len(seconds) - 1) for seconds in courses if len(seconds) > 1
        )


def mean(values: Iterable[float], digits: int = 1) -> str:
    """The mean of shares, in percent."""
    return f"{100 * statistics.fmean(values):.{digits}f}"


def spread(values: Sequence[float | None], digits: int) -> str:
    """Median and range; of values that are missing, how many."""
    there = [value for value in values if value is not None]
    text = Spread.of(there).text(digits) if there else ""
    missing = len(values) - len(there)
    return ", ".join(filter(None, (text, f"never in {missing} of {len(values)}" if missing else "")))
