"""A long training that is killed goes on from its checkpoint, with the result of one that nobody killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
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
def start(tmp_path):
    """Starts a run of an experiment in a folder of a name; it leaves a line for each epoch in a file."""
    environment = {**os.environ, "PYTHONPATH": str(Path(bompnas.__file__).parents[1])}

    def started(name, document):
        (tmp_path / "long.yaml").write_text(yaml.safe_dump(document))
        command = [sys.executable, "-c", textwrap.dedent(REAL), tmp_path / f"{name}.epochs", tmp_path / "long.yaml"]
        with (tmp_path / "errors").open("a") as errors:
            return subprocess.Popen(
                [*command, "--out", tmp_path / name], env=environment, stdout=subprocess.DEVNULL, stderr=errors
            )

    return started


@pytest.fixture
def kill(start, tmp_path):
    """Starts a run and kills it once an epoch has ended."""

    def killed(name, document, moment):
        told = tmp_path / f"{name}.epochs"
        told.touch()
        process = start(name, document)
        while moment not in told.read_text():
            assert process.poll() is None, (tmp_path / "errors").read_text()
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL

    return killed


@pytest.fixture
def trial(pytestconfig):
    """One trial of 16 epochs and 8 of fine-tuning."""
    return {
        "name": "long",
        "data": {"dataset": "digits", "train_images": 256},
        "space": str(pytestconfig.rootpath / "search_spaces/mobilenetv2_digits.yaml"),
        "method": {"name": "random", "trials": 1},
        "training": {"epochs": 16, "qaft_epochs": 8, "batch_size": 64, "augmentation": "none"},
        "final": {"epochs": 1, "qaft_epochs": 1},
        "export": {"format": "none"},
        "checkpoint_every": 2,
    }


@pytest.fixture
def supernet(tmp_path):
    """A supernet of one group and 8 epochs."""
    space = {
        "family": "mobilenetv2",
        "name": "small",
        "input": {"size": 8, "channels": 1},
        "bits": [4, 8, 16],
        "bits_per": "block",
        "levels": "nested",
        "seed": {"bits": 8},
        "stem": {"filters": 4, "kernel": 3, "stride": 2, "bits": 8},
        "blocks": [{"channels": 6, "kernel": [3, 5], "width": 1.0, "expansion": [3, 6], "repetitions": 1}],
        "last_conv": {"filters": 12, "bits": 8},
        "dense": {"bits": 8},
    }
    space["blocks"][0]["seed"] = {"kernel": 3, "expansion": 6}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    return {
        "name": "supernet",
        "data": {"dataset": "digits", "train_images": 256},
        "space": "space.yaml",
        "method": {
            "name": "hqnas", "accuracy_threshold": 0.9, "cost_threshold": 10, "cost": "size_kb", "warm_up": 2,
            "samples": 2, "candidates": 1,
        },
        "training": {"epochs": 8, "batch_size": 64},
        "final": {"epochs": 1, "qaft_epochs": 1},
        "export": {"format": "none"},
    }  # fmt: skip


def test_a_long_training_goes_on_from_its_checkpoint(start, kill, trial, tmp_path):
    for moment in ("float 7\n", "qaft 5\n"):
        kill("killed", trial, moment)
        assert [entry.name for entry in (tmp_path / "killed" / "checkpoints").iterdir()] == ["trial_1.npz"]
    for name in ("killed", "whole"):
        assert start(name, trial).wait() == 0, (tmp_path / "errors").read_text()
    found = []
    for name in ("killed", "whole"):
        with Record(tmp_path / name / "run.db", read_only=True) as record:
            (candidate,) = record.candidates
            found.append((candidate.genotype, candidate.metrics, candidate.score, record.curves("trial 1")))
    assert found[0] == found[1]
    assert not list((tmp_path / "killed" / "checkpoints").iterdir())
    lines = (tmp_path / "killed.epochs").read_text().splitlines()
    floats = [int(line.split()[1]) for line in lines if line.startswith("float")]
    assert floats.count(1) <= 2  # of the trial and of the final training: no session began it anew
    assert floats.count(6) == 1
    assert floats.count(16) == 1


def test_a_supernet_goes_on_from_its_last_epoch(start, kill, supernet, tmp_path):
    kill("killed", supernet, "search 5\n")
    assert [entry.name for entry in (tmp_path / "killed" / "checkpoints").iterdir()] == ["search.npz"]
    for name in ("killed", "whole"):
        assert start(name, supernet).wait() == 0, (tmp_path / "errors").read_text()
    found, weights = [], []
    for name in ("killed", "whole"):
        with Record(tmp_path / name / "run.db", read_only=True) as record:
            candidates, curves = record.candidates, record.curves("search")
            found.append([(each.genotype, each.metrics, each.score) for each in candidates])
            found[-1].append({name: repr(values) for name, values in curves.items()})  # NaN is not equal to itself
        with np.load(tmp_path / name / "supernet.npz") as archive:
            weights.append({name: archive[name] for name in archive.files})
    assert found[0] == found[1]
    for name, array in weights[1].items():
        np.testing.assert_array_equal(weights[0][name], array)
    lines = (tmp_path / "killed.epochs").read_text().splitlines()
    epochs = [int(line.split()[1]) for line in lines if line.startswith("search")]
    assert all(epochs.count(epoch) == 1 for epoch in (1, 2, 3, 4, 8))  # an epoch that was told may not be written yet
    assert set(epochs) == set(range(1, 9))
