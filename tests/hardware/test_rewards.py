import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.rewards import (
    added_cost_loss,
    hqnas_reward,
    power_reward,
    scaled_cost_loss,
    soften_cost,
    soften_quality,
)


def test_a_latency_is_softened_as_meant_and_as_printed():
    latencies = [10, 20, 30]
    assert soften_cost(latencies, 20).tolist() == [-5, 0, 10]
    assert soften_cost(latencies, 20, form="printed").tolist() == [-10, 0, 5]
    assert soften_cost(latencies, 20, slope=0).tolist() == [0, 0, 10]


def test_an_accuracy_is_softened_in_mirror_image():
    accuracies = [94, 96, 98]
    assert soften_quality(accuracies, 96).tolist() == [-2, 0, 1]
    assert soften_quality(accuracies, 96, form="printed").tolist() == [-1, 0, 2]


def test_hqnas_reward_by_hand():
    assert hqnas_reward(25, 95, cost_weight=0.2) == pytest.approx(0.8 * 95 - 0.2 * 25)
    rewards = hqnas_reward(soften_cost([25, 15], 20), soften_quality([95, 94], 96.8), cost_weight=0.8)
    np.testing.assert_allclose(rewards, [0.2 * -1.8 - 0.8 * 5, 0.2 * -2.8 + 0.8 * 2.5])


def test_only_the_sensible_form_guides_to_the_budget():
    """Of two networks 10 ms off to either side and two on the budget it prefers the latter; as printed, the former."""
    assert soften_cost([10, 30], 20).mean() > soften_cost([20, 20], 20).mean()
    assert soften_cost([10, 30], 20, form="printed").mean() < soften_cost([20, 20], 20, form="printed").mean()


def test_the_added_loss_has_the_gradient_of_the_code_s_relative_form():
    costs, reference, weight = np.array([60.0, 90.0]), 80.0, 0.1
    relative = 2.0 + weight * (costs - reference) / reference
    added = added_cost_loss(2.0, costs, weight / reference)
    assert np.diff(added) == pytest.approx(np.diff(relative))
    assert added.tolist() == [2.0 + 60 * weight / 80, 2.0 + 90 * weight / 80]


def test_the_scaled_loss_as_meant():
    assert scaled_cost_loss(3.0, 80.0, 80.0, alpha=0.5) == 1.5
    assert scaled_cost_loss(3.0, 80.0**2, 80.0, alpha=1, beta=2) == pytest.approx(12)
    losses = scaled_cost_loss(1.0, [40, 80, 160], 80.0)
    assert losses[0] < losses[1] < losses[2]


def test_the_scaled_loss_as_printed_has_no_value_below_the_reference():
    losses = scaled_cost_loss(3.0, [40, 80, 80 * np.e], 80.0, alpha=0.5, beta=0.3, form="printed")
    assert np.isnan(losses[0])
    np.testing.assert_allclose(losses[1:], [0, 1.5], atol=1e-12)


def test_the_power_reward():
    assert power_reward(0.7, 80, target=80) == 0.7
    assert power_reward(0.7, 160, target=80) == pytest.approx(0.7 * 2**-0.1)
    assert power_reward(0.7, [40, 160], target=80, exponent=-1).tolist() == [1.4, 0.35]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hqnas_reward(1, 1, cost_weight=1.1), "cost_weight is 1.1; expected 0 to 1"),
        (lambda: soften_cost(1, 2, form="literal"), "form is 'literal'; expected one of sensible, printed"),
        (lambda: soften_quality(1, 2, form=""), "form is ''"),
        (lambda: scaled_cost_loss(1, 2, 3, form="code"), "form is 'code'"),
        (lambda: scaled_cost_loss(1, [2, 0.5], 3), r"cost 0.5, reference 3; expected both above 1"),
        (lambda: scaled_cost_loss(1, 2, 1), "cost 2.0, reference 1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
