"""Vectors of genotypes whose weighted squared distances are edit distances, exactly.

A site is a place where genotypes may differ: a gene, or a gene as it shows in one slot of a stage
(`bompnas.space.distance`). phi has, for each site of an ordered gene, thermometer features: one for each gap between
neighbouring positions, +1/2 or -1/2 times the root of the gap's length, depending on the side of the gap on which the
value lies, and 0 where the site is absent. Two values then differ by the sum of the gaps between them, and either
differs by 1/4 from an absent one; a presence feature of 1/2 adds the other quarter. A site of a categorical gene has
one feature per category, the root of 1/2 for the chosen one: two categories differ by 1, either from an absent one by
1/2. A site without a gene (a slot's insertion) is a presence feature of 1. All are scaled by the root of the site's
share g. Hence

    D(x, y) = sum_f w[groups[f]] (phi_f(x) - phi_f(y))^2

for every non-negative weight vector w, D is of negative type, and exp(-D) and any Matern kernel of sqrt(D) are positive
semi-definite (Schoenberg). The edit weights stay outside of phi, so they can be learned.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Site:
    """A place where genotypes may differ.

    Attributes:
        edit: Name of the edit whose weight counts here (`block2.kernel`); many sites may share one.
        gene: Column of the gene; None for the mere presence of the site.
        positions: Place in [0, 1] of each of the gene's values; None for categories.
        categories: Number of the gene's values where they are categories.
        presence: (column of a gene, its codes) pairs that must all hold for the site to be there.
        share: g, by which the edit counts here.
    """

    edit: str
    gene: int | None
    positions: tuple[float, ...] | None = None
    categories: int = 0
    presence: tuple[tuple[int, frozenset[int]], ...] = ()
    share: float = 1.0


class Embedding:
    """The map from a space's genotypes to vectors.

    Attributes:
        group_names: Names of the edits, one weight each (`block2.kernel`).
        groups: (F,) int, the edit of each feature.
    """

    def __init__(self, sites: Sequence[Site]):
        self.group_names = tuple(dict.fromkeys(site.edit for site in sites))
        # The code of a genotype at a site is 0 where the site is absent, else the place of the gene's value, from 1.
        # Each feature is a function of the code at one site: a row of the table.
        owners, rows, groups = [], [], []
        for number, site in enumerate(sites):
            features = _features(site)
            rows += features
            owners += [number] * len(features)
            groups += [self.group_names.index(site.edit)] * len(features)
        width = max((len(row) for row in rows), default=1)
        self._table = np.array([row + [0.0] * (width - len(row)) for row in rows], dtype=float).reshape(-1)
        self._offsets = np.arange(len(rows)) * width
        self._owners = np.array(owners, dtype=np.intp)
        self.groups = np.array(groups, dtype=np.intp)
        self._genes = np.array([-1 if site.gene is None else site.gene for site in sites], dtype=np.intp)
        rules = dict.fromkeys(rule for site in sites for rule in site.presence)
        self._rules = [(column, np.array(sorted(allowed), dtype=np.intp)) for column, allowed in rules]
        place = {rule: number for number, rule in enumerate(rules)}
        most = max((len(site.presence) for site in sites), default=0)
        always = len(self._rules)
        ruled = [[place[rule] for rule in site.presence] for site in sites]
        self._site_rules = np.array([row + [always] * (most - len(row)) for row in ruled], dtype=np.intp)

    def features(self, codes: np.ndarray) -> np.ndarray:
        """The vectors phi of genotypes.

        Args:
            codes: Places of the genes' values, shape (n, genes).

        Returns:
            (n, F) float64.
        """
        padded = np.concatenate([codes + 1, np.ones((len(codes), 1), dtype=np.intp)], axis=1)
        at_sites = padded[:, self._genes]  # -1, no gene, is the column of ones
        held = np.ones((len(codes), len(self._rules) + 1), dtype=bool)
        for number, (column, allowed) in enumerate(self._rules):
            held[:, number] = np.isin(codes[:, column], allowed, kind="table")
        for rules in self._site_rules.T:
            at_sites = at_sites * held[:, rules]
        return self._table[at_sites[:, self._owners] + self._offsets]


def _features(site: Site) -> list[list[float]]:
    """Rows of the table: the value of each feature for an absent site and for each of the gene's values."""
    root = site.share**0.5
    if site.gene is None:
        return [[0.0, root]]
    if site.positions is None:
        chosen = np.sqrt(site.share / 2) * np.eye(site.categories)
        return [[0.0, *row] for row in chosen.tolist()]
    rows = []
    if site.presence:
        rows.append([0.0] + [root / 2] * len(site.positions))
    ladder = sorted(set(site.positions))
    for low, high in itertools.pairwise(ladder):
        height = root / 2 * (high - low) ** 0.5
        rows.append([0.0] + [height if position >= high else -height for position in site.positions])
    return rows
