"""The interface of everything that proposes networks."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from bompnas.candidate import Candidate, Genotype
from bompnas.problem import Problem


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What to try next.

    Attributes:
        genotype: A feasible network that was not tried yet; None when the space holds no further one.
        details: How it was chosen, for the record: its source, and what the surrogate expected.
    """

    genotype: Genotype | None
    details: Mapping[str, float | str]


class Proposer(Protocol):
    """Chooses the next network from what is known; keeps no state between calls."""

    def propose(
        self,
        problem: Problem,
        completed: Sequence[Candidate],
        pending: Sequence[Candidate],
        seed: int,
        index: int,
    ) -> Proposal:
        """The next network: a pure function, so that replaying a stored snapshot reproduces the proposal.

        Args:
            problem: Space, costs, objectives and constraints.
            completed: Completed and failed candidates, ordered by id.
            pending: Candidates in training.
            seed: Of the run; together with `index` it fixes every random number.
            index: Number of the proposal in its run, from 0.
        """
        ...
