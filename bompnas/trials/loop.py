"""The loop that turns any proposer into a method: propose, record, train, record."""

import itertools
import logging
from collections.abc import Sequence
from typing import Protocol

from bompnas.candidate import Candidate, State
from bompnas.problem import Problem
from bompnas.search.proposer import Proposal, Proposer
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
                candidate = _propose(proposer, run, proposed)
                if candidate is None:
                    exhausted = True
                    _log.info("space exhausted: every feasible network was tried")
                else:
                    proposed += 1
                    run.start((candidate,))
            else:
                break
        if not run.busy:
            return
        run.finish()


def replay(
    proposer: Proposer, problem: Problem, candidates: Sequence[Candidate], seed: int, stored: StoredProposal
) -> Proposal:
    """What the proposer says today to what it saw when it made a stored proposal."""
    by_id = {candidate.id: candidate for candidate in candidates}
    completed = [by_id[id] for id in stored.completed]
    pending = [_untrained(by_id[id]) for id in stored.pending]
    return proposer.propose(problem, completed, pending, seed, stored.index)


def _propose(proposer: Proposer, run: Run, index: int) -> Candidate | None:
    """Asks for the next network and records the answer; None when there is no further one."""
    candidates = run.record.candidates
    completed = [candidate for candidate in candidates if candidate.state is not State.PENDING]
    pending = [candidate for candidate in candidates if candidate.state is State.PENDING]
    proposal = proposer.propose(run.problem, completed, pending, run.seed, index)
    if proposal.genotype is None:
        return None
    trial = max((candidate.trial for candidate in candidates), default=0) + 1
    candidate = _candidate(run.problem, len(candidates) + 1, trial, proposal)
    stored = StoredProposal(
        index,
        trial,
        proposal.genotype,
        tuple(candidate.id for candidate in completed),
        tuple(candidate.id for candidate in pending),
        proposal.details,
    )
    run.record.add([candidate], stored)
    return candidate


def _candidate(problem: Problem, id: int, trial: int, proposal: Proposal) -> Candidate:
    network = problem.space.decode(proposal.genotype)
    return Candidate(id, trial, network, proposal.genotype, State.PENDING, problem.cost(network))


def _untrained(candidate: Candidate) -> Candidate:
    return Candidate(
        candidate.id, candidate.trial, candidate.network, candidate.genotype, State.PENDING, candidate.cost
    )
