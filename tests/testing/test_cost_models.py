"""Cost models with one fault each: the conformance tests must find it."""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
import pytest

from bompnas.hardware.counts import Counts
from bompnas.hardware.model import Cost, CostModel, LayerwiseModel, Quantity
from bompnas.space.batch import ABSENT, KINDS, NetworkBatch
from bompnas.testing.cost_models import CostModelConformance, networks

COUNTER = itertools.count(1)


class Sound(LayerwiseModel):
    """A nanosecond an operation, and another one a layer."""

    quantities: ClassVar[tuple[Quantity, ...]] = (Quantity("latency_ms", "latency [ms]", 1e6),)

    def price(self, layers):
        return {"latency_ms": (layers.macs * layers.weight_bits * layers.input_bits + 1) * 1e-6}


class TestSound(CostModelConformance):
    monotone = ("latency_ms",)

    def model(self):
        return Sound()


class TestCounts(CostModelConformance):
    monotone = tuple(quantity.name for quantity in Counts.quantities)

    def model(self):
        return Counts()


class Flawed(CostModel):
    """Sound costs, changed by a function."""

    quantities = Sound.quantities

    def __init__(self, costs=None, by_layer=None):
        self._costs, self._by_layer = costs, by_layer
        self.calls = 0
        self.sound = Sound()

    def costs(self, networks):
        self.calls += 1
        sound = self.sound.costs(networks)
        return self._costs(self, networks, sound["latency_ms"]) if self._costs else sound

    def by_layer(self, networks):
        sound = self.sound.by_layer(networks)
        return self._by_layer(self, networks, sound["latency_ms"]) if self._by_layer else sound


def total(change):
    """A flaw of totals alone, without parts."""
    return lambda: Flawed(
        lambda self, networks, values: {"latency_ms": change(self, networks, values)}, lambda *given: {}
    )


def parts(change):
    return lambda: Flawed(by_layer=lambda self, networks, values: {"latency_ms": change(self, networks, values)})


def kept(self, networks, values):
    return self.__dict__.setdefault("kept", {}).setdefault(networks.fields.tobytes(), values)


def changed_networks(self, networks, values):
    networks.fields[7] += 1
    return values


class Named(Sound):
    """Sound costs under other names."""

    def __init__(self, *quantities):
        self.quantities = quantities

    def price(self, layers):
        (values,) = super().price(layers).values()
        return {quantity.name: values for quantity in self.quantities}


def quantity(name="latency_ms", label="latency [ms]", finest=1e6):
    return Quantity(name, label, finest)


def another_name():
    model = Named(quantity())
    model.price = lambda layers: {"delay_ms": layers.macs + 1.0}
    return model


class Rounded(Sound):
    def cost(self, network):
        cost = super().cost(network)
        return Cost({name: round(value, 3) for name, value in cost.total.items()}, cost.layers)


class Nameless(Sound):
    def cost(self, network):
        return dataclasses.replace(super().cost(network), layers={})


def too_small():
    return Named(quantity(finest=1.0))


FLAWS = [
    (lambda: Named(quantity("latency")), "names_carry_units"),
    (lambda: Named(quantity(label=" ")), "names_carry_units"),
    (lambda: Named(quantity(), quantity()), "names_carry_units"),
    (lambda: Named(), "names_carry_units"),
    (another_name, "costs_are_the_quantities"),
    (total(lambda self, networks, values: values[:, None]), "costs_are_the_quantities"),
    (total(lambda self, networks, values: values.astype(np.float32)), "costs_are_the_quantities"),
    (total(lambda self, networks, values: values - values), "costs_are_positive_and_finite"),
    (total(lambda self, networks, values: values / 0.0), "costs_are_positive_and_finite"),
    (too_small, "costs_are_positive_and_finite"),
    (total(lambda self, networks, values: values + self.calls), "costs_are_a_function_of_the_network"),
    (total(lambda self, networks, values: values + next(COUNTER)), "costs_are_a_function_of_the_network"),
    (total(lambda self, networks, values: values / values.max()), "costs_are_a_function_of_the_network"),
    (total(lambda self, networks, values: values + np.arange(len(values))), "costs_are_a_function_of_the_network"),
    (total(changed_networks), "networks_are_left_alone"),
    (total(kept), "what_is_returned_belongs_to_the_caller"),
    (parts(kept), "what_is_returned_belongs_to_the_caller"),
    (parts(lambda self, networks, values: values * 1.0001), "layers_add_up"),
    (parts(lambda self, networks, values: values[:, :-1]), "layers_add_up"),
    (parts(lambda self, networks, values: values - values[:, ::-1]), "layers_add_up"),
    (lambda: Flawed(by_layer=lambda self, networks, values: {"energy_mj": values}), "layers_add_up"),
    (parts(lambda self, networks, values: values + (networks.kind == ABSENT)), "absent_layers_cost_nothing"),
    (total(lambda self, networks, values: values + networks.kind.shape[1]), "absent_layers_cost_nothing"),
    (Rounded, "one_network_is_priced_as_many_are"),
    (Nameless, "one_network_is_priced_as_many_are"),
    (total(lambda self, networks, values: 1 / values), "wider_is_not_cheaper"),
]


@pytest.mark.parametrize(("flawed", "test"), FLAWS, ids=[f"{place}-{test}" for place, (_, test) in enumerate(FLAWS)])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_fault_is_found(flawed, test):
    class Tests(CostModelConformance):
        monotone = ("latency_ms",)

        def model(self):
            return flawed()

    with pytest.raises(AssertionError):
        getattr(Tests(), f"test_{test}")()


def test_a_framework_is_found(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "heavy_device.py").write_text(
        "import torch\nfrom bompnas.hardware.counts import Counts\nclass Heavy(Counts): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    class Tests(CostModelConformance):
        def model(self):
            import heavy_device

            return heavy_device.Heavy()

    with pytest.raises(AssertionError, match="heavy_device imports torch"):
        Tests().test_no_framework_is_imported()


def test_unknown_costs_are_not_monotone():
    class Tests(CostModelConformance):
        monotone = ("energy_mj",)

        def model(self):
            return Sound()

    with pytest.raises(AssertionError, match="energy_mj"):
        Tests().test_wider_is_not_cheaper()


def test_a_class_without_a_model_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"defines model\(\)"):
        CostModelConformance().model()


@pytest.mark.parametrize("widths", [(2, 4, 8), (6,)])
def test_the_networks_hold_every_kind_of_layer_and_every_width(widths):
    batch = NetworkBatch.of(networks(widths))
    assert set(batch.kind.ravel().tolist()) == set(range(len(KINDS)))
    quantized = [layer for network in networks(widths) for layer in network.layers if layer.kind != "float"]
    assert {layer.weight_bits for layer in quantized} == {layer.activation_bits for layer in quantized} == set(widths)
    assert {layer.bias for layer in quantized} == {True, False}
    assert any(layer.residual for layer in quantized)
    assert len({len(network.layers) for network in networks(widths)}) > 1
    assert len(set(batch.keys)) > 3
    assert networks(widths) == networks(widths)


def test_a_frozen_dataclass_can_be_a_model():
    @dataclasses.dataclass(frozen=True)
    class Clocked(Sound):
        clock_mhz: float = 100.0

    batch = NetworkBatch.of(networks((4,)))
    assert Clocked() == Clocked(100.0)
    assert (Clocked().costs(batch)["latency_ms"] == Sound().costs(batch)["latency_ms"]).all()
