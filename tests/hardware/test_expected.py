import itertools

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.expected import expected_cost


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_the_paper_s_sum_by_hand():
    found = expected_cost([[0.25, 0.75], [1, 0]], [[4, 8], [5, 100]], fixed=2)
    assert found.places.tolist() == [7, 5]
    assert found.total == 14
    assert found.by_probabilities.tolist() == [[4, 8], [5, 100]]
    assert found.by_logits.tolist() == [[-0.75, 0.75], [0, 0]]


def test_it_is_the_mean_over_all_networks(random):
    probabilities, costs = softmax(random.normal(size=(4, 3))), random.uniform(0, 9, size=(4, 3))
    mean = sum(
        np.prod([probabilities[place, choice] for place, choice in enumerate(choices)])
        * (1.5 + sum(costs[place, choice] for place, choice in enumerate(choices)))
        for choices in itertools.product(range(3), repeat=4)
    )
    assert expected_cost(probabilities, costs, fixed=1.5).total == pytest.approx(mean, rel=1e-12)


def test_gradients_are_those_of_finite_differences(random):
    logits, costs = random.normal(size=(5, 4)), random.uniform(0, 9, size=(5, 4))
    found = expected_cost(softmax(logits), costs)
    step = 1e-5
    for place, choice in itertools.product(range(5), range(4)):
        change = np.zeros((5, 4))
        change[place, choice] = step
        high, low = (expected_cost(softmax(logits + sign * change), costs).total for sign in (1, -1))
        assert found.by_logits[place, choice] == pytest.approx((high - low) / (2 * step), abs=1e-8)


def test_gradients_by_probabilities_lead_along_the_simplex(random):
    probabilities, costs = softmax(random.normal(size=(3, 4))), random.uniform(0, 9, size=(3, 4))
    before = expected_cost(probabilities, costs)
    shift = np.array([[0.01, -0.01, 0, 0], [0, 0, 0.02, -0.02], [-0.005, 0, 0.005, 0]])
    change = expected_cost(probabilities + shift, costs).total - before.total
    assert change == pytest.approx((before.by_probabilities * shift).sum(), rel=1e-9)


def test_places_with_fewer_alternatives_are_padded():
    narrow = expected_cost([[0.5, 0.5]], [[2, 4]])
    wide = expected_cost([[0.5, 0.5, 0]], [[2, 4, 0]])
    assert (wide.total, wide.by_logits[0, :2].tolist()) == (narrow.total, narrow.by_logits[0].tolist())
    assert wide.by_logits[0, 2] == 0


@pytest.mark.parametrize(
    ("probabilities", "costs", "message"),
    [
        ([[0.5, 0.5]], [[1, 2, 3]], r"shape \(1, 2\) and costs \(1, 3\)"),
        ([0.5, 0.5], [1, 2], "expected one shape"),
        ([[1, 0], [0.5, 0.4]], [[1, 2], [1, 2]], r"at place 1 are \[0.5, 0.4\]"),
        ([[1.5, -0.5]], [[1, 2]], "at place 0"),
        ([[np.nan, 1]], [[1, 2]], "at place 0"),
        ([[1, 0]], [[1, np.inf]], "alternative 1 at place 0 costs inf"),
    ],
)
def test_what_is_no_distribution_or_no_cost_is_refused(probabilities, costs, message):
    with pytest.raises(InputError, match=message):
        expected_cost(probabilities, costs)
