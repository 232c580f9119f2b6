"""The interface of all cost models: what a network costs on a device.

An *analytic* model knows it before any training, for many networks at once: it steers proposals, filters infeasible
networks and is optimized directly. A *measured* one has to run a trained network, once per candidate.

Most devices carry out one layer after the other, so that their costs are sums over layers: they subclass
`LayerwiseModel` and say what a layer costs; distinct layers are priced once and remembered.
"""

import abc
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from bompnas.hardware.layers import LayerTable, PriceCache
from bompnas.space.batch import ABSENT, NetworkBatch
from bompnas.space.network import Network


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A cost that a model tells of.

    Attributes:
        name: Its key among a candidate's costs; ends with its unit, such as `latency_ms`.
        label: What axes and tables call it, such as `latency [ms]`.
        finest: How many of the unit in which log10 stays positive make one of its own (1e6 for ms, which are scored as
            ns); None where no such unit is known, and log10 is refused.
    """

    name: str
    label: str
    finest: float | None

    @property
    def words(self) -> str:
        """The label without its unit."""
        return self.label.partition(" [")[0]

    @property
    def unit(self) -> str:
        """The unit that the label has in brackets; empty for plain numbers."""
        return self.label.partition(" [")[2].rstrip("]")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one network costs.

    Attributes:
        total: By name.
        layers: Name of the layer -> its part of every cost that is a sum over layers.
    """

    total: Mapping[str, float]
    layers: Mapping[str, Mapping[str, float]]


class CostModel(abc.ABC):
    """What networks cost on a device, known before any training; a pure function of the networks.

    Attributes:
        quantities: What the model tells of.
    """

    quantities: tuple[Quantity, ...]

    @abc.abstractmethod
    def costs(self, networks: NetworkBatch) -> dict[str, np.ndarray]:
        """Total costs of n networks by name, arrays of shape (n,)."""

    def by_layer(self, networks: NetworkBatch) -> dict[str, np.ndarray]:
        """Parts of the costs that are sums over layers, arrays of shape (n, L); 0 where a layer is absent."""
        return {}

    def cost(self, network: Network) -> Cost:
        """What one network costs, layer by layer."""
        batch = NetworkBatch.of([network])
        parts = self.by_layer(batch)
        layers = {
            layer.name: {name: values[0, place].item() for name, values in parts.items()}
            for place, layer in enumerate(network.layers)
        }
        return Cost({name: values[0].item() for name, values in self.costs(batch).items()}, layers)


class LayerwiseModel(CostModel):
    """A device that carries out one layer after the other."""

    @abc.abstractmethod
    def price(self, layers: LayerTable) -> dict[str, np.ndarray]:
        """What m distinct layers cost, by name, arrays of shape (m,)."""

    def costs(self, networks: NetworkBatch) -> dict[str, np.ndarray]:
        """See `CostModel.costs`."""
        return {name: _total(values) for name, values in self.by_layer(networks).items()}

    def by_layer(self, networks: NetworkBatch) -> dict[str, np.ndarray]:
        """See `CostModel.by_layer`."""
        present = networks.kind != ABSENT
        priced = self._cache.look_up(LayerTable.of(networks), self.price)
        parts = {}
        for name, values in priced.items():
            parts[name] = np.zeros(present.shape, values.dtype)
            parts[name][present] = values
        return parts

    @functools.cached_property
    def _cache(self) -> PriceCache:
        return PriceCache()


def _total(parts: np.ndarray) -> np.ndarray:
    """Sums over layers, one layer after the other: the same to the last bit wherever absent layers stand."""
    return parts.cumsum(axis=1)[:, -1] if parts.shape[1] else parts.sum(axis=1)


class MeasuredModel(abc.ABC):
    """Costs that only a trained, quantized network can tell, once per candidate.

    Attributes:
        quantities: What the model tells of.
    """

    quantities: tuple[Quantity, ...]

    @abc.abstractmethod
    def measure(self, graph: Any) -> dict[str, float]:
        """The costs of a quantized network by name; `graph` is a `bompnas.export.graph.IntegerGraph`."""
