"""Devices in runs: what they charge is checked, recorded, measured, and part of what a run is."""

import dataclasses
import importlib
import logging
import sys
import textwrap

import numpy as np
import pytest
from rich.console import Console

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.experiment import parse
from bompnas.export.measured import LiteRTLatency
from bompnas.hardware.bit_serial import EDGE
from bompnas.hardware.bitfusion import BitFusion
from bompnas.hardware.huffman import HuffmanSize
from bompnas.hardware.lookup import LookupTable
from bompnas.hardware.quantities import FACTS
from bompnas.networks.heads import HeadSource
from bompnas.objectives import Constraint
from bompnas.space.batch import NetworkBatch
from bompnas.training.loop import Phase
from bompnas.trials import folder, loop, setup
from bompnas.trials.context import Run
from bompnas.trials.executors.contract import Failure
from bompnas.trials.executors.in_process import InProcess
from bompnas.trials.executors.pool import Pool
from bompnas.trials.identity import record_meta
from bompnas.trials.jobs import Jobs
from bompnas.trials.trial import TrialTask, train_quantized
from bompnas.trials.watching.progress import Progress, describe

DOCUMENT = {"name": "test", "data": {"dataset": "digits"}, "space": "search_spaces/mobilenetv2_digits.yaml"}
OWN = """
    import dataclasses
    import numpy as np
    from bompnas.hardware.model import CostModel, MeasuredModel, Quantity

    @dataclasses.dataclass
    class Heater(CostModel):
        quantities = (Quantity("heat_kj", "heat [kJ]", 1e3),)
        factor: float = 1.0

        def costs(self, networks):
            return {"heat_kj": self.factor * networks.macs.sum(axis=1) / 1e3}

    class Broken(Heater):
        def costs(self, networks):
            raise KeyError("table")

    class Short(Heater):
        def costs(self, networks):
            return {"heat_kj": np.ones(3)}

    class Endless(Heater):
        def costs(self, networks):
            return {"heat_kj": np.full(len(networks), np.inf)}

    @dataclasses.dataclass
    class Scales(MeasuredModel):
        quantities = (Quantity("mass_g", "mass [g]", None),)
        offset: float = 0.0

        def measure(self, graph):
            return {"mass_g": self.offset + len(graph)}

    def weigh(task, tell):
        return task.device.measure(task.networks)
"""


def prepared(**sections):
    return setup.prepare(parse({**DOCUMENT, **sections}))


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's, which workers find as an installed one."""
    (tmp_path / "my_heaters.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_heaters")
    sys.modules.pop("my_heaters")


def test_what_is_searched_knows_what_the_device_charges():
    parts = prepared(
        hardware={"model": "bitfusion", "batch": 4},
        objectives={"accuracy": {"reference": 0.8}, "energy": {"reference": 3}},
        constraints={"latency_ms": 0.2, "peak_memory_kb": 4},
    )
    assert parts.device == BitFusion(batch=4)
    assert parts.measured is None
    assert parts.problem.facts == frozenset(FACTS)
    assert parts.problem.analytic == {*FACTS, "peak_memory_kb", "latency_ms", "energy_mj", "cycles"}
    assert len(parts.problem.known_limits) == 2
    assert record_meta(parts, 1)["quantities"][0] == {"name": "latency_ms", "label": "latency [ms]", "finest": 1e6}
    network = parts.problem.space.decode(parts.problem.space.seed)
    cost = parts.problem.cost(network)
    assert cost["latency_ms"] == BitFusion(batch=4).cost(network).total["latency_ms"]
    described = describe(Candidate(1, 1, network, None, State.PENDING, cost))
    latency, energy, memory = (cost[name] for name in ("latency_ms", "energy_mj", "peak_memory_kb"))
    assert f"M MACs, {memory:.3g} kB peak activation memory, {latency:.3g} ms, {energy:.3g} mJ, " in described


def test_a_limit_that_no_network_keeps_is_told_before_the_run():
    with pytest.raises(
        InputError, match=r"constraints: .* the nearest found has energy_mj [\d.]+ where 1e-06 is allow"
    ):
        prepared(hardware={"model": "bitfusion"}, constraints={"energy_mj": 1e-6})


