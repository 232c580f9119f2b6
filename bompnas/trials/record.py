"""A run's record: one SQLite file, the only truth about a run.

Every change is one transaction with full synchronization, so that a process killed at any moment leaves the record
before or after a change, never between. Only the run's driver writes; everyone else opens the file read-only. Nested
values are JSON, which keeps every float bit for bit.

Tables: `meta` (what the run is), `candidates`, `proposals` (what a proposer saw and said, enough to replay it),
`curves` (values over epochs), `finals` (finally trained candidates), `exports` (their integer files, and the check).
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.space.network import Network
from bompnas.trials.entries import Export, Final, StoredProposal

APPLICATION = int.from_bytes(b"bomp")
SCHEMA = 3

_TABLES = f"""
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY, trial INTEGER NOT NULL, network TEXT NOT NULL, genotype TEXT NOT NULL, state TEXT NOT NULL,
    cost TEXT NOT NULL, metrics TEXT NOT NULL, seconds TEXT NOT NULL, score REAL, error TEXT
);
CREATE TABLE proposals (
    number INTEGER PRIMARY KEY, trial INTEGER NOT NULL, genotypes TEXT NOT NULL,
    completed TEXT NOT NULL, pending TEXT NOT NULL, details TEXT NOT NULL, fit TEXT NOT NULL
);
CREATE TABLE curves (
    source TEXT NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL, value REAL, PRIMARY KEY (source, name, step)
);
CREATE TABLE finals (
    candidate INTEGER PRIMARY KEY REFERENCES candidates (id),
    metrics TEXT NOT NULL, seconds TEXT NOT NULL, score REAL, model TEXT, error TEXT
);
CREATE TABLE exports (candidate INTEGER PRIMARY KEY REFERENCES finals (candidate), export TEXT NOT NULL);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""


class OtherFormatError(InputError):
    """A record that another version of the package has written."""


