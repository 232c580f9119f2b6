import html
import re

import pytest

from bompnas import pareto
from bompnas.report.comparison import runs, tables
from bompnas.report.quantities import DASH


def cells(table):
    """Texts of a table, row by row; those of one cell with a bar between them."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"(<[^>]*>)+", "|", cell).strip("|")) for cell in row] for row in found]


def columns(table):
    """Columns of a table by their heads."""
    heads, *rows = cells(table)
    return {head: list(column) for head, *column in zip(heads, *rows, strict=True)}


def test_results_of_seeds_stand_below_their_mean_and_range(compared):
    found = columns(tables.results_table(compared))
    assert found["Runs"] == ["bomp (2 seeds)", "bomp-0", "bomp-1", "random"]
    assert found["Best validation accuracy of the search [%]"] == ["85.00|80.00\u201390.00", "90.00", "80.00", "80.00"]
    assert found["Test accuracy of the finally trained best [%]"] == [DASH, DASH, DASH, "82.00"]


def test_hypervolumes_are_given_where_all_runs_have_come_to(compared):
    found = columns(tables.results_table(compared))
    views = {member.label: member.view for member in compared.members}

    def volume(label, count):
        view = views[label]
        return f"{pareto.hypervolume_of(view.candidates[:count], view.objectives):.4f}"

    # The random search has two trials of 13 and 16 s.
    assert found["Hypervolume after 2 float trainings"][1:] == [
        volume("bomp-0", 2),
        volume("bomp-1", 2),
        volume("random", 2),
    ]
    assert found["Hypervolume after 29.0 s"][1:] == [volume("bomp-0", 2), volume("bomp-1", 2), volume("random", 2)]
    assert found["Hypervolume of the search"][1:] == [volume("bomp-0", 3), volume("bomp-1", 3), volume("random", 2)]
    trained = views["random"].trained
    final = f"{pareto.hypervolume_of(trained, compared.objectives):.4f}"
    assert found["Hypervolume after final training"] == [DASH, DASH, DASH, final]


def test_runs_of_equal_length_have_no_column_for_a_common_length(make_run):
    found = columns(tables.results_table(runs.read([make_run("a"), make_run("b")])))
    assert not any(head.endswith("float trainings") for head in found)


def test_a_mean_of_some_seeds_says_so(make_run):
    comparison = runs.read([make_run("a-0"), make_run("a-1", [(None, 4)], seed=1)])
    found = columns(tables.results_table(comparison))
    assert found["Best validation accuracy of the search [%]"][0] == "90.00|90.00\u201390.00, 1 of 2 seeds"


def test_a_run_without_anything_has_dashes(make_run):
    rows = cells(tables.results_table(runs.read([make_run("a", []), make_run("b", [], method__name="random")])))
    assert set(rows[1][1:]) == {DASH}


def test_settings_that_differ(compared, make_run):
    assert cells(tables.settings_table(compared)) == [
        ["Setting", "bomp (2 seeds)", "random"],
        ["method.name", "bomp", "random"],
    ]
    assert tables.settings_table(runs.read([make_run("x-0"), make_run("x-1", seed=1)])) is None


def test_a_setting_that_one_does_not_have_is_a_dash(make_run):
    table = tables.settings_table(runs.read([make_run("a"), make_run("b", method__beta=2.0)]))
    assert cells(table)[1:] == [["method.beta", DASH, "2.0"]]


def test_many_differences_are_cut(make_run):
    many = {f"method__key{number}": number for number in range(30)}
    rows = cells(tables.settings_table(runs.read([make_run("a"), make_run("b", **many)])))
    assert len(rows) == 1 + 24 + 1
    assert rows[-1][0] == "and 6 more"


def test_costs_per_training_and_per_candidate(make_run, share):
    pairs = [(0.5, 10), (0.6, 9), (0.7, 8), (0.4, 2)]
    comparison = runs.read([make_run("a", pairs, {2: (0.7, 0.7)}, changes=share(2)), make_run("b", method__name="x")])
    found = {head: column[0] for head, column in columns(tables.cost_table(comparison)).items()}
    assert found == {
        "Runs": "a",
        "Trials": "2",
        "Float trainings": "2",
        "Candidates": "4",
        "Failed": "0",
        "Search": "34.0 s",
        "per float training": "17.0 s",
        "per candidate": "8.5 s",
        "Final float trainings": "1",
        "Final training": "1 min 30 s",
        "In total [h]": "0.0344",
        "build of the search": "2.0 s",
        "train of the search": "24.0 s",
        "QAFT of the search": "8.0 s",
    }


def test_networks_of_all_fronts(compared):
    table = tables.fronts_table(compared)
    found = columns(table)
    assert list(zip(found["Runs"], found["Network"], strict=True)) == [
        ("bomp-0", "№ 2"),
        ("bomp-1", "№ 1"),
        ("random", "№ 2"),
        ("bomp-0", "№ 3"),
        ("bomp-1", "№ 3"),
    ]
    # 0.6 at 2 kB loses against 0.7 at 2 kB, and 0.8 at 8 kB against 0.85 at 3 kB.
    assert re.findall(r'<tr id="([^"]+)" class="dominated">', table) == ["run-1-2", "run-3-3"]
    assert found["Test accuracy [%]"] == [DASH, DASH, "82.00", DASH, DASH]


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_published_numbers_are_the_papers(make_run, dataset):
    comparison = runs.read([make_run(name, data__dataset=dataset) for name in "ab"])
    text = tables.published_tables(comparison)
    rows = cells(text)
    expected = {
        "cifar10": [["µNAS", "86.49", "11.40"], ["JASQ", "72", "III"], ["BOMP-NAS, 4-bit QAFT", "15", "IV"]],
        "cifar100": [["BOMP-NAS", "75.84", "4,199.00"], ["BOMP-NAS (mixed-precision QAFT)", "30", "III and IV"]],
    }
    for row in expected[dataset]:
        assert row in rows


def test_nothing_is_published_for_other_data(compared):
    assert tables.published_tables(compared) == ""


def test_tooltips_name_run_network_size_and_quality(compared):
    found = tables.tooltips(compared)
    assert found["#run-1-3"] == "bomp-0 № 3, 8.00 kB"
    assert found["#run-2-2"] == "random № 2, 3.00 kB, 82.00 %"


def test_a_supernet_has_no_trials(make_run, make_supernet):
    comparison = runs.read([make_run("a"), make_run("b", [(0.5, 10), (0.6, 2)], method__beta=1), make_supernet("c")])
    results = columns(tables.results_table(comparison))
    supernet = comparison.members[2].view
    volume = f"{pareto.hypervolume_of(supernet.candidates, supernet.objectives):.4f}"
    assert results["Hypervolume after 2 float trainings"][2] == DASH
    assert results["Hypervolume after 29.0 s"][2] == "0.0000"
    assert results["Hypervolume of the search"][2] == volume
    spent = columns(tables.cost_table(comparison))
    assert (spent["Trials"], spent["Float trainings"]) == (["3", "2", DASH], ["3", "2", DASH])
    assert spent["Candidates"] == ["3", "2", "3"]
    assert spent["Search"][2] == "50.0 s"
    assert spent["per float training"][2] == DASH
    assert spent["supernet"] == [DASH, DASH, "50.0 s"]
