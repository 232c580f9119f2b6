from pathlib import Path

import pytest

from bompnas.errors import InputError
from bompnas.objectives import score
from bompnas.report.comparison import runs


def named(comparison):
    return {series.label: [member.label for member in series.members] for series in comparison.series}


def test_seeds_of_one_experiment_are_one_series(compared):
    assert named(compared) == {"bomp (2 seeds)": ["bomp-0", "bomp-1"], "random": ["random"]}
    assert [series.number for series in compared.series] == [0, 1]
    assert [member.anchor for member in compared.members] == ["run-1", "run-3", "run-2"]


@pytest.mark.parametrize(
    ("setting", "value"), [("method__initial", 4), ("method__name", "random"), ("quantization__mode", "ptq")]
)
def test_other_settings_are_another_series(make_run, setting, value):
    comparison = runs.read([make_run("a"), make_run("b", **{setting: value})])
    assert named(comparison) == {"a": ["a"], "b": ["b"]}


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("bomp-seed0", "bomp-seed1"), "bomp (2 seeds)"),
        (("digits-1", "digits-2"), "digits (2 seeds)"),
        (("run-10", "run-11"), "run (2 seeds)"),
        (("width16a", "width16b"), "width16 (2 seeds)"),
        (("seed0", "seed1"), "seed0 (2 seeds)"),
    ],
)
def test_a_series_is_called_by_what_its_folders_have_in_common(make_run, names, label):
    assert list(named(runs.read([make_run(name, seed=number) for number, name in enumerate(names)]))) == [label]


def test_series_whose_folders_have_the_same_stem_are_told_apart(make_run):
    folders = [make_run(f"x-{n}", seed=n % 2, method__name="bomp" if n < 2 else "random") for n in range(4)]
    assert list(named(runs.read(folders))) == ["x-0 (2 seeds)", "x-2 (2 seeds)"]


def test_labels_are_the_shortest_ends_that_differ():
    assert runs.labels([Path("runs/a"), Path("runs/b/")]) == ["a", "b"]
    assert runs.labels([Path("bomp/0"), Path("random/0"), Path("random/1")]) == ["bomp/0", "random/0", "random/1"]
    (long, _) = runs.labels([Path("x" * 30 + "y" * 30), Path("b")])
    assert len(long) == 40
    assert long == "…" + "x" * 9 + "y" * 30


def test_other_data_is_refused(make_run):
    with pytest.raises(InputError, match=r"a and .*b cannot be compared: their data sets are digits and cifar10$"):
        runs.read([make_run("a"), make_run("b", data__dataset="cifar10")])


def test_files_of_other_names_are_other_data_but_may_have_moved(make_run):
    def run(name, path, **settings):
        return make_run(name, data__dataset="npz", data__path=path, **settings)

    assert len(runs.read([run("a", "/old/parts.npz"), run("b", "/new/parts.npz")]).members) == 2
    with pytest.raises(InputError, match=r"their data sets are npz parts\.npz and npz nuts\.npz$"):
        runs.read([run("c", "/old/parts.npz"), run("d", "/old/nuts.npz")])


def test_other_images_under_the_same_name_are_refused(make_run):
    first = make_run("a")
    with pytest.raises(InputError, match="hold other images or labels"):
        runs.read([first, make_run("b", fingerprint="01")])
    # Another seed splits the same images otherwise.
    assert len(runs.read([first, make_run("c", fingerprint="01", seed=1)]).members) == 2


def test_other_objectives_are_refused(make_run):
    macs = {"accuracy": {"reference": 0.8}, "macs": {"reference": 6.0}}
    with pytest.raises(InputError, match=r"a and .*b cannot be compared: their objectives are less size \(log10\), "):
        runs.read([make_run("a"), make_run("b", objectives=macs)])


def test_other_references_are_replaced_by_those_of_the_first(make_run):
    weak = {"accuracy": {"reference": 0.5}, "size": {"reference": 8.0}}
    comparison = runs.read([make_run("a"), make_run("b", objectives=weak, final={3: (0.95, 0.9)})])
    assert comparison.rescored
    first, second = (member.view for member in comparison.members)
    assert [candidate.score for candidate in second.candidates] == [candidate.score for candidate in first.candidates]
    trained = second.trained[0]
    assert trained.score == score(first.objectives, {**trained.cost, "val_accuracy": 0.95})
    assert not runs.read([make_run("c"), make_run("d")]).rescored


def test_a_folder_given_twice_is_refused(make_run, tmp_path):
    folder = make_run("a")
    with pytest.raises(InputError, match=r"/a is given twice; expected different runs"):
        runs.read([folder, folder])
    with pytest.raises(InputError, match=r"also as .*, is given twice"):
        runs.read([folder, tmp_path / "a" / ".." / "a"])


def test_a_folder_without_a_run_is_refused(make_run, tmp_path):
    with pytest.raises(InputError, match=r"run\.db does not exist"):
        runs.read([make_run("a"), tmp_path / "b"])


def test_the_joint_front_holds_what_no_other_run_dominates(make_run):
    comparison = runs.read(
        [
            make_run("a", [(0.6, 2), (0.8, 8)]),
            make_run("b", [(0.6, 2), (0.7, 9), (0.95, 12)], method__name="random"),
        ]
    )
    # Of equals both stay.
    assert comparison.joint_front == {("run-1", 1), ("run-1", 2), ("run-2", 1), ("run-2", 3)}


def test_final_values_are_shown_on_test_data_only_where_all_runs_have_them(make_run, compared):
    assert compared.plane.key == "val_accuracy"
    assert compared.final_plane.key == "test_accuracy"
    untrained = runs.read([make_run("x"), make_run("y", method__name="random")])
    assert untrained.final_plane.key == "val_accuracy"


def test_the_axes_are_those_of_a_run_that_has_candidates(make_run):
    comparison = runs.read([make_run("a", []), make_run("b")])
    assert (comparison.plane.cost.key, comparison.plane.key) == ("size_bits", "val_accuracy")
