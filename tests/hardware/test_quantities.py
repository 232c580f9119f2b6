import numpy as np
import pytest

from bompnas.hardware.counts import Counts, counts
from bompnas.hardware.model import Quantity
from bompnas.hardware.quantities import FACTS, OBJECTIVES, TABLE, named, of_name
from bompnas.space.batch import NetworkBatch


def test_facts_are_what_is_counted_of_every_network():
    assert tuple(counts(NetworkBatch(np.zeros((12, 0, 0), dtype=np.int64)))) == FACTS
    assert set(FACTS) < {quantity.name for quantity in Counts.quantities} < set(TABLE)


def test_objectives_are_costs_whose_logarithm_is_positive():
    assert set(OBJECTIVES.values()) <= set(TABLE)
    assert all(TABLE[cost].finest for cost in OBJECTIVES.values())


def test_a_quantity_has_words_and_a_unit():
    assert (TABLE["latency_ms"].words, TABLE["latency_ms"].unit) == ("latency", "ms")
    assert (TABLE["macs"].words, TABLE["macs"].unit) == ("MACs", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("latency_ms", Quantity("latency_ms", "latency [ms]", 1e6)),
        ("peak_power_mj", Quantity("peak_power_mj", "peak power [mJ]", 1e6)),
        ("heat", Quantity("heat", "heat", None)),
        ("ms", Quantity("ms", "ms", 1e6)),
    ],
)
def test_names_alone_describe_a_cost(name, expected):
    assert of_name(name) == expected


def test_a_model_knows_its_own_costs_best():
    own = Quantity("latency_ms", "time [ms]", None)
    assert named("latency_ms", [own]) == own
    assert named("latency_ms") == TABLE["latency_ms"]
    assert named("heat_mj") == of_name("heat_mj")
