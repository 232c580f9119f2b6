"""The record as a file: making one, opening it, bringing an older one up to date, refusing what is none.

Formats: 4 adds the table `incidents` to 3. Records of format 1 and 2 were written during early development.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bompnas.errors import InputError
from bompnas.whole_files import replacing

APPLICATION = int.from_bytes(b"bomp")
SCHEMA = 4
OLDEST = 3
_MARK = slice(68, 72)  # where an SQLite file holds what wrote it

_INCIDENTS = """
CREATE TABLE incidents (number INTEGER PRIMARY KEY, source TEXT NOT NULL, time TEXT NOT NULL, reason TEXT NOT NULL);
"""
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
{_INCIDENTS}
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""
_MIGRATIONS = {3: _INCIDENTS}
"""What makes the next format of each, all in one transaction."""


class OtherFormatError(InputError):
    """A record that another version of the package has written."""


class DamagedError(InputError):
    """The record of a run that was damaged, by a failing disk or by another program."""

    def __init__(self, path: Path, reason: object):
        super().__init__(
            f"{path}: this record of a run is damaged ({reason}); put a copy of it in its place, or run the "
            "experiment again in another folder (--out) or with --overwrite"
        )


def create(path: Path, meta: Mapping[str, Any]) -> None:
    """Makes the record of a new run: there is either a whole one afterwards, or none.

    Args:
        path: The file to make.
        meta: What the run is; kept for ever, but for what `Record.follow` replaces.

    Raises:
        OSError: It cannot be written.
    """
    path.with_name(f".draft.{path.name}-journal").unlink(missing_ok=True)  # a killed process's; not of the new draft
    with written(path), replacing(path, durable=True) as draft:
        draft.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(draft)) as connection:
            connection.executescript(_TABLES)
            with connection:
                rows = [(key, to_json(value)) for key, value in meta.items()]
                connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """Opens a record, whose structure is checked where it is to be written; changes nothing.

    Raises:
        InputError: The file is missing, no record of a run, damaged, or (`OtherFormatError`) another version's.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected the record in the folder of a run")
    try:
        connection, application = _open(path, read_only)
    except sqlite3.DatabaseError as error:
        if _is_marked(path) and not isinstance(error, sqlite3.OperationalError):
            raise DamagedError(path, error) from error
        raise InputError(
            f"{path}: cannot be read as the record of a run ({error}); nothing was changed. Choose another folder with "
            "--out, or put a copy of the record in its place"
        ) from error
    try:
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        _refuse_others(path, application, schema)
        if not read_only:
            _refuse_damaged(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Makes a connection ready to write; an older record is brought up to date, in one transaction.

    Raises:
        OSError: The record cannot be written.
    """
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    steps = [_MIGRATIONS[old] for old in range(schema, SCHEMA)]
    with written(path):
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        if steps:
            script = ["BEGIN IMMEDIATE;", *steps, f"PRAGMA user_version = {SCHEMA};", "COMMIT;"]
            connection.executescript("\n".join(script))


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Tells what goes wrong while a record is written, a full disk above all, as an `OSError` that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error


def to_json(value: Any) -> str:
    """Nested values as text, every float bit for bit; NumPy's scalars as Python's."""
    return json.dumps(value, default=lambda scalar: scalar.item(), separators=(",", ":"))


def _open(path: Path, read_only: bool) -> tuple[sqlite3.Connection, int]:
    place = path.absolute().as_uri()
    try:
        return _opened(f"{place}?mode={'ro' if read_only else 'rw'}")
    except sqlite3.OperationalError:
        if not read_only:
            raise
        # Only a writing connection may undo a change that a killed driver left half written.
        _opened(f"{place}?mode=rw")[0].close()
        return _opened(f"{place}?mode=ro")


def _opened(address: str) -> tuple[sqlite3.Connection, int]:
    connection = sqlite3.connect(address, uri=True, timeout=30)
    try:
        return connection, _application(connection)
    except sqlite3.DatabaseError:
        connection.close()
        raise


def _application(connection: sqlite3.Connection) -> int:
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # reads the file, undoing half a change first
    return connection.execute("PRAGMA application_id").fetchone()[0]


def _is_marked(path: Path) -> bool:
    """Whether a file that SQLite cannot read was one of ours."""
    with path.open("rb") as file:
        return file.read(_MARK.stop)[_MARK] == APPLICATION.to_bytes(4)


def _refuse_others(path: Path, application: int, schema: int) -> None:
    if application != APPLICATION:
        raise InputError(
            f"{path}: this file is not the record of a bompnas run; nothing was changed. Choose another folder with "
            "--out, or put a copy of the record in its place"
        )
    if schema < OLDEST:
        raise OtherFormatError(
            f"{path}: written by an early development version of bompnas (record format {schema}, this version reads "
            f"{OLDEST} to {SCHEMA}); run the experiment again in another folder, or with --overwrite"
        )
    if schema > SCHEMA:
        raise OtherFormatError(
            f"{path}: written by a newer version of bompnas (record format {schema}, this version reads up to "
            f"{SCHEMA}); upgrade bompnas"
        )


def _refuse_damaged(path: Path, connection: sqlite3.Connection) -> None:
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
    except sqlite3.DatabaseError as error:
        raise DamagedError(path, error) from error
    if found != ["ok"]:
        raise DamagedError(path, " ".join(found[0].split()))
