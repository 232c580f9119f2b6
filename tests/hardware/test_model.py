import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from bompnas.hardware.model import CostModel, LayerwiseModel, Quantity
from bompnas.space.batch import NetworkBatch
from bompnas.space.network import Network
from bompnas.space.sampling import uniform


@dataclasses.dataclass(frozen=True)
class Device(LayerwiseModel):
    """Cycles of a layer are its MACs; every layer takes a third of a millisecond."""

    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("cycles", "cycles", 1),
        Quantity("latency_ms", "latency [ms]", 1e6),
    )
    log: list = dataclasses.field(default_factory=list)

    def price(self, layers):
        self.log.append(len(layers))
        return {"cycles": layers.macs, "latency_ms": layers.macs / 3 + 0.1}


@pytest.fixture
def batch(digits):
    return digits.batch(uniform(digits, np.random.default_rng(0), 30))


def test_a_layerwise_cost_is_the_sum_of_its_layers(batch):
    device = Device()
    parts, costs = device.by_layer(batch), device.costs(batch)
    np.testing.assert_array_equal(parts["cycles"], batch.macs)
    np.testing.assert_array_equal(costs["cycles"], batch.macs.sum(axis=1))
    np.testing.assert_allclose(costs["latency_ms"], parts["latency_ms"].sum(axis=1), rtol=1e-14)
    assert (parts["latency_ms"][batch.kind == 0] == 0).all()


def test_distinct_layers_are_priced_once_in_a_model_s_life(batch):
    device = Device()
    first = device.costs(batch)
    assert len(device.log) == 1
    again = device.costs(batch[::-1])
    device.by_layer(batch[:3])
    assert len(device.log) == 1
    assert all((again[name] == first[name][::-1]).all() for name in first)


def test_models_do_not_share_what_they_remember(batch):
    first, second = Device(), Device()
    first.costs(batch), second.costs(batch)
    assert first.log == second.log
    assert len(first.log) == 1


def test_totals_do_not_depend_on_where_absent_layers_stand(digits):
    device = Device()
    codes = uniform(digits, np.random.default_rng(1), 30)
    together = device.costs(digits.batch(codes))["latency_ms"].tolist()
    alone = [device.cost(digits.decode(genotype)).total["latency_ms"] for genotype in digits.genotypes(codes)]
    assert together == alone


def test_a_cost_names_the_layers(digits):
    network = digits.decode(digits.seed)
    cost = Device().cost(network)
    assert list(cost.layers) == [layer.name for layer in network.layers]
    assert cost.layers["stem"] == {"cycles": network.layers[0].macs, "latency_ms": network.layers[0].macs / 3 + 0.1}
    assert cost.total["cycles"] == sum(layer.macs for layer in network.layers)
    assert {type(value) for value in cost.total.values()} == {int, float}


def test_networks_without_layers_cost_nothing():
    cost = Device().cost(Network(8, 1, ()))
    assert (cost.total, cost.layers) == ({"cycles": 0, "latency_ms": 0.0}, {})
    assert {name: values.shape for name, values in Device().costs(NetworkBatch.of([])).items()} == {
        "cycles": (0,),
        "latency_ms": (0,),
    }


def test_a_model_without_parts_has_layers_without_costs(digits):
    class Depth(CostModel):
        quantities = (Quantity("layers", "layers", 1),)

        def costs(self, networks):
            return {"layers": (networks.kind != 0).sum(axis=1)}

    network = digits.decode(digits.seed)
    cost = Depth().cost(network)
    assert cost.total == {"layers": len(network.layers)}
    assert cost.layers == {layer.name: {} for layer in network.layers}
