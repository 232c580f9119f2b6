import pytest

from bompnas.errors import InputError
from bompnas.export import latency
from bompnas.export.interpreter import Interpreter
from bompnas.export.measured import LiteRTLatency
from bompnas.hardware.registry import load


def test_the_median_is_measured_with_the_given_effort(random_graph, monkeypatch):
    runs, threads = [], []
    begin, run = Interpreter.__init__, Interpreter.__call__
    monkeypatch.setattr(
        Interpreter, "__init__", lambda self, *given: (threads.append(given[1]), begin(self, *given))[1]
    )
    monkeypatch.setattr(Interpreter, "__call__", lambda self, values: (runs.append(values), run(self, values))[1])
    found = load("litert_cpu", {"threads": 2, "warmup": 3, "repetitions": 4}).measure(random_graph(0))
    assert list(found) == ["latency_ms"]
    assert found["latency_ms"] > 0
    assert (len(runs), threads) == (7, [2])


def test_the_median_is_the_cost(random_graph, monkeypatch):
    told = latency.Latency(median_ms=2.5, low_ms=1.0, high_ms=9.0, repetitions=100, threads=1)
    monkeypatch.setattr(latency, "measure", lambda *given: told)
    assert LiteRTLatency().measure(random_graph(0)) == {"latency_ms": 2.5}


@pytest.mark.parametrize(("name", "least"), [("threads", 1), ("warmup", 0), ("repetitions", 1)])
def test_too_little_effort_is_refused(name, least):
    LiteRTLatency(**{name: least})
    with pytest.raises(InputError, match=f"LiteRTLatency: {name} is {least - 1}, expected {least} or more"):
        LiteRTLatency(**{name: least - 1})
