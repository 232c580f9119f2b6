"""Ctrl-C and SIGTERM: the run ends cleanly, and what was in flight is run again with the same genotype."""

import os
import signal
import time

import pytest

from bompnas.candidate import State


def pending(record):
    return [item for item in record.candidates if item.state is State.PENDING]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_run_cleanly(place, check, workers, sent):
    here = place()
    driver = here.start(f"workers={workers}", acts={"trial 3": "hang", "trial 4": "hang"})
    here.until(lambda record: len(pending(record)) == workers and len(record.candidates) == 2 + workers, driver)
    children = driver.workers()
    assert len(children) == workers - (workers == 1)
    time.sleep(0.2)
    os.killpg(driver.id, sent)  # as a terminal or a batch system does: the workers too
    assert driver.wait() == 130
    assert driver.errors == "Interrupted. What was recorded is safe; run the same command again to go on.\n"
    assert not any(child.is_running() for child in children)
    flying = here.record(pending)
    assert len(flying) == workers
    before = here.finished()
    here.finish(f"workers={workers}")
    check(here)
    after = {item.id: item for item in here.record(lambda record: record.candidates)}
    assert [after[item.id].genotype for item in flying] == [item.genotype for item in flying]
    assert {name: here.finished()[name] for name in before} == before


@pytest.mark.parametrize("workers", [1, 2])
def test_many_interrupts_do_no_harm(place, check, workers):
    here = place()
    driver = here.start(f"workers={workers}", acts={"trial 3": "hang", "trial 4": "hang"})
    here.until(lambda record: len(pending(record)) == workers, driver)
    for _ in range(20):
        os.killpg(driver.id, signal.SIGINT)
        time.sleep(0.01)
    assert driver.wait() == 130
    assert driver.errors == "Interrupted. What was recorded is safe; run the same command again to go on.\n"
    here.finish(f"workers={workers}")
    check(here)


def test_a_second_run_of_a_folder_is_refused(place, check):
    here = place()
    driver = here.start(acts={"trial 3": "hang"})
    here.until(lambda record: len(record.candidates) == 3, driver)
    for arguments in ((), ("--overwrite",)):
        second = here.start(arguments=arguments)
        assert second.wait() == 2
        assert "is in use by another run" in second.errors
    assert len(here.finished()) == 2 + 3  # candidates and proposals
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    assert (here.folder / "run.lock").read_text().startswith("process")
    here.finish()
    check(here)
