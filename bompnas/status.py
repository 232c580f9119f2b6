"""How a run stands, read from its folder at any time, while another process carries it out too.

python -m bompnas.run --status runs/digits
"""

import collections
import dataclasses
import datetime
import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.report import PAGE
from bompnas.report.quantities import Quantity, quantity
from bompnas.report.tables import measured_keys
from bompnas.report.view import RunView, load
from bompnas.trials import folder as folders
from bompnas.trials.record import Incident, Record
from bompnas.trials.watching import live
from bompnas.trials.watching.live import Stage, duration

LOG = "run.log"
_SECONDS_BETWEEN_LOOKS = 2.0
_SCORE = Quantity("score", "score", digits=4)
_INCIDENTS_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Status:
    """How a run stands.

    Attributes:
        folder: Its folder.
        view: What its record holds.
        incidents: What befell its trials, oldest first.
        driver: Who carries it out now (`process 7 on host`); None if nobody does.
        stage: What its driver does now; None if nobody carries it out, or it is between two stages.
        begun: When it was begun; None where its log is gone.
        changed: When its record was last written.
    """

    folder: Path
    view: RunView
    incidents: tuple[Incident, ...]
    driver: str | None
    stage: Stage | None
    begun: datetime.datetime | None
    changed: datetime.datetime

    @property
    def planned(self) -> int | None:
        """Number of trials that the method is to carry out; None where it searches a supernet instead."""
        return self.view.experiment["method"].get("trials")

    @property
    def failed(self) -> tuple[int, ...]:
        """The trials of which every candidate has failed."""
        states = self._states()
        return tuple(trial for trial, found in states.items() if found == {State.FAILED})

    @property
    def pending(self) -> tuple[int, ...]:
        """The trials that were begun and have not ended."""
        return tuple(trial for trial, found in self._states().items() if State.PENDING in found)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        if self.driver or self.pending:
            return False
        if not self.view.front:
            return bool(self.view.candidates) and self.view.trials >= (self.planned or 1)
        exporting = self.view.experiment.get("export", {}).get("format", "none") != "none"
        exported = {export.candidate for export in self.view.exports}
        return self.view.finished and not (exporting and {item.id for item in self.view.trained} - exported)

    @property
    def state(self) -> str:
        """Whether it is running, finished or stopped, in a few words."""
        if self.driver:
            return f"running ({self.driver})"
        return "finished" if self.finished else "stopped; the command that began it goes on with it"

    @property
    def seconds(self) -> dict[str, float]:
        """Mean seconds of a completed trial, or of the search of a supernet, by phase [s]."""
        completed = self.view.completed
        trials = len({candidate.trial for candidate in completed})
        sums: collections.Counter[str] = collections.Counter()
        for candidate in completed:
            sums.update(candidate.seconds)
        return {phase: value / trials for phase, value in sums.items()}

    @property
    def failures(self) -> dict[str, tuple[str, ...]]:
        """Why trials, final trainings and exports failed: reason -> what failed of it (`trial 3`)."""
        reasons: dict[str, dict[str, None]] = {}
        several = self.view.supernet
        failed = [
            (f"candidate {item.id}" if several else f"trial {item.trial}", item.error) for item in self.view.candidates
        ]
        failed += [(f"final {item.candidate}", item.error) for item in self.view.finals]
        failed += [(f"export {item.candidate}", item.error) for item in self.view.exports]
        for source, reason in failed:
            if reason is not None:
                reasons.setdefault(reason, {})[source] = None
        return {reason: tuple(sources) for reason, sources in reasons.items()}

    def _states(self) -> Mapping[int, set[State]]:
        states = collections.defaultdict(set)
        for candidate in self.view.candidates:
            states[candidate.trial].add(candidate.state)
        return states


def read(folder: Path) -> Status:
    """Reads how the run in a folder stands; nothing is written.

    Raises:
        InputError: The folder holds no run, or a damaged one.
    """
    driver = folders.driver(folder)
    stage = _stage(folder / live.FILE) if driver else None  # a killed driver leaves its file behind
    view = load(folder)
    path = folder / folders.RECORD
    with Record(path, read_only=True) as record:
        incidents = record.incidents
    changed = datetime.datetime.fromtimestamp(path.stat().st_mtime)
    return Status(folder, view, incidents, driver, stage, _begun(folder / LOG), changed)


