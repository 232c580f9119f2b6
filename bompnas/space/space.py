"""What all search spaces share: genes, genotypes, counting, decoding.

A genotype is a mapping gene name -> value. Where many are handled at once they travel as codes, an integer array of
shape (n, genes) with the place of each value among its gene's values, so that moves, constraints, costs and vectors are
computed for all of them together.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from bompnas.errors import InputError
from bompnas.space.batch import NetworkBatch
from bompnas.space.distance import Stage
from bompnas.space.embedding import Embedding, Site
from bompnas.space.network import Layer, Network

ARCHITECTURE = "architecture"
BITS = "bits"

Value = int | float | str | bool

Genotype = Mapping[str, Value]
"""Gene name -> value."""


class Decoded(Protocol):
    """What a genotype stands for: a network, or a point of a space of plain genes.

    Attributes:
        key: Equal for genotypes that stand for the same thing.
    """

    key: str


class Batch(Protocol):
    """Many decoded genotypes in columns, as costs are computed from them.

    Attributes:
        keys: Equal for rows that stand for the same thing; comparable within one space.
    """

    keys: list[bytes]

    def __len__(self) -> int: ...

    def __getitem__(self, places: np.ndarray) -> "Batch":
        """Some of the rows."""
        ...

    @property
    def summaries(self) -> Mapping[str, np.ndarray]:
        """What is plain to see of each row and may explain a metric, name -> shape (n,)."""
        ...


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a parameter may be.

    Attributes:
        values: The choices in their order; one makes the parameter a constant.
        seed: The seed network's choice.
    """

    values: tuple[int | float, ...]
    seed: int | float


