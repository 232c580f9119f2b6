"""What the user sees while a run goes on: one line per finished trial and, on a terminal, below them what runs."""

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live

from bompnas.candidate import Candidate
from bompnas.hardware.quantities import CYCLES, ENERGY, FACTS, LATENCY, named
from bompnas.trials.events import Epoch, Lost, Values
from bompnas.trials.watching.live import Running, Stage, duration, render, shown, told
from bompnas.whole_files import replacing

_REDRAWS = 2  # a second
_SECONDS_BETWEEN_WRITES = 1.0

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

    Lines go to the package's logger (and so to the run's log and the console); what runs is drawn below them, on a
    terminal only.

    Args:
        stage: What is counted (`trial`, `final training`).
        total: How many there will be.
        done: How many were finished before, in an earlier session.
        console: Where what runs is drawn.
        status: A file to keep it in as well, for other processes; None for none.
    """

    def __init__(self, stage: str, total: int, done: int, console: Console, status: Path | None = None):
        self._stage = stage
        self._total = total
        self._before = self._done = done
        self._status = status
        self._running: dict[str, Running] = {}
        self._heard: set[str] = set()
        self._standing: str | None = None
        self._begin = time.monotonic()
        self._written = -math.inf
        self._live = Live(
            get_renderable=lambda: render(self.now()),
            console=console,
            transient=True,
            refresh_per_second=_REDRAWS,
            vertical_overflow="crop",
        )
        self._shown = console.is_terminal

    def __enter__(self) -> "Progress":
        if self._shown:
            self._live.start()
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._status is not None:
            with contextlib.suppress(OSError):
                self._status.unlink(missing_ok=True)

    def started(self, number: int, description: str, job: str | None = None) -> None:
        """Something new is being tried, by a job of that name; `<stage> <number>` if not given."""
        job = job or f"{self._stage} {number}"
        self._running = self._running | {job: Running(job, description, time.time())}
        _log.debug("%s %d of %d: %s", self._stage, number, self._total, description)
        self._write()

    def heard(self, job: str, event: Epoch | Values | Lost) -> None:
        """A job that runs has told of an epoch, of what it measured in it, or was lost."""
        running = self._running[job]
        if isinstance(event, Values):
            running = dataclasses.replace(running, values=shown(event.values))
        elif isinstance(event, Epoch):
            running = dataclasses.replace(running, epoch=event)
            self._count_from(running)
        else:
            running = dataclasses.replace(running, epoch=None, values={})
        self._running = self._running | {job: running}
        if isinstance(event, Values):
            self._log_values(running, event.number)
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES:
            self._write()

    def finished(self, number: int, verdict: str, standing: str | None = None, job: str | None = None) -> None:
        """It came to an end; `standing` says how the run stands now."""
        job = job or f"{self._stage} {number}"
        description = self._running[job].description
        self._running = {name: running for name, running in self._running.items() if name != job}
        self._done += 1
        self._standing = standing
        aside = [standing] if standing else []
        left = self.now().seconds_left
        if left is not None:
            aside.append(f"{duration(left)} left")
        line = f"{self._stage} {number} of {self._total}: {description} -> {verdict}"
        _log.info("%s", line + (f" [{', '.join(aside)}]" if aside else ""))
        self._write()

    def now(self) -> Stage:
        """How the stage stands."""
        running = tuple(self._running.values())  # mappings are replaced, not changed: the display has its own thread
        stage = Stage(self._stage, self._total, self._done, running, self._standing, None, time.time())
        return dataclasses.replace(stage, seconds_left=self._seconds_left(stage.progress))

    def _seconds_left(self, progress: float) -> float | None:
        """By what was done in this session, epochs of what runs included; None before the first one and at the end."""
        if progress == self._before or self._done == self._total:
            return None
        seconds = time.monotonic() - self._begin
        return seconds / (progress - self._before) * max(self._total - progress, 0)

    def _count_from(self, running: Running) -> None:
        """Leaves out of the time left the epochs that a job had behind it when it was first heard of."""
        if running.job not in self._heard:
            self._heard.add(running.job)
            before = dataclasses.replace(running.epoch, number=running.epoch.number - 1)
            self._before += dataclasses.replace(running, epoch=before).share

    def _log_values(self, running: Running, number: int) -> None:
        epoch = f"epoch {number}" + (f" of {running.epoch.total}" if running.epoch else "")
        left = self.now().seconds_left
        parts = [epoch, told(running.values), None if left is None else f"{duration(left)} left"]
        _log.info("%s: %s", running.job, ", ".join(filter(None, parts)))

    def _write(self) -> None:
        if self._status is None:
            return
        self._written = time.monotonic()
        with contextlib.suppress(OSError), replacing(self._status) as draft:  # a view: other writes tell of a full disk
            draft.write_text(self.now().to_json(), encoding="utf-8")


class Watch:
    """Shows all stages of a run, one after the other.

    Args:
        console: Where it is drawn.
        status: A file to keep it in as well, for other processes; None for none.
        listen: Told of every epoch and of what was measured in it too, with the name of its job.
    """

    def __init__(
        self,
        console: Console,
        status: Path | None = None,
        listen: Callable[[str, Epoch | Values], None] | None = None,
    ):
        self._console = console
        self._status = status
        self._listen = listen
        self._stage: Progress | None = None

    @contextlib.contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Progress]:
        """Shows a stage; see `Progress`."""
        with Progress(name, total, done, self._console, self._status) as self._stage:
            yield self._stage

    def hear(self, job: str, event: Epoch | Values | Lost) -> None:
        """A job of the stage has told of an epoch, of what it measured in it, or was lost."""
        self._stage.heard(job, event)
        if self._listen is not None and isinstance(event, Epoch | Values):
            self._listen(job, event)


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
