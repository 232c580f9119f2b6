import dataclasses
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
from bompnas.trials.record import Export, Final, Record, StoredProposal

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
    assert json.loads(record._json({"value": value, "integer": integer})) == {"value": value, "integer": integer}


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
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
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
