"""A run's record: one SQLite file, the only truth about a run.

Every change is one transaction with full synchronization, so that a process killed at any moment leaves the record
before or after a change, never between. Only the run's driver writes; everyone else opens the file read-only. Nested
values are JSON, which keeps every float bit for bit.

Tables: `meta` (what the run is), `candidates`, `proposals` (what a proposer saw and said, enough to replay it),
`curves` (values over epochs), `finals` (finally trained candidates), `exports` (their integer files, and the check),
`incidents` (what befell trials: workers that died).
"""

import contextlib
import dataclasses
import datetime
import functools
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from bompnas.candidate import Candidate, State
from bompnas.space.network import Network
from bompnas.trials.record.entries import Export, Final, Incident, StoredProposal
from bompnas.trials.record.file import DamagedError, connect, prepare, to_json, written

_Read = TypeVar("_Read")

_MALFORMED = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB


def _reading(read: Callable[..., _Read]) -> Callable[..., _Read]:
    """Tells of values that cannot be read back as damage."""

    @functools.wraps(read)
    def guarded(self: "Record", *arguments: Any) -> _Read:
        try:
            return read(self, *arguments)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) not in _MALFORMED:
                raise
            raise DamagedError(self.path, error) from error
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(self.path, f"{type(error).__name__}: {error}") from error

    return guarded


