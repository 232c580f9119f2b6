import sys

import pytest

from bompnas.hardware.bit_serial import EDGE
from bompnas.hardware.bitfusion import BitFusion
from bompnas.hardware.roofline import Roofline
from bompnas.report.device import COUNTED, device_of, pricing


def device(model, **parameters):
    return device_of({"hardware": {"model": model, **parameters}})


def test_a_run_without_a_device_has_none():
    assert device_of({}) is None
    assert pricing(None)[1] == COUNTED


def test_the_package_s_devices_are_made_anew():
    found = device("bit_serial_edge", batch=2, rows=16)
    assert (found.model.batch, found.model.rows, found.model.columns) == (2, 16, EDGE.columns)
    assert found.text == "bit_serial_edge (batch 2, rows 16)"
    assert found.shown == ("latency_ms",)  # cycles are the same latency
    assert pricing(found) == (found.model, ("latency_ms",))


def test_nested_parameters_are_told():
    assert device("bitfusion", energy={"cycle": 0.25}).text == "bitfusion (energy.cycle 0.25)"


def test_devices_are_equal_by_name_and_parameters():
    assert device("bitfusion", rows=4, batch=1).key == device("bitfusion", batch=1, rows=4).key
    assert device("bitfusion", rows=4).key != device("bitfusion", rows=8).key
    assert device("bit_serial").key != device("bit_serial_edge").key


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("lookup", {"table": "/moved.csv"}), ("bitfusion", {"wheels": 4}), ("litert_cpu", {}), ("huffman", {})],
)
def test_what_the_record_cannot_price_is_counted(model, parameters):
    found = device(model, **parameters)
    assert found.model is None
    assert found.roofline is None
    assert pricing(found)[1] == COUNTED


def test_code_that_a_record_names_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "own_devices.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    assert device("own_devices:Model").model is None
    assert "own_devices" not in sys.modules
    assert isinstance(device("bompnas.hardware.bitfusion:BitFusion", rows=4).model, BitFusion)  # imported already


def test_a_roofline_is_known_of_a_roofline_and_of_bitfusion():
    assert device("roofline", peak_gmacs=16, bandwidth_gb_s=4).roofline == Roofline(16.0, 4.0)
    assert device("bitfusion").roofline == Roofline(256.0, 12.0, scaling="powers_of_two")
    assert device("bitfusion", rows=4, frequency_mhz=1000, batch=3).roofline == Roofline(
        128.0, 24.0, scaling="powers_of_two", batch=3
    )
    assert device("bit_serial").roofline is None