def test_a_run_without_a_device_is_what_it_was():
    meta = record_meta(prepared(), 1)
    assert "hardware" not in meta["experiment"]
    assert "hardware" not in meta["identity"]


def test_another_device_is_another_run(tmp_path):
    def meta(**parameters):
        return record_meta(prepared(hardware={"model": "bit_serial", **parameters}), 1)

    first = meta()
    assert first["experiment"]["hardware"] == {
        "model": "bit_serial",
        **dataclasses.asdict(prepared(hardware={"model": "bit_serial"}).device),
    }
    with folder.opened(tmp_path / "run", first):
        pass
    with folder.opened(tmp_path / "run", meta(rows=16)):  # the default, spelled out
        pass
    with (
        pytest.raises(InputError, match=r"another experiment:\n  hardware.rows: 16 there, 8 now"),
        folder.opened(tmp_path / "run", meta(rows=8)),
    ):
        pass


def test_of_a_table_the_content_counts_and_not_the_place(tmp_path):
    space = prepared().problem.space
    networks = NetworkBatch.of([space.decode(space.seed)])
    table = LookupTable.of(EDGE, networks)
    identities = []
    for place, price in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / place).mkdir()
        costs = {"latency_ms": price * table.costs["latency_ms"]}
        LookupTable(table.layers, costs).write(tmp_path / place / "table.csv")
        settings = parse({**DOCUMENT, "hardware": {"model": "lookup", "table": str(tmp_path / place / "table.csv")}})
        parts = setup.Setup(settings, HeadSource("classification"), prepared().dataset, prepared().problem)
        parts = dataclasses.replace(parts, device=settings.hardware.device)
        identities.append(record_meta(parts, 1)["identity"]["hardware"])
        assert record_meta(parts, 1)["experiment"]["hardware"]["table"] == str(tmp_path / place / "table.csv")
    assert identities[0] == identities[1] != identities[2]


def test_a_table_with_gaps_is_refused_before_the_run(tmp_path):
    space = prepared().problem.space
    LookupTable.of(EDGE, NetworkBatch.of([space.decode(space.seed)])).write(tmp_path / "table.csv")
    with pytest.raises(InputError, match=r"hardware: the lookup table does not hold"):
        prepared(hardware={"model": "lookup", "table": str(tmp_path / "table.csv")})


def test_a_model_of_one_s_own_is_an_objective_and_a_limit(own):
    parts = prepared(
        hardware={"model": "my_heaters:Heater", "factor": 2},
        objectives={"accuracy": {"reference": 0.8}, "heat_kj": {"reference": 3, "transform": "log10"}},
        constraints={"heat_kj": 100},
    )
    assert parts.problem.objectives[1].factor == 1e3
    cost = parts.problem.cost(parts.problem.space.decode(parts.problem.space.seed))
    assert cost["heat_kj"] == 2 * cost["macs"] / 1e3
    assert record_meta(parts, 1)["identity"]["hardware"] == {"model": "my_heaters:Heater", "factor": 2.0}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"hardware": {"model": "my_heaters:Missing"}}, "hardware.model: cannot import 'my_heaters:Missing'"),
        ({"hardware": {"model": "my_heaters:Heater", "x": 1}}, "hardware.x: Heater has no such parameter"),
        ({"hardware": {"model": "my_heaters:Broken"}}, "hardware: pricing networks .* failed .KeyError: 'table'"),
        ({"hardware": {"model": "my_heaters:Short"}}, r"hardware: costs of 256 networks have shapes .*\(3,\)"),
        ({"hardware": {"model": "my_heaters:Endless"}}, "hardware: heat_kj of some networks is not finite"),
        (
            {"hardware": {"model": "my_heaters:Heater"}, "constraints": {"latency_ms": 3}},
            "the device my_heaters:Heater does not tell of latency_ms, only of heat_kj",
        ),
        (
            {"hardware": {"model": "my_heaters:Heater"}, "objectives": {"heat": {"reference": 3}}},
            "unknown objective 'heat'; did you mean heat_kj?",
        ),
        (
            {
                "hardware": {"model": "my_heaters:Scales"},
                "objectives": {"mass_g": {"reference": 3, "transform": "log10"}},
            },
            "mass_g has no unit in which it is known to stay above 1",
        ),
    ],
)
def test_what_is_wrong_with_a_model_of_one_s_own_shows_before_the_run(own, sections, message):
    with pytest.raises(InputError, match=message):
        prepared(**sections)


