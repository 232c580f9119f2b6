import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.bit_serial import CLOUD, EDGE
from bompnas.hardware.lookup import LookupTable
from bompnas.hardware.model import CostModel, MeasuredModel, Quantity
from bompnas.hardware.registry import MODELS, load, resolve
from bompnas.hardware.roofline import Roofline
from bompnas.space.batch import NetworkBatch
from bompnas.space.network import Layer, Network

NETWORK = Network(1, 16, (Layer("dense", "dense", 1, 1, 16, 10, 1, 1, 8, 8, "linear", "head"),))
REQUIRED = {"roofline": {"peak_gmacs": 16, "bandwidth_gb_s": 2.5}}


@dataclasses.dataclass(frozen=True)
class Memory:
    size_b: int
    ports: int = 1


@dataclasses.dataclass(frozen=True)
class Chip(CostModel):
    """A device of one's own, with fields of every type."""

    quantities = (Quantity("latency_ms", "latency [ms]", 1e6),)
    calls = ()

    memory: Memory = Memory(1024)
    shape: tuple[int, int] = (4, 4)
    speeds: tuple[float, ...] = (1.0,)
    mode: Literal["fast", "slow"] = "fast"
    is_cached: bool = False
    label: str | None = None
    file: Path = Path("none")
    anything: Any = None
    area: float = dataclasses.field(default=0.0, init=False)

    def costs(self, networks):
        return {"latency_ms": np.ones(len(networks))}


class Unfinished(CostModel):
    quantities = ()


CHIP = Chip(mode="slow")


@pytest.fixture
def own(monkeypatch):
    """Import path of this module."""
    monkeypatch.setitem(sys.modules, "my_devices", sys.modules[__name__])
    return "my_devices"


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"litert_cpu", "huffman"}))
def test_every_name_loads_a_model_that_prices(name, tmp_path):
    parameters = REQUIRED.get(name, {})
    if name == "lookup":
        LookupTable.of(CLOUD, NetworkBatch.of([NETWORK])).write(tmp_path / "table.csv")
        parameters = {"table": "table.csv"}
    model = load(name, parameters, folder=tmp_path)
    assert isinstance(model, CostModel)
    costs = model.costs(NetworkBatch.of([NETWORK]))
    assert set(costs) == {quantity.name for quantity in model.quantities}
    assert all(values.shape == (1,) for values in costs.values())


@pytest.mark.parametrize("name", ["litert_cpu", "huffman"])
def test_what_has_to_run_networks_is_measured(name):
    assert isinstance(load(name, {}), MeasuredModel)


def test_resolved_parameters_say_everything_that_yaml_can_and_give_the_same_model(own, tmp_path):
    given = {"memory": {"size_b": 7}, "speeds": [1, 2], "file": "here.txt", "anything": object()}
    resolved = resolve(f"{own}:CHIP", given, tmp_path)
    assert resolved == {
        "memory": {"size_b": 7, "ports": 1},
        "shape": [4, 4],
        "speeds": [1.0, 2.0],
        "mode": "slow",
        "is_cached": False,
        "label": None,
        "file": tmp_path / "here.txt",
    }
    assert load(f"{own}:CHIP", resolved) == load(f"{own}:CHIP", {**given, "anything": None}, tmp_path)
    assert resolve("bit_serial", {}) == dataclasses.asdict(CLOUD)
    assert resolve("huffman", {}) == {}
    with pytest.raises(InputError, match=r"hardware\.bandwidth_gb_s: found nothing"):
        resolve("roofline", {"peak_gmacs": 1})


def test_parameters_are_fields_with_the_named_configuration_s_defaults():
    assert load("bit_serial", {}) == CLOUD
    assert load("bit_serial_edge", {"clock_mhz": 100}) == dataclasses.replace(EDGE, clock_mhz=100.0)
    assert load("roofline", {**REQUIRED["roofline"], "scaling": "product"}) == Roofline(16.0, 2.5, 8, "product")


