"""The loop that turns any proposer into a method: propose, record, train, record."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bompnas.candidate import Candidate, State
from bompnas.problem import Problem
from bompnas.search.proposer import Proposal, Proposer
from bompnas.space.space import Genotype
from bompnas.trials.context import Run
from bompnas.trials.record import StoredProposal

_log = logging.getLogger(__name__)


class TrialSettings(Protocol):
    """Settings of a method that this loop carries out.

    Attributes:
        trials: Number of trials.
    """

    trials: int

    def proposer(self) -> Proposer:
        """What chooses the networks."""
        ...


def search(settings: TrialSettings, run: Run) -> None:
    """Runs trials until `settings.trials` were proposed or the space is exhausted.

    Interrupted trials, which the record holds as pending, are run again first. A proposal and its pending candidate
    are recorded in one transaction before the trial starts, so that an interruption loses no decision.
    """
    proposer = settings.proposer()
    pending = [candidate for candidate in run.record.candidates if candidate.state is State.PENDING]
    interrupted = [tuple(trial) for _, trial in itertools.groupby(pending, key=lambda candidate: candidate.trial)]
    proposed = len(run.record.proposals)
    exhausted = False
    while True:
        while run.busy < run.slots:
            if interrupted:
                run.start(interrupted.pop(0))
            elif not exhausted and proposed < settings.trials:
                candidates = _propose(proposer, run, proposed)
                if candidates:
                    proposed += 1
                    run.start(candidates)
                else:
                    exhausted = True
                    _log.info("space exhausted: every feasible network was tried")
            else:
                break
        if not run.busy:
            return
        run.finish()


def replay(
    proposer: Proposer, problem: Problem, candidates: Sequence[Candidate], seed: int, stored: Sequence[StoredProposal]
) -> Proposal:
    """What the proposer says today to what it saw when it made the last of the stored proposals."""
    by_id = {candidate.id: candidate for candidate in candidates}
    last = stored[-1]
    completed = [by_id[id] for id in last.completed]
    pending = [_untrained(by_id[id]) for id in last.pending]
    return proposer.propose(problem, completed, pending, seed, last.index, _fits(stored[:-1]))


def _propose(proposer: Proposer, run: Run, index: int) -> tuple[Candidate, ...]:
    """Asks for the next networks and records the answer; none when there is no further one."""
    candidates = run.record.candidates
    completed = [candidate for candidate in candidates if candidate.state is not State.PENDING]
    pending = [candidate for candidate in candidates if candidate.state is State.PENDING]
    fits = _fits(run.record.proposals)
    proposal = proposer.propose(run.problem, completed, pending, run.seed, index, fits)
    if not proposal.genotypes:
        return ()
    trial = max((candidate.trial for candidate in candidates), default=0) + 1
    new = tuple(
        _candidate(run.problem, number, trial, genotype)
        for number, genotype in enumerate(proposal.genotypes, len(candidates) + 1)
    )
    stored = StoredProposal(
        index,
        trial,
        proposal.genotypes,
        tuple(candidate.id for candidate in completed),
        tuple(candidate.id for candidate in pending),
        proposal.details,
        proposal.fit,
    )
    run.record.add(new, stored)
    return new


def _fits(proposals: Sequence[StoredProposal]) -> list[Mapping[str, Any]]:
    return [proposal.fit for proposal in proposals if proposal.fit is not None]


def _candidate(problem: Problem, id: int, trial: int, genotype: Genotype) -> Candidate:
    network = problem.space.decode(genotype)
    return Candidate(id, trial, network, genotype, State.PENDING, problem.cost(network))


def _untrained(candidate: Candidate) -> Candidate:
    return Candidate(
        candidate.id, candidate.trial, candidate.network, candidate.genotype, State.PENDING, candidate.cost
    )
