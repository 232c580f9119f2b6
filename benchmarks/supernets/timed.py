"""A search by trials for a given time."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bompnas.candidate import Candidate, State
from bompnas.problem import Problem
from bompnas.search.proposer import Proposer


@dataclasses.dataclass(frozen=True)
class Timed:
    """What was tried, and how long it took.

    Attributes:
        candidates: All of them, completed or failed.
        seconds: CPU time of proposals and trials [s].
    """

    candidates: tuple[Candidate, ...]
    seconds: float


def search(
    proposer: Proposer,
    problem: Problem,
    train: Callable[[Candidate], Mapping[str, float] | None],
    seconds: float,
    seed: int,
    clock: Callable[[], float] = time.process_time,
) -> Timed:
    """Carries out one trial after the other, as long as another one of mean length ends in time; at least one.

    Args:
        proposer: Who is asked what to try.
        problem: What is searched.
        train: A pending candidate -> what its trial measures; None where it fails.
        seconds: What the search may take [s].
        seed: Of the search.
        clock: Tells the time [s]; that of the CPU, as others may use it too.
    """
    begin = clock()
    done: list[Candidate] = []
    fits: list[Mapping[str, Any]] = []
    while not done or (clock() - begin) * (1 + 1 / len(done)) <= seconds:
        proposal = proposer.propose(problem, tuple(done), (), seed, len(done), tuple(fits))
        if proposal.fit is not None:
            fits.append(proposal.fit)
        if not proposal.genotypes:
            break
        done.append(_tried(problem, proposal.genotypes[0], len(done) + 1, train))
    return Timed(tuple(done), clock() - begin)


def _tried(
    problem: Problem, genotype: Mapping[str, Any], number: int, train: Callable[[Candidate], Mapping[str, float] | None]
) -> Candidate:
    network = problem.space.decode(genotype)
    pending = Candidate(number, number, network, genotype, State.PENDING, problem.cost(network))
    metrics = train(pending)
    if metrics is None:
        return dataclasses.replace(pending, state=State.FAILED, error="failed")
    done = dataclasses.replace(pending, state=State.COMPLETED, metrics=dict(metrics))
    return dataclasses.replace(done, score=problem.score(done.values))


def grouped(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates of one architecture together: they share a float training."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.network.architecture_key, []).append(candidate)
    return list(groups.values())
