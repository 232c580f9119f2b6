"""What every cost model must do, as tests to inherit.

    from bompnas.testing.cost_models import CostModelConformance

    class TestMyDevice(CostModelConformance):
        def model(self):
            return MyDevice(frequency_mhz=500)

pytest then prices a few small networks.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from bompnas.hardware.model import CostModel
from bompnas.space import sampling
from bompnas.space.batch import ABSENT, NetworkBatch
from bompnas.space.network import FLOAT_BITS, HEAD, Layer, Network
from bompnas.testing import problems

UNITS = frozenset({"b", "kb", "mb", "bits", "bitops", "cycles", "macs", "params"}) | {
    prefix + unit for prefix in ("", "m", "u", "n") for unit in ("s", "j", "w")
}
FRAMEWORKS = ("jax", "keras", "qkeras", "tensorflow", "torch")


class CostModelConformance:
    """Tests that any `CostModel` must pass; a class of yours named `Test...` inherits them.

    Attributes:
        widths: Widths of weights and activations that the model prices [bits], ascending.
        monotone: Names of the costs that never fall where weights or activations become wider.
        units: What names of costs may end with, in lower case.
    """

    widths: tuple[int, ...] = (2, 4, 8)
    monotone: tuple[str, ...] = ()
    units: frozenset[str] = UNITS

    def model(self) -> CostModel:
        """A new model, which has not priced anything yet."""
        raise NotImplementedError("a class that inherits CostModelConformance defines model()")

    def networks(self) -> Sequence[Network]:
        """At least two networks that the model prices, not all of the same depth; override where it prices few."""
        return networks(self.widths)

    def test_names_carry_units(self) -> None:
        """Every quantity has a name of its own that ends with a unit, and a label."""
        quantities = self.model().quantities
        names = [quantity.name for quantity in quantities]
        assert names, "no quantities"
        assert len(set(names)) == len(names), f"{names} found, expected different names"
        for quantity in quantities:
            unit = quantity.name.rsplit("_", 1)[-1]
            assert unit in self.units, f"{quantity.name} ends with {unit!r}, expected one of {sorted(self.units)}"
            assert quantity.label.strip(), f"{quantity.name} has no label"

    def test_costs_are_the_quantities(self) -> None:
        """Exactly the quantities are told, of no network too; each is a column of integers or of double precision."""
        model, batch = self.model(), self._batch()
        names = {quantity.name for quantity in model.quantities}
        for some in (batch[:0], batch[:1], batch):
            costs = model.costs(some)
            assert set(costs) == names, f"{sorted(costs)} found, expected {sorted(names)}"
            for name, values in costs.items():
                assert values.shape == (len(some),), f"{name} of {len(some)} networks has shape {values.shape}"
                assert values.dtype in (np.int64, np.float64), f"{name} is of type {values.dtype}"

    def test_costs_are_positive_and_finite(self) -> None:
        """Nothing is free; in the finest unit, log10 stays positive."""
        model = self.model()
        costs = model.costs(self._batch())
        for quantity in model.quantities:
            values = costs[quantity.name]
            assert np.isfinite(values).all(), f"{quantity.name}: {values}"
            assert (values > 0).all(), f"{quantity.name}: {values}"
            if quantity.finest is not None:
                assert (values * quantity.finest > 1).all(), f"{quantity.name}: {values * quantity.finest}"

    def test_costs_are_a_function_of_the_network(self) -> None:
        """Asked again, in another order, one by one or of a new model: the same to the last bit."""
        model, batch = self.model(), self._batch()
        costs = model.costs(batch)
        _assert_same(model.costs(batch), costs, "asked again")
        _assert_same(self.model().costs(batch[::-1]), _each(costs, lambda values: values[::-1]), "in reversed order")
        for place in range(len(batch)):
            expected = _each(costs, lambda values, place=place: values[place : place + 1])
            _assert_same(model.costs(batch[place : place + 1]), expected, f"network {place} by itself")
            _assert_same(self.model().costs(batch[place : place + 1]), expected, f"network {place} of a new model")

    def test_networks_are_left_alone(self) -> None:
        """Pricing changes nothing but what it returns."""
        batch = self._batch()
        before = batch.fields.copy()
        model = self.model()
        model.costs(batch), model.by_layer(batch)
        assert (batch.fields == before).all(), "the networks are not what they were"

    def test_what_is_returned_belongs_to_the_caller(self) -> None:
        """Overwriting an answer does not change the next one."""
        model, batch = self.model(), self._batch()
        expected = self.model().costs(batch), self.model().by_layer(batch)
        for answers in (model.costs(batch), model.by_layer(batch)):
            for values in answers.values():
                values[:] = -1
        _assert_same(model.costs(batch), expected[0], "after the answer was overwritten")
        _assert_same(model.by_layer(batch), expected[1], "after the answer was overwritten")

    def test_layers_add_up(self) -> None:
        """The parts of a cost, of shape (n, L), are its total: exactly of integers, else to twelve digits."""
        model, batch = self.model(), self._batch()
        costs, parts = model.costs(batch), model.by_layer(batch)
        assert set(parts) <= set(costs), f"{sorted(parts)} found, expected some of {sorted(costs)}"
        for name, values in parts.items():
            assert values.shape == batch.kind.shape, f"{name} has shape {values.shape}, expected {batch.kind.shape}"
            assert (values >= 0).all(), f"{name} of a layer is negative"
            tolerance = 0 if costs[name].dtype == np.int64 else 1e-12
            np.testing.assert_allclose(values.sum(axis=1), costs[name], rtol=tolerance, err_msg=name)

    def test_absent_layers_cost_nothing(self) -> None:
        """Nor does it matter between which columns they stand."""
        model, batch = self.model(), self._batch()
        costs, parts = model.costs(batch), model.by_layer(batch)
        for name, values in parts.items():
            assert (values[batch.kind == ABSENT] == 0).all(), f"{name} of an absent layer is not 0"
        present = np.arange(batch.kind.shape[1]) * 2 + 1
        fields = np.zeros((len(batch.fields), len(batch), present[-1] + 2), dtype=np.int64)
        fields[:, :, present] = batch.fields
        spread = NetworkBatch(fields)
        for name, values in model.costs(spread).items():
            np.testing.assert_allclose(values, costs[name], rtol=1e-12, err_msg=name)
        _assert_same(
            _each(model.by_layer(spread), lambda values: values[:, present]), parts, "with gaps between layers"
        )

    def test_one_network_is_priced_as_many_are(self) -> None:
        """`cost` says the same of one network, with its layers by name."""
        model, batch = self.model(), self._batch()
        costs, parts = model.costs(batch), model.by_layer(batch)
        for row, network in enumerate(self.networks()):
            found = model.cost(network)
            expected = {name: values[row].item() for name, values in costs.items()}
            assert found.total == expected, f"{found.total} found, expected {expected}"
            layers = {
                layer.name: {name: values[row, place].item() for name, values in parts.items()}
                for place, layer in enumerate(network.layers)
            }
            assert found.layers == layers, f"{found.layers} found, expected {layers}"

    def test_wider_is_not_cheaper(self) -> None:
        """Costs that are said to be monotone never fall where one layer's weights or activations become wider."""
        model = self.model()
        names = {quantity.name for quantity in model.quantities}
        assert set(self.monotone) <= names, f"monotone: {self.monotone} found, expected some of {sorted(names)}"
        for network in self.networks() if self.monotone else ():
            wider = [network, *_wider(network, self.widths)]
            costs = model.costs(NetworkBatch.of(wider))
            for name in self.monotone:
                assert (costs[name] >= costs[name][0]).all(), f"{name} falls from {costs[name][0]}: {costs[name]}"

    def test_no_framework_is_imported(self) -> None:
        """The model's module needs no Keras and nothing of the kind: costs are known where nothing can be trained."""
        module = type(self.model()).__module__
        program = f"import sys, {module}; print(*[name for name in {FRAMEWORKS} if name in sys.modules])"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        found = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr
        assert not found.stdout.strip(), f"{module} imports {found.stdout.strip()}"

    def _batch(self) -> NetworkBatch:
        return NetworkBatch.of(self.networks())


