import dataclasses

import pytest

from bompnas.candidate import State
from bompnas.report.comparison import costs, runs
from bompnas.report.comparison.costs import cost
from bompnas.trials.record import Final


def test_what_a_run_took(view):
    found = cost(view)
    assert (found.trials, found.candidates, found.failed) == (6, 5, 1)
    assert found.trainings == 5  # the failed one never trained
    assert found.search == {"build": 6, "train": 11 + 12 + 14 + 15 + 16, "qaft": 10}
    assert found.search_seconds == 84
    assert (found.final_trainings, found.final, found.final_seconds) == (3, {"train": 300}, 300)


def test_policies_share_a_float_training(make_view, share):
    view = make_view([(0.5, 10), (0.6, 9), (0.7, 8), (0.4, 2)])
    view = dataclasses.replace(view, candidates=share(2)(view.candidates))
    found = cost(view)
    assert (found.trials, found.trainings, found.candidates) == (2, 2, 4)
    assert found.search_seconds == 14 + 2 + 16 + 2


def test_networks_of_one_architecture_share_a_final_training(view):
    finals = (view.finals[0], dataclasses.replace(view.finals[1], seconds={"qaft": 4.0}), view.finals[2])
    assert cost(dataclasses.replace(view, finals=finals)).final_trainings == 2


def test_a_failed_final_training_cost_time_too(view):
    failed = Final(4, {}, {"build": 3.0}, None, None, "out of memory")
    assert cost(dataclasses.replace(view, finals=(failed,))).final_seconds == 3


def test_a_trial_that_still_runs_is_no_finished_trial(view):
    running = dataclasses.replace(view.candidates[5], state=State.PENDING, metrics={}, score=None, seconds={})
    assert cost(dataclasses.replace(view, candidates=(*view.candidates[:5], running))).trials == 5


def test_bars_add_up(compared):
    each, total = costs.cost_figure(compared).axes
    lengths = {axes: [0.0, 0.0, 0.0] for axes in (each, total)}
    for axes, sums in lengths.items():
        for bar in axes.patches:
            sums[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    # Order: the two seeds, then the random search with 90 s of final training.
    assert lengths[each] == pytest.approx([45 / 3, 31 / 2, 29 / 2])
    assert lengths[total] == pytest.approx([45, 31, 29 + 90])
    assert [label.get_text() for label in each.get_yticklabels()] == ["bomp-0", "bomp-1", "random"]


def test_no_figure_before_the_first_training(make_run):
    assert costs.cost_figure(runs.read([make_run("a", []), make_run("b", [(None, 4)])])) is None


def test_a_supernet_has_its_search_but_no_float_training(make_run, make_supernet):
    comparison = runs.read([make_run("a", seed=1), make_supernet("b")])
    found = cost(comparison.members[1].view)
    assert (found.trainings, found.candidates, found.search) == (0, 3, {"search": 50.0})
    each, total = costs.cost_figure(comparison).axes
    assert [text.get_text() for text in each.texts] == ["one supernet"]
    rows = {round(bar.get_y() + bar.get_height() / 2) for bar in each.patches if bar.get_width()}
    assert rows == {0}
    assert {round(bar.get_y() + bar.get_height() / 2) for bar in total.patches if bar.get_width()} == {0, 1}
