"""A long training that is killed goes on from its checkpoint, with the result of one that nobody killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

import bompnas
from bompnas.trials.record import Record

REAL = """
    import sys
    from bompnas import run
    from bompnas.trials import trial

    run_trial = trial.run_trial

    def telling(task, tell):
        def heard(event):
            tell(event)
            if hasattr(event, "phase"):
                with open(sys.argv[1], "a") as file:
                    file.write(f"{event.phase} {event.number}\\n")

        return run_trial(task, heard)

    trial.run_trial = telling
    sys.exit(run.main(sys.argv[2:]))
"""


@pytest.fixture
def start(tmp_path, pytestconfig):
    """Starts a run of one trial of 16 epochs and 8 of fine-tuning; it leaves a line for each epoch in a file."""
    document = {
        "name": "long",
        "data": {"dataset": "digits", "train_images": 256},
        "space": str(pytestconfig.rootpath / "search_spaces/mobilenetv2_digits.yaml"),
        "method": {"name": "random", "trials": 1},
        "training": {"epochs": 16, "qaft_epochs": 8, "batch_size": 64, "augmentation": "none"},
        "final": {"epochs": 1, "qaft_epochs": 1},
        "export": {"format": "none"},
        "checkpoint_every": 2,
    }
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(document))
    environment = {**os.environ, "PYTHONPATH": str(Path(bompnas.__file__).parents[1])}

    def started(name):
        command = [sys.executable, "-c", textwrap.dedent(REAL), tmp_path / f"{name}.epochs", tmp_path / "long.yaml"]
        with (tmp_path / "errors").open("a") as errors:
            return subprocess.Popen(
                [*command, "--out", tmp_path / name], env=environment, stdout=subprocess.DEVNULL, stderr=errors
            )

    return started


def test_a_long_training_goes_on_from_its_checkpoint(start, tmp_path):
    told = tmp_path / "killed.epochs"
    told.touch()
    for moment in ("float 7\n", "qaft 5\n"):
        process = start("killed")
        while moment not in told.read_text():
            assert process.poll() is None, (tmp_path / "errors").read_text()
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert [entry.name for entry in (tmp_path / "killed" / "checkpoints").iterdir()] == ["trial_1.npz"]
    for name in ("killed", "whole"):
        assert start(name).wait() == 0, (tmp_path / "errors").read_text()
    found = []
    for name in ("killed", "whole"):
        with Record(tmp_path / name / "run.db", read_only=True) as record:
            (candidate,) = record.candidates
            found.append((candidate.genotype, candidate.metrics, candidate.score, record.curves("trial 1")))
    assert found[0] == found[1]
    assert not list((tmp_path / "killed" / "checkpoints").iterdir())
    floats = [int(line.split()[1]) for line in told.read_text().splitlines() if line.startswith("float")]
    assert floats.count(1) <= 2  # of the trial and of the final training: no session began it anew
    assert floats.count(6) == 1
    assert floats.count(16) == 1
