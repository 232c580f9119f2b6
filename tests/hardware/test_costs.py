from typing import ClassVar

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.bitfusion import BitFusion
from bompnas.hardware.costs import network_costs
from bompnas.hardware.counts import Counts, counts
from bompnas.hardware.model import CostModel, Quantity
from bompnas.hardware.quantities import FACTS
from bompnas.space.sampling import uniform


@pytest.fixture
def networks(digits):
    return digits.batch(uniform(digits, np.random.default_rng(0), 5))


class Impostor(CostModel):
    quantities: ClassVar = (Quantity("macs", "MACs", 1),)

    def costs(self, networks):
        return {"macs": np.zeros(len(networks))}


def test_without_a_device_the_costs_are_the_counts():
    assert network_costs() is counts
    assert network_costs(asked=["size_kb", "val_accuracy"]) is counts


@pytest.mark.parametrize("asked", [["bitops"], ["peak_memory_kb", "macs"], ["peak_memory_b", "bitops"]])
def test_further_counts_come_when_they_are_asked_for(networks, asked):
    found, everything = network_costs(asked=asked)(networks), Counts().costs(networks)
    assert list(found) == [name for name in everything if name in (*FACTS, *asked)]
    for name, values in found.items():
        np.testing.assert_array_equal(values, everything[name])


def test_a_device_adds_its_own(networks):
    device = BitFusion()
    found = network_costs(device, ["latency_ms", "bitops"])(networks)
    assert list(found) == [*FACTS, "bitops", "latency_ms", "energy_mj", "cycles"]
    np.testing.assert_array_equal(found["energy_mj"], device.costs(networks)["energy_mj"])


def test_counts_are_a_device_like_any_other(networks):
    assert set(network_costs(Counts())(networks)) == {quantity.name for quantity in Counts.quantities}


def test_a_device_may_not_redefine_what_is_counted():
    with pytest.raises(InputError, match="Impostor tells of macs, which is counted without a device; expected other"):
        network_costs(Impostor())
