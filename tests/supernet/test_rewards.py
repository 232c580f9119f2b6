import dataclasses

import numpy as np
import pytest

from bompnas.objectives import Constraint
from bompnas.supernet.rewards import Judge
from bompnas.supernet.settings import HqnasSettings

SETTINGS = HqnasSettings(name="hqnas", accuracy_threshold=0.96, cost_threshold=20.0, cost_weight=0.2, cost="latency_ms")
NOTHING = np.zeros(2)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # 1 % below and 5 ms above the thresholds count in full; 2 % above and 10 ms below by half
        ({}, [0.8 * -1 - 0.2 * 5, 0.8 * 0.5 * 2 + 0.2 * 0.5 * 10]),
        ({"slope": 0.0}, [0.8 * -1 - 0.2 * 5, 0.0]),
        ({"cost_weight": 1.0}, [-5, 5]),
        ({"units": "relative"}, [0.8 * -1 / 0.96 - 0.2 * 25, 0.8 * 0.5 * 2 / 0.96 + 0.2 * 0.5 * 50]),
        # as printed the other sides are flattened
        ({"literal": True}, [0.8 * 0.5 * -1 - 0.2 * 0.5 * 5, 0.8 * 2 + 0.2 * 10]),
    ],
)
def test_both_terms_are_softened_and_weighed(problem, small, changes, expected):
    judge = Judge(problem, SETTINGS.model_copy(update=changes), small.chains)
    found = judge.rewards(np.array([0.95, 0.98]), np.array([25.0, 10.0]), NOTHING)
    assert found == pytest.approx(expected)


def test_costs_are_those_of_the_networks(problem, small, small_space):
    judge = Judge(problem, SETTINGS.model_copy(update={"cost": "size_kb"}), small.chains)
    gates = small.chains.draw(np.full(small.chains.gates, 0.5), 20, np.random.default_rng(0))
    costs, excess = judge.costs(gates)
    for row, cost in zip(gates, costs, strict=True):
        assert cost == problem.cost(small_space.decode(small.chains.genotypes(row[None])[0]))["size_kb"]
    assert len(set(costs)) > 10
    assert not excess.any()


def test_what_breaks_a_limit_loses_by_as_much(problem, small):
    limited = dataclasses.replace(problem, constraints=(Constraint("size_kb", 4.0), Constraint("macs", 1e6)))
    judge = Judge(limited, SETTINGS.model_copy(update={"cost": "size_kb"}), small.chains)
    gates = np.array([np.zeros(small.chains.gates), np.ones(small.chains.gates)], np.float32)
    gates[1, small.chains.signs < 0] = 0  # the largest network in 16 bits
    costs, excess = judge.costs(gates)
    assert costs[0] < 4 < costs[1]
    assert excess == pytest.approx([0, 100 * (costs[1] - 4) / 4])
    accuracies = np.array([0.9, 0.9])
    lost = judge.rewards(accuracies, costs, NOTHING) - judge.rewards(accuracies, costs, excess)
    assert lost == pytest.approx(excess)
