import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.report.comparison.names import arrange

NAMES = ["APoT", "Mix&Match", "LIE", "LIE"]


def overlap(one, two, names):
    half = [np.array([0.006 * len(name), 0.017]) for name in names]
    return bool((np.abs(one - two) < half[0] + half[1]).all())


def test_names_of_near_points_keep_apart():
    centres = np.array([[0.5, 0.5], [0.51, 0.52], [0.5, 0.54], [0.52, 0.5]])
    found = arrange(NAMES, centres, centres)
    for (one, first), (two, second) in itertools.combinations(zip(found, NAMES, strict=True), 2):
        assert not overlap(one, two, (first, second))


def test_a_name_alone_stands_right_above_its_point():
    (found,) = arrange(["JASQ"], np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    assert found[0] == 0.5
    assert 0.5 < found[1] < 0.56


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)), min_size=4, max_size=4))
def test_names_stay_inside_the_axes(places):
    centres = np.array(places)
    for name, (x, y) in zip(NAMES, arrange(NAMES, centres, centres), strict=True):
        assert 0 < x - 0.006 * len(name) < x + 0.006 * len(name) < 1
        assert 0 < y < 1
