import errno
import os

import pytest

from bompnas.trials.events import Checkpoint, Epoch, Lost
from bompnas.trials.executors.contract import Failure
from bompnas.trials.jobs import Jobs

LOST = Failure("the worker process was killed by SIGKILL", lost=True)


class Scripted:
    """An executor whose tasks tell and become what they say."""

    slots = 2

    def __init__(self):
        self.waiting = []

    def submit(self, task):
        self.waiting.append((len(self.waiting), task))
        return len(self.waiting) - 1

    def next_finished(self, listen):
        handle, (told, result) = next((handle, task) for handle, task in self.waiting if task)
        self.waiting[handle] = (handle, None)
        for event in told:
            listen(handle, event)
        return handle, result


@pytest.fixture
def heard():
    return []


@pytest.fixture
def make(tmp_path, heard):
    """Jobs on a scripted executor, started again so many times."""
    return lambda retries: Jobs(Scripted(), tmp_path / "checkpoints", retries, lambda *event: heard.append(event))


def test_what_is_lost_is_started_again_from_its_last_checkpoint(make, heard, tmp_path):
    jobs, epoch = make(2), Epoch("float", 0, 1, 2, 0.5)
    attempts = iter([([Checkpoint(b"one"), epoch, Checkpoint(b"two")], LOST), ([], LOST), ([], "result")])
    given = []

    def make_task(state):
        given.append(state)
        return next(attempts)

    jobs.start("trial 3", make_task)
    assert jobs.next_finished() == ("trial 3", "result")
    assert given == [None, b"two", b"two"]
    lost = Lost("the worker process was killed by SIGKILL; started again")
    assert heard == [("trial 3", epoch), ("trial 3", lost), ("trial 3", lost)]
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["trial_3.npz"]
    jobs.settle("trial 3")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_what_is_lost_too_often_fails(make, heard):
    jobs = make(1)
    jobs.start("trial 1", lambda state: ([], LOST))
    assert jobs.next_finished() == ("trial 1", LOST)
    assert [event.reason.rpartition("; ")[2] for _, event in heard] == ["started again", "given up"]


def test_what_fails_by_itself_is_not_started_again(make, heard):
    jobs, failure = make(3), Failure("ValueError: no")
    jobs.start("trial 1", lambda state: ([], failure))
    assert jobs.next_finished() == ("trial 1", failure)
    assert heard == []


def test_a_training_goes_on_without_the_checkpoints_that_a_full_disk_refuses(make, tmp_path, monkeypatch, caplog):
    jobs = make(0)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    jobs.start("trial 1", lambda state: ([Checkpoint(b"state")], "result"))
    assert jobs.next_finished() == ("trial 1", "result")
    assert list((tmp_path / "checkpoints").iterdir()) == []
    (message,) = caplog.messages
    assert message.startswith("trial 1: its checkpoint was not written (")
    assert "No space left on device" in message


def test_there_is_time_for_other_things_once_jobs_are_started_and_before_they_are_waited_for(tmp_path):
    executor, seen = Scripted(), []
    jobs = Jobs(executor, tmp_path, 0, lambda name, event: None, lambda: seen.append(len(executor.waiting)))
    jobs.start("trial 1", lambda state: ([], "result"))
    jobs.start("trial 2", lambda state: ([], "result"))
    assert seen == []
    jobs.next_finished()
    assert seen == [2]
