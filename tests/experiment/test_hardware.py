"""The section `hardware`, and objectives and constraints on what a device charges."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bompnas.errors import InputError
from bompnas.experiment import parse
from bompnas.hardware.bitfusion import BitFusion
from bompnas.objectives import Constraint, Objective

SPACE = Path(__file__).parents[2] / "search_spaces" / "mobilenetv2_digits.yaml"
BITFUSION = {"model": "bitfusion"}
OWN = {"model": "nowhere.devices:Mine", "speed": 3}
ACCURACY = {"reference": 0.8}


def read(**sections):
    document = {"name": "mine", "data": {"dataset": "digits"}, "space": str(SPACE), **sections}
    return parse(document, place="mine.yaml")


def test_a_device_is_a_model_with_its_parameters():
    hardware = read(hardware={**BITFUSION, "rows": 8, "energy": {"cycle": 1}}).hardware
    assert hardware.device == BitFusion(rows=8, energy=type(BitFusion().energy)(cycle=1.0))
    assert hardware.device is hardware.device
    assert read().hardware is None


def test_files_of_a_device_lie_beside_the_experiment(tmp_path):
    header = (
        "kind,kernel,stride,in_channels,out_channels,input_size,output_size,weight_bits,input_bits,output_bits,bias"
    )
    (tmp_path / "table.csv").write_text(f"{header},latency_ms\nconv,3,2,3,32,224,112,8,8,8,1,4.08\n")
    document = {"name": "mine", "data": {"dataset": "digits"}, "space": str(SPACE)}
    document |= {"hardware": {"model": "lookup", "table": "table.csv"}, "constraints": {"latency_ms": 1}}
    experiment = parse(document, directory=tmp_path)
    assert [quantity.name for quantity in experiment.told] == ["latency_ms"]
    assert experiment.hardware.resolved == {"table": tmp_path / "table.csv", "interpolate": False}


def test_logarithms_are_of_units_in_which_they_stay_positive():
    names = ("latency", "energy", "cycles", "bitops", "peak_memory", "size")
    objectives = read(hardware=BITFUSION, objectives={name: {"reference": 2} for name in names}).objective_list()
    assert [(one.name, one.key, one.factor) for one in objectives] == [
        ("latency", "latency_ms", 1e6),
        ("energy", "energy_mj", 1e6),
        ("cycles", "cycles", 1.0),
        ("bitops", "bitops", 1.0),
        ("peak_memory", "peak_memory_b", 1.0),
        ("size", "size_bits", 1.0),
    ]
    assert {one.transform for one in objectives} == {"log10"}
    assert objectives[0].term(0.01) == 2 / 4  # 10,000 ns


def test_without_a_logarithm_a_cost_keeps_its_unit():
    latency, energy = read(
        hardware=BITFUSION,
        objectives={
            "latency": {"reference": 3, "transform": "identity"},
            "energy": {"reference": 3, "direction": "maximize"},
        },
    ).objective_list()
    assert latency == Objective("latency", "latency_ms", 3.0, maximize=False)
    assert energy == Objective("energy", "energy_mj", 3.0, maximize=True)


def test_the_float_network_is_scored_by_its_size_but_no_device_runs_it():
    names = ("accuracy", "size", "bitops", "latency")
    experiment = read(
        hardware=BITFUSION, quantization={"mode": "none"}, objectives={name: {"reference": 2} for name in names}
    )
    keys = [objective.key for objective in experiment.objective_list()]
    assert keys == ["float_val_accuracy", "float_size_bits", "bitops", "latency_ms"]


@pytest.mark.parametrize(
    ("model", "limits"),
    [
        ("bitfusion", {"latency_ms": 5, "energy_mj": 2, "peak_memory_kb": 64, "size_kb": 16}),
        ("litert_cpu", {"latency_ms": 5}),
        ("huffman", {"huffman_kb": 5, "bitops": 1e6}),
    ],
)
def test_every_cost_may_be_limited(model, limits):
    experiment = read(hardware={"model": model}, constraints=limits)
    assert experiment.constraint_list() == tuple(Constraint(name, limit) for name, limit in limits.items())


CASES = [
    (
        {"hardware": {"model": "bitfuson"}},
        "hardware.model: unknown model 'bitfuson'; did you mean bitfusion? known: co",
    ),
    ({"hardware": {"rows": 3}}, "hardware.model: this key is missing"),
    ({"hardware": "bitfusion"}, "hardware: expected a section with the keys model; found the text 'bitfusion'"),
    ({"hardware": {**BITFUSION, "row": 3}}, "hardware: row: BitFusion has no such parameter; expected rows, columns, "),
    ({"hardware": {**BITFUSION, "rows": 1.5}}, "hardware: rows: found 1.5; expected a whole number"),
    ({"hardware": {**BITFUSION, "rows": -1}}, "hardware: BitFusion: rows is -1, expected a positive whole number"),
    ({"hardware": {**BITFUSION, 7: 8}}, "hardware.7: expected a key that is text; found 7"),
    ({"hardware": {"model": "roofline"}}, "hardware: peak_gmacs: found nothing; Roofline needs it"),
    ({"hardware": {"model": "litert_cpu", "threads": 0}}, "hardware: LiteRTLatency: threads is 0, expected 1 or more"),
    ({"hardware": {"model": "lookup", "table": "no.csv"}}, "hardware: lookup table "),
    ({"objectives": {"latency": ACCURACY}}, "objectives.latency: latency depends on the device; name one in a section"),
    (
        {"constraints": {"energy_mj": 2}},
        "constraints.energy_mj: energy_mj depends on the device; name one in a section",
    ),
    (
        {"hardware": {"model": "huffman"}, "objectives": {"latency": ACCURACY}},
        "objectives.latency: the device huffman does not tell of latency_ms, only of huffman_kb; name another one, or",
    ),
    (
        {"hardware": {"model": "bit_serial"}, "constraints": {"energy_mj": 3}},
        "constraints.energy_mj: the device bit_serial does not tell of energy_mj, only of cycles, latency_ms; name ",
    ),
    (
        {"hardware": BITFUSION, "objectives": {"cycle": ACCURACY}},
        "objectives.cycle: unknown objective 'cycle'; did you mean cycles? known: accuracy, loss, mae, mse, size, ",
    ),
    ({"objectives": {"bitopps": ACCURACY}}, "objectives.bitopps: unknown objective 'bitopps'; did you mean bitops?"),
    ({"constraints": {"peak_kb": 3}}, "constraints.peak_kb: unknown cost 'peak_kb'; "),
]


@pytest.mark.parametrize(("sections", "message"), CASES, ids=[str(sections) for sections, _ in CASES])
def test_one_clear_line_for_each_mistake(sections, message):
    with pytest.raises(InputError, match=f"^mine.yaml: {re.escape(message)}") as caught:
        read(**sections)
    assert "\n" not in str(caught.value)


def test_a_wrong_device_hides_no_other_mistake_and_makes_none():
    with pytest.raises(InputError) as caught:
        read(hardware={"model": "x"}, objectives={"latency": ACCURACY}, constraints={"latency_ms": 0})
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == [
        " hardware.model",
        " constraints.latency_ms",
    ]


def test_a_logarithm_without_a_known_unit_is_refused(tmp_path):
    header = (
        "kind,kernel,stride,in_channels,out_channels,input_size,output_size,weight_bits,input_bits,output_bits,bias"
    )
    (tmp_path / "table.csv").write_text(f"{header},cost\nconv,3,2,3,32,224,112,8,8,8,1,4.08\n")
    device = {"model": "lookup", "table": str(tmp_path / "table.csv")}
    (cost,) = read(hardware=device, objectives={"cost": {"reference": 3}}).objective_list()
    assert cost == Objective("cost", "cost", 3.0, maximize=False)
    with pytest.raises(InputError, match=r"objectives: cost has no unit .* use the transform identity"):
        read(hardware=device, objectives={"cost": {"reference": 3, "transform": "log10"}})


def test_reading_imports_neither_frameworks_nor_a_model_of_the_user_s_own():
    program = (
        "import sys; from bompnas.experiment import parse; import yaml; parse(yaml.safe_load(sys.argv[1])); "
        "parse(yaml.safe_load(sys.argv[2])); "
        "print([name for name in ('keras', 'tensorflow', 'ai_edge_litert', 'nowhere') if name in sys.modules])"
    )
    document = {"name": "mine", "data": {"dataset": "digits"}, "space": str(SPACE)}
    own = {"hardware": OWN, "objectives": {"heat": {"reference": 1, "transform": "log10"}}, "constraints": {"noise": 3}}
    texts = [yaml.safe_dump(document | own), yaml.safe_dump(document | {"hardware": {"model": "litert_cpu"}})]
    done = subprocess.run([sys.executable, "-c", program, *texts], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
