"""What the user sees while a run goes on: one line per finished trial and, on a terminal, a live line below them."""

import contextlib
import logging
import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from bompnas.candidate import Candidate
from bompnas.hardware.quantities import CYCLES, ENERGY, FACTS, LATENCY, named

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def console_logging(console: Console) -> Iterator[None]:
    """Shows what the package logs on a console, and nowhere else but in handlers of the package's own logger."""
    logger = logging.getLogger("bompnas")
    handler = _ConsoleHandler(console)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the message as it is, above the live bar where there is one."""
        self._console.print(record.getMessage(), markup=False, highlight=False, soft_wrap=True)


class Progress:
    """Progress of one stage of a run; a context manager.

    Lines go to the package's logger (and so to the run's log and the console); the live bar only to a terminal.

    Args:
        stage: What is counted (`trial`, `final training`).
        total: How many there will be.
        done: How many were finished before, in an earlier session.
        console: Where the bar is drawn.
    """

    def __init__(self, stage: str, total: int, done: int, console: Console):
        self._stage = stage
        self._total = total
        self._before = self._done = done
        self._running: dict[int, str] = {}
        self._begin = time.monotonic()
        columns = (
            TextColumn("{task.fields[stage]}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._bar_task = self._bar.add_task("", total=total, completed=done, stage=stage)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def started(self, number: int, description: str) -> None:
        """Something new is being tried."""
        self._running[number] = description
        _log.debug("%s %d of %d: %s", self._stage, number, self._total, description)
        self._redraw()

    def finished(self, number: int, verdict: str, standing: str | None = None) -> None:
        """It came to an end; `standing` says how the run stands now."""
        self._done += 1
        aside = [standing] if standing else []
        if self._done < self._total:
            aside.append(f"{_duration(self._seconds_left())} left")
        line = f"{self._stage} {number} of {self._total}: {self._running.pop(number)} -> {verdict}"
        _log.info("%s", line + (f" [{', '.join(aside)}]" if aside else ""))
        self._redraw()

    def _redraw(self) -> None:
        trying = "; ".join(f"{number}: {description}" for number, description in self._running.items())
        self._bar.update(self._bar_task, completed=self._done, description=trying)

    def _seconds_left(self) -> float:
        rate = (time.monotonic() - self._begin) / (self._done - self._before)
        return rate * (self._total - self._done)


def describe(candidate: Candidate) -> str:
    """A network in a few words: packed size, operations, what a device charges, range of weight widths."""
    widths = [layer.weight_bits for layer in candidate.network.layers if layer.kind != "float"]
    bits = f"{min(widths)}-{max(widths)}" if min(widths) < max(widths) else f"{widths[0]}"
    parts = [f"{candidate.cost['size_kb']:.1f} kB", f"{candidate.cost['macs'] / 1e6:.3g} M MACs"]
    for quantity in map(named, candidate.cost):
        if quantity == CYCLES and LATENCY.name in candidate.cost:
            continue  # the same told twice
        if quantity.name not in FACTS:
            words = [quantity.unit] if quantity in (LATENCY, ENERGY, CYCLES) else [quantity.unit, quantity.words]
            parts.append(" ".join([f"{candidate.cost[quantity.name]:.3g}", *filter(None, words)]))
    return f"{', '.join(parts)}, {bits} bits"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
