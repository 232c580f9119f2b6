"""A run's folder: who may write to it, whether it belongs to an experiment, and its log.

A folder is a run's when it holds the run's record. Nothing else is ever written into or deleted.
"""

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.experiment.schema import FREE
from bompnas.trials.events import SEARCH
from bompnas.trials.locks import TakenError, holder, locked
from bompnas.trials.record import DamagedError, OtherFormatError, Record, create
from bompnas.whole_files import DRAFTS, write_text

RECORD = "run.db"
_LOCK = "run.lock"
_BEGUN = {_LOCK, f".draft.{RECORD}", f".draft.{RECORD}-journal"}
_WRITTEN = (
    "experiment.yaml",
    "candidates.csv",
    "pareto.csv",
    "report.html",
    "run.log",
    "models",
    "figures",
    "checkpoints",
    "status.json",
    "tensorboard",
)
_FILED = ("", "models", "figures", "checkpoints")  # where drafts may be left
_SHOWN_DIFFERENCES = 8
_IMPLIED = {"training.precision": "auto"}  # keys that records of older versions lack, and how their runs go on

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(path: Path, meta: Mapping[str, Any], overwrite: bool = False) -> Iterator[Record]:
    """Opens a run's folder for its driver: creates it, or goes on with the run that it holds.

    While it is open the folder is locked, and what the package logs goes to `run.log`. What a killed session has left
    behind is removed: drafts, and checkpoints of trainings whose results are recorded.

    Args:
        path: The folder.
        meta: What a new run's record begins with. `experiment` is also written as `experiment.yaml`, `versions` into
            its head; `identity`, nested mappings, must be equal for a run to be continued; the experiment's keys
            in `FREE` may change and are kept as they are now.
        overwrite: Whether to delete the run that the folder holds and start over.

    Yields:
        The run's record, opened for writing.

    Raises:
        InputError: The folder is no run's, another process's, or another experiment's, or its record is damaged.
        OSError: The disk is full, or the folder cannot be written.
    """
    _refuse_foreign(path, overwrite)
    path.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        if overwrite:
            _clear(path)
        if not (path / RECORD).exists():
            create(path / RECORD, meta)
        with Record(path / RECORD, read_only=True) as found:  # what is refused stays as it is
            _refuse_changed(path, found.meta["identity"], meta["identity"])
        with Record(path / RECORD) as record, _logging_to(path / "run.log"):
            _tidy(path, record)
            _follow(record, meta["experiment"])
            _write_experiment(path, record.meta)
            yield record


def driver(path: Path) -> str | None:
    """Who is carrying out the run in a folder (`process 7 on host`); None if nobody is."""
    return holder(path / _LOCK)


def _refuse_foreign(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file; choose another folder for the run with --out")
    names = {entry.name for entry in path.iterdir()}
    if RECORD in names:
        try:
            with Record(path / RECORD, read_only=True):
                return
        except (OtherFormatError, DamagedError):
            if not overwrite:
                raise
            return
    if names - _BEGUN:
        raise InputError(
            f"{path} holds other files ({', '.join(sorted(names - _BEGUN)[:3])}) and no run; choose another folder "
            "with --out"
        )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the folder's lock."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path / _LOCK))
        except TakenError as taken:
            raise InputError(
                f"{path} is in use by another run ({taken}); wait until it has ended, or choose another folder with "
                "--out"
            ) from None
        yield


def _clear(path: Path) -> None:
    for name in (*_WRITTEN, f"{RECORD}-journal", RECORD):  # the record last: until then the folder is known as a run's
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _refuse_changed(path: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    before, now = _flat(stored), _flat(given)
    before = {key: value for key, value in _IMPLIED.items() if key in now} | before
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not changed:
        return
    lines = [f"  {key}: {before.get(key)} there, {now.get(key)} now" for key in changed[:_SHOWN_DIFFERENCES]]
    if len(changed) > _SHOWN_DIFFERENCES:
        lines.append(f"  and {len(changed) - _SHOWN_DIFFERENCES} more")
    advice = "Undo the change to go on with that run, choose another folder with --out, or delete it with --overwrite."
    raise InputError("\n".join([f"{path} holds a run of another experiment:", *lines, advice]))


def _follow(record: Record, given: Mapping[str, Any]) -> None:
    """Takes over the keys that are free to change."""
    stored = record.meta["experiment"]
    fixed = {key: value for key, value in stored.items() if key not in FREE}
    followed = fixed | {key: given[key] for key in FREE if key in given}
    if followed != stored:
        record.follow(followed)


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping from dotted place to value."""
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        items = enumerate(value, start=1)
    else:
        return {place: value}
    return {
        key: leaf
        for name, item in items
        for key, leaf in _flat(item, f"{place}.{name}" if place else str(name)).items()
    }


def _write_experiment(path: Path, meta: Mapping[str, Any]) -> None:
    versions = "\n".join(f"#   {name} {version}" for name, version in meta["versions"].items())
    text = yaml.safe_dump(meta["experiment"], sort_keys=False, allow_unicode=True)
    write_text(
        path / "experiment.yaml", f"# The experiment of this run, as resolved. It was begun with\n{versions}\n{text}"
    )


def _tidy(path: Path, record: Record) -> None:
    """Removes what a killed session has left behind."""
    for place in _FILED:
        for draft in (path / place).glob(DRAFTS):
            draft.unlink()
    trained = {final.candidate for final in record.finals if final.error is None}
    open_trials = {f"trial_{item.trial}" for item in record.candidates if item.state is State.PENDING}
    open_finals = {f"final_{item.id}" for item in record.candidates if item.id not in trained}
    open_search = set() if record.candidates else {SEARCH}
    for checkpoint in (path / "checkpoints").glob("*.npz"):
        if checkpoint.stem not in open_trials | open_finals | open_search:
            checkpoint.unlink()


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("bompnas")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
    if handler.unwritten is not None:
        _log.warning("%s is incomplete: %s", path, handler.unwritten)


class _LogFile(logging.FileHandler):
    """A log whose disk may be full: the run goes on without it, as far as what matters more can be written."""

    unwritten: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Keeps the reason, which Python would print with a traceback each time."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        self.unwritten = self.unwritten or error
