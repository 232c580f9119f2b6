"""Kills at random moments: no finished trial is lost, and a run goes on as if undisturbed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bompnas

KILLS = 6  # of a storm


@pytest.fixture(scope="module")
def undisturbed():
    """Finds what a run with one worker comes to that nobody kills."""
    found = {}

    def carry_out(place):
        if not found:
            whole = place("undisturbed")
            whole.finish()
            found.update(whole.finished(), pareto=(whole.folder / "pareto.csv").read_bytes(), epochs=whole.epochs())
        return found

    return carry_out


def assert_kept(before, after):
    assert {name: after.get(name) for name in before} == before


def storm(here, generator, kills, strike, *overrides, longest=0.8):
    """Kills a run again and again, then lets it end; returns the number of kills, fewer if it was done before."""
    struck = 0
    before = {}
    while struck < kills:
        driver = here.start(*overrides)
        time.sleep(generator.uniform(0.05, longest))
        killed = strike(driver, generator)
        status = driver.wait()
        assert status in (0, -signal.SIGKILL), driver.errors
        after = here.finished()
        assert_kept(before, after)
        before = after
        struck += killed
        if status == 0:
            break
    here.finish(*overrides)
    assert_kept(before, here.finished())
    return struck


def kill_driver(driver, generator):
    driver.kill()
    return 1


def kill_workers(driver, generator):
    """Some workers, while the driver goes on to the end."""
    struck = 0
    while struck < 3 and driver.alive():
        for worker in driver.workers()[:1]:
            worker.kill()
            struck += 1
        time.sleep(generator.uniform(0.2, 0.8))
    return struck


def kill_both(driver, generator):
    for worker in driver.workers():
        worker.kill()
    driver.kill()
    return 1


SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_driver_that_is_killed_again_and_again_loses_nothing(place, check, undisturbed, seed):
    whole, generator, struck = undisturbed(place), np.random.default_rng(seed), 0
    while struck < KILLS:
        here = place(f"run{struck}", seconds=0.05)
        struck += storm(here, generator, KILLS - struck, kill_driver)
        check(here)
        assert here.finished() == {name: value for name, value in whole.items() if name not in ("pareto", "epochs")}
        assert (here.folder / "pareto.csv").read_bytes() == whole["pareto"]


def test_workers_that_are_killed_cost_their_own_trials_alone(place, check):
    here = place(seconds=0.1, trial_retries=100)
    assert storm(here, np.random.default_rng(10), 3, kill_workers, "workers=2") == 3
    check(here)
    incidents = here.record(lambda record: record.incidents)
    assert {incident.reason for incident in incidents} <= {
        "the worker process was killed by SIGKILL, which is what the system does when memory runs out; started again"
    }
    assert all(incident.source.split()[0] in ("trial", "final", "export") for incident in incidents)


@pytest.mark.parametrize("strike", [kill_driver, kill_both])
def test_a_driver_killed_with_its_workers_loses_nothing(place, check, strike):
    generator, struck = np.random.default_rng(20), 0
    while struck < KILLS:
        here = place(f"run{struck}", seconds=0.05)
        struck += storm(here, generator, KILLS - struck, strike, "workers=2", longest=3)
        check(here)


def test_a_front_half_trained_is_gone_on_with_and_nothing_done_twice(place, check, undisturbed):
    whole = undisturbed(place)["epochs"]
    last_final = [line for line in whole if line.startswith("final")][-1].rpartition(" ")[0]
    last_export = whole[-1]
    here = place()
    driver = here.start(acts={last_final: "hang"})
    others = len([line for line in whole if line.startswith("export")]) - 1
    here.until(lambda record: len(record.finals) == others, driver)
    while f"{last_final} 1" not in here.epochs():
        time.sleep(0.01)
    time.sleep(0.3)
    assert [entry.stem for entry in here.folder.glob("checkpoints/*")] == [last_final.replace(" ", "_")]
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    trained = here.epochs()
    driver = here.start(acts={last_export: "hang"})
    here.until(lambda record: len(record.exports) == others, driver)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    here.finish()
    check(here)
    assert trained == whole[: whole.index(f"{last_final} 1") + 1]
    assert here.epochs() == whole  # no epoch and no export twice


def test_a_report_that_a_kill_prevented_is_written(place, check):
    here = place()
    here.finish()
    done = here.epochs()
    for name in ("report.html", "candidates.csv", "pareto.csv", "experiment.yaml"):
        (here.folder / name).unlink()
    (here.folder / ".draft.report.html").write_text("half")
    here.finish()
    check(here)
    assert here.epochs() == done


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["workers=1", "workers=2"])
def test_a_run_of_real_trials_that_is_killed_again_and_again_loses_nothing(place, check, workers):
    here = place(training={"epochs": 4}, final={"epochs": 4, "qaft_epochs": 2}, checkpoint_every=1)
    command = [sys.executable, "-m", "bompnas.run", here.file, "--out", here.folder, "--set", workers]
    environment = {**os.environ, "PYTHONPATH": str(Path(bompnas.__file__).parents[1])}
    generator, before, status, struck = np.random.default_rng(30), {}, None, 0
    while status != 0:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(generator.uniform(5, 40))
        process.kill()
        status = process.wait()
        assert status in (0, -signal.SIGKILL)
        struck += status != 0
        after = here.finished()
        assert_kept(before, after)
        before = after
    print(f"{struck} kills")
    check(here)
