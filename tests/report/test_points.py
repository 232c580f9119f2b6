import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.report.points import focus

NOTHING = np.empty(0)
finite = st.floats(-1e6, 1e6)


@given(st.lists(finite, min_size=1, max_size=30), st.lists(finite, max_size=3), st.booleans())
def test_good_values_and_those_that_must_be_are_inside(values, always, maximize):
    low, high = focus(np.array(values), np.array(always), maximize)
    assert low < high
    best = max(values) if maximize else min(values)
    assert all(low < value < high for value in (best, *always))


@pytest.mark.parametrize("maximize", [True, False])
def test_only_bad_outliers_are_left_outside(maximize):
    sign = 1 if maximize else -1
    values = sign * np.array([10, 11, 12, 13, 14, 15, 16, 17, -100, 200.0])
    low, high = focus(values, NOTHING, maximize)
    assert not low < sign * -100 < high
    assert low < sign * 200 < high


def test_few_values_are_all_shown():
    low, high = focus(np.array([1.0, 1.1, 1.2, -50.0]), NOTHING, maximize=True)
    assert low < -50
    assert high > 1.2


def test_equal_values_get_a_window():
    assert focus(np.full(9, 5.0), NOTHING, maximize=True) == (4.75, 5.25)
    assert focus(np.zeros(1), NOTHING, maximize=True) == (-1.0, 1.0)
