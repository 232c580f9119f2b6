"""A stage of a run while it goes on, as plain data that is drawn on a terminal or kept in `status.json`."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bompnas.trials.events import SEARCH, Epoch
from bompnas.trials.record.entries import probability_of

FILE = "status.json"
"""Where in a run's folder its driver keeps what goes on, for others to look at."""

_BAR_WIDTH = 20  # [characters]
_FLOAT, _FINE_TUNING = 0.8, 0.15  # of a trial's time


@dataclasses.dataclass(frozen=True)
class Running:
    """A job that runs now.

    Attributes:
        job: Its name (`trial 3`).
        description: What it trains.
        begun: When it was started [s since 1970].
        epoch: The last epoch that it told of; None before the first.
        values: What it measured last in an epoch, as far as that is shown.
    """

    job: str
    description: str
    begun: float
    epoch: Epoch | None = None
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def phase(self) -> str:
        """Where it is, in a few characters."""
        if self.epoch is None:
            return "begun"
        if self.epoch.phase == SEARCH:
            return f"epoch {self.epoch.number}/{self.epoch.total}"
        policy = f" of policy {self.epoch.policy + 1}" if self.epoch.policy else ""
        return f"{self.epoch.phase} {self.epoch.number}/{self.epoch.total}{policy}"

    @property
    def share(self) -> float:
        """How much of it is done, roughly: most of the time goes into the float epochs, and some into measuring."""
        if self.epoch is None:
            return 0.0
        part = self.epoch.number / self.epoch.total
        if self.epoch.phase == SEARCH:
            return part
        return _FLOAT * part if self.epoch.phase == "float" else _FLOAT + _FINE_TUNING * part


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage and what runs in it.

    Attributes:
        name: What is counted (`trial`, `final training`).
        total: How many there will be.
        done: How many are finished.
        running: What runs, longest first.
        standing: How the run stands; None before that is known.
        seconds_left: How long the rest takes, if it goes on as before [s]; None before that is known.
        written: When this was so [s since 1970].
    """

    name: str
    total: int
    done: int
    running: tuple[Running, ...]
    standing: str | None
    seconds_left: float | None
    written: float

    @property
    def progress(self) -> float:
        """How many are done, shares of what runs included."""
        return self.done + sum(running.share for running in self.running)

    @property
    def count(self) -> str:
        """How far it is in words: epochs where all of it is one search of a supernet."""
        epoch = self.running[0].epoch if self.total == 1 and self.running else None
        if epoch is not None and epoch.phase == SEARCH:
            return f"epoch {epoch.number} of {epoch.total}"
        return f"{self.done} of {self.total}"

    def to_json(self) -> str:
        """As the content of `status.json`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Stage":
        """From the content of `status.json`."""
        values: dict[str, Any] = json.loads(text)
        running = tuple(
            Running(**{**item, "epoch": item["epoch"] and Epoch(**item["epoch"])}) for item in values["running"]
        )
        return cls(**{**values, "running": running})


def render(stage: Stage, now: float | None = None) -> RenderableType:
    """A line for the stage and one for each job that runs; nothing is wrapped, descriptions are cut to the width.

    Args:
        stage: What to draw.
        now: The time [s since 1970]; the present if not given.
    """
    head = Table.grid(padding=(0, 1), expand=True)
    for _ in range(3):
        head.add_column(no_wrap=True)
    head.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    bar = ProgressBar(total=max(stage.total, 1), completed=stage.progress, width=_BAR_WIDTH)
    left = "" if stage.seconds_left is None else f"{duration(stage.seconds_left)} left"
    text = ", ".join(filter(None, (left, stage.standing)))
    head.add_row(Text(stage.name, style="bold"), bar, stage.count, Text(text))
    return Group(head, jobs(stage.running, time.time() if now is None else now))


def jobs(running: Sequence[Running], now: float) -> Table:
    """A line for each job: name, where it is, last loss, how long it has run, and what it measured, or else trains."""
    table = Table.grid(padding=(0, 2), expand=True)
    for justify in ("left", "left", "left", "right"):
        table.add_column(no_wrap=True, justify=justify)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for item in running:
        loss = "" if item.epoch is None else f"loss {item.epoch.loss:.4f}"
        text = told({name: value for name, value in item.values.items() if name != "loss"}) or item.description
        table.add_row(item.job, item.phase, loss, duration(now - item.begun), Text(text, style="dim"))
    return table


def told(values: Mapping[str, float]) -> str:
    """Values of an epoch in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def shown(values: Mapping[str, float]) -> dict[str, float]:
    """The values of an epoch that there are, probabilities left out: those are many."""
    return {name: value for name, value in values.items() if math.isfinite(value) and probability_of(name) is None}


def duration(seconds: float) -> str:
    """Seconds as `0:12` or `1:02:03`."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