class Record:
    """A run's record, opened for its driver or, with `read_only`, for everyone else; a context manager.

    Args:
        path: The SQLite file, made by `create`.
        read_only: Whether to refuse to write.

    Raises:
        InputError: The file is missing, no record of a run, damaged, or (`OtherFormatError`) another version's.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False):
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path} does not exist; expected the record in the folder of a run")
        try:
            self._connection = _connect(path, read_only)
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: cannot be read as the record of a run ({error})") from error

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def meta(self) -> dict[str, Any]:
        """What the run is: experiment, versions, threads."""
        return {key: json.loads(value) for key, value in self._connection.execute("SELECT key, value FROM meta")}

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates, ordered by id."""
        return tuple(_candidate(*row) for row in self._connection.execute("SELECT * FROM candidates ORDER BY id"))

    @property
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
    def finals(self) -> tuple[Final, ...]:
        """All final trainings, failed ones too, ordered by the candidate's id."""
        rows = self._connection.execute("SELECT * FROM finals ORDER BY candidate")
        return tuple(
            Final(candidate, json.loads(metrics), json.loads(seconds), score, model, error)
            for candidate, metrics, seconds, score, model, error in rows
        )

    @property
    def exports(self) -> tuple[Export, ...]:
        """What was exported, failures too, ordered by the candidate's id."""
        rows = self._connection.execute("SELECT export FROM exports ORDER BY candidate")
        return tuple(Export(**json.loads(export)) for (export,) in rows)

    def curves(self, source: str) -> dict[str, list[float]]:
        """The curves of a source (`trial 3`, `final 3`), each as its values in order."""
        rows = self._connection.execute(
            "SELECT name, value FROM curves WHERE source = ? ORDER BY name, step", (source,)
        )
        curves: dict[str, list[float]] = {}
        for name, value in rows:
            curves.setdefault(name, []).append(math.nan if value is None else value)
        return curves

    def add(self, candidates: Iterable[Candidate], proposal: StoredProposal | None = None) -> None:
        """Adds the candidates of a new trial, and the proposal that they come from, in one transaction."""
        with self._connection as connection:
            connection.executemany(
                "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        candidate.id, candidate.trial, candidate.network.to_json(), _json(candidate.genotype),
                        candidate.state, _json(candidate.cost), _json(candidate.metrics), _json(candidate.seconds),
                        candidate.score, candidate.error,
                    )
                    for candidate in candidates
                ],
            )  # fmt: skip
            if proposal is not None:
                connection.execute(
                    "INSERT INTO proposals VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        proposal.index, proposal.trial, _json(proposal.genotypes), _json(proposal.completed),
                        _json(proposal.pending), _json(proposal.details), _json(proposal.fit),
                    ),
                )  # fmt: skip

    def finish(
        self, source: str, candidates: Iterable[Candidate], curves: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        """Stores what a trial found: its candidates' state, metrics, seconds, score and error, and its curves."""
        with self._connection as connection:
            connection.executemany(
                "UPDATE candidates SET state = ?, metrics = ?, seconds = ?, score = ?, error = ? WHERE id = ?",
                [
                    (
                        candidate.state, _json(candidate.metrics), _json(candidate.seconds), candidate.score,
                        candidate.error, candidate.id,
                    )
                    for candidate in candidates
                ],
            )  # fmt: skip
            _add_curves(connection, source, curves or {})

    def finish_finals(
        self, source: str, finals: Iterable[Final], curves: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        """Stores what a final training found; an earlier one is replaced, and what was exported of it forgotten."""
        finals = list(finals)
        with self._connection as connection:
            connection.executemany("DELETE FROM exports WHERE candidate = ?", [(final.candidate,) for final in finals])
            connection.executemany(
                "INSERT OR REPLACE INTO finals VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (final.candidate, _json(final.metrics), _json(final.seconds), final.score, final.model, final.error)
                    for final in finals
                ],
            )
            _add_curves(connection, source, curves or {})

    def finish_export(self, export: Export) -> None:
        """Stores what was exported of a candidate, in place of an earlier export."""
        with self._connection as connection:
            connection.execute(
                "INSERT OR REPLACE INTO exports VALUES (?, ?)", (export.candidate, _json(dataclasses.asdict(export)))
            )

    def forget_export(self, candidate: int) -> None:
        """Forgets what was exported of a candidate, before its files change."""
        with self._connection as connection:
            connection.execute("DELETE FROM exports WHERE candidate = ?", (candidate,))

    def follow(self, experiment: Mapping[str, Any]) -> None:
        """Keeps the experiment as it is now, in place of that of an earlier session."""
        with self._connection as connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'experiment'", (_json(experiment),))


def create(path: Path, meta: Mapping[str, Any]) -> None:
    """Makes the record of a new run: there is either a whole one afterwards, or none.

    Args:
        path: The file to make.
        meta: What the run is; kept for ever, but for what `Record.follow` replaces.
    """
    draft = path.with_name(f".{path.name}.draft")
    for leftover in (draft, draft.with_name(f"{draft.name}-journal")):
        leftover.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(draft)) as connection:
        connection.executescript(_TABLES)
        with connection:
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)", [(key, _json(value)) for key, value in meta.items()]
            )
    os.replace(draft, path)


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    place = path.absolute().as_uri()
    try:
        connection = sqlite3.connect(f"{place}?mode={'ro' if read_only else 'rw'}", uri=True, timeout=30)
        application = _application(connection)
    except sqlite3.OperationalError:
        if not read_only:
            raise
        # Only a writing connection may undo a change that a killed driver left half written.
        with contextlib.closing(sqlite3.connect(f"{place}?mode=rw", uri=True, timeout=30)) as writing:
            application = _application(writing)
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise InputError(f"{path}: this SQLite file is not the record of a bompnas run")
    if schema < SCHEMA:
        raise OtherFormatError(
            f"{path}: written by an early development version of bompnas (record format {schema}, this version reads "
            f"{SCHEMA}); run the experiment again in another folder, or with --overwrite"
        )
    if schema > SCHEMA:
        raise OtherFormatError(
            f"{path}: written by a newer version of bompnas (record format {schema}, this version reads up to "
            f"{SCHEMA}); upgrade bompnas"
        )
    if not read_only:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def _application(connection: sqlite3.Connection) -> int:
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # reads the file, undoing half a change first
    return connection.execute("PRAGMA application_id").fetchone()[0]


def _candidate(id, trial, network, genotype, state, cost, metrics, seconds, score, error) -> Candidate:
    return Candidate(
        id, trial, _network(network), json.loads(genotype), State(state),
        json.loads(cost), json.loads(metrics), json.loads(seconds), score, error,
    )  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _network(text: str) -> Network:
    # Proposers ask for the candidates before every proposal; the same object keeps its computed keys.
    return Network.from_json(text)


def _json(value: Any) -> str:
    return json.dumps(value, default=lambda scalar: scalar.item(), separators=(",", ":"))


def _add_curves(connection: sqlite3.Connection, source: str, curves: Mapping[str, Sequence[float]]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO curves VALUES (?, ?, ?, ?)",
        [(source, name, step, float(value)) for name, values in curves.items() for step, value in enumerate(values)],
    )
