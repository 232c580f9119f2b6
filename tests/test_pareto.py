"""Fronts and hypervolumes against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas import pareto
from bompnas.candidate import Candidate, State
from bompnas.objectives import Objective
from bompnas.space.network import Layer, Network

ACCURACY = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
SIZE = Objective("size", "size_bits", 8.0, maximize=False, transform="log10")
NETWORK = Network(1, 1, (Layer("dense", "dense", 1, 1, 1, 1, 1, 1, 8, 8, "linear", "head"),))


def candidate(number, accuracy, size_bits, state=State.COMPLETED):
    metrics = {} if accuracy is None else {"val_accuracy": accuracy}
    return Candidate(number, number, NETWORK, None, state, {"size_bits": size_bits}, metrics)


def dominates(a, b, maximize):
    better = [x > y if more else x < y for x, y, more in zip(a, b, maximize, strict=True)]
    worse = [x < y if more else x > y for x, y, more in zip(a, b, maximize, strict=True)]
    return any(better) and not any(worse)


def brute_front(points, maximize):
    rows = [tuple(row) for row in points]
    return [
        index
        for index, row in enumerate(rows)
        if not any(dominates(other, row, maximize) for other in rows) and row not in rows[:index]
    ]


def brute_hypervolume(points, reference):
    """Counts unit cells of the integer grid that a maximized point covers."""
    dimensions = len(reference)
    highest = int(max([*points.flat, *reference])) + 1
    cells = itertools.product(*(range(int(low), highest) for low in reference))
    return sum(
        any(all(cell[axis] + 1 <= point[axis] for axis in range(dimensions)) for point in points) for cell in cells
    )


# A small grid makes ties and duplicates frequent.
grids = st.integers(1, 4).flatmap(
    lambda d: st.tuples(
        st.lists(st.tuples(*[st.integers(0, 5)] * d), max_size=14).map(lambda rows: np.reshape(rows, (len(rows), d))),
        st.tuples(*[st.booleans()] * d),
    )
)


@given(grids)
def test_front_is_what_brute_force_finds(case):
    points, maximize = case
    assert pareto.front(points, maximize).tolist() == brute_front(points, maximize)


@given(grids)
def test_hypervolume_counts_the_dominated_cells(case):
    points, maximize = case
    signs = np.where(maximize, 1, -1)
    reference = [1 if more else 4 for more in maximize]
    # Turned and shifted so that the oracle sees non-negative integers.
    turned = np.maximum(points * signs + np.where(maximize, 0, 5), 0)
    assert pareto.hypervolume(points, reference, maximize) == brute_hypervolume(turned, np.ones(len(maximize)))


@given(grids)
def test_only_the_front_has_volume(case):
    points, maximize = case
    reference = [-1 if more else 6 for more in maximize]
    chosen = points[pareto.front(points, maximize)]
    assert pareto.hypervolume(chosen, reference, maximize) == pareto.hypervolume(points, reference, maximize)


def test_mixed_directions_by_hand():
    points = np.array([[0.9, 100.0], [0.8, 50.0], [0.8, 60.0], [0.7, 50.0], [0.95, 200.0]])
    assert pareto.front(points, [True, False]).tolist() == [0, 1, 4]
    # Slabs from 0.5 upwards: (0.8-0.5)*(250-50) + (0.9-0.8)*(250-100) + (0.95-0.9)*(250-200).
    assert pareto.hypervolume(points, [0.5, 250.0], [True, False]) == pytest.approx(60 + 15 + 2.5)


def test_first_of_equal_points_is_kept():
    assert pareto.front(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]), [True, True]).tolist() == [1]


def test_nan_is_never_in_the_front_and_has_no_volume():
    points = np.array([[np.nan, 9.0], [1.0, 1.0], [9.0, np.nan]])
    assert pareto.front(points, [True, True]).tolist() == [1]
    assert pareto.hypervolume(points, [0.0, 0.0], [True, True]) == 1.0


def test_points_outside_the_reference_add_nothing():
    points = np.array([[2.0, 2.0], [10.0, 0.0], [-1.0, 50.0]])
    assert pareto.hypervolume(points, [0.0, 0.0], [True, True]) == 4.0


def test_no_points():
    empty = np.empty((0, 2))
    assert pareto.front(empty, [True, False]).tolist() == []
    assert pareto.hypervolume(empty, [0.0, 1.0], [True, False]) == 0.0


@pytest.mark.parametrize("points", [np.zeros(3), np.zeros((3, 3)), np.zeros((2, 2, 1))])
def test_shapes_that_do_not_fit_are_refused(points):
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        pareto.front(points, [True, False])


def test_front_of_takes_completed_and_measured_candidates_sorted_by_size():
    candidates = [
        candidate(1, 0.9, 8000),
        candidate(2, 0.5, 1000),
        candidate(3, 0.4, 2000),
        candidate(4, 0.99, 10, State.FAILED),
        candidate(5, None, 10),
        candidate(6, math.nan, 10),
        candidate(7, 0.9, 8000),
        candidate(8, 0.7, 4000),
    ]
    assert [found.id for found in pareto.front_of(candidates, (ACCURACY, SIZE))] == [2, 8, 1]
    assert pareto.front_of([], (ACCURACY, SIZE)) == []


def test_front_of_a_single_objective_is_the_best_candidate():
    candidates = [candidate(1, 0.9, 8000), candidate(2, 0.95, 9000), candidate(3, 0.95, 1000)]
    assert [found.id for found in pareto.front_of(candidates, (ACCURACY,))] == [2]


def test_hypervolume_of_is_the_area_under_the_terms_of_the_score():
    # Terms: (1, 2) and (0.5, 8/3); the staircase is 1*2 + 0.5*(8/3 - 2).
    candidates = [candidate(1, 0.8, 10**4), candidate(2, 0.4, 10**3), candidate(3, 0.4, 10**4)]
    assert pareto.hypervolume_of(candidates, (ACCURACY, SIZE)) == pytest.approx(2 + 0.5 * (8 / 3 - 2))
    assert pareto.hypervolume_of([candidate(1, 0.5, 100, State.FAILED)], (ACCURACY, SIZE)) == 0.0


def test_large_fronts_are_fast_and_agree_with_the_staircase():
    gains = np.linspace(0.1, 1, 2000)
    points = np.stack([gains, 1 - gains], axis=1)
    widths = np.diff(gains, prepend=0)
    assert len(pareto.front(points, [True, True])) == 2000
    assert pareto.hypervolume(points, [0, 0], [True, True]) == pytest.approx(float(widths @ (1 - gains)))
