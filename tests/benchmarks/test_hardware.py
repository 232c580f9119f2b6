import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
from devices import budget, policies, specialization
from devices.policies import UNIFORM_8, Policy
from devices.specialization import Crossing


def test_widths_of_a_policy_are_those_of_its_network():
    network = policies.network(Policy((3, 4, 6, 8), (4, 6, 8)))
    assert [layer.weight_bits for layer in network.layers] == [3, 4, 6, 8, 8]
    assert [layer.activation_bits for layer in network.layers] == [4, 6, 8, 8, 8]
    for one, other in zip(network.layers[:3], network.layers[1:4], strict=True):
        assert (one.out_channels, one.output_size) == (other.in_channels, other.input_size)
    assert len(set(policies.POLICIES)) == 4**4 * 3**3


def test_policies_put_together_of_layers_are_what_keras_quantizes(monkeypatch):
    for name, value in {
        "WEIGHT_BITS": (3, 8), "ACTIVATION_BITS": (4, 8), "CHANNELS": (8, 8, 12, 16), "EPOCHS": 8,
    }.items():  # fmt: skip
        monkeypatch.setattr(policies, name, value)
    with tempfile.TemporaryDirectory() as data:
        policies.save_data(Path(data))
        table = dict(policies.measure(Path(data)))
    assert len(table) == 2**4 * 2**3
    assert len(set(table.values())) > 10
    mixed = [Policy((3, 8, 3, 8), (8, 4, 8)), Policy((8, 3, 8, 3), (4, 8, 4))]
    policies.check(table, mixed)
    with pytest.raises(ValueError, match="in the table"):
        policies.check({policy: value + 0.01 for policy, value in table.items()}, mixed[:1])


def test_a_table_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(policies, "save_data", lambda folder: None)
    found = {Policy((8, 4, 6, 3), (4, 8, 6)): 0.75, UNIFORM_8: 0.987654}
    monkeypatch.setattr(policies, "measure", lambda data: iter(found.items()))
    policies.make(tmp_path / "new" / "policies.csv")
    assert policies.read(tmp_path / "new" / "policies.csv") == found


@pytest.fixture
def crossing():
    """Three policies, the last one of 8 bits, on two devices that like different ones."""
    chosen = (Policy((3, 3, 3, 3), (4, 4, 4)), Policy((4, 4, 4, 4), (4, 4, 4)), UNIFORM_8)
    latency_ms = {"left": np.array([3.0, 5.0, 10.0]), "right": np.array([6.0, 7.0, 10.0])}
    return Crossing(chosen, np.array([0.8, 0.9, 0.95]), latency_ms)


def test_the_best_policy_is_the_most_accurate_within_the_budget(crossing):
    assert crossing.budget_ms("left") == specialization.BUDGET * 10.0
    assert (crossing.best("left"), crossing.best("right")) == (1, 0)
    equal = dataclasses.replace(crossing, accuracies=np.array([0.9, 0.9, 0.95]))
    assert equal.best("left") == 0  # the faster one
    np.testing.assert_array_equal(crossing.reached("left"), [[3, 0.8], [5, 0.9], [10, 0.95]])
    np.testing.assert_array_equal(equal.reached("left"), [[3, 0.9], [10, 0.95]])


def test_the_committed_table_has_different_best_policies():
    path = Path(budget.TABLE).parent / "hardware" / "policies.csv"
    crossing = Crossing.of(policies.read(path))
    best = {device: crossing.policies[crossing.best(device)] for device in specialization.DEVICES}
    assert len(crossing.policies) == len(policies.POLICIES)
    assert len(set(best.values())) == len(best)


def test_only_networks_within_the_limit_count():
    study = {"goal": "size", "val_accuracy": [0.8, 0.9, 0.4], "size_bits": [1e4, 1e3, 1e5], "latency_ms": [1, 3, 2]}
    found = budget.outcome(study, 2.0)
    assert (found.trained, found.infeasible, found.accuracy) == (3, 1, 0.8)
    assert found.hypervolume == pytest.approx(1.0 / 4)
    assert budget.outcome(study, 0.5) == budget.Outcome(3, 3, 0.0, 0.0)


@pytest.fixture(scope="module")
def digits():
    return budget.Digits.load()


def test_rows_are_priced_as_the_networks_they_are(digits):
    feasible = digits.costs["latency_ms"] <= digits.limit_ms
    assert 0 < feasible.sum() < len(feasible) / 10
    point = digits.table.space.decode(digits.table.rows[100].genes)
    cost = digits.problem("size", limited=True).cost(point)
    assert cost == {name: values[100] for name, values in digits.costs.items()}


@pytest.mark.parametrize("goal", budget.GOALS)
def test_a_search_with_a_limit_proposes_nothing_over_it(digits, goal):
    study = digits.study(seed=1, goal=goal, limited=True)
    assert budget.outcome(study, digits.limit_ms).infeasible == 0
    assert len(study["val_accuracy"]) == budget.TRIALS
