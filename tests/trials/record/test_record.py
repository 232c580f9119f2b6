import contextlib
import dataclasses
import datetime
import gzip
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.trials import record
from bompnas.trials.record import DamagedError, Export, Final, Record, StoredProposal
from bompnas.trials.record.file import to_json

FIT = {"length": 3, "targets": {"accuracy": {"mean": 1 / 3, "weights": {"stem.bits": 1e-17}, "linear": [0.1, 0.0]}}}


def stored(candidate, *others, index=0, completed=(), pending=(), fit=None):
    details = {"source": "start", "mean": 0.1}
    genotypes = tuple(one.genotype for one in (candidate, *others))
    return StoredProposal(index, candidate.trial, genotypes, completed, pending, details, fit)


def test_what_is_added_is_read_back_equal(new_record, make_candidate):
    first, second = make_candidate(), make_candidate(genotype=None)
    proposal = stored(first, completed=(3, 1), pending=(2,))
    new_record.add([first], proposal)
    new_record.add([second])
    assert new_record.candidates == (first, second)
    assert new_record.proposals == (proposal,)
    assert list(new_record.candidates[0].genotype) == list(first.genotype)


def test_a_finished_trial_keeps_every_bit_of_its_floats(new_record, make_candidate):
    candidate = make_candidate()
    new_record.add([candidate])
    finished = dataclasses.replace(
        candidate,
        state=State.COMPLETED,
        metrics={"val_accuracy": 0.1 + 0.2, "val_loss": np.float32(1 / 3)},
        seconds={"train": 1e-17},
        score=math.nextafter(2.5, 3),
    )
    new_record.finish("trial 1", [finished], {"float_loss": [2.0, 1.0, math.nan]})
    assert new_record.candidates == (finished,)
    curves = new_record.curves("trial 1")
    assert curves["float_loss"][:2] == [2.0, 1.0]
    assert math.isnan(curves["float_loss"][2])
    assert new_record.curves("trial 2") == {}


def test_the_policies_of_a_proposal_and_its_fit_are_kept_in_order(new_record, make_candidate):
    first = make_candidate()
    others = [dataclasses.replace(make_candidate(), trial=1) for _ in range(2)]
    proposal = stored(first, *others, fit=FIT)
    new_record.add([first, *others], proposal)
    (again,) = new_record.proposals
    assert again == proposal
    assert [list(genotype) for genotype in again.genotypes] == [list(one.genotype) for one in (first, *others)]
    assert new_record.candidates == (first, *others)


def test_genotypes_of_any_kind_of_gene_are_kept(new_record, make_candidate):
    genotype = {"rate": 1e-3, "optimizer": "adam", "augment": True, "layers": 3}
    candidate = make_candidate(genotype=genotype)
    new_record.add([candidate], stored(candidate))
    assert new_record.candidates[0].genotype == genotype
    assert [type(value) for value in new_record.proposals[0].genotypes[0].values()] == [float, str, bool, int]


@given(value=st.floats(allow_nan=False), integer=st.integers())
def test_json_keeps_numbers(value, integer):
    assert json.loads(to_json({"value": value, "integer": integer})) == {"value": value, "integer": integer}


def test_a_failed_final_training_is_replaced(new_record, make_candidate):
    new_record.add([make_candidate()])
    new_record.finish_finals("final 1", [Final(1, {}, {}, None, None, "killed")])
    final = Final(1, {"test_accuracy": 0.5}, {"train": 2.0}, 2.5, "models/1.keras")
    new_record.finish_finals("final 1", [final], {"float_loss": [1.0]})
    assert new_record.finals == (final,)


EXPORT = Export(
    1,
    {"io": "int8", "int4": False},
    packed="models/1.bits",
    packed_bytes=1000,
    images=360,
    metrics={"test_accuracy": np.float32(1 / 3)},
    argmax=1.0,
    max_lsb=0,
    not_exportable="layer 'stem' cannot be exported: 16 bits",
)


def test_exports_are_kept_replaced_and_forgotten(new_record, make_candidate):
    new_record.add([make_candidate()])
    final = Final(1, {"test_accuracy": 0.5}, {"train": 2.0}, 2.5, "models/1.keras")
    new_record.finish_finals("final 1", [final])
    new_record.finish_export(Export(1, {}, error="killed"))
    new_record.finish_export(EXPORT)
    assert new_record.exports == (EXPORT,)
    new_record.forget_export(1)
    assert new_record.exports == ()
    new_record.finish_export(EXPORT)
    new_record.finish_finals("final 1", [final])
    assert new_record.exports == ()


