import pytest

from bompnas.trials.executors.in_process import InProcess


def test_it_runs_when_asked_for_the_result():
    done = []
    with InProcess(lambda task, tell: done.append(task), threads=1) as executor:
        executor.submit("task")
        assert done == []
        executor.next_finished()
        assert done == ["task"]


def test_it_lets_ctrl_c_through():
    def interrupted(task, tell):
        raise KeyboardInterrupt

    with InProcess(interrupted, threads=1) as executor:
        executor.submit(None)
        with pytest.raises(KeyboardInterrupt):
            executor.next_finished()


def test_an_error_of_who_listens_is_not_the_tasks(tmp_path):
    def full(handle, event):
        raise OSError(28, "No space left on device")

    def careless(task, tell):
        try:
            tell("an epoch")
        except Exception:
            return "went on without"

    with InProcess(careless, threads=1) as executor:
        executor.submit("task")
        with pytest.raises(OSError, match="No space left"):
            executor.next_finished(full)