@dataclasses.dataclass(frozen=True)
class Gene:
    """One choice that a genotype makes.

    Attributes:
        name: Unique within its space (`block2.kernel`).
        values: The choices, at least two; ascending where they are ordered.
        default: The seed network's choice.
        part: `architecture` or `bits`.
        conditions: (gene, its values) pairs that must all hold for this gene to matter: a block's kernel is inactive
            when the block has no repetitions. A condition on a gene that has conditions lists those too.
        ordered: Whether values next to each other are alike; categories are all equally unlike.
        positions: Places of ordered values in [0, 1], ascending; evenly spaced where None.
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    part: str = ARCHITECTURE
    conditions: tuple[tuple[str, frozenset[Value]], ...] = ()
    ordered: bool = True
    positions: tuple[float, ...] | None = None

    def active(self, genotype: Genotype) -> bool:
        """Whether what is decoded depends on this gene."""
        return not self.conditions or all(genotype[parent] in values for parent, values in self.conditions)


class SearchSpace(abc.ABC):
    """A set of things, networks most often, each chosen by a genotype.

    Attributes:
        name: What the space is called.
        genes: The choices; parameters with a single choice are constants, not genes.
    """

    name: str
    genes: tuple[Gene, ...]

    @property
    @abc.abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """Where genotypes differ, for the edit distance."""

    @abc.abstractmethod
    def batch(self, codes: np.ndarray) -> Batch:
        """What the genotypes of codes, shape (n, genes), decode to."""

    @abc.abstractmethod
    def collect(self, points: Sequence[Any]) -> Batch:
        """Decoded genotypes as a batch."""

    @abc.abstractmethod
    def _build(self, values: Mapping[str, Value]) -> Decoded:
        """What checked gene values stand for."""

    @property
    def seed(self) -> dict[str, Value]:
        """The genotype of the seed network: every gene at its default."""
        return {gene.name: gene.default for gene in self.genes}

    @functools.cached_property
    def embedding(self) -> Embedding:
        """Vectors whose squared distances are edit distances."""
        return Embedding(self.sites)

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """Number of values of each gene, shape (genes,)."""
        return np.array([len(gene.values) for gene in self.genes], dtype=np.intp)

    @functools.cached_property
    def defaults(self) -> np.ndarray:
        """Codes of the seed, shape (genes,)."""
        return np.array([gene.values.index(gene.default) for gene in self.genes], dtype=np.intp)

    def decode(self, genotype: Genotype) -> Any:
        """What a genotype stands for.

        Raises:
            InputError: A gene is unknown or missing, or its value is not among its choices.
        """
        values = {}
        try:
            for gene in self.genes:
                choices = gene.values
                values[gene.name] = choices[choices.index(genotype[gene.name])]
        except KeyError:
            raise InputError(f"genotype: gene {gene.name!r} of space {self.name!r} is missing") from None
        except ValueError:
            raise _not_a_choice(gene, genotype[gene.name]) from None
        if len(genotype) > len(values):
            unknown = min(set(genotype) - set(values))
            raise InputError(f"genotype: space {self.name!r} has no gene {unknown!r}; its genes: {', '.join(values)}")
        return self._build(values)

    def canonical(self, genotype: Genotype) -> dict[str, Value]:
        """The genotype with its genes in the space's order and inactive ones at their default."""
        return {gene.name: genotype[gene.name] if gene.active(genotype) else gene.default for gene in self.genes}

    def encode(self, genotypes: Iterable[Genotype]) -> np.ndarray:
        """Codes of genotypes, shape (n, genes).

        A gene that a genotype does not have, because it was added to the space later, takes its default; one that the
        space does not have any more is left out.

        Raises:
            InputError: A value is not among its gene's choices.
        """
        rows = []
        for genotype in genotypes:
            try:
                rows.append([code[genotype.get(name, default)] for name, code, default in self._codes])
            except (KeyError, TypeError):
                gene = next(g for g in self.genes if genotype.get(g.name, g.default) not in g.values)
                raise _not_a_choice(gene, genotype[gene.name]) from None
        return np.array(rows, dtype=np.intp).reshape(len(rows), len(self.genes))

    def genotypes(self, codes: np.ndarray) -> list[dict[str, Value]]:
        """The genotypes of codes, shape (n, genes)."""
        return [
            {gene.name: gene.values[code] for gene, code in zip(self.genes, row, strict=True)} for row in codes.tolist()
        ]

    def active(self, codes: np.ndarray) -> np.ndarray:
        """Which genes matter, shape (n, genes), bool."""
        active = np.ones(codes.shape, dtype=bool)
        for column, conditions in self._conditions:
            for parent, holds in conditions:
                active[:, column] &= holds[codes[:, parent]]
        return active

    def canonical_codes(self, codes: np.ndarray) -> np.ndarray:
        """The codes with inactive genes at their default."""
        return np.where(self.active(codes), codes, self.defaults)

    def count_architectures(self) -> int:
        """Number of architecture choices, inactive ones included, as the paper counts them."""
        return math.prod(len(gene.values) for gene in self.genes if gene.part == ARCHITECTURE)

    def count_policies(self) -> int:
        """Number of bit-width choices, inactive ones included, as the paper counts them."""
        return math.prod(len(gene.values) for gene in self.genes if gene.part == BITS)

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """Gene name -> its column."""
        return {gene.name: column for column, gene in enumerate(self.genes)}

    @functools.cached_property
    def _codes(self) -> list[tuple[str, dict[Value, int], Value]]:
        return [
            (gene.name, {value: code for code, value in enumerate(gene.values)}, gene.default) for gene in self.genes
        ]

    @functools.cached_property
    def _conditions(self) -> list[tuple[int, list[tuple[int, np.ndarray]]]]:
        """Column of each conditional gene, and for each of its parents the column and which codes let it matter."""
        return [
            (column, [(self.places[parent], self._holds(parent, values)) for parent, values in gene.conditions])
            for column, gene in enumerate(self.genes)
            if gene.conditions
        ]

    def _holds(self, parent: str, values: frozenset[Value]) -> np.ndarray:
        return np.array([value in values for value in self.genes[self.places[parent]].values])


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class NetworkSpace(SearchSpace):
    """A set of networks.

    Attributes:
        name: What the space is called.
        input_size: Height and width of the input image.
        input_channels: Channels of the input image.
        head: Number of features -> head layers.
    """

    name: str
    input_size: int
    input_channels: int
    head: Callable[[int], tuple[Layer, ...]]

    @property
    @abc.abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Parts of the networks and the grids of their attributes, for the edit distance."""

    @abc.abstractmethod
    def batch(self, codes: np.ndarray) -> NetworkBatch:
        """The networks of codes, shape (n, genes)."""

    def collect(self, points: Sequence[Network]) -> NetworkBatch:
        """Networks as a batch."""
        return NetworkBatch.of(points)


def _not_a_choice(gene: Gene, value: Any) -> InputError:
    return InputError(f"genotype: {gene.name} is {value!r}, expected one of {list(gene.values)}")
