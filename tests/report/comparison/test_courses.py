import numpy as np
import pytest

from bompnas.report.comparison import courses, runs
from bompnas.report.comparison.courses import band


def test_a_band_is_the_mean_and_range_as_far_as_all_have_come():
    one = (np.array([1.0, 3.0]), np.array([10.0, 20.0]))
    two = (np.array([2.0, 3.0, 9.0]), np.array([6.0, 8.0, 99.0]))
    found = band([one, two])
    assert found.places.tolist() == [2, 3]
    assert found.mean.tolist() == [8, 14]
    assert found.low.tolist() == [6, 8]
    assert found.high.tolist() == [10, 20]


def test_a_band_begins_where_all_have_a_value():
    one = (np.array([1.0, 2.0]), np.array([np.nan, 4.0]))
    assert band([one, (np.array([1.0, 2.0]), np.array([1.0, 2.0]))]).places.tolist() == [2]
    assert band([(np.array([1.0]), np.array([np.nan]))]) is None
    assert band([(np.array([]), np.array([]))]) is None
    assert band([one, (np.array([3.0]), np.array([np.nan]))]).mean.tolist() == [4]


def test_curves_over_trainings_and_over_seconds(compared):
    over_trials, over_seconds = courses.hypervolume_figure(compared).axes
    seeds, alone = over_trials.lines
    members = compared.series[0].members
    expected = np.mean([member.course.hypervolume for member in members], axis=0)
    assert seeds.get_xdata().tolist() == [1, 2, 3]
    assert seeds.get_ydata().tolist() == pytest.approx(expected.tolist())
    assert alone.get_xdata().tolist() == [1, 2]
    assert len(over_trials.collections) == 1  # the seeds' range
    # The seeds: 14 + 15 + 16 s, and 14 + 1 + 16 s.
    assert over_seconds.lines[0].get_xdata().tolist() == [14, 15, 29, 31]
    assert over_seconds.get_xlabel() == "Computing time [s]"


def test_every_series_has_its_own_look(compared):
    seeds, alone = courses.score_figure(compared).axes[0].lines
    assert seeds.get_color() != alone.get_color()
    assert seeds.get_marker() != alone.get_marker()
    assert seeds.get_linestyle() != alone.get_linestyle()


def test_a_run_without_results_has_no_curve(make_run):
    comparison = runs.read(
        [make_run("a"), make_run("b", [(None, 4)], seed=1), make_run("c", [], method__name="random")]
    )
    (curve,) = courses.hypervolume_figure(comparison).axes[0].lines
    assert curve.get_ydata().tolist() == comparison.members[0].course.hypervolume.tolist()
    assert courses.score_figure(runs.read([make_run("d", []), make_run("e", [])])) is None


def test_a_supernet_is_one_mark_over_the_time_alone(make_run, make_supernet):
    comparison = runs.read([make_run("a", seed=1), make_supernet("b")])
    over_trials, over_seconds = courses.hypervolume_figure(comparison).axes
    assert len(over_trials.lines) == 1
    assert len(over_seconds.lines) == 2
    assert over_seconds.lines[1].get_xdata().tolist() == [50.0]
    assert over_seconds.lines[1].get_ydata().tolist() == comparison.members[1].course.hypervolume.tolist()
    (alone,) = courses.score_figure(runs.read([make_supernet("c"), make_supernet("d", seed=7)])).axes
    assert alone.get_xlabel() == "Computing time [s]"
    assert alone.get_ylabel() == "Best score, eq. (1)"
