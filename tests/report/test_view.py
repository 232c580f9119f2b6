import dataclasses

import pytest

from bompnas.errors import InputError
from bompnas.objectives import Constraint, Objective
from bompnas.report.view import load
from bompnas.trials.record import Final, Record, create

MACS = Objective("macs", "macs", 8.0, maximize=False, transform="log10")


def ids(candidates):
    return [candidate.id for candidate in candidates]


def test_fronts_before_and_after_final_training(view):
    assert ids(view.front) == [2, 4, 5]
    assert ids(view.trained) == [2, 4, 5]
    assert ids(view.trained_front) == [2, 5]
    assert [candidate.score for candidate in view.trained] == [2.9, 2.7, 2.8]
    assert view.finished


def test_a_failed_final_training_is_not_among_the_trained(view):
    failed = Final(4, {}, {}, None, None, "out of memory")
    view = dataclasses.replace(view, finals=(view.finals[0], failed, view.finals[2]))
    assert ids(view.trained) == [2, 5]
    assert view.finished


def test_a_run_is_finished_only_when_all_of_its_front_was_trained(view):
    assert not dataclasses.replace(view, finals=view.finals[:2]).finished
    assert not dataclasses.replace(view, candidates=(), finals=()).finished


def test_best_is_the_first_of_the_highest_scores(make_view):
    assert make_view([(0.5, 4), (0.9, 4), (0.9, 4)]).best.id == 2
    assert make_view([(None, 4)]).best is None


def test_what_breaks_a_measured_limit_is_neither_best_nor_on_the_front(make_view):
    limits = (Constraint("val_accuracy", 0.8),)
    view = make_view([(0.9, 4), (0.7, 4), (0.5, 2)], constraints=limits)
    assert view.best.id == 2
    assert ids(view.front) == [3, 2]
    assert make_view([(0.9, 4)], constraints=limits).best is None


def test_axes_follow_the_objectives(make_view):
    accuracy = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
    assert make_view([(0.5, 4)]).cost_axis.key == "size_bits"
    view = make_view([(0.5, 4)], objectives=(accuracy, MACS))
    assert (view.cost_axis.key, view.quality.key) == ("macs", "val_accuracy")
    alone = make_view([(0.5, 4)], objectives=(accuracy,))
    assert (alone.cost_axis.key, alone.quality.key) == ("size_bits", "val_accuracy")


@pytest.mark.parametrize(
    ("constraints", "limit"),
    [
        ((), None),
        ((Constraint("macs", 5),), None),
        ((Constraint("size_kb", 16),), 128_000),
        ((Constraint("size_bits", 1000), Constraint("size_kb", 16)), 1000),
        ((Constraint("size_bits", 1000),), 1000),
        ((Constraint("size_without_scales_bits", 1000),), None),
    ],
)
def test_limit_is_that_of_the_cost_shown(make_view, constraints, limit):
    assert make_view([(0.5, 4)], constraints=constraints).limit == limit


def test_load_reads_what_the_record_holds(exported, experiment, tmp_path):
    view = exported
    meta = {"experiment": experiment, "versions": {"keras": "3.15.0"}, "seed_network": view.candidates[1].network.key}
    create(tmp_path / "run.db", meta)
    with Record(tmp_path / "run.db") as record:
        record.add(view.candidates)
        record.finish_finals("final 2", view.finals)
        for export in view.exports:
            record.finish_export(export)
    loaded = load(tmp_path)
    assert loaded.candidates == view.candidates
    assert loaded.exports == view.exports
    assert loaded.finals == view.finals
    assert loaded.objectives == view.objectives
    assert loaded.constraints == (Constraint("size_kb", 16.0),)
    assert (loaded.name, loaded.seed, loaded.versions) == ("toy", 2, {"keras": "3.15.0"})


def test_load_refuses_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"run\.db does not exist"):
        load(tmp_path / "missing")
    (tmp_path / "run.db").write_text("no database")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path)


def test_a_search_of_a_supernet_is_read_with_its_curves_and_what_it_decided(supernet_view, begun_supernet, view):
    assert supernet_view.supernet
    assert supernet_view.progress == "12 of 12 epochs"
    assert supernet_view.decided.id == 1
    assert supernet_view.sources == {1: "decided"} | dict.fromkeys(range(2, 6), "sampled")
    assert (begun_supernet.progress, begun_supernet.decided, begun_supernet.finished) == ("3 of 12 epochs", None, False)
    assert not view.supernet
    assert (view.progress, view.decided, view.chosen) == ("6 of 12 trials", None, view.front)


def test_what_was_decided_is_finally_trained_although_it_is_dominated(make_view):
    view = make_view([(0.5, 10), (0.6, 2), (0.9, 8)], sources={1: "decided", 2: "sampled", 3: "sampled"})
    assert ids(view.front) == [2, 3]
    assert ids(view.chosen) == [2, 3, 1]
    finals = tuple(Final(number, {"val_accuracy": 0.9}, {}, 2.0, "models/x") for number in (2, 3))
    assert not dataclasses.replace(view, finals=finals).finished
    last = Final(1, {"val_accuracy": 0.9}, {}, 2.0, "models/x")
    assert dataclasses.replace(view, finals=(*finals, last)).finished
    too_large = dataclasses.replace(view, constraints=(Constraint("size_kb", 9.0),))
    assert ids(too_large.chosen) == [2, 3]