def test_the_experiment_alone_may_change(new_record):
    new_record.follow({"name": "test", "export": {"io": "float"}})
    assert new_record.meta == {"experiment": {"name": "test", "export": {"io": "float"}}, "threads": 2}


def test_a_change_is_whole_or_not_there(new_record, make_candidate):
    candidate = make_candidate()
    new_record.add([candidate], stored(candidate))
    with pytest.raises(sqlite3.IntegrityError):
        new_record.add([make_candidate()], stored(candidate))
    assert new_record.candidates == (candidate,)


def test_readers_see_the_run_while_it_is_written_and_cannot_write(tmp_path, new_record, make_candidate):
    with Record(tmp_path / "run.db", read_only=True) as reader:
        assert reader.candidates == ()
        candidate = make_candidate()
        new_record.add([candidate])
        assert reader.candidates == (candidate,)
        assert reader.meta == new_record.meta == {"experiment": {"name": "test"}, "threads": 2}
        with pytest.raises(OSError, match=r"run.db: cannot be written .*readonly"):
            reader.add([make_candidate()])


def test_the_file_is_written_with_a_rollback_journal_and_full_synchronization(new_record):
    connection = new_record._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def overwritten(path, size):
    content = bytearray(path.read_bytes())
    content[:size] = b"x" * size
    path.write_bytes(content)


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(b"no database" * 100), "file is not a database"),
        (lambda path: path.write_bytes(b""), "not the record of a bompnas run"),
        (lambda path: overwritten(path, 200), "file is not a database"),
        (lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99"), "newer version"),
        (
            lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 1"),
            "early development .* or with --overwr",
        ),
        (lambda path: sqlite3.connect(path).execute("PRAGMA application_id = 7"), "not the record of a bompnas run"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(tmp_path, damage, message, read_only):
    path = tmp_path / "run.db"
    record.create(path, {})
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        Record(path, read_only=read_only)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


HALF_WRITTEN = """
    import os, signal, sqlite3, sys
    connection = sqlite3.connect(sys.argv[1])
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    for number in range(1000):
        connection.execute("INSERT INTO meta VALUES (?, ?)", (str(number), "x" * 1000))
    connection.execute("UPDATE meta SET value = '\\"changed\\"'")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("read_only", [True, False])
def test_a_change_that_a_kill_left_half_written_is_undone(tmp_path, read_only):
    path = tmp_path / "run.db"
    record.create(path, {"name": "whole"})
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(HALF_WRITTEN), str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run.db-journal").stat().st_size > 0
    with Record(path, read_only=read_only) as opened:
        assert opened.meta == {"name": "whole"}


def test_a_kill_while_the_record_is_made_leaves_none(tmp_path, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        record.create(tmp_path / "run.db", {"name": "first"})
    assert not (tmp_path / "run.db").exists()
    monkeypatch.undo()
    record.create(tmp_path / "run.db", {"name": "second"})
    with Record(tmp_path / "run.db") as opened:
        assert opened.meta == {"name": "second"}


def test_a_copied_record_is_a_record(tmp_path, new_record, make_candidate):
    candidate = make_candidate()
    new_record.add([candidate])
    shutil.copy(tmp_path / "run.db", tmp_path / "copy.db")
    with Record(tmp_path / "copy.db", read_only=True) as copy:
        assert copy.candidates == (candidate,)


@pytest.fixture
def older(tmp_path, pytestconfig):
    """The record of a small run of an earlier version (digits, 5 trials, 3 final trainings), in format 3."""
    path = tmp_path / "older.db"
    path.write_bytes(gzip.decompress((pytestconfig.rootpath / "tests/data/record_format3.db.gz").read_bytes()))
    return path


def raw(path):
    """Every value that a file holds, by table."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT rowid, * FROM {name}").fetchall() for name in names}


