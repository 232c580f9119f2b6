"""This project's proposers, driven through the same loop as the peers.

`VARIANTS` is the table of what is measured: add a row to measure another setting.
"""

import functools
from collections.abc import Sequence
from typing import Any

from bompnas.candidate import Candidate
from bompnas.methods import METHODS
from bompnas.problem import Problem
from bompnas.space.space import Genotype
from quality.study import Method

VARIANTS: dict[str, dict[str, Any]] = {
    "bomp": {},
    "bomp_stratified": {"own_start": True},
    "bomp_batch4": {"workers": 4},
    "bomp_ehvi": {"acquisition": "ehvi"},
    "bomp_parego": {"acquisition": "parego"},
    "bomp_paper": {"preset": "paper"},
    "evolution": {"name": "evolution", "population": 20, "sample": 5},
}
"""Name -> settings of `method:` in an experiment (`name` is `bomp` where not given), and `workers` and `own_start` of
`quality.study.Method`."""


class Proposals:
    """A proposer's searcher: remembers the fits that it stored with its proposals, as a run's record does."""

    def __init__(self, settings: dict[str, Any], problem: Problem, seed: int):
        schema = METHODS[settings["name"]].load_settings()
        self._proposer = schema(**settings).proposer()
        self._problem, self._seed = problem, seed
        self._fits: list[dict[str, Any]] = []

    def __call__(self, completed: Sequence[Candidate], pending: Sequence[Candidate]) -> Genotype | None:
        """See `quality.peers.Searcher`."""
        index = len(completed) + len(pending)
        proposal = self._proposer.propose(self._problem, completed, pending, self._seed, index, fits=tuple(self._fits))
        if proposal.fit is not None:
            self._fits.append(proposal.fit)
        return proposal.genotypes[0] if proposal.genotypes else None


def methods() -> dict[str, Method]:
    """All variants by name."""
    found = {}
    for name, row in VARIANTS.items():
        settings = {"name": "bomp", **row}
        workers, own_start = settings.pop("workers", 1), settings.pop("own_start", False)
        found[name] = Method(name, functools.partial(Proposals, settings), workers, own_start)
    return found
