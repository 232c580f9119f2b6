"""Eq. (1), its general form and the constraints."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.objectives import Constraint, Objective, score

ACCURACY = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
SIZE = Objective("size", "size_bits", 8.0, maximize=False, transform="log10")
ERROR = Objective("mae", "mae", 0.5, maximize=False)


def paper_score(accuracy, kilobytes, references=(0.8, 8.0)):
    accuracy_reference, size_reference = references
    objectives = (
        Objective("accuracy", "val_accuracy", accuracy_reference, maximize=True),
        Objective("size", "size_bits", size_reference, maximize=False, transform="log10"),
    )
    return score(objectives, {"val_accuracy": accuracy, "size_bits": kilobytes * 8000})


# Table II of the paper, CIFAR-10: accuracy and size [kB] of the finally trained networks.
@pytest.mark.parametrize(("accuracy", "kilobytes"), [(0.6736, 4.57), (0.8867, 76.08), (0.8396, 16.30)])
def test_published_networks_score_as_the_paper_says(accuracy, kilobytes):
    assert 2.485 <= paper_score(accuracy, kilobytes) <= 2.615


def test_equation_one_by_hand():
    values = {"val_accuracy": 0.88, "size_bits": 100_000, "macs": 5}
    assert score((ACCURACY, SIZE), values) == pytest.approx(0.88 / 0.8 + 8 / 5, rel=1e-15)


def test_a_factor_leads_to_a_unit_whose_logarithm_is_positive():
    latency = Objective("latency", "latency_ms", 8.0, maximize=False, transform="log10", factor=1e6)
    assert latency.transformed(0.01) == 4.0
    assert latency.term(0.01) == 2.0
    assert latency.modelled(0.01) == 4.0
    np.testing.assert_allclose(latency.transformed(np.array([1e-3, 1.0, 0.0])), [3.0, 6.0, -math.inf])
    with pytest.raises(ValueError, match=r"objective 'latency': log10\(0.1\) is not positive"):
        latency.term(1e-7)


def test_minimized_objective_without_transform():
    assert ERROR.term(0.25) == 2.0
    assert ERROR.transformed(0.25) == 0.25


def test_every_objective_adds_its_term():
    values = {"val_accuracy": 0.4, "size_bits": 1e4, "mae": 1.0}
    assert score((ACCURACY, SIZE, ERROR), values) == pytest.approx(0.5 + 2.0 + 0.5)
    assert score((), values) == 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_of_a_maximized_value_never_scores_less(a, b):
    low, high = sorted((a, b))
    assert ACCURACY.term(low) <= ACCURACY.term(high)


@given(st.floats(1.001, 1e12), st.floats(1.001, 1e12))
def test_more_of_a_minimized_value_never_scores_more(a, b):
    low, high = sorted((a, b))
    assert SIZE.term(low) >= SIZE.term(high)
    assert ERROR.term(low) >= ERROR.term(high)


@pytest.mark.parametrize("value", [1.0, 0.5, 0.0, -3.0, math.nan])
def test_log_of_a_value_not_above_one_is_refused(value):
    with pytest.raises(ValueError, match=r"objective 'size': log10\(.*\) is not positive"):
        SIZE.term(value)


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_minimized_value_that_is_not_positive_is_refused(value):
    with pytest.raises(ValueError, match="'mae'"):
        ERROR.term(value)


def test_maximized_zero_is_a_legal_value():
    assert ACCURACY.term(0.0) == 0.0


def test_missing_value_names_its_key():
    with pytest.raises(KeyError, match="size_bits"):
        score((ACCURACY, SIZE), {"val_accuracy": 0.5})


def test_constraint_holds_at_its_limit_and_not_above():
    constraint = Constraint("size_kb", 16)
    assert constraint.satisfied({"size_kb": 16.0})
    assert constraint.satisfied({"size_kb": 1.0, "macs": 1e9})
    assert not constraint.satisfied({"size_kb": 16.000001})


def test_a_perfect_loss_is_very_good_but_not_infinitely():
    loss = Objective("loss", "val_loss", 0.5, maximize=False)
    assert loss.term(0.0) == loss.term(0.001) == 100
    assert loss.term(0.25) == 2
    with pytest.raises(ValueError, match="not positive"):
        loss.term(-0.1)


@pytest.mark.parametrize("objective", [ACCURACY, SIZE, ERROR], ids=lambda objective: objective.name)
def test_terms_of_many_values_are_those_of_each(objective):
    values = np.array([1.5, 2.0, 30.0, 1e6])
    np.testing.assert_array_equal(objective.term(values), [objective.term(value) for value in values.tolist()])
    transformed = [objective.transformed(value) for value in values.tolist()]
    np.testing.assert_array_equal(objective.transformed(values), transformed)
    assert all(isinstance(value, float) for value in [objective.term(2.0), *transformed])


def test_one_bad_value_among_many_is_named():
    with pytest.raises(ValueError, match=r"objective 'mae': identity\(-2\) is not positive"):
        ERROR.term(np.array([1.0, -2.0, 3.0]))
    with pytest.raises(ValueError, match="objective 'size': log10"):
        SIZE.term(np.array([10, 1]))


@pytest.mark.parametrize("objective", [ACCURACY, SIZE, ERROR], ids=lambda objective: objective.name)
def test_optimism_is_the_term_of_a_better_value(objective):
    mean, deviation = np.array([2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.5])
    found = objective.optimistic_term(mean, deviation, 2.0)
    better = mean + 2 * deviation if objective.maximize else mean - 2 * deviation
    values = 10**better if objective.transform == "log10" else better
    np.testing.assert_allclose(found, objective.term(values))
    np.testing.assert_allclose(
        objective.optimistic_term(mean, deviation, 0.0), objective.optimistic_term(mean, 0 * deviation, 3.0)
    )


def test_optimism_never_makes_a_minimized_value_negative():
    found = ERROR.optimistic_term(np.array([0.1, -5.0]), np.array([1.0, 0.0]), 8.0)
    assert found.tolist() == [ERROR.term(0.0)] * 2 == [100.0] * 2


def test_constraints_judge_many_values_at_once():
    values = {"size_kb": np.array([15.0, 16.0, 17.0])}
    assert Constraint("size_kb", 16).satisfied(values).tolist() == [True, True, False]
    assert Constraint("size_kb", 16, at_least=True).satisfied(values).tolist() == [False, True, True]


SHARE = Objective("accuracy", "val_accuracy", 0.8, maximize=True, share=True)


@given(st.floats(0.01, 0.99))
def test_shares_are_modelled_as_log_odds_and_come_back(value):
    modelled = SHARE.modelled(value)
    assert modelled == pytest.approx(math.log(value / (1 - value)))
    mean, deviation = SHARE.expected(np.array([modelled]), np.array([0.1]))
    assert mean == pytest.approx([value])
    assert deviation == pytest.approx([0.1 * value * (1 - value)])
    assert SHARE.optimistic_term(np.array([modelled]), np.array([0.0]), 3.0) == pytest.approx([value / 0.8])


def test_extreme_shares_stay_finite_and_optimism_never_exceeds_one():
    assert [SHARE.modelled(value) for value in (0.0, 1.0)] == pytest.approx([math.log(0.005 / 0.995), math.log(199)])
    assert SHARE.optimistic_term(np.array([5.0]), np.array([10.0]), 8.0) == pytest.approx([1 / 0.8])


def test_other_objectives_are_modelled_on_the_scale_of_their_term():
    assert ACCURACY.modelled(0.3) == 0.3
    assert SIZE.modelled(1000.0) == pytest.approx(3.0)
    assert ERROR.optimistic_term(np.array([0.25]), np.array([0.05]), 1.0) == pytest.approx([0.5 / 0.2])
    assert ERROR.optimistic_term(np.array([0.25]), np.array([0.25]), 4.0) == pytest.approx([100.0])  # kept positive
