import os

import pytest

from bompnas.trials.executors import choice
from bompnas.trials.executors.in_process import InProcess
from bompnas.trials.executors.pool import Pool


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_back_with_their_handles(pool_tasks, workers):
    with choice.local(pool_tasks.do, workers, threads=1) as executor:
        assert executor.slots == workers
        handles = [executor.submit(("double", number)) for number in range(workers)]
        found = dict(executor.next_finished() for _ in handles)
        assert found == {handle: 2 * number for number, handle in enumerate(handles)}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_is_a_failure_in_one_line_with_its_traceback(pool_tasks, workers):
    with choice.local(pool_tasks.do, workers, threads=1) as executor:
        handle = executor.submit(("fail", "two\nlines"))
        found, failure = executor.next_finished()
    assert (found, failure.error, failure.lost) == (handle, "ValueError: two lines", False)
    assert "pool_tasks.py" in failure.traceback


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_tells_comes_before_its_result(pool_tasks, workers):
    told = []
    with choice.local(pool_tasks.do, workers, threads=1) as executor:
        handle = executor.submit(("many", 2, 3))
        assert executor.next_finished(lambda *event: told.append(event)) == (handle, b"\0\0")
    assert told == [(handle, b"\0\0"), (handle, b"\1\1"), (handle, b"\2\2")]


def test_one_worker_is_this_process_unless_it_has_limits(pool_tasks):
    with choice.local(pool_tasks.do, 1, threads=1) as executor:
        assert isinstance(executor, InProcess)
        executor.submit(("process_id",))
        assert executor.next_finished()[1] == os.getpid()
    for limits in ({"timeout": 60}, {"memory_gb": 4}):
        with choice.local(pool_tasks.do, 1, threads=1, **limits) as executor:
            assert isinstance(executor, Pool)
            executor.submit(("process_id",))
            assert executor.next_finished()[1] != os.getpid()
