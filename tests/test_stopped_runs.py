"""Runs in processes of their own that are stopped or killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import bompnas
from bompnas.candidate import State
from bompnas.trials.record import Record

SLOW = """
    import functools, os, sys, time
    from bompnas import run
    from bompnas.trials import delivery, trial
    sys.path.insert(0, {tests!r})
    import test_run

    seconds = [0.1, 0.1, 0.1, 0.1, float(os.environ["FIFTH_TRIAL"])]

    def slow(task, tell):
        time.sleep(seconds.pop(0) if seconds else 0.1)
        return test_run.fake_trial(task)

    if __name__ == "__main__":
        trial.run_trial = slow
        sys.exit(run.main(sys.argv[1:]))
"""


def states(path):
    if not (path / "run.db").exists():
        return []
    with Record(path / "run.db", read_only=True) as record:
        return [candidate.state for candidate in record.candidates]


@pytest.fixture
def start(experiment, tmp_path):
    """Starts the command line in a process of its own; trials take a tenth of a second, the fifth as long as told."""
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(SLOW).format(tests=str(Path(__file__).parent)))
    root = str(Path(bompnas.__file__).parents[1])

    def started(folder, fifth_trial=0.1):
        command = [sys.executable, script, experiment, "--out", folder]
        environment = {**os.environ, "PYTHONPATH": root, "FIFTH_TRIAL": str(fifth_trial)}
        return subprocess.Popen(
            command,
            env=environment,
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A shell's background jobs, and their children, ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return started


def stop_in_fifth_trial(process, folder, sent):
    while len(states(folder)) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    return process.wait(), process.stderr.read().decode()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_with_a_message(start, out, sent):
    with start(out, fifth_trial=60) as process:
        code, error = stop_in_fifth_trial(process, out, sent)
    assert code == 130
    assert error.endswith("Interrupted. What was recorded is safe; run the same command again to go on.\n")
    assert "Traceback" not in error
    assert states(out) == [State.COMPLETED] * 4 + [State.PENDING]


def test_a_killed_run_goes_on_as_if_undisturbed(start, out, tmp_path):
    with start(out, fifth_trial=60) as process:
        stop_in_fifth_trial(process, out, signal.SIGKILL)
    assert states(out) == [State.COMPLETED] * 4 + [State.PENDING]
    for folder in (out, tmp_path / "undisturbed"):
        with start(folder) as process:
            assert process.wait(timeout=100) == 0
    with (
        Record(out / "run.db", read_only=True) as resumed,
        Record(tmp_path / "undisturbed" / "run.db", read_only=True) as whole,
    ):
        assert resumed.candidates == whole.candidates
        assert resumed.proposals == whole.proposals
        assert resumed.finals == whole.finals
    assert (out / "pareto.csv").read_bytes() == (tmp_path / "undisturbed" / "pareto.csv").read_bytes()
