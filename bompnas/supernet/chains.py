"""The decisions of a supernet: genes with nested values, each decided by a chain of gates.

A kernel grows by a ring, an expansion by channels, a weight loses its lower bits: every value of such a gene contains,
or is contained in, the one before it. A chain begins at its first value and goes on while its gates are open (HQNAS,
eqs. 4 to 6: (skip, 3, 6), (3x3, 5x5), (16, 8, 4 bits)). A vector of all gates, each 0 or 1, is one network; gates
behind a closed one, and all gates of a group that is skipped, have no effect.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Chain:
    """A gene with nested values.

    Attributes:
        gene: Its name.
        values: The first one, and what each further gate leads to.
        sign: 1 where an open gate keeps a part of the weights, -1 where it leaves one out.
        needs: The chain without whose first gate open this one has no effect; None where it always has.
    """

    gene: str
    values: tuple[int, ...]
    sign: int = 1
    needs: str | None = None

    @property
    def gates(self) -> int:
        """Number of gates."""
        return len(self.values) - 1


@dataclasses.dataclass(frozen=True)
class Chains:
    """All chains of a supernet, whose gates stand one after the other.

    Attributes:
        chains: In their order, those that others need before these.
    """

    chains: tuple[Chain, ...]

    @functools.cached_property
    def starts(self) -> dict[str, int]:
        """The place of each gene's first gate."""
        ends = np.cumsum([chain.gates for chain in self.chains]).tolist()
        return {chain.gene: end - chain.gates for chain, end in zip(self.chains, ends, strict=True)}

    @property
    def gates(self) -> int:
        """Number of gates."""
        return sum(chain.gates for chain in self.chains)

    @property
    def names(self) -> tuple[str, ...]:
        """What each gate leads to, as `block2.kernel=5`."""
        return tuple(f"{chain.gene}={value}" for chain in self.chains for value in chain.values[1:])

    @functools.cached_property
    def signs(self) -> np.ndarray:
        """The sign of each gate's chain, shape (gates,)."""
        return np.repeat([chain.sign for chain in self.chains], [chain.gates for chain in self.chains]).astype(float)

    def draw(self, probabilities: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """Gates of random networks, shape (count, gates), float32.

        Args:
            probabilities: That each gate is open, shape (gates,).
            count: How many networks.
            generator: Of the random numbers.
        """
        return (generator.random((count, self.gates)) < probabilities).astype(np.float32)

    def reached(self, gates: np.ndarray) -> np.ndarray:
        """Which gates have an effect, shape (n, gates), float64, for gates of the same shape."""
        reached = np.ones(gates.shape)
        for chain in self.chains:
            start = self.starts[chain.gene]
            if chain.needs is not None:
                reached[:, start : start + chain.gates] = gates[:, [self.starts[chain.needs]]]
            for gate in range(start + 1, start + chain.gates):
                reached[:, gate] = reached[:, gate - 1] * gates[:, gate - 1]
        return reached

    def log_probability_gradient(self, probabilities: np.ndarray, gates: np.ndarray) -> np.ndarray:
        """Gradient of log p of each network by the logits of the gates, shape (n, gates).

        Only gates that have an effect are part of p: the others' would add variance and nothing else.
        """
        return self.reached(gates) * (gates - probabilities)

    def log_probability(self, probabilities: np.ndarray, gates: np.ndarray) -> np.ndarray:
        """Log p of each network, shape (n,)."""
        terms = np.where(gates > 0, np.log(probabilities), np.log1p(-probabilities))
        return (self.reached(gates) * terms).sum(axis=1)

    def genotypes(self, gates: np.ndarray) -> list[dict[str, int]]:
        """The value of every chain's gene in each network."""
        opened = {
            chain.gene: np.cumprod(gates[:, start : start + chain.gates], axis=1).sum(axis=1).astype(int)
            for chain, start in zip(self.chains, self.starts.values(), strict=True)
        }
        return [
            {chain.gene: chain.values[opened[chain.gene][row]] for chain in self.chains} for row in range(len(gates))
        ]

    def gates_of(self, genotype: Mapping[str, int]) -> np.ndarray:
        """The gates of a network, shape (gates,), float32; inverse of `genotypes`."""
        rows: Sequence[Sequence[int]] = [
            [int(gate < chain.values.index(genotype[chain.gene])) for gate in range(chain.gates)]
            for chain in self.chains
        ]
        return np.array([gate for row in rows for gate in row], np.float32)

    def shares(self, probabilities: np.ndarray) -> dict[str, float]:
        """The probability of every value of every gene, which has an effect or not, as `p(block2.kernel=5)`."""
        shares = {}
        for chain, start in zip(self.chains, self.starts.values(), strict=True):
            going_on = np.cumprod([1.0, *probabilities[start : start + chain.gates], 0.0])
            shares |= {
                f"p({chain.gene}={value})": float(going_on[place] - going_on[place + 1])
                for place, value in enumerate(chain.values)
            }
        return shares
