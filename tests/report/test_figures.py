import dataclasses

import numpy as np
import pytest

from bompnas.candidate import State
from bompnas.report import figures
from bompnas.report.bits import shown_networks


def test_all_figures_of_a_finished_run_in_the_order_of_the_page(view):
    assert list(figures.draw(view)) == [
        "search", "bits", "policies", "layers", "front_layers", "score", "seconds",
    ]  # fmt: skip


def test_no_figures_without_candidates(make_view):
    assert figures.draw(make_view([])) == {}


def test_only_the_time_is_known_of_failed_candidates(make_view):
    assert list(figures.draw(make_view([(None, 4), (None, 5)]))) == ["seconds"]


def test_score_shows_every_score_and_the_best_so_far(view):
    axes = figures.score_figure(view).axes[0]
    scores = [candidate.score for candidate in view.completed]
    assert axes.collections[0].get_offsets().data.tolist() == [
        [number, value] for number, value in zip([1, 2, 4, 5, 6], scores, strict=True)
    ]
    (best,) = [line for line in axes.lines if line.get_label() == "best so far"]
    assert best.get_ydata().tolist() == [*np.maximum.accumulate(scores), max(scores)]
    assert best.get_xdata().tolist() == [1, 2, 4, 5, 6, 6]


def test_initial_set_is_marked_only_when_the_search_went_beyond_it(view, make_view):
    def texts(figure):
        return [text.get_text() for text in figure.legends[0].get_texts()]

    assert "initial set" in texts(figures.score_figure(view))
    assert "initial set" not in texts(figures.score_figure(make_view([(0.5, 4), (0.6, 4)])))


def test_seconds_add_up(view):
    each, total = figures.seconds_figure(view).axes
    tops = [collection.get_paths()[0].vertices[:, 1].max() for collection in each.collections]
    assert max(tops) == pytest.approx(max(sum(candidate.seconds.values()) for candidate in view.candidates))
    search = sum(sum(candidate.seconds.values()) for candidate in view.candidates)
    heights = {0: 0.0, 1: 0.0}
    for bar in total.patches:
        heights[round(bar.get_x() + bar.get_width() / 2)] += bar.get_height()
    # 300 s of final training: the axis is in minutes.
    assert total.get_ylabel() == "Total [min]"
    assert heights[0] == pytest.approx(search / 60)
    assert heights[1] == pytest.approx(300 / 60)


def test_phases_come_in_the_order_of_a_trial(make_candidate):
    candidate = make_candidate(1, 0.5, 4)
    candidate = dataclasses.replace(candidate, seconds={"export": 1, "evaluate": 1, "qaft": 1, "build": 1})
    assert figures.phase_names([candidate]) == ["build", "qaft", "evaluate", "export"]


def test_a_run_still_going_on_shows_the_front_of_the_search(view):
    going_on = dataclasses.replace(view, finals=())
    assert [candidate.id for candidate in shown_networks(going_on)] == [2, 4, 5]
    pending = dataclasses.replace(view.candidates[0], state=State.PENDING, metrics={}, score=None, seconds={})
    view = dataclasses.replace(going_on, candidates=(pending, *view.candidates[1:]))
    assert list(figures.draw(view)) == [
        "search", "bits", "policies", "layers", "front_layers", "score", "seconds",
    ]  # fmt: skip


def test_figures_of_a_supernet(supernet_view, begun_supernet):
    drawn = figures.draw(supernet_view)
    assert list(drawn) == [
        "search", "course", "decisions", "bits", "policies", "layers", "front_layers", "roofline", "seconds",
    ]  # fmt: skip
    assert list(figures.draw(begun_supernet)) == ["course", "decisions"]
    each, total = drawn["seconds"].axes
    assert each.get_ylabel() == "Time of a final training [s]"
    tops = {patch.get_x() + 0.35: patch.get_y() + patch.get_height() for patch in total.patches}
    assert tops == pytest.approx({0: 1234.5 / 60, 1: 74 * len(supernet_view.trained) / 60})
    assert figures.seconds_figure(dataclasses.replace(supernet_view, finals=())) is None