def version(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_an_older_record_is_brought_up_to_date_with_every_value(older):
    before = raw(older)
    assert {name: len(rows) for name, rows in before.items()} == {
        "meta": 6, "candidates": 5, "proposals": 5, "curves": 21, "finals": 3, "exports": 3,
    }  # fmt: skip
    with Record(older) as opened:
        opened.note("trial 2", "killed")
        (incident,) = opened.incidents
        candidates, finals, exports = opened.candidates, opened.finals, opened.exports
    assert (incident.source, incident.reason) == ("trial 2", "killed")
    assert datetime.datetime.fromisoformat(incident.time).tzinfo is datetime.UTC
    after = raw(older)
    assert len(after.pop("incidents")) == 1
    assert after == before
    assert version(older) == 4
    assert [candidate.score for candidate in candidates] == [row[9] for row in before["candidates"]]
    assert [final.model for final in finals] == ["models/3.keras", "models/4.keras", "models/5.keras"]
    assert [export.packed_bytes for export in exports] == [1598, 936, 952]
    with Record(older) as again:
        assert again.incidents == (incident,)


def test_an_older_record_is_read_as_it_is(older):
    before = older.read_bytes()
    with Record(older, read_only=True) as opened:
        assert opened.incidents == ()
        assert [candidate.id for candidate in opened.candidates] == [1, 2, 3, 4, 5]
        assert len(opened.proposals) == 5
        assert opened.curves("final 3")["float_loss"]
    assert older.read_bytes() == before


HALF_MIGRATED = """
    import os, signal, sys
    from pathlib import Path
    from bompnas.trials.record import file as record_file
    record_file._MIGRATIONS[3] += '''
        PRAGMA cache_size = 1;
        CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
            SELECT i, randomblob(900) FROM n;
        UPDATE candidates SET error = killed();
    '''
    connect = record_file.sqlite3.connect
    def connected(*arguments, **keywords):
        connection = connect(*arguments, **keywords)
        connection.create_function("killed", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
        return connection
    record_file.sqlite3.connect = connected
    record_file.prepare(Path(sys.argv[1]), record_file.connect(Path(sys.argv[1]), read_only=False))
"""


@pytest.mark.parametrize("read_only", [True, False])
def test_a_record_killed_while_it_is_brought_up_to_date_is_the_old_one(older, environment, read_only):
    before = raw(older)
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(HALF_MIGRATED), str(older)], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert older.with_name("older.db-journal").stat().st_size > 0
    with Record(older, read_only=read_only) as opened:
        assert len(opened.candidates) == 5
        assert opened.incidents == ()
    assert version(older) == (3 if read_only else 4)
    after = raw(older)
    after.pop("incidents", None)
    assert after == before


def test_a_full_disk_leaves_the_record_as_it_was(tmp_path, new_record, make_candidate):
    candidate = make_candidate()
    new_record.add([candidate])
    pages = new_record._connection.execute("PRAGMA page_count").fetchone()[0]
    new_record._connection.execute(f"PRAGMA max_page_count = {pages}")
    long = {"float_loss": [1.0] * 10_000}
    with pytest.raises(OSError, match=r"run.db: cannot be written .database or disk is full"):
        new_record.finish("trial 1", [dataclasses.replace(candidate, state=State.COMPLETED)], long)
    assert new_record.candidates == (candidate,)
    assert new_record.curves("trial 1") == {}
    new_record._connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    new_record.finish("trial 1", [dataclasses.replace(candidate, state=State.COMPLETED)], long)
    assert len(new_record.curves("trial 1")["float_loss"]) == 10_000


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage_page(path):
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 4] = np.random.default_rng(0).bytes(4096)
    path.write_bytes(content)


def garbled_value(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE candidates SET network = substr(network, 20) WHERE id = 3")
        connection.commit()


@pytest.mark.parametrize("damage", [truncated, garbage_page, garbled_value])
def test_a_damaged_record_is_refused_with_advice_and_kept(older, damage):
    damage(older)
    before = older.read_bytes()
    with pytest.raises(DamagedError, match=r"older.db: this record of a run is damaged .* with --overwrite"):
        Record(older)
    assert older.read_bytes() == before
    with pytest.raises(DamagedError), Record(older, read_only=True) as opened:
        _ = opened.candidates, opened.finals, opened.meta, opened.proposals, opened.exports, opened.curves("trial 1")


def test_what_is_logged_step_by_step_are_curves_that_go_on_from_where_they_are_told_again(new_record):
    for step in range(4):
        new_record.log("search", step, {"loss": 4.0 - step, "reward": math.nan if step < 2 else -1 / 3})
    new_record.log("trial 1", 0, {"loss": 9.0})
    assert new_record.curves("search")["loss"] == [4.0, 3.0, 2.0, 1.0]
    new_record.log("search", 2, {"loss": 2.5, "reward": np.float32(0.5)})
    curves = new_record.curves("search")
    assert curves["loss"] == [4.0, 3.0, 2.5]
    assert np.array_equal(curves["reward"], [math.nan, math.nan, 0.5], equal_nan=True)
    assert new_record.curves("trial 1") == {"loss": [9.0]}
