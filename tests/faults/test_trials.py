"""Trials that go wrong: each fails alone, with the reason, and the run goes on to its end."""

import pytest

from bompnas.candidate import State

FAILING = {"workers=1": ("raise", "nan"), "workers=2": ("raise", "nan", "SIGSEGV", "SIGKILL", "SIGKILL once")}


@pytest.mark.parametrize("workers", FAILING)
def test_trials_that_go_wrong_fail_alone(place, check, workers):
    acts = {f"trial {number}": act for number, act in enumerate(FAILING[workers], 2)}
    here = place()
    here.finish(workers, acts=acts)
    check(here, {State.COMPLETED, State.FAILED})
    memory = ", which is what the system does when memory runs out"
    reasons = {
        "raise": "ValueError: the head does not like it",
        "nan": "val_accuracy is nan",
        "SIGSEGV": "the worker process was killed by SIGSEGV",
        "SIGKILL": f"the worker process was killed by SIGKILL{memory}",
        "SIGKILL once": None,
    }
    errors = {f"trial {item.trial}": item.error for item in here.record(lambda record: record.candidates)}
    assert errors == {name: reasons[acts[name]] if name in acts else None for name in errors}
    assert len(errors) == 7
    incidents = [(item.source, item.reason) for item in here.record(lambda record: record.incidents)]
    expected = []
    for name, act in acts.items():
        if act.startswith("SIG"):
            reason = reasons[act] or reasons["SIGKILL"]
            expected += [(name, f"{reason}; started again")]
            expected += [(name, f"{reason}; given up")] if act != "SIGKILL once" else []
    assert sorted(incidents) == sorted(expected)


def test_a_trial_that_hangs_is_given_up(place, check):
    here = place()
    here.finish("workers=2", "trial_timeout=3", acts={"trial 3": "hang"})
    check(here, {State.COMPLETED, State.FAILED})
    errors = {item.trial: item.error for item in here.record(lambda record: record.candidates) if item.error}
    assert errors == {3: "took longer than trial_timeout (3 s)"}


def test_a_trial_that_eats_memory_is_given_up(place, check):
    here = place()
    here.finish("worker_memory_gb=0.5", acts={"trial 2": "memory"})
    check(here, {State.COMPLETED, State.FAILED})
    errors = {item.trial: item.error for item in here.record(lambda record: record.candidates) if item.error}
    assert set(errors) == {2}
    assert errors[2].endswith("GB that a worker may use (worker_memory_gb)")


def test_a_run_whose_trials_all_fail_ends_with_the_reason(place):
    here = place()
    driver = here.start(acts={f"trial {number}": "raise" for number in range(1, 8)})
    assert driver.wait() == 1
    assert driver.errors == ("No network was trained to the end; the reasons are in candidates.csv and run.log.\n")
