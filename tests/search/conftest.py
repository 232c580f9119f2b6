import dataclasses
import json
import math
from pathlib import Path
from typing import NamedTuple

import pytest

from bompnas.candidate import Candidate, State
from bompnas.hardware.counts import counts
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem
from bompnas.search.proposer import Proposal
from bompnas.space.head import DenseHead
from bompnas.space.loader import load

SPACES = Path(__file__).parents[2] / "search_spaces"
OBJECTIVES = (
    Objective("accuracy", "val_accuracy", 0.8, maximize=True),
    Objective("size", "size_bits", 8, maximize=False, transform="log10"),
)
TINY = """
family: mobilenetv2
name: tiny
input: {size: 8, channels: 1}
bits: 8
stem: {filters: 4, kernel: 3, stride: 1}
blocks:
  - channels: 8
    kernel: [2, 3, 4, 5]
    width: 1.0
    expansion: 1
    repetitions: 1
    seed: {kernel: 3}
last_conv:
  filters: [8, 16, 32]
  seed: {filters: 16}
"""


def make_problem(path, limit=None):
    constraints = () if limit is None else (Constraint("size_kb", limit),)
    return Problem(load(path, head=DenseHead(10)), counts, OBJECTIVES, constraints)


@pytest.fixture(scope="session")
def digits_problem():
    return make_problem(SPACES / "mobilenetv2_digits.yaml", limit=16)


@pytest.fixture(scope="session")
def cifar_problem():
    return make_problem(SPACES / "mobilenetv2_cifar10.yaml")


@pytest.fixture(scope="session")
def tiny_problem(tmp_path_factory):
    """Twelve networks, all feasible."""
    path = tmp_path_factory.mktemp("spaces") / "tiny.yaml"
    path.write_text(TINY)
    return make_problem(path)


def accuracy(network):
    """Capacity that saturates, times what the bits leave of it."""
    capacity = sum(math.log2(layer.out_channels) * math.sqrt(layer.kernel) for layer in network.layers)
    harm = {"conv": 0.02, "depthwise": 0.06, "dense": 0.02}
    damage = sum(4.0 ** (4 - layer.weight_bits) * harm[layer.kind] for layer in network.layers)
    return (1 - math.exp(-capacity / 20)) * math.exp(-damage)


class Snapshot(NamedTuple):
    """What a proposer saw and said."""

    completed: tuple
    pending: tuple
    fits: tuple
    proposal: Proposal


def measure_accuracy(genotype, network):
    return {"val_accuracy": accuracy(network)}


class Simulation:
    """A run without training: proposals, and candidates measured by a formula."""

    def __init__(self, proposer, problem, seed, fails=lambda network: False, measure=measure_accuracy):
        self.proposer, self.problem, self.seed = proposer, problem, seed
        self.fails, self.measure = fails, measure
        self.candidates = []
        self.snapshots = []
        self.fits = ()

    def propose(self, pending=()):
        seen = Snapshot(tuple(self.candidates), tuple(pending), self.fits, None)
        proposal = self.ask(self.proposer, seen, len(self.snapshots))
        self.snapshots.append(seen._replace(proposal=proposal))
        if proposal.fit is not None:
            self.fits += (json.loads(json.dumps(proposal.fit)),)
        return proposal

    def ask(self, proposer, snapshot, index):
        """What a proposer says to a snapshot."""
        return proposer.propose(
            self.problem, snapshot.completed, snapshot.pending, self.seed, index, list(snapshot.fits)
        )

    def pending(self, proposal, number):
        """The candidates of a proposal, numbered from `number`."""
        networks = [self.problem.space.decode(genotype) for genotype in proposal.genotypes]
        return [
            Candidate(id, number, network, genotype, State.PENDING, self.problem.cost(network))
            for id, (network, genotype) in enumerate(zip(networks, proposal.genotypes, strict=True), number)
        ]

    def finish(self, candidate):
        if self.fails(candidate.network):
            self.candidates.append(dataclasses.replace(candidate, state=State.FAILED, error="diverged"))
            return
        metrics = self.measure(candidate.genotype, candidate.network)
        done = dataclasses.replace(candidate, state=State.COMPLETED, metrics=metrics)
        self.candidates.append(dataclasses.replace(done, score=self.problem.score(done.values)))

    def run(self, trials):
        for _ in range(trials):
            proposal = self.propose()
            if not proposal.genotypes:
                break
            for candidate in self.pending(proposal, len(self.candidates) + 1):
                self.finish(candidate)
        return self

    @property
    def keys(self):
        return {candidate.network.key for candidate in self.candidates}

    @property
    def best(self):
        return max(candidate.score for candidate in self.candidates if candidate.score is not None)


@pytest.fixture(scope="session")
def simulate():
    return Simulation


@pytest.fixture(scope="session")
def replays():
    """A function that asks a proposer again for every proposal of a simulation, from the record alone."""

    def check(simulation, proposer):
        for index, snapshot in enumerate(simulation.snapshots):
            assert simulation.ask(proposer, snapshot, index) == snapshot.proposal

    return check