class Record:
    """A run's record, opened for its driver or, with `read_only`, for everyone else; a context manager.

    A record of an older format is brought up to date when it is opened for writing, and read as it is otherwise.
    Writing raises an `OSError` that names the file when the disk is full.

    Args:
        path: The SQLite file, made by `create`.
        read_only: Whether to refuse to write.

    Attributes:
        path: The file.

    Raises:
        InputError: The file is missing, no record of a run, damaged (`DamagedError`), or another version's
            (`OtherFormatError`).
        OSError: It cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False):
        self.path = Path(path)
        self._connection = connect(self.path, read_only)
        if not read_only:
            try:
                self._read_through()
                prepare(self.path, self._connection)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    @_reading
    def meta(self) -> dict[str, Any]:
        """What the run is: experiment, versions, threads."""
        return {key: json.loads(value) for key, value in self._connection.execute("SELECT key, value FROM meta")}

    @property
    @_reading
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, ordered by id."""
        return tuple(_candidate(*row) for row in self._connection.execute("SELECT * FROM candidates ORDER BY id"))

    @property
    @_reading
    def proposals(self) -> tuple[StoredProposal, ...]:
        """All proposals, ordered by index."""
        rows = self._connection.execute("SELECT * FROM proposals ORDER BY number")
        return tuple(
            StoredProposal(
                index, trial, tuple(json.loads(genotypes)), tuple(json.loads(completed)), tuple(json.loads(pending)),
                json.loads(details), json.loads(fit),
            )
            for index, trial, genotypes, completed, pending, details, fit in rows
        )  # fmt: skip

    @property
    @_reading
    def finals(self) -> tuple[Final, ...]:
        """All final trainings, failed ones too, ordered by the candidate's id."""
        rows = self._connection.execute("SELECT * FROM finals ORDER BY candidate")
        return tuple(
            Final(candidate, json.loads(metrics), json.loads(seconds), score, model, error)
            for candidate, metrics, seconds, score, model, error in rows
        )

    @property
    @_reading
    def exports(self) -> tuple[Export, ...]:
        """What was exported, failures too, ordered by the candidate's id."""
        rows = self._connection.execute("SELECT export FROM exports ORDER BY candidate")
        return tuple(Export(**json.loads(export)) for (export,) in rows)

    @property
    @_reading
    def incidents(self) -> tuple[Incident, ...]:
        """What befell trials, final trainings and exports, in order; none in a record of format 3."""
        if not self._connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'incidents'").fetchone()[0]:
            return ()
        rows = self._connection.execute("SELECT source, time, reason FROM incidents ORDER BY number")
        return tuple(Incident(*row) for row in rows)

    @_reading
    def curves(self, source: str) -> dict[str, list[float]]:
        """The curves of a source (`trial 3`, `final 3`, `search`), each as its values in order."""
        rows = self._connection.execute(
            "SELECT name, value FROM curves WHERE source = ? ORDER BY name, step", (source,)
        )
        curves: dict[str, list[float]] = {}
        for name, value in rows:
            curves.setdefault(name, []).append(math.nan if value is None else value)
        return curves

    def add(self, candidates: Iterable[Candidate], *proposals: StoredProposal) -> None:
        """Adds the candidates of a new trial, and the proposals that they come from, in one transaction."""
        with self._change() as connection:
            connection.executemany(
                "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        candidate.id, candidate.trial, candidate.network.to_json(), to_json(candidate.genotype),
                        candidate.state, to_json(candidate.cost), to_json(candidate.metrics),
                        to_json(candidate.seconds), candidate.score, candidate.error,
                    )
                    for candidate in candidates
                ],
            )  # fmt: skip
            connection.executemany(
                "INSERT INTO proposals VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        proposal.index, proposal.trial, to_json(proposal.genotypes), to_json(proposal.completed),
                        to_json(proposal.pending), to_json(proposal.details), to_json(proposal.fit),
                    )
                    for proposal in proposals
                ],
            )  # fmt: skip

    def finish(
        self, source: str, candidates: Iterable[Candidate], curves: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        """Stores what a trial found: its candidates' state, metrics, seconds, score and error, and its curves."""
        with self._change() as connection:
            connection.executemany(
                "UPDATE candidates SET state = ?, metrics = ?, seconds = ?, score = ?, error = ? WHERE id = ?",
                [
                    (
                        candidate.state, to_json(candidate.metrics), to_json(candidate.seconds), candidate.score,
                        candidate.error, candidate.id,
                    )
                    for candidate in candidates
                ],
            )  # fmt: skip
            _add_curves(connection, source, curves or {})

    def log(self, source: str, step: int, values: Mapping[str, float]) -> None:
        """Stores what a source measured in one step of its curves, which are void from there on if they go further.

        Args:
            source: Whose curves.
            step: From 0; what goes on from a checkpoint tells of some steps again.
            values: A value for each curve; NaN where there is none.
        """
        with self._change() as connection:
            connection.execute("DELETE FROM curves WHERE source = ? AND step >= ?", (source, step))
            _add_steps(connection, source, step, values)

    def finish_finals(
        self, source: str, finals: Iterable[Final], curves: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        """Stores what a final training found; an earlier one is replaced, and what was exported of it forgotten."""
        finals = list(finals)
        with self._change() as connection:
            connection.executemany("DELETE FROM exports WHERE candidate = ?", [(final.candidate,) for final in finals])
            connection.executemany(
                "INSERT OR REPLACE INTO finals VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        final.candidate, to_json(final.metrics), to_json(final.seconds), final.score, final.model,
                        final.error,
                    )
                    for final in finals
                ],
            )  # fmt: skip
            _add_curves(connection, source, curves or {})

    def finish_export(self, export: Export) -> None:
        """Stores what was exported of a candidate, in place of an earlier export."""
        with self._change() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO exports VALUES (?, ?)", (export.candidate, to_json(dataclasses.asdict(export)))
            )

    def forget_export(self, candidate: int) -> None:
        """Forgets what was exported of a candidate, before its files change."""
        with self._change() as connection:
            connection.execute("DELETE FROM exports WHERE candidate = ?", (candidate,))

    def note(self, source: str, reason: str) -> None:
        """Stores what befell a trial (`trial 3`), a final training (`final 3`) or an export (`export 3`), now."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._change() as connection:
            connection.execute("INSERT INTO incidents (source, time, reason) VALUES (?, ?, ?)", (source, now, reason))

    def follow(self, experiment: Mapping[str, Any]) -> None:
        """Keeps the experiment as it is now, in place of that of an earlier session."""
        with self._change() as connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'experiment'", (to_json(experiment),))

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with written(self.path), self._connection as connection:
            yield connection

    def _read_through(self) -> None:
        """Reads everything once, so that damage shows before anything is done."""
        for read in (Record.meta, Record.candidates, Record.proposals, Record.finals, Record.exports):
            read.fget(self)


def _candidate(id, trial, network, genotype, state, cost, metrics, seconds, score, error) -> Candidate:
    return Candidate(
        id, trial, _network(network), json.loads(genotype), State(state),
        json.loads(cost), json.loads(metrics), json.loads(seconds), score, error,
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _network(text: str) -> Network:
    # Proposers ask for the candidates before every proposal; the same object keeps its computed keys.
    return Network.from_json(text)


def _add_curves(connection: sqlite3.Connection, source: str, curves: Mapping[str, Sequence[float]]) -> None:
    for name, values in curves.items():
        for step, value in enumerate(values):
            _add_steps(connection, source, step, {name: value})


def _add_steps(connection: sqlite3.Connection, source: str, step: int, values: Mapping[str, float]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO curves VALUES (?, ?, ?, ?)",
        [(source, name, step, float(value)) for name, value in values.items()],
    )