def test_a_model_of_one_s_own_by_import_path(own, tmp_path):
    parameters = {
        "memory": {"size_b": 7},
        "shape": [2, 3],
        "speeds": [1, 2.5, 3],
        "mode": "slow",
        "is_cached": True,
        "label": "x",
        "file": "here.txt",
        "anything": {"a": [1]},
    }
    assert load(f"{own}:Chip", parameters, tmp_path) == Chip(
        Memory(7), (2, 3), (1.0, 2.5, 3.0), "slow", True, "x", tmp_path / "here.txt", {"a": [1]}
    )
    assert load(f"{own}:Chip", {"file": Path("/absolute"), "label": None}, tmp_path) == Chip(file=Path("/absolute"))
    assert load(f"{own}:CHIP", {"shape": (1, 2)}) == Chip(mode="slow", shape=(1, 2))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("bitfusoin", {}, "hardware.model: found 'bitfusoin'; expected one of counts, bitfusion, bit_serial, "),
        ("no_such_module:Model", {}, "hardware.model: cannot import 'no_such_module:Model' .ModuleNotFoundError"),
        ("my_devices:Missing", {}, "cannot import 'my_devices:Missing' .AttributeError"),
        ("my_devices:Memory", {}, "my_devices:Memory is the class Memory; expected a subclass of CostModel"),
        ("my_devices:NETWORK", {}, "my_devices:NETWORK is of type Network; expected a subclass of CostModel"),
        (
            "my_devices:Unfinished",
            {},
            "is the class Unfinished; expected a subclass of CostModel, or of MeasuredModel, that has all",
        ),
        ("counts", {"a": 1}, "hardware.a: Counts has no such parameter; expected none"),
        ("bit_serial", {"row": 1}, "hardware.row: BitSerial has no such parameter; expected rows, columns, "),
        ("bit_serial", {"quantities": 1}, "hardware.quantities: BitSerial has no such parameter"),
        ("my_devices:Chip", {"area": 1.0}, "hardware.area: Chip has no such parameter"),
        ("roofline", {"peak_gmacs": 1}, "hardware.bandwidth_gb_s: found nothing; Roofline needs it"),
        ("bit_serial", {"rows": 1.5}, "hardware.rows: found 1.5; expected a whole number"),
        ("bit_serial", {"rows": True}, "hardware.rows: found True; expected a whole number"),
        ("bit_serial", {"clock_mhz": "fast"}, "hardware.clock_mhz: found 'fast'; expected a number"),
        ("bit_serial", {"clock_mhz": False}, "hardware.clock_mhz: found False; expected a number"),
        ("bit_serial", {"clock_mhz": float("inf")}, "hardware.clock_mhz: found inf; expected a number"),
        ("bit_serial", {"rows": 0}, "rows is 0; expected more than 0"),
        ("lookup", {"table": 3}, "hardware.table: found 3; expected the path of a file"),
        ("lookup", {"table": "x", "interpolate": 1}, "hardware.interpolate: found 1; expected true or false"),
        (
            "roofline",
            {**REQUIRED["roofline"], "scaling": "cubic"},
            "found 'cubic'; expected one of constant, product, ",
        ),
        ("my_devices:Chip", {"mode": "medium"}, "hardware.mode: found 'medium'; expected one of fast, slow"),
        ("my_devices:Chip", {"label": 3}, "hardware.label: found 3; expected text or null"),
        ("my_devices:Chip", {"shape": [1, 2, 3]}, r"found \[1, 2, 3\]; expected a list like \[a whole number, a whole"),
        ("my_devices:Chip", {"shape": [1, "a"]}, r"hardware.shape\[1\]: found 'a'; expected a whole number"),
        ("my_devices:Chip", {"speeds": 3}, r"found 3; expected a list like \[a number, ...\]"),
        ("my_devices:Chip", {"memory": {"ports": 2}}, "hardware.memory.size_b: found nothing; Memory needs it"),
        ("my_devices:Chip", {"memory": {"size": 2}}, "hardware.memory.size: Memory has no such parameter"),
        ("my_devices:Chip", {"memory": {"size_b": "a"}}, "hardware.memory.size_b: found 'a'; expected a whole number"),
        ("my_devices:Chip", {"memory": 3}, "hardware.memory: found 3; expected a section of size_b, ports"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_expected(own, name, parameters, message):
    with pytest.raises(InputError, match=message):
        load(name, parameters)


def test_models_are_imported_only_when_named():
    program = (
        "import sys, bompnas.hardware.registry as registry\n"
        "before = {name for name in sys.modules if name.startswith('bompnas.hardware.')}\n"
        "registry.load('roofline', {'peak_gmacs': 1, 'bandwidth_gb_s': 1})\n"
        "print(sorted(before), 'bompnas.hardware.bit_serial' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = [f"bompnas.hardware.{name}" for name in ("layers", "model", "registry")]
    assert done.stdout.split() == f"{modules} False".split()
