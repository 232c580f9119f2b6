"""Resident memory of a run's processes, looked at from outside while it goes on."""

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
LOOK = 0.5
"""Time between two looks [s]."""
MEGABYTE = 1e6


def measure(trials: int) -> dict[str, Any]:
    """Runs `experiments/digits.yaml` with so many trials of 2 + 1 epochs and 2 workers.

    Returns:
        `trials`, and `samples`, one for each look: `seconds` since the start, `finished` trials, `driver` [MB] and
        `children`: process id -> [MB].

    Raises:
        RuntimeError: The run failed.
    """
    shortened = [f"method.trials={trials}", "method.initial=2", "training.epochs=2", "final.epochs=2", "workers=2"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        command = [sys.executable, "-m", "bompnas.run", "experiments/digits.yaml", "--out", str(folder)]
        run = subprocess.Popen(
            [*command, "--set", *shortened, "export.format=none"], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        samples, start = [], time.perf_counter()
        while run.poll() is None:
            if (sample := _sample(run.pid)) is not None:
                finished = _finished(folder / "candidates.csv")
                samples.append({"seconds": round(time.perf_counter() - start, 2), "finished": finished, **sample})
                if len(samples) % 120 == 0:
                    print(f"{finished} trials: driver {sample['driver']:.0f} MB", flush=True)
            time.sleep(LOOK)
    if run.returncode != 0:
        raise RuntimeError(f"the run ended with status {run.returncode}")
    return {"trials": trials, "samples": samples}


def _sample(pid: int) -> dict[str, Any] | None:
    """Memory of a process and of all it has started, None if it is gone."""
    try:
        driver = psutil.Process(pid)
        resident = driver.memory_info().rss / MEGABYTE
        children = driver.children(recursive=True)
    except psutil.NoSuchProcess:
        return None
    found = {}
    for child in children:
        try:
            found[str(child.pid)] = round(child.memory_info().rss / MEGABYTE, 1)
        except psutil.NoSuchProcess:
            continue
    return {"driver": round(resident, 1), "children": found}


def _finished(table: Path) -> int:
    """Trials that are over."""
    if not table.exists():
        return 0
    with table.open(newline="", encoding="utf-8") as file:
        return sum(row["state"] in ("completed", "failed") for row in csv.DictReader(file))
