"""Spaces of plain genes: whatever a user wants to choose, ordered, categorical or conditional."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from bompnas.errors import InputError
from bompnas.space.embedding import Site
from bompnas.space.space import Gene, SearchSpace, Value


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a `HyperSpace`.

    Attributes:
        values: Gene name -> value, of the active genes.
    """

    values: Mapping[str, Value]

    @functools.cached_property
    def key(self) -> str:
        """Equal for equal points."""
        text = repr(sorted((name, type(value).__name__, value) for name, value in self.values.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Points:
    """Many points of one space.

    Attributes:
        space: Their space.
        codes: Canonical codes, shape (n, genes).
    """

    space: "HyperSpace"
    codes: np.ndarray
    summaries: ClassVar[Mapping[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, places: np.ndarray) -> "Points":
        return Points(self.space, self.codes[places])

    @functools.cached_property
    def keys(self) -> list[bytes]:
        """Equal for equal points."""
        return [row.tobytes() for row in np.ascontiguousarray(self.codes)]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HyperSpace(SearchSpace):
    """A space of plain genes; a genotype stands for the values of its active genes.

    Attributes:
        name: What the space is called.
        genes: The choices.

    Raises:
        InputError: A gene is named twice or badly defined.
    """

    name: str
    genes: tuple[Gene, ...]

    def __post_init__(self):
        known: dict[str, Gene] = {}
        for gene in self.genes:
            place = f"space {self.name!r}: gene {gene.name!r}"
            if gene.name in known:
                raise InputError(f"{place} is there twice, expected different names")
            if len(set(gene.values)) < max(2, len(gene.values)):
                raise InputError(f"{place} has the values {list(gene.values)}, expected at least two different ones")
            if gene.default not in gene.values:
                raise InputError(f"{place} has the default {gene.default!r}, expected one of {list(gene.values)}")
            if gene.positions is not None and not _ascending(gene.positions, len(gene.values)):
                raise InputError(
                    f"{place} has the positions {list(gene.positions)}, expected {len(gene.values)} ascending numbers "
                    "from 0 to 1"
                )
            _check_conditions(gene, known, place)
            known[gene.name] = gene

    @functools.cached_property
    def sites(self) -> tuple[Site, ...]:
        """One for each gene."""
        sites = []
        for column, gene in enumerate(self.genes):
            count = len(gene.values)
            even = tuple(place / (count - 1) for place in range(count))
            presence = tuple(
                (self.places[parent], frozenset(np.flatnonzero(self._holds(parent, values)).tolist()))
                for parent, values in gene.conditions
            )
            positions = (gene.positions or even) if gene.ordered else None
            sites.append(Site(gene.name, column, positions, 0 if gene.ordered else count, presence))
        return tuple(sites)

    def batch(self, codes: np.ndarray) -> Points:
        """The points of codes, shape (n, genes)."""
        return Points(self, self.canonical_codes(codes))

    def collect(self, points: Sequence[Point]) -> Points:
        """Points as a batch."""
        return self.batch(self.encode(point.values for point in points))

    def _build(self, values: Mapping[str, Value]) -> Point:
        return Point({gene.name: values[gene.name] for gene in self.genes if gene.active(values)})


def _check_conditions(gene: Gene, known: Mapping[str, Gene], place: str) -> None:
    for parent, values in gene.conditions:
        if parent not in known:
            raise InputError(f"{place} depends on {parent!r}, expected a gene that stands before it")
        if not values or not values <= set(known[parent].values):
            expected = list(known[parent].values)
            raise InputError(f"{place} depends on {parent!r} being one of {list(values)}, which may be {expected}")
        for ancestor, needed in known[parent].conditions:
            if not any(name == ancestor and listed <= needed for name, listed in gene.conditions):
                raise InputError(
                    f"{place} depends on {parent!r}, which depends on {ancestor!r} being one of {list(needed)}; "
                    "expected that condition here too"
                )


def _ascending(positions: Sequence[float], count: int) -> bool:
    pairs = itertools.pairwise([0.0, *positions, 1.0])
    return len(positions) == count and all(low <= high for low, high in pairs)
