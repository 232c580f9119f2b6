import contextlib
import importlib
import logging
import os
import signal
import time

import psutil
import pytest

from bompnas.errors import InputError
from bompnas.trials.executors import gpus, resources, slot, worker
from bompnas.trials.executors.contract import Failure
from bompnas.trials.executors.pool import Pool

GB = 1e9


def outcome(pool, *task, told=None):
    """What comes of one task; `told` collects what it tells."""
    handle = pool.submit(task)
    found, result = pool.next_finished(lambda _, event: None if told is None else told.append(event))
    assert found == handle
    return result


def workers():
    """This process's workers; pytest's own children are none."""
    return [child for child in psutil.Process().children() if "multiprocessing.spawn" in " ".join(child.cmdline())]


def alive(process_id):
    """Whether a process runs; the dead that nobody has buried yet do not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    return False


def all_end(process_ids):
    """Waits until none of them runs any more; what was killed takes a moment to go."""
    end = time.monotonic() + 10
    while any(map(alive, process_ids)):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_workers_live_for_several_tasks_with_their_share_of_threads(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=3) as pool:
        first = outcome(pool, "process_id")
        assert outcome(pool, "process_id") == first != os.getpid()
        names = "TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"
        assert outcome(pool, "variables", *names) == ["3"] * 4
        assert outcome(pool, "blas_threads") == {3}


def test_workers_have_their_driver_s_environment(pool_tasks, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        variables = outcome(pool, "variables", "KERAS_BACKEND", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES")
        assert variables == ["jax", "--xla_cpu_enable_fast_math=false", ""]


def test_every_slot_keeps_its_gpu_when_its_worker_is_replaced(pool_tasks, monkeypatch):
    monkeypatch.setattr(gpus, "found", lambda: ("4", "7"))
    monkeypatch.setattr(gpus, "share", lambda: None)  # its variables would stay in this process
    with Pool(pool_tasks.do, 3, threads=1) as pool:
        for _ in range(2):
            handles = [pool.submit(("variables_and_death", "CUDA_VISIBLE_DEVICES")) for _ in range(3)]
            told = {}
            results = dict(pool.next_finished(told.__setitem__) for _ in handles)
            assert [told[handle] for handle in handles] == [["4"], ["7"], ["4"]]
            assert all("SIGKILL" in result.error for result in results.values())


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        (("die", signal.SIGKILL), "killed by SIGKILL, which is what the system does when memory runs out"),
        (("die", signal.SIGSEGV), "killed by SIGSEGV"),
        (("leave", 3), "ended unexpectedly with exit status 3"),
        (("stop_answering",), "stopped answering"),
    ],
)
def test_a_dying_worker_fails_only_its_own_task(pool_tasks, death, reason):
    with Pool(pool_tasks.do, 2, threads=1) as pool:
        dying, living = pool.submit(death), pool.submit(("double", 4))
        results = dict(pool.next_finished() for _ in range(2))
        assert results[living] == 8
        assert results[dying].lost
        assert reason in results[dying].error
        again = [pool.submit(("double", 1)), pool.submit(("double", 2))]
        assert dict(pool.next_finished() for _ in range(2)) == {again[0]: 2, again[1]: 4}


def test_a_crash_says_where_it_was_and_what_was_written_last(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        outcome(pool, "write_error", "of an earlier task")
        failure = outcome(pool, "crash")
    assert failure.error == "the worker process was killed by SIGSEGV"
    assert failure.traceback.startswith("the last that native code wrote\nFatal Python error: Segmentation fault")
    assert 'pool_tasks.py", line' in failure.traceback
    assert "in crash" in failure.traceback


def test_a_worker_that_was_killed_while_idle_costs_no_task(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        idle = psutil.Process(outcome(pool, "process_id"))
        idle.kill()
        assert all_end([idle.pid])
        assert outcome(pool, "process_id") not in (idle.pid, None)


def test_a_worker_that_dies_before_it_begins_loses_the_task(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        outcome(pool, "double", 1)
        (idle,) = workers()
        idle.suspend()
        handle = pool.submit(("double", 1))
        idle.kill()
        found, failure = pool.next_finished()
        assert (found, failure.lost) == (handle, True)
        assert outcome(pool, "double", 1) == 2


def test_a_result_that_cannot_travel_fails_its_task(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        before = outcome(pool, "process_id")
        failure = outcome(pool, "not_picklable")
        assert failure.error.startswith("the result cannot be sent: ")
        assert not failure.lost
        assert outcome(pool, "process_id") == before


def test_a_result_that_the_driver_cannot_load_fails_its_task(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        failure = outcome(pool, "loads_nowhere")
        assert isinstance(failure, Failure)
        assert "No module named 'module_that_no_driver_has'" in failure.error
        assert outcome(pool, "double", 2) == 4


@pytest.mark.parametrize("hang", [("sleep", 60), ("ignore_and_sleep", 60), ("compute_without_end",)])
def test_a_task_that_takes_too_long_is_ended(pool_tasks, hang):
    with Pool(pool_tasks.do, 1, threads=1, timeout=0.5) as pool:
        before = outcome(pool, "process_id")
        failure = outcome(pool, *hang)
        assert failure.error == "took longer than trial_timeout (0.5 s)"
        assert not failure.lost
        if hang[0] != "ignore_and_sleep":
            assert f"in {hang[0]}" in failure.traceback
        assert not psutil.pid_exists(before)
        assert outcome(pool, "process_id") != before


def test_a_task_that_keeps_telling_is_ended_too(pool_tasks):
    told = []
    with Pool(pool_tasks.do, 1, threads=1, timeout=0.5) as pool:
        failure = outcome(pool, "tell_without_end", told=told)
        assert failure.error == "took longer than trial_timeout (0.5 s)"
        assert told == list(range(len(told)))
        assert told


def test_the_time_to_load_a_task_does_not_count(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1, timeout=0.5) as pool:
        handle = pool.submit(("take", pool_tasks.SlowToLoad(1)))
        assert pool.next_finished() == (handle, 1)


def test_a_task_that_ended_while_nobody_listened_is_in_time(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1, timeout=1) as pool:
        outcome(pool, "double", 1)
        handle = pool.submit(("many", 5_000_000, 2))
        time.sleep(2)
        told = []
        assert pool.next_finished(lambda *event: told.append(event)) == (handle, bytes(5_000_000))
        assert told == [(handle, bytes([number]) * 5_000_000) for number in range(2)]


def test_a_worker_that_never_begins_is_given_up(pool_tasks, monkeypatch):
    monkeypatch.setattr(slot, "START_LIMIT", 0.5)
    with Pool(pool_tasks.do, 1, threads=1) as one:
        outcome(one, "double", 1)
        (idle,) = workers()
        idle.suspend()
        failure = outcome(one, "double", 1)
    assert failure.error.startswith("the worker process did not begin within")
    assert failure.lost


@pytest.mark.parametrize("eat", ["eat", "have_a_child_eat"])
def test_a_task_that_takes_too_much_memory_is_ended(pool_tasks, eat):
    told = []
    with Pool(pool_tasks.do, 1, threads=1, memory=0.25 * GB) as pool:
        before = outcome(pool, "process_id")
        failure = outcome(pool, eat, 300_000_000, 60, told=told)
        used, _, rest = failure.error.removeprefix("used ").partition(" GB of memory, ")
        assert 0.25 < float(used) < 0.5
        assert rest == "more than the 0.25 GB that a worker may use (worker_memory_gb)"
        assert not failure.lost
        assert all_end([before, *told])
        assert outcome(pool, "eat", 50_000_000, 1.5) == 50_000_000


def test_a_worker_that_grew_is_replaced_after_its_task(pool_tasks, caplog):
    with caplog.at_level(logging.DEBUG, "bompnas"), Pool(pool_tasks.do, 1, threads=1, memory=0.6 * GB) as pool:
        found = [outcome(pool, "keep", 100_000_000) for _ in range(7)]
    kept = [found.count(worker) for worker in dict.fromkeys(found)]
    assert kept == [3, 3, 1]  # the third one brings a worker above 0.3 GB
    assert [message.partition(":")[0] for message in caplog.messages] == [
        f"worker {worker} is replaced" for worker in dict.fromkeys(found[:6])
    ]


def test_without_a_limit_the_largest_worker_ends_when_all_together_use_too_much(pool_tasks, monkeypatch):
    monkeypatch.setattr(resources, "memory_total", lambda: 1 * GB)
    with Pool(pool_tasks.do, 2, threads=1) as pool:
        assert outcome(pool, "eat", 500_000_000, 1.5) == 500_000_000  # more than its share, but the other has none
        large, small = pool.submit(("eat", 600_000_000, 60)), pool.submit(("eat", 300_000_000, 3))
        results = dict(pool.next_finished() for _ in range(2))
    assert results[small] == 300_000_000
    assert (
        "the most of all workers when together they used more than 0.80 GB; use fewer workers" in results[large].error
    )
    assert results[large].lost


def test_large_tasks_and_events_pass_each_other(pool_tasks):
    size, count = 3_000_000, 3
    with Pool(pool_tasks.do, 2, threads=1) as pool:
        told = []
        speaking = pool.submit(("many", size, count))
        taking = pool.submit(("take", bytes(size)))
        results = dict(pool.next_finished(lambda *event: told.append(event)) for _ in range(2))
        assert results == {speaking: bytes(size), taking: size}
        assert told == [(speaking, bytes([number]) * size) for number in range(count)]
        assert not list(pool._scratch.glob("message-*"))


def test_a_death_in_the_middle_of_telling_keeps_what_was_told(pool_tasks):
    told = []
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        failure = outcome(pool, "die_while_telling", 5_000_000, told=told)
        assert failure.lost
        assert "SIGKILL" in failure.error
        assert told == [bytes(5_000_000)] * len(told)
        assert outcome(pool, "double", 1) == 2


def test_an_event_that_finds_no_space_fails_no_task(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        told = []
        assert outcome(pool, "tell_without_space", 1_000_000, told=told) == "result"
        assert told == ["next"]


def test_an_interrupt_while_a_worker_is_replaced_leaves_a_pool_that_ends(pool_tasks, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with Pool(pool_tasks.do, 2, threads=1) as pool:
        here = [process.pid for process in workers()]
        monkeypatch.setattr(worker, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            outcome(pool, "die", signal.SIGKILL)
    assert len(here) == 2
    assert all_end(here)


def test_many_workers_leave_nothing_behind(pool_tasks):
    with Pool(pool_tasks.do, 2, threads=1, memory=0.2 * GB) as pool:  # all are replaced after their task
        ids = [outcome(pool, "keep", 100_000_000) for _ in range(3)]
        process = psutil.Process()
        files, descriptors = len(list(pool._scratch.iterdir())), process.num_fds()
        ids += [outcome(pool, "keep", 100_000_000) for _ in range(7)]
        assert len(set(ids)) == 10
        assert process.num_fds() == descriptors
        assert len(list(pool._scratch.iterdir())) == files
        assert len(workers()) == 2
    assert not workers()
    assert not any(map(psutil.pid_exists, ids))


def test_what_tasks_leave_in_temporary_files_goes_with_the_pool(pool_tasks):
    with Pool(pool_tasks.do, 1, threads=1) as pool:
        path = outcome(pool, "leave_a_file")
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("task", [("sleep", 60), ("ignore_and_sleep", 60), ("have_a_child_eat", 10, 60)])
def test_leaving_the_pool_ends_workers_at_work(pool_tasks, task):
    with Pool(pool_tasks.do, 2, threads=1) as pool:
        pool.submit(("tell_id_and", *task))
        with pytest.raises(InterruptedError) as told:
            pool.next_finished(interrupt)
        found = [process.pid for process in (*workers(), *psutil.Process(told.value.args[0]).children())]
    assert len(found) == (3 if task[0] == "have_a_child_eat" else 2)
    assert all_end(found)


def interrupt(handle, event):
    """As Ctrl-C does, within the wait for a result."""
    time.sleep(0.3)  # the task goes on meanwhile
    raise InterruptedError(event)


def test_a_task_that_cannot_be_pickled_names_the_remedy(pool_tasks):
    with Pool(pool_tasks.do, 2, threads=1) as pool, pytest.raises(InputError, match="set `workers: 1`"):
        pool.check(lambda features: features)


class OnlyHere:
    """Pickles, but only the process that made it can load it."""

    def __reduce__(self):
        return importlib.import_module, ("module_that_only_the_driver_has",)


def test_a_task_that_workers_cannot_load_names_the_remedy(pool_tasks):
    with Pool(pool_tasks.do, 2, threads=1) as pool:
        pool.check("loadable")
        with pytest.raises(InputError, match=r"No module named 'module_that_only_the_driver_has'.*set `workers: 1`"):
            pool.check(OnlyHere())
        assert outcome(pool, "double", 1) == 2


def test_a_pool_with_a_function_that_cannot_travel_is_refused_and_leaves_nothing():
    with pytest.raises(InputError, match="cannot be sent to a worker process"), Pool(lambda task, tell: None, 2, 1):
        pass
    assert not workers()