def show(folder: Path, watch: bool = False) -> int:
    """Prints how the run in a folder stands.

    Args:
        folder: The run's folder.
        watch: Whether to do so again and again while somebody carries it out.

    Returns:
        The exit status: 0; 1 if the folder cannot be read; 2 if it holds no run.
    """
    console = Console()
    try:
        status = read(folder)
        if not watch:
            console.print(render(status, datetime.datetime.now()))
            return 0
        with Live(render(status, datetime.datetime.now()), console=console, auto_refresh=False) as display:
            while status.driver:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                status = read(folder)
                display.update(render(status, datetime.datetime.now()), refresh=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, sqlite3.OperationalError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # how one stops watching
        pass
    return 0


def render(status: Status, now: datetime.datetime) -> RenderableType:
    """The status as text for a terminal."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(status, now).items():
        if text:
            facts.add_row(name, Text(text))
    parts: list[RenderableType] = [facts]
    if status.stage is not None:
        parts += ["", live.render(status.stage, now.timestamp())]
    if status.view.front:
        parts += ["", _front(status.view)]
    if status.failures:
        parts += ["", _failures(status.failures)]
    if status.incidents:
        parts += ["", _incidents(status.incidents)]
    return Group(*parts)


def _facts(status: Status, now: datetime.datetime) -> dict[str, str | None]:
    view = status.view
    method = view.experiment["method"]["name"]
    begun = status.begun and f"{status.begun:%Y-%m-%d %H:%M:%S}, {_ago(status.begun, now)}"
    report = status.folder / PAGE
    per_trial = status.seconds
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in per_trial.items())
    return {
        "run": f"{view.name} in {status.folder}",
        "method": f"{method}, {_extent(status)}, seed {view.experiment['seed']}",
        "state": status.state,
        "begun": begun,
        "last change": f"{status.changed:%Y-%m-%d %H:%M:%S}, {_ago(status.changed, now)}",
        **({"trials": _trials(status)} if status.planned is not None else {}),
        **({"epochs": _epochs(view), "networks": _networks(view)} if view.supernet else {}),
        f"seconds {'of the search' if view.supernet else 'a trial'}": (
            f"{sum(per_trial.values()):.1f} ({seconds})" if seconds else None
        ),
        "best": _best(view),
        "final trainings": _of_front(len(view.trained), sum(item.error is not None for item in view.finals), view)
        if view.finals
        else None,
        "exports": f"{sum(item.error is None for item in view.exports)} of {len(view.trained)}"
        if view.exports
        else None,
        "report": str(report) if report.exists() else None,
    }


def _extent(status: Status) -> str:
    """How much the method is to do."""
    if status.planned is not None:
        return f"{status.planned} trials"
    return f"a supernet of {status.view.experiment['training']['epochs']} epochs"


def _epochs(view: RunView) -> str:
    """How far the search of a supernet is, and what its last epoch came to."""
    last = live.shown({name: values[-1] for name, values in view.curves.items() if values})
    first = [name for name in ("loss", view.quality.key) if name in last]
    told = live.told({name: last[name] for name in dict.fromkeys([*first, *last])})
    return f"{view.progress.removesuffix(' epochs')}; {told}"


def _networks(view: RunView) -> str | None:
    """What the search of a supernet came to."""
    if not view.candidates:
        return None
    sampled = sum(source == "sampled" for source in view.sources.values())
    decided = f"{view.decided.id} decided, " if view.decided is not None else ""
    return f"{len(view.candidates)}: {decided}{sampled} sampled last"


def _trials(status: Status) -> str:
    text = f"{status.view.trials} of {status.planned}"
    if status.failed:
        text += f", {len(status.failed)} of them failed"
    if status.pending:
        text += f"; {len(status.pending)} {'running' if status.driver else 'interrupted, to be run again'}"
    return text


def _best(view: RunView) -> str | None:
    best = view.best
    if best is None:
        return None
    origin = "" if view.supernet else f" of trial {best.trial}"
    return f"score {best.score:.4f}, candidate {best.id}{origin}; front of {len(view.front)}"


def _of_front(trained: int, failed: int, view: RunView) -> str:
    return f"{trained} of {len(view.chosen)}" + (f", {failed} failed" if failed else "")


def _front(view: RunView) -> Table:
    """The front: of the finally trained networks where there are some, else as the search measured it."""
    front: Iterable[Candidate] = view.trained_front or view.front
    when = "after final training" if view.trained_front else "as the search measured it"
    keys = dict.fromkeys(["size_bits", *(item.key for item in view.objectives), *measured_keys(view, front)])
    table = Table(title=f"Front, {when}", title_justify="left")
    columns = [quantity(key) for key in keys]
    for heading in ("candidate", *(column.axis_label for column in columns), "score"):
        table.add_column(Text(heading), justify="right")
    for candidate in front:
        values = [column.number(candidate.values.get(key)) for key, column in zip(keys, columns, strict=True)]
        table.add_row(str(candidate.id), *values, _SCORE.number(candidate.score))
    return table


def _failures(failures: Mapping[str, tuple[str, ...]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = "Failures", "left"
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for reason, sources in failures.items():
        table.add_row(f"{len(sources)}x", Text(f"{reason} ({', '.join(sources)})"))
    return table


def _incidents(incidents: tuple[Incident, ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    shown = incidents[-_INCIDENTS_SHOWN:]
    table.title = "Incidents" if len(shown) == len(incidents) else f"Last {len(shown)} of {len(incidents)} incidents"
    table.title_justify = "left"
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for incident in shown:
        table.add_row(incident.time, incident.source, Text(incident.reason))
    return table


def _ago(then: datetime.datetime, now: datetime.datetime) -> str:
    return f"{duration((now - then).total_seconds())} ago"


def _stage(path: Path) -> Stage | None:
    try:
        return Stage.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):  # gone meanwhile, or another version's
        return None


def _begun(log: Path) -> datetime.datetime | None:
    """When the log's first line was written."""
    try:
        with log.open(encoding="utf-8") as file:
            return datetime.datetime.fromisoformat(file.readline()[:19])
    except (OSError, ValueError):
        return None
