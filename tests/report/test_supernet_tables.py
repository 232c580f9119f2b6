import dataclasses
import re

from bompnas.report.quantities import DASH
from bompnas.report.supernet_tables import decided_table, networks_table


def rows(html):
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", html)]
    return [[re.sub(r"<[^>]*>", "", content) for content in row] for row in found if row]


def heads(html):
    return re.findall(r"<th[^>]*>([^<]*)</th>", html)


def test_every_choice_of_the_decided_network_has_its_last_probability(supernet_view):
    html = decided_table(supernet_view)
    assert heads(html) == ["Part", "Kernel", "Expansion", "Kept or skipped", "Bits"]
    found = rows(html)
    assert [row[0] for row in found] == [f"block {number}" for number in range(1, 6)]
    genotype = supernet_view.decided.genotype
    for row in found:
        part = row[0].replace(" ", "")
        bits = genotype[f"{part}.bits"]
        if genotype.get(f"{part}.repetitions", 1):
            assert row[4] == f"{bits} {supernet_view.curves[f'p({part}.bits={bits})'][-1]:.2f}"
        else:
            assert row[1:] == [DASH, DASH, row[3], DASH]
            assert row[3].startswith("skip ")
    assert found[0][3] == DASH  # it cannot be left out


def test_before_anything_is_decided_there_is_no_table(begun_supernet, supernet_view):
    assert decided_table(begun_supernet) == ""
    assert decided_table(dataclasses.replace(supernet_view, sources={})) == ""


def test_decided_and_sampled_networks_with_what_they_reached(supernet_view):
    view = dataclasses.replace(supernet_view, finals=supernet_view.finals[:2])
    html = networks_table(view)
    assert heads(html)[-3:] == [
        "Validation accuracy [%] in the supernet",
        "Validation accuracy [%], finally trained",
        "Test accuracy [%], finally trained",
    ]
    assert "Latency [ms]" in heads(html)
    found = rows(html)
    assert [row[:2] for row in found] == [["№ 1", "decided"], *([f"№ {number}", "sampled"] for number in range(2, 6))]
    trained = {candidate.id: candidate.metrics for candidate in view.trained}
    assert sorted(trained) == [1, 2]
    for candidate, row in zip(supernet_view.candidates, found, strict=True):
        final = trained.get(candidate.id)
        finals = [f"{100 * final[key]:.2f}" for key in ("val_accuracy", "test_accuracy")] if final else [DASH] * 2
        assert row[-3:] == [f"{100 * candidate.metrics['val_accuracy']:.2f}", *finals]
    assert html.count('<tr class="mean">') == 1
