"""A simulated search: a proposer asked again and again, trials that finish in random order, no training."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bompnas.candidate import Candidate, State
from bompnas.search.proposer import Proposal, Proposer
from bompnas.testing.problems import Trials


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One question to a proposer and its answer.

    Attributes:
        index: Number of the proposal.
        completed: Completed and failed candidates that the proposer saw.
        pending: Candidates in training that it saw.
        fits: Fits of earlier proposals.
        proposal: Its answer.
    """

    index: int
    completed: tuple[Candidate, ...]
    pending: tuple[Candidate, ...]
    fits: tuple[Mapping[str, Any], ...]
    proposal: Proposal


@dataclasses.dataclass(frozen=True)
class Search:
    """A search that was carried out.

    Attributes:
        trials: The problem and its measurements.
        seed: Of the search.
        snapshots: Every proposal, the empty one that ended the search included.
        candidates: What was proposed, by id.
    """

    trials: Trials
    seed: int
    snapshots: tuple[Snapshot, ...]
    candidates: tuple[Candidate, ...]

    @property
    def exhausted(self) -> bool:
        """Whether the proposer said that there is nothing left."""
        return not self.snapshots[-1].proposal.genotypes


def search(
    proposer: Proposer,
    trials: Trials,
    count: int,
    seed: int = 0,
    workers: int = 1,
    fails: Callable[[int], bool] = lambda id: False,
) -> Search:
    """Lets a proposer search.

    Args:
        proposer: Who is asked.
        trials: The problem and its measurements.
        count: Number of float trainings; fewer when the space is exhausted.
        seed: Of the search.
        workers: Trials at the same time; any of them finishes next.
        fails: Candidate's id -> whether its trial fails.
    """
    generator = np.random.default_rng(seed)
    snapshots: list[Snapshot] = []
    candidates: dict[int, Candidate] = {}
    running: list[list[int]] = []
    fits: list[Mapping[str, Any]] = []
    proposing = True
    while proposing or running:
        if proposing and len(running) < workers:
            snapshot = ask(proposer, trials, tuple(candidates.values()), tuple(fits), seed, len(snapshots))
            snapshots.append(snapshot)
            if snapshot.proposal.fit is not None:
                fits.append(snapshot.proposal.fit)
            new = pending(trials, snapshot)
            if new:
                candidates |= {candidate.id: candidate for candidate in new}
                running.append([candidate.id for candidate in new])
            proposing = bool(new) and len(snapshots) < count
        else:
            for id in running.pop(generator.integers(len(running))):
                candidates[id] = finished(trials, candidates[id], fails(id))
    return Search(trials, seed, tuple(snapshots), tuple(candidates.values()))


def ask(
    proposer: Proposer,
    trials: Trials,
    candidates: tuple[Candidate, ...],
    fits: tuple[Mapping[str, Any], ...],
    seed: int,
    index: int,
) -> Snapshot:
    """Asks for one proposal."""
    done = tuple(candidate for candidate in candidates if candidate.state is not State.PENDING)
    waiting = tuple(candidate for candidate in candidates if candidate.state is State.PENDING)
    proposal = proposer.propose(trials.problem, done, waiting, seed, index, fits)
    return Snapshot(index, done, waiting, fits, proposal)


def pending(trials: Trials, snapshot: Snapshot) -> list[Candidate]:
    """The candidates of a proposal."""
    space, first = trials.problem.space, 1 + len(snapshot.completed) + len(snapshot.pending)
    new = []
    for id, genotype in enumerate(snapshot.proposal.genotypes, first):
        point = space.decode(genotype)
        cost = trials.problem.cost(point)
        new.append(Candidate(id, snapshot.index + 1, point, genotype, State.PENDING, cost))
    return new


def finished(trials: Trials, candidate: Candidate, fails: bool = False) -> Candidate:
    """A pending candidate after its trial."""
    if fails:
        return dataclasses.replace(candidate, state=State.FAILED, error="diverged")
    done = dataclasses.replace(candidate, state=State.COMPLETED, metrics=dict(trials.measure(candidate.genotype)))
    return dataclasses.replace(done, score=trials.problem.score(done.values))
