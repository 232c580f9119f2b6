import time

import pytest

from bompnas.errors import InputError
from bompnas.export import latency, litert
from bompnas.export.interpreter import Interpreter


@pytest.fixture(scope="module")
def data(random_graph):
    return litert.write(random_graph(0))


@pytest.fixture
def path(tmp_path, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    return path


@pytest.fixture
def clock(monkeypatch):
    """Milliseconds that runs take, one after the other; a run advances the clock and nothing else does."""

    class Clock:
        now = 0.0
        runs = 0
        inputs = []  # noqa: RUF012

        def take(self, milliseconds):
            def run(interpreter, values):
                self.inputs.append(values.tobytes())
                self.now += milliseconds[self.runs] / 1000
                self.runs += 1

            monkeypatch.setattr(Interpreter, "__call__", run)

    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_the_median_and_the_spread_of_the_runs_after_the_warm_up(data, clock):
    clock.take([1000, 1000, *range(100, -1, -1)])
    found = latency.measure(data, threads=2, warmup=2, repetitions=101)
    assert (found.median_ms, found.low_ms, found.high_ms) == pytest.approx((50, 10, 90))
    assert (found.repetitions, found.threads) == (101, 2)
    assert clock.runs == 103
    assert len(set(clock.inputs)) == 1


@pytest.mark.parametrize("io", ["int8", "float"])
def test_times_are_those_of_a_clock(random_graph, io):
    data = litert.write(random_graph(0), io=io)
    start = time.perf_counter()
    found = latency.measure(data, warmup=1, repetitions=20)
    elapsed = 1000 * (time.perf_counter() - start)
    assert 0 < found.low_ms <= found.median_ms <= found.high_ms < elapsed


def test_the_command_prints_a_row_for_each_file(path, data, clock, capsys):
    clock.take([5.0] * 6)
    arguments = [str(path), str(path), "--repetitions", "2", "--warmup", "1", "--threads", "2"]
    assert latency.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 runs, 2 threads" in printed
    assert printed.count("5.000") == 6
    assert printed.count(str(len(data))) == 2


def test_files_that_cannot_be_run_are_named(tmp_path, capsys):
    path = tmp_path / "foreign.tflite"
    path.write_text("neither flat nor a buffer")
    with pytest.raises(InputError):
        latency.measure(path)
    assert latency.main([str(path)]) == 2
    assert f"{path}: expected a LiteRT file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--threads", "--repetitions"])
@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_options_out_of_range_are_refused(path, option, value, capsys):
    with pytest.raises(SystemExit):
        latency.main([str(path), option, value])
    assert f"argument {option}" in capsys.readouterr().err
