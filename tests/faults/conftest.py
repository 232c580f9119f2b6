import contextlib
import csv
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

import bompnas
from bompnas import experiment as experiments
from bompnas.candidate import State
from bompnas.trials import loop
from bompnas.trials.record import Record

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    """Leaves the long storms to `-m slow`."""
    if "slow" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="started by hand, with -m slow"))


class Server:
    """Runs of the command line, forked from a process that has imported everything; see drive.py."""

    def __init__(self, log):
        environment = {**os.environ, "PYTHONPATH": str(Path(bompnas.__file__).parents[1])}
        self._errors = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, HERE / "drive.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment,
        )  # fmt: skip
        self._process.stdout.readline()
        self.prepared = set()

    def ask(self, **command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._errors.close()


@dataclasses.dataclass
class Driver:
    """A run of the command line in a process of its own."""

    server: Server
    id: int
    log: Path

    def wait(self):
        """Its exit status, negative for a signal."""
        return self.server.ask(wait=self.id)

    def kill(self, sent=signal.SIGKILL):
        os.kill(self.id, sent)

    def alive(self):
        return psutil.Process(self.id).status() != psutil.STATUS_ZOMBIE

    def workers(self):
        """Its processes that train."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child for child in psutil.Process(self.id).children() if "spawn_main" in " ".join(child.cmdline())]
        return []

    @property
    def output(self):
        return self.log.with_suffix(".out").read_text()

    @property
    def errors(self):
        return self.log.with_suffix(".err").read_text()


@dataclasses.dataclass
class Place:
    """An experiment with fake trials, and the folder of its run."""

    server: Server
    file: Path
    folder: Path
    fakes: dict

    @property
    def log(self):
        return self.folder.with_name(f"{self.folder.name}-log")

    def start(self, *overrides, arguments=(), **fakes):
        """Starts the command line."""
        self.log.with_suffix(".out").unlink(missing_ok=True)
        self.log.with_suffix(".err").unlink(missing_ok=True)
        command = [str(self.file), "--out", str(self.folder), *arguments]
        if overrides:
            command += ["--set", *overrides]
        return Driver(
            self.server, self.server.ask(start=command, log=str(self.log), fakes=self.fakes | fakes), self.log
        )

    def finish(self, *overrides, **fakes):
        """Runs to the end."""
        driver = self.start(*overrides, **fakes)
        status = driver.wait()
        assert status == 0, driver.errors

    def until(self, condition, driver):
        """Waits until the record fulfils a condition."""
        while not ((self.folder / "run.db").exists() and self.record(condition)):
            assert driver.alive(), driver.errors
            time.sleep(0.005)

    def record(self, read):
        with Record(self.folder / "run.db", read_only=True) as record:
            return read(record)

    def finished(self):
        """Everything that is finished, by what it is."""
        if not (self.folder / "run.db").exists():
            return {}
        with Record(self.folder / "run.db", read_only=True) as record:
            done = {("candidate", item.id): item for item in record.candidates if item.state is not State.PENDING}
            done |= {("proposal", item.index): item for item in record.proposals}
            done |= {("final", item.candidate): item for item in record.finals}
            return done | {("export", item.candidate): item for item in record.exports}

    def epochs(self):
        """What the fakes did, in order."""
        return Path(self.fakes["marks"], "epochs").read_text().splitlines()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    opened = Server(tmp_path_factory.mktemp("server") / "errors")
    yield opened
    opened.close()


@pytest.fixture
def place(server, tmp_path, pytestconfig):
    """Makes experiments."""

    def make(name="run", seconds=0.02, **changes):
        document = {
            "name": "small",
            "data": {"dataset": "digits", "train_images": 128},
            "space": str(pytestconfig.rootpath / "search_spaces/mobilenetv2_digits.yaml"),
            "method": {"name": "bomp", "trials": 7, "initial": 4},
            "training": {"epochs": 1},
            "final": {"epochs": 1, "qaft_epochs": 1},
            **changes,
        }
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(document))
        (tmp_path / f"{name}-marks").mkdir()
        if document["name"] not in server.prepared:
            server.ask(prepare=str(file))
            server.prepared.add(document["name"])
        return Place(server, file, tmp_path / name, {"marks": str(tmp_path / f"{name}-marks"), "seconds": seconds})

    return make


@pytest.fixture(scope="session")
def problems():
    return {}


@pytest.fixture
def check(problems):
    """Checks the folder of a run that is finished: all that it must hold, and no more."""

    def check_folder(place, states=frozenset({State.COMPLETED})):
        folder = place.folder
        assert not list(folder.rglob(".draft*"))
        assert not list(folder.rglob("*-journal"))
        assert not list(folder.glob("checkpoints/*"))
        assert not (folder / "status.json").exists()
        with contextlib.closing(sqlite3.connect(folder / "run.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with Record(folder / "run.db", read_only=True) as record:
            candidates, proposals, finals = record.candidates, record.proposals, record.finals
            exports = record.exports
        assert {candidate.state for candidate in candidates} <= states
        assert [candidate.id for candidate in candidates] == list(range(1, len(candidates) + 1))
        table = rows(folder / "candidates.csv")
        assert [(int(row["id"]), row["state"]) for row in table] == [(item.id, item.state) for item in candidates]
        assert [row["score"] for row in table] == ["" if item.score is None else str(item.score) for item in candidates]
        trained = [final for final in finals if final.error is None]
        assert sorted(int(row["id"]) for row in rows(folder / "pareto.csv")) == [item.candidate for item in trained]
        assert [export.candidate for export in exports] == [final.candidate for final in trained]
        files = {final.model for final in trained}
        for export in exports:
            for name, size in ((export.packed, export.packed_bytes), (export.tflite, export.tflite_bytes)):
                if name is not None:
                    files.add(name)
                    assert (folder / name).stat().st_size == size
        assert {str(path.relative_to(folder)) for path in (folder / "models").iterdir()} == files
        assert (folder / "report.html").stat().st_size
        experiment = experiments.load(folder / "experiment.yaml")
        replayed(experiment, candidates, proposals)

    def replayed(experiment, candidates, proposals):
        from bompnas.trials import setup

        if experiment.space_file not in problems:
            problems[experiment.space_file] = setup.prepare(experiment).problem
        problem, proposer = problems[experiment.space_file], experiment.method.proposer()
        for count, stored in enumerate(proposals, 1):
            said = loop.replay(proposer, problem, candidates, experiment.seed, proposals[:count])
            assert (said.genotypes, said.details, said.fit) == (stored.genotypes, stored.details, stored.fit)

    return check_folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
