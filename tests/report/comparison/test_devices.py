import re

import pytest

from bompnas.hardware.bit_serial import EDGE
from bompnas.hardware.bitfusion import BitFusion
from bompnas.report import comparison
from bompnas.report.comparison import devices, runs

PAIRS = [(0.5, 10), (0.6, 2), (0.9, 8)]


@pytest.fixture
def two(make_run):
    return [
        make_run("fused", PAIRS, hardware={"model": "bitfusion", "rows": 4}),
        make_run("serial", PAIRS[:2], hardware={"model": "bit_serial_edge", "batch": 1}),
    ]


def cells(table):
    return [re.findall(r'<td( class="best")?[^>]*>(.*?)</td>', row) for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]]


def test_every_best_network_is_priced_on_every_device(two):
    compared = runs.read(two)
    table = devices.cross_table(compared)
    assert re.findall(r"<th[^>]*>([^<]*)</th>", table)[4:] == [
        "Latency [ms] on bitfusion", "Energy [mJ] on bitfusion", "Latency [ms] on bit_serial_edge",
    ]  # fmt: skip
    own = [[bool(kind) for kind, _ in row[-3:]] for row in cells(table)]
    assert own == [[True, True, False], [False, False, True]]
    for row, entrant in zip(cells(table), devices.entrants(compared), strict=True):
        network = entrant.candidate.network
        fused, serial = BitFusion(rows=4).cost(network).total, EDGE.cost(network).total
        expected = fused["latency_ms"], fused["energy_mj"], serial["latency_ms"]
        assert [float(text) for _, text in row[-3:]] == pytest.approx(expected, rel=6e-3)


def test_devices_of_one_name_are_told_apart_by_their_parameters(make_run):
    folders = [make_run(f"r{rows}x", hardware={"model": "bitfusion", "rows": rows, "batch": 1}) for rows in (4, 8)]
    table = devices.cross_table(runs.read(folders))
    assert "Latency [ms] on bitfusion (rows 4)<" in table
    assert "Energy [mJ] on bitfusion (rows 8)<" in table


def test_runs_for_one_device_or_none_are_not_crossed(make_run, two):
    same = {"model": "bitfusion", "rows": 4}
    folders = [make_run("a"), make_run("b", hardware=same), make_run("c", hardware=same, seed=1)]
    assert devices.cross_table(runs.read(folders)) is None
    crossed = devices.cross_table(runs.read([folders[0], *two]))
    assert [bool(kind) for kind, _ in cells(crossed)[0][-3:]] == [False] * 3  # searched for none, priced on both


def test_a_network_that_a_device_cannot_run_has_dashes(make_run, two, tmp_path):
    (tmp_path / "empty.csv").write_text(
        "kind,kernel,stride,in_channels,out_channels,input_size,output_size,weight_bits,input_bits,output_bits,bias,"
        "latency_ms\nconv,9,1,1,1,8,8,8,8,8,1,1.0\n"
    )
    table = {"model": "lookup", "table": str(tmp_path / "empty.csv")}
    crossed = devices.cross_table(runs.read([two[0], make_run("looked", PAIRS, hardware=table)]))
    assert [row[-1][1] for row in cells(crossed)] == ["\u2013", "\u2013"]


def test_the_page_names_the_devices(two, tmp_path, check_html):
    comparison.write(two, tmp_path / "out")
    _, text = check_html((tmp_path / "out" / "comparison.html").read_text(encoding="utf-8"))
    assert "Networks on each other's devices" in text
    assert "bitfusion (rows 4) bit_serial_edge (batch 1)" in text
