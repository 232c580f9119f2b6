"""Vectors of networks whose weighted squared distances are edit distances, exactly.

phi has, for each slot and attribute, thermometer features: one for each gap between neighbouring values of the grid,
+1/2 or -1/2 times the root of the gap's length, depending on the side of the gap on which the value lies, and 0 where
the slot has no such attribute. Two values then differ by the sum of the gaps between them, and either differs by 1/4
from an absent one; a presence feature of 1/2 adds the other quarter. A slot's insertion has a feature of its own. All
are scaled by sqrt(g_j). Hence

    D(x, y) = sum_f w[groups[f]] (phi_f(x) - phi_f(y))^2

for every non-negative weight vector w, D is of negative type, and exp(-D) and any Matern kernel of sqrt(D) are positive
semi-definite (Schoenberg). The edit weights stay outside of phi, so they can be learned.
"""

from collections.abc import Sequence

import numpy as np

from bompnas.space.distance import INSERT, Stage, edit_names, slots
from bompnas.space.network import Network

REMEMBERED = 16384


class Embedding:
    """The map from a space's networks to vectors.

    Attributes:
        group_names: Names of the edits, one weight each (`block2.kernel`).
        groups: (F,) int, the edit of each feature.
    """

    def __init__(self, stages: tuple[Stage, ...]):
        self.group_names = edit_names(stages)
        # A site is a slot or an attribute of one. The code of a network at a site is 0 where it is absent, else the
        # place of the value in its grid, from 1. Each feature is a function of the code at one site: a table row.
        self._layout: list[tuple[str, int, int, list[tuple[str, dict[float, int]]]]] = []
        self._sites = 0
        self._codes: dict[str, np.ndarray] = {}
        sites, rows, groups = [], [], []

        def add(edit: str, site: int, values: list[float]) -> None:
            sites.append(site)
            rows.append(values)
            groups.append(self.group_names.index(edit))

        for stage in stages:
            scaled = [(attribute, stage.scaled(attribute)) for attribute in stage.varying]
            codes = [(name, {value: code for code, value in enumerate(grid, 1)}) for name, grid in scaled]
            self._layout.append((stage.name, self._sites, stage.most, codes))
            for slot in range(1, stage.most + 1):
                root = slot**-0.25  # sqrt(g_j)
                if stage.most > stage.fewest:
                    add(f"{stage.name}.{INSERT}", self._sites, [0.0, root])
                for site, (attribute, grid) in enumerate(scaled, self._sites + 1):
                    edit, places = f"{stage.name}.{attribute}", list(grid.values())
                    add(edit, site, [0.0] + [root / 2] * len(places))
                    for below in range(1, len(places)):
                        height = root / 2 * (places[below] - places[below - 1]) ** 0.5
                        add(edit, site, [0.0] + [-height] * below + [height] * (len(places) - below))
                self._sites += 1 + len(scaled)

        self.groups = np.array(groups, dtype=np.intp)
        self._site = np.array(sites, dtype=np.intp)
        width = max((len(row) for row in rows), default=0)
        self._table = np.array([row + [0.0] * (width - len(row)) for row in rows]).reshape(len(rows), width)

    def features(self, networks: Sequence[Network]) -> np.ndarray:
        """The vectors phi of networks.

        Args:
            networks: n networks of the space.

        Returns:
            (n, F) float64.

        Raises:
            ValueError: A network does not lie in the space.
        """
        codes = np.zeros((len(networks), self._sites), dtype=np.int16)
        for row, network in zip(codes, networks, strict=True):
            row[:] = self._encode(network)
        rows, width = self._table.shape
        return self._table.ravel()[codes[:, self._site] + np.arange(rows) * width]

    def _encode(self, network: Network) -> np.ndarray:
        # One network may stand in different blocks, which its key does not tell but its place in the space does.
        key = network.key, tuple(layer.group for layer in network.layers)
        codes = self._codes.get(key)
        if codes is None:
            if len(self._codes) >= REMEMBERED:
                self._codes.clear()
            codes = self._codes[key] = np.array(self._sited(network), dtype=np.int16)
        return codes

    def _sited(self, network: Network) -> list[int]:
        codes = [0] * self._sites
        runs = slots(network)
        for name, site, most, attributes in self._layout:
            run = runs.get(name, ())
            if len(run) > most:
                raise ValueError(f"{name} has {len(run)} repetitions, the space allows {most}")
            for slot in run:
                codes[site] = 1
                for place, (attribute, grid) in enumerate(attributes, site + 1):
                    value = slot.get(attribute)
                    if value is not None:
                        if value not in grid:
                            raise ValueError(f"{name} has {attribute} {value}, the space allows {list(grid)}")
                        codes[place] = grid[value]
                site += 1 + len(attributes)
        return codes
