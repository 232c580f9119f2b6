import dataclasses

import numpy as np
import pytest

from bompnas import pareto
from bompnas.candidate import State
from bompnas.report.comparison.course import at, course


def test_every_trial_adds_its_time_and_what_it_found(make_view):
    view = make_view([(0.5, 10), (None, 3), (0.4, 20), (0.9, 8)])
    found = course(view)
    assert found.trials.tolist() == [1, 2, 3, 4]
    # 1 + (10 + id) + 2 seconds each; a failed one takes 1 here.
    assert found.seconds.tolist() == [14, 15, 31, 48]
    expected = [pareto.hypervolume_of(view.candidates[:count], view.objectives) for count in (1, 2, 3, 4)]
    assert found.hypervolume.tolist() == pytest.approx(expected, abs=1e-12)
    first, _, _, last = (candidate.score for candidate in view.candidates)
    assert found.score.tolist() == [first, first, first, last]


def test_policies_of_one_float_training_are_one_step(make_view, share):
    view = make_view([(0.5, 10), (0.6, 9), (0.7, 8), (0.4, 2)])
    view = dataclasses.replace(view, candidates=share(2)(view.candidates))
    found = course(view)
    assert found.trials.tolist() == [1, 2]
    assert found.seconds.tolist() == [14 + 2, 16 + 18]
    assert found.hypervolume[0] == pytest.approx(pareto.hypervolume_of(view.candidates[:2], view.objectives))


def test_trials_that_still_run_are_left_out(make_view):
    view = make_view([(0.5, 10), (0.6, 9), (0.7, 8)])
    pending = dataclasses.replace(view.candidates[1], state=State.PENDING, metrics={}, score=None, seconds={})
    view = dataclasses.replace(view, candidates=(view.candidates[0], pending, view.candidates[2]))
    assert course(view).seconds.tolist() == [14, 30]
    assert len(course(make_view([])).seconds) == 0


def test_there_is_no_score_before_the_first_completed_trial(make_view):
    found = course(make_view([(None, 4), (0.5, 4)]))
    assert np.isnan(found.score[0])
    assert found.hypervolume[0] == 0


def test_at_gives_the_last_value_reached():
    places, values = np.array([2.0, 5.0, 5.0]), np.array([1.0, 2.0, 3.0])
    assert at(places, values, np.array([2.0, 4.9, 5.0, 99.0])).tolist() == [1, 1, 3, 3]
    assert np.isnan(at(places, values, 1.9))
