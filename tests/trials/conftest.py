import dataclasses
import itertools
import os
import types
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import bompnas
from bompnas.candidate import Candidate, State
from bompnas.hardware.counts import counts
from bompnas.objectives import Objective
from bompnas.problem import Problem
from bompnas.search.proposer import Proposal
from bompnas.space import loader, sampling
from bompnas.space.space import BITS
from bompnas.trials import record
from bompnas.trials.context import Run
from bompnas.trials.jobs import Jobs
from bompnas.trials.watching.progress import Progress

ACCURACY = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
SIZE = Objective("size", "size_bits", 8.0, maximize=False, transform="log10")


@dataclasses.dataclass(frozen=True)
class FakeOutcome:
    metrics: dict
    seconds: dict
    error: str | None = None
    model: bytes | None = None


@dataclasses.dataclass(frozen=True)
class FakeResult:
    outcomes: tuple
    seconds: dict
    curves: dict


def random_genotypes(space, generator, count):
    """Genotypes of one architecture with different bits."""
    (first,) = space.genotypes(sampling.uniform(space, generator, 1))
    found = {tuple(first.values()): first}
    while len(found) < count:
        bits = {
            gene.name: gene.values[generator.integers(len(gene.values))] for gene in space.genes if gene.part == BITS
        }
        genotype = space.canonical(first | bits)
        found[tuple(genotype.values())] = genotype
    return list(found.values())


@dataclasses.dataclass(frozen=True)
class FakeProposer:
    """Draws from the space with what it saw mixed into its random numbers, so that a wrong snapshot shows."""

    limit: int = 10**6
    policies: int = 1

    def propose(self, problem, completed, pending, seed, index, fits=()):
        if index >= self.limit:
            return Proposal((), {})
        seen = [int(1e6 * (candidate.score or 0)) for candidate in completed] + [candidate.id for candidate in pending]
        seen += [fit["length"] for fit in fits]
        generator = np.random.default_rng([seed, index, *seen])
        genotypes = tuple(random_genotypes(problem.space, generator, self.policies))
        fit = {"length": index} if index % 3 == 2 else None
        return Proposal(genotypes, {"seen": len(seen)}, fit)


@dataclasses.dataclass(frozen=True)
class FakeSettings:
    trials: int
    limit: int = 10**6
    policies: int = 1

    def proposer(self):
        return FakeProposer(self.limit, self.policies)


def fake_trial(candidates, tell=None):
    """An accuracy that is a function of the networks alone."""
    outcomes = tuple(
        FakeOutcome({"val_accuracy": int(candidate.network.key, 16) % 997 / 997}, {"qaft": 0.25}, model=b"a model")
        for candidate in candidates
    )
    return FakeResult(outcomes, {"train": 1.5}, {"float_loss": [2.0, 1.0]})


@pytest.fixture(scope="session")
def space_file(pytestconfig):
    return pytestconfig.rootpath / "search_spaces" / "mobilenetv2_digits.yaml"


@pytest.fixture(scope="session")
def space(space_file):
    return loader.load(space_file)


@pytest.fixture(scope="session")
def problem(space):
    return Problem(space, counts, (ACCURACY, SIZE))


@pytest.fixture
def make_candidate(problem):
    """Candidates of random networks, numbered from 1."""
    generator = np.random.default_rng(0)
    ids = itertools.count(1)

    def make(**changes):
        genotype = {gene.name: gene.values[generator.integers(len(gene.values))] for gene in problem.space.genes}
        network = problem.space.decode(genotype)
        id = next(ids)
        cost = problem.cost(network)
        return dataclasses.replace(Candidate(id, id, network, genotype, State.PENDING, cost), **changes)

    return make


@pytest.fixture
def new_record(tmp_path):
    """A fresh record, opened for writing."""
    record.create(tmp_path / "run.db", {"experiment": {"name": "test"}, "threads": 2})
    with record.Record(tmp_path / "run.db") as opened:
        yield opened


@pytest.fixture
def make_run(problem, tmp_path):
    """A run over a record and an executor, with quiet progress."""

    def make(opened, executor, seed=0, changed=lambda: None, total=10):
        progress = Progress("trial", total, 0, Console(quiet=True))
        jobs = Jobs(executor, tmp_path / "checkpoints", 0, lambda name, event: None)
        return Run(problem, opened, jobs, lambda candidates, state: tuple(candidates), seed, progress, changed)

    return make


@pytest.fixture
def environment():
    """Environment variables of a subprocess that imports the package from where this one did."""
    return {**os.environ, "PYTHONPATH": str(Path(bompnas.__file__).parents[1])}


@pytest.fixture
def fakes():
    """The fake trial, proposer, settings and result."""
    return types.SimpleNamespace(
        trial=fake_trial, Proposer=FakeProposer, Settings=FakeSettings, Outcome=FakeOutcome, Result=FakeResult
    )


@pytest.fixture(scope="session")
def document():
    """A small experiment on digits."""
    return {
        "name": "test",
        "data": {"dataset": "digits"},
        "space": "search_spaces/mobilenetv2_digits.yaml",
        "method": {"name": "random", "trials": 2},
        "training": {
            "epochs": 3,
            "qaft_epochs": 2,
            "learning_rate": 0.02,
            "qaft_learning_rate": 0.002,
            "batch_size": 32,
        },
        "final": {"epochs": 5, "qaft_epochs": 4},
    }


@pytest.fixture(scope="session")
def prepared(document):
    """Makes the parts of the experiment, some of its keys changed, with a head given in Python or its own."""
    from bompnas import experiment as experiments
    from bompnas.trials import setup  # imports TensorFlow

    def prepare(given=None, **changes):
        return setup.prepare(experiments.parse({**document, **changes}), given)

    return prepare


@pytest.fixture(scope="session")
def digits(prepared):
    """The parts of the experiment as it is."""
    return prepared()
