"""What all search spaces share: genes, genotypes, counting, decoding."""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bompnas.errors import InputError
from bompnas.space.distance import Stage
from bompnas.space.embedding import Embedding
from bompnas.space.network import Layer, Network

if TYPE_CHECKING:
    from bompnas.candidate import Genotype

ARCHITECTURE = "architecture"
BITS = "bits"


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
        values: The choices, at least two, in their order.
        default: The seed network's choice.
        part: `architecture` or `bits`.
        conditions: (gene, its values) pairs that must all hold for this gene to matter: a block's kernel is inactive
            when the block has no repetitions.
    """

    name: str
    values: tuple[int | float, ...]
    default: int | float
    part: str
    conditions: tuple[tuple[str, frozenset[int | float]], ...] = ()

    def active(self, genotype: "Genotype") -> bool:
        """Whether the decoded network depends on this gene."""
        return not self.conditions or all(genotype[parent] in values for parent, values in self.conditions)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SearchSpace(abc.ABC):
    """A set of networks, each chosen by a genotype: a mapping gene name -> value.

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
    def genes(self) -> tuple[Gene, ...]:
        """The choices; parameters with a single choice are constants, not genes."""

    @property
    @abc.abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Parts of the networks and the grids of their attributes, for the edit distance."""

    @abc.abstractmethod
    def _build(self, values: Mapping[str, int | float]) -> Network:
        """The network of checked gene values."""

    @property
    def seed(self) -> dict[str, int | float]:
        """The genotype of the seed network: every gene at its default."""
        return {gene.name: gene.default for gene in self.genes}

    @functools.cached_property
    def embedding(self) -> Embedding:
        """Vectors whose squared distances are edit distances."""
        return Embedding(self.stages)

    def decode(self, genotype: "Genotype") -> Network:
        """The network of a genotype.

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
            raise InputError(
                f"genotype: {gene.name} is {genotype[gene.name]!r}, expected one of {list(gene.values)}"
            ) from None
        if len(genotype) > len(values):
            unknown = min(set(genotype) - set(values))
            raise InputError(f"genotype: space {self.name!r} has no gene {unknown!r}; its genes: {', '.join(values)}")
        return self._build(values)

    def canonical(self, genotype: "Genotype") -> dict[str, int | float]:
        """The genotype with its genes in the space's order and inactive ones at their default."""
        return {gene.name: genotype[gene.name] if gene.active(genotype) else gene.default for gene in self.genes}

    def count_architectures(self) -> int:
        """Number of architecture choices, inactive ones included, as the paper counts them."""
        return math.prod(len(gene.values) for gene in self.genes if gene.part == ARCHITECTURE)

    def count_policies(self) -> int:
        """Number of bit-width choices, inactive ones included, as the paper counts them."""
        return math.prod(len(gene.values) for gene in self.genes if gene.part == BITS)