def test_a_measured_device_travels_with_every_task(own, tmp_path):
    parts = prepared(hardware={"model": "my_heaters:Scales", "offset": 1}, constraints={"mass_g": 3})
    assert parts.problem.analytic == set(FACTS)
    assert parts.problem.known_limits == ()
    network = parts.problem.space.decode(parts.problem.space.seed)
    candidates = [Candidate(1, 1, network, None, State.PENDING, parts.problem.cost(network))]
    for task in (parts.trial_task(candidates, None), parts.final_task(candidates, None)):
        assert task.device == own.Scales(1.0)
    with Pool(own.weigh, 2, 1) as pool:
        pool.check((parts.head, parts.measured))
        pool.submit(parts.trial_task(candidates, None))
        _, result = pool.next_finished()
    assert not isinstance(result, Failure), result
    assert result == {"mass_g": 2.0}


@pytest.fixture(scope="module")
def tiny_task():
    space = prepared().problem.space
    network = space.decode(space.seed).with_bits(4)
    return TrialTask((network,), HeadSource("classification", 10), None, Phase(1, 0.01), Phase(0, 0.001), seed=0)


@pytest.fixture(scope="module")
def arrays():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (128, 8, 8, 1)).astype("uint8")
    return {part: (images, np.arange(128) % 10) for part in ("train", "validation")}


def test_a_trial_measures_each_network_on_the_device(tiny_task, arrays):
    (outcome,) = train_quantized(dataclasses.replace(tiny_task, device=LiteRTLatency(repetitions=5)), arrays).outcomes
    assert outcome.error is None
    assert 0 < outcome.metrics["latency_ms"] < 100
    assert outcome.seconds["measure"] > 0
    assert "val_accuracy" in outcome.metrics


def test_the_coded_size_is_that_of_the_trained_weights(tiny_task, arrays):
    (outcome,) = train_quantized(dataclasses.replace(tiny_task, device=HuffmanSize()), arrays).outcomes
    network = tiny_task.networks[0]
    weights_kb = sum(4 * layer.weights for layer in network.layers) / 8000
    overhead_kb = sum(layer.weights / 256 * 64 + 32 * layer.out_channels for layer in network.layers) / 8000
    assert 0.5 * weights_kb < outcome.metrics["huffman_kb"] - overhead_kb <= weights_kb


def test_what_breaks_a_measured_limit_is_trained_but_on_no_front(new_record, problem, fakes, caplog, tmp_path):
    limited = dataclasses.replace(problem, constraints=(Constraint("latency_ms", 1.0),))
    latencies = iter([2.0, 3.0, 0.5, 0.25])

    def trial(candidates, tell=None):
        outcome = fakes.Outcome({"val_accuracy": 0.5, "latency_ms": next(latencies)}, {})
        return fakes.Result((outcome,), {}, {})

    quiet = Progress("trial", 4, 0, Console(quiet=True))
    jobs = Jobs(InProcess(trial, threads=1), tmp_path, 0, lambda name, event: None)
    run = Run(limited, new_record, jobs, lambda candidates, state: candidates, 0, quiet, lambda: None)
    with caplog.at_level(logging.INFO, "bompnas"):
        loop.search(fakes.Settings(4), run)
    lines = [line.getMessage() for line in caplog.records]
    assert [("none completed within the limits" in line) for line in lines] == [True, True, False, False]
    assert "latency_ms 2.0000" in lines[0]
    assert "front 1" in lines[2]
    assert [limited.admits(candidate.values) for candidate in new_record.candidates] == [False, False, True, True]


def test_a_device_that_fails_fails_the_candidate(tiny_task, arrays, own):
    class Wrong(own.Scales):
        def measure(self, graph):
            return {"weight": 1.0}

    (outcome,) = train_quantized(dataclasses.replace(tiny_task, device=Wrong()), arrays).outcomes
    assert outcome.error == "InputError: hardware: measured ['weight'], expected ['mass_g']"
