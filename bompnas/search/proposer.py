"""The interface of everything that proposes networks."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bompnas.candidate import Candidate
from bompnas.problem import Problem
from bompnas.space.space import Genotype


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What to try next.

    Attributes:
        genotypes: One for each policy of the next float training: feasible networks that were not tried yet, which
            share an architecture. None at all when the space holds no further one.
        details: How they were chosen, for the record: their source, and what the surrogate expected.
        fit: Hyper-parameters that were fitted for this proposal, as JSON; None if earlier ones served.
    """

    genotypes: tuple[Genotype, ...]
    details: Mapping[str, float | str]
    fit: Mapping[str, Any] | None = None


class Proposer(Protocol):
    """Chooses the next networks from what is known; keeps no state between calls but what it can compute again."""

    def propose(
        self,
        problem: Problem,
        completed: Sequence[Candidate],
        pending: Sequence[Candidate],
        seed: int,
        index: int,
        fits: Sequence[Mapping[str, Any]] = (),
    ) -> Proposal:
        """The next networks: a pure function, so that replaying a stored snapshot reproduces the proposal.

        Args:
            problem: Space, costs, objectives and constraints.
            completed: Completed and failed candidates, ordered by id.
            pending: Candidates in training.
            seed: Of the run; together with `index` it fixes every random number.
            index: Number of the proposal in its run, from 0.
            fits: The fits of the run's earlier proposals, in their order.
        """
        ...
