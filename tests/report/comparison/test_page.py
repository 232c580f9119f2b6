import subprocess
import sys

import pytest

from bompnas.errors import InputError
from bompnas.report import comparison
from bompnas.report.__main__ import main
from bompnas.report.comparison import page, runs


def test_notes_say_what_a_reader_must_know(make_run, share):
    members = [
        make_run("done", [(0.5, 4)], {1: (0.6, 0.6)}),
        make_run("half", [(0.5, 4), (0.6, 9), (None, 7)], {1: (0.6, 0.6)}, method__beta=1),
        make_run("policies", [(0.5, 10), (0.6, 9), (0.7, 8)], method__name="a", changes=share(2), workers=2),
        make_run("empty", [(None, 4)], method__name="b"),
        make_run("later", [(0.5, 4)], {1: (0.6, 0.6)}, quantization__mode="none"),
    ]
    assert page.notes(runs.read(members)) == [
        "Nothing completed yet, therefore in tables only: empty.",
        "Not finished: half (3 of 12 trials, 1 of 2 of the front finally trained), "
        "policies (2 of 12 trials, 0 of 1 of the front finally trained).",
        "Several policies of each float training, every one a candidate: policies (3 candidates of 2 float trainings).",
        "Several workers, whose times are summed, though the wall clock ran faster: policies (2).",
        "Quantized after the search, with the scores of the quantized networks here: later.",
    ]


def test_networks_of_a_supernet_are_told(make_run, make_supernet):
    members = [make_run("bomp", [(0.5, 4)], {1: (0.6, 0.6)}), make_supernet("hqnas", final={2: (0.7, 0.6)})]
    assert page.notes(runs.read(members)) == [
        "Not finished: hqnas (3 of 3 epochs, 1 of 3 networks finally trained).",
        "Networks of one supernet, known only at the end of its search and measured with the weights that they share: "
        "hqnas (3 candidates).",
    ]


def test_other_references_are_told(make_run):
    weak = {"accuracy": {"reference": 0.5}, "size": {"reference": 8.0}}
    note = page.notes(runs.read([make_run("a"), make_run("b", objectives=weak)]))[0]
    assert note.startswith("The runs have different references;")
    assert note.endswith("those of a (accuracy 0.8, size 8).")


def test_more_than_eight_experiments_are_told(make_run):
    folders = [make_run(f"r{n}x", method__beta=n) for n in range(9)]
    assert page.notes(runs.read(folders))[-1].startswith("With more than 8 experiments colours repeat")


@pytest.fixture
def folders(make_run):
    final = {2: (0.7, 0.66), 3: (0.95, 0.91)}
    return [
        make_run("bomp-0", final=final, data__dataset="cifar10"),
        make_run("bomp-1", final=final, data__dataset="cifar10", seed=1),
        make_run("random", [(0.5, 3), (0.6, 9)], data__dataset="cifar10", method__name="random"),
    ]


def test_a_supernet_beside_another_method(make_run, make_supernet, tmp_path, check_html):
    final = {2: (0.7, 0.66), 3: (0.95, 0.91)}
    path = comparison.write([make_run("bomp", final=final), make_supernet("hqnas", final=final)], tmp_path / "out")
    assert sorted(picture.stem for picture in (tmp_path / "out" / "comparison").iterdir()) == [
        "bits", "cost", "final", "hypervolume", "score", "search",
    ]  # fmt: skip
    _, text = check_html(path.read_text(encoding="utf-8"))
    assert text.count("one mark, over the time alone") == 2


def test_the_page_and_its_pictures(folders, tmp_path, check_html):
    out = tmp_path / "out"
    assert comparison.write(folders, out) == out / "comparison.html"
    names = ["bits", "cost", "final", "hypervolume", "score", "search"]
    assert sorted(path.name for path in (out / "comparison").iterdir()) == [f"{name}.png" for name in names]
    html = (out / "comparison.html").read_text(encoding="utf-8")
    checker, text = check_html(html)
    assert {"#run-1-3", "#run-2-2", "#run-3-1"} <= set(checker.links)
    assert "Comparison of 3 runs" in text
    assert "Validation accuracy and packed size on cifar10" in text
    assert "JASQ (repr.)" in text
    assert "shown by what they reach on test data" in text
    assert "Not finished: random (2 of 12 trials, 0 of 2 of the front finally trained)." in text
    assert html.count("<svg id=") == len(names)
    for folder in folders:
        assert [entry.name for entry in folder.iterdir()] == ["run.db"]


def test_a_page_of_runs_that_have_just_begun(make_run, tmp_path, check_html):
    comparison.write([make_run("a", []), make_run("b", [(None, 4)])], tmp_path)
    html = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    _, text = check_html(html)
    assert "Nothing completed yet, therefore in tables only: a, b." in text
    assert "<svg id=" not in html


def test_the_command_line_writes_into_the_current_folder(folders, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([str(folder) for folder in folders]) == 0
    assert capsys.readouterr().out.strip() == "comparison.html"
    first = (tmp_path / "here" / "comparison.html").read_bytes()
    assert main([str(folder) for folder in folders]) == 0
    assert (tmp_path / "here" / "comparison.html").read_bytes() == first


def test_the_command_line_says_in_one_line_what_is_wrong_and_writes_nothing(folders, make_run, tmp_path, capsys):
    other = make_run("digits")
    out = tmp_path / "out"
    assert main([str(folders[0]), str(other), "--out", str(out)]) == 2
    error = capsys.readouterr().err.strip()
    assert error == f"{folders[0]} and {other} cannot be compared: their data sets are cifar10 and digits"
    assert not out.exists()


def test_a_file_is_no_folder_for_the_page(folders, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken is a file"):
        comparison.write(folders, tmp_path / "taken")


def test_out_is_refused_for_one_run(folders, capsys):
    assert main([str(folders[0]), "--out", "elsewhere"]) == 2
    assert "--out is for several runs" in capsys.readouterr().err


def test_drawing_needs_neither_keras_nor_tensorflow():
    code = "import sys, bompnas.report.__main__; print({'keras', 'tensorflow', 'matplotlib.pyplot'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["search", "final", "hypervolume", "score", "bits", "cost"])
def test_every_figure_has_a_description(name):
    assert page.describe(name).endswith(".")
    assert ". " not in page.describe(name).replace("eq. ", "")