def networks(widths: Sequence[int]) -> tuple[Network, ...]:
    """Small networks of every kind of layer, their widths drawn from some [bits]."""
    space, generator = problems.networks().problem.space, np.random.default_rng(0)
    codes = [*sampling.uniform(space, generator, 5), space.sizes - 1]
    decoded = [space.decode(genotype) for genotype in space.genotypes(np.array(codes))]
    drawn = []
    for network in (*decoded, _unusual()):
        bits = generator.choice(np.array(widths), (len(network.layers), 2)).tolist()
        layers = [
            layer if layer.kind == "float" else _with_bits(layer, *pair)
            for layer, pair in zip(network.layers, bits, strict=True)
        ]
        drawn.append(dataclasses.replace(network, layers=tuple(layers)))
    return tuple(drawn)


def _unusual() -> Network:
    """Odd sizes, even kernels, more channels than an array has places, a flattened map, a float layer, no bias."""

    def layer(name: str, kind: str, kernel: int, stride: int, channels: tuple, sizes: tuple, **others: object) -> Layer:
        values = {"activation": "linear", "group": HEAD, **others}
        return Layer(name, kind, kernel, stride, *channels, *sizes, 8, 8, **values)

    norm = dataclasses.replace(
        layer("norm", "float", 1, 1, (66, 1), (1, 1), bias=False), weight_bits=FLOAT_BITS, activation_bits=FLOAT_BITS
    )
    return Network(
        15,
        3,
        (
            layer("stem", "conv", 5, 2, (3, 33), (15, 8), activation="relu6", group="stem"),
            layer("depthwise", "depthwise", 4, 2, (33, 33), (8, 4), activation="relu6", group="block1", repetition=1),
            layer("wide", "conv", 1, 1, (33, 130), (4, 4), activation="relu6", group="last_conv"),
            layer("flat", "dense", 1, 1, (130 * 16, 33), (1, 1), bias=False),
            norm,
            layer("out", "dense", 1, 1, (33, 3), (1, 1)),
        ),
    )


def _wider(network: Network, widths: Sequence[int]) -> list[Network]:
    """The network with one width of one layer larger, for every layer."""
    wider = []
    for place, layer in enumerate(network.layers):
        for field in ("weight_bits", "activation_bits"):
            larger = [width for width in widths if width > getattr(layer, field)]
            if layer.kind != "float" and larger:
                changed = dataclasses.replace(layer, **{field: larger[0]})
                layers = (*network.layers[:place], changed, *network.layers[place + 1 :])
                wider.append(dataclasses.replace(network, layers=layers))
    return wider


def _with_bits(layer: Layer, weight_bits: int, activation_bits: int) -> Layer:
    return dataclasses.replace(layer, weight_bits=weight_bits, activation_bits=activation_bits)


def _each(costs: Mapping[str, np.ndarray], change) -> dict[str, np.ndarray]:
    return {name: change(values) for name, values in costs.items()}


def _assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], when: str) -> None:
    assert set(found) == set(expected), f"{when}: {sorted(found)} found, expected {sorted(expected)}"
    for name, values in found.items():
        assert np.array_equal(values, expected[name]), f"{name} {when}: {values} found, expected {expected[name]}"
