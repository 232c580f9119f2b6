"""Vectors of a problem's genotypes: their edits, and what is plain to see of them.

A vector has two parts: phi of `bompnas.space.embedding`, and summaries, the logarithms of the costs that are facts
about the network and what the space adds (depth, mean bits). Size and operations say much about accuracy before a
single edit is learned. Both parts are centred, and the summaries scaled to unit variance, over a fixed sample of the
space.
"""

import functools

import numpy as np

from bompnas.problem import Problem
from bompnas.search.kernel import Features
from bompnas.space import sampling
from bompnas.space.space import Batch

SAMPLE = 256
ALIKE = 0.9999
"""Correlation above which a summary says nothing new."""


class Encoding:
    """The map from a problem's genotypes to vectors; made by `encoding`.

    Attributes:
        group_names: Names of the groups of features, one weight each: edits, then summaries.
        groups: Group of each feature, shape (F,).
        edits: How many of the features are edits; summaries follow.
    """

    def __init__(self, problem: Problem, summaries: bool):
        space = problem.space
        self._problem = problem
        self._embedding = space.embedding
        self.edits = len(self._embedding.groups)
        codes = sampling.uniform(space, np.random.default_rng(0), SAMPLE)
        batch = space.batch(codes)
        self._names = _informative(self._summaries(batch, problem.costs(batch))) if summaries else []
        self._centre, self._scale = 0.0, 1.0
        rows = self._rows(codes, batch, None)
        self._centre = rows.mean(axis=0)
        self._scale = np.ones(rows.shape[1])
        self._scale[self.edits :] = rows[:, self.edits :].std(axis=0)
        self._lengths = rows[:, : self.edits].var(axis=0).sum().item(), float(len(self._names))
        self.group_names = (*self._embedding.group_names, *self._names)
        own = len(self._embedding.group_names) + np.arange(len(self._names))
        self.groups = np.concatenate([self._embedding.groups, own]).astype(np.intp)

    def __call__(self, codes: np.ndarray, batch: Batch | None = None, costs: dict | None = None) -> Features:
        """Vectors of genotypes.

        Args:
            codes: Shape (n, genes).
            batch: What they decode to, where it is known already.
            costs: The batch's costs, where they are known already.

        Returns:
            Rows of shape (n, F).
        """
        return Features(self._rows(codes, batch, costs), self.groups, self.edits, self._lengths)

    def _rows(self, codes: np.ndarray, batch: Batch | None, costs: dict | None) -> np.ndarray:
        parts = [self._embedding.features(codes)]
        if self._names:
            batch = self._problem.space.batch(codes) if batch is None else batch
            known = self._summaries(batch, self._problem.costs(batch) if costs is None else costs)
            parts += [known[name][:, None] for name in self._names]
        return (np.concatenate(parts, axis=1) - self._centre) / self._scale

    def _summaries(self, batch: Batch, costs: dict) -> dict[str, np.ndarray]:
        facts = self._problem.facts
        logarithms = {
            f"log {name}": np.log(np.maximum(values, 1e-9))
            for name, values in costs.items()
            if facts is None or name in facts
        }
        return logarithms | {name: np.asarray(values, dtype=float) for name, values in batch.summaries.items()}


@functools.lru_cache(maxsize=16)
def encoding(problem: Problem, summaries: bool = True) -> Encoding:
    """The encoding of a problem, of edits alone or with summaries."""
    return Encoding(problem, summaries)


def _informative(summaries: dict[str, np.ndarray]) -> list[str]:
    """Names of the summaries that vary and that no earlier one tells as well."""
    kept: dict[str, np.ndarray] = {}
    for name, values in summaries.items():
        deviation = values.std()
        if deviation <= 1e-9 * max(1.0, abs(values.mean())):
            continue
        standard = (values - values.mean()) / deviation
        if all(abs(standard @ other) / len(values) < ALIKE for other in kept.values()):
            kept[name] = standard
    return list(kept)
