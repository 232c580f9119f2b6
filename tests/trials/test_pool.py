import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from bompnas.errors import InputError
from bompnas.trials import executors
from bompnas.trials.executor import Failure
from bompnas.trials.in_process import InProcess
from bompnas.trials.pool import Pool
from bompnas.trials import process, resources

TASKS = """
    import os, signal, time

    def double(task, tell):
        return 2 * task

    def fail(task, tell):
        raise ValueError(f"two\\nlines of {task}")

    def process_id(task, tell):
        return os.getpid()

    def threads(task, tell):
        return os.environ["TF_NUM_INTRAOP_THREADS"]

    def do(task, tell):
        what, value = task
        if what == "double":
            return 2 * value
        if what == "sleep":
            time.sleep(value)
        if what == "die":
            os.kill(os.getpid(), value)
        if what == "leave":
            os._exit(value)
        if what == "not picklable":
            return lambda: None
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A module that workers can import by name, as an installed one."""
    (tmp_path / "functions_of_tasks.py").write_text(textwrap.dedent(TASKS))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("functions_of_tasks", None)
    yield importlib.import_module("functions_of_tasks")
    sys.modules.pop("functions_of_tasks")


def collect(executor, count):
    return dict(executor.next_finished() for _ in range(count))


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_back_with_their_handles(tasks, workers):
    with executors.local(tasks.double, workers, threads=1) as executor:
        assert executor.slots == workers
        handles = [executor.submit(number) for number in range(workers)]
        assert collect(executor, workers) == {handle: 2 * number for number, handle in enumerate(handles)}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_is_a_failure_in_one_line_with_its_traceback(tasks, workers):
    with executors.local(tasks.fail, workers, threads=1) as executor:
        handle = executor.submit(7)
        found, failure = executor.next_finished()
    assert (found, failure.error) == (handle, "ValueError: two lines of 7")
    assert "functions_of_tasks.py" in failure.traceback


def test_in_process_runs_when_asked_for_the_result():
    done = []
    with InProcess(lambda task, tell: done.append(task), threads=1) as executor:
        executor.submit("task")
        assert done == []
        executor.next_finished()
        assert done == ["task"]


def test_in_process_lets_ctrl_c_through():
    def interrupted(task, tell):
        raise KeyboardInterrupt

    with InProcess(interrupted, threads=1) as executor:
        executor.submit(None)
        with pytest.raises(KeyboardInterrupt):
            executor.next_finished()


def test_workers_live_for_several_tasks_with_their_share_of_threads(tasks):
    with Pool(tasks.process_id, 1, threads=3) as pool:
        pool.submit(None)
        (_, first) = pool.next_finished()
        pool.submit(None)
        assert pool.next_finished()[1] == first != os.getpid()
    with Pool(tasks.threads, 1, threads=3) as pool:
        pool.submit(None)
        assert pool.next_finished()[1] == "3"


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        (("die", signal.SIGKILL), "killed by SIGKILL, which is what the system does when memory runs out"),
        (("die", signal.SIGSEGV), "killed by SIGSEGV"),
        (("leave", 3), "ended unexpectedly with exit status 3"),
    ],
)
def test_a_dying_worker_fails_only_its_own_task(tasks, death, reason):
    with Pool(tasks.do, 2, threads=1) as pool:
        dying, living = pool.submit(death), pool.submit(("double", 4))
        results = collect(pool, 2)
        assert results[living] == 8
        assert reason in results[dying].error
        again = [pool.submit(("double", 1)), pool.submit(("double", 2))]
        assert collect(pool, 2) == {again[0]: 2, again[1]: 4}


def test_a_worker_that_was_killed_while_idle_costs_no_task(tasks):
    with Pool(tasks.process_id, 1, threads=1) as pool:
        pool.submit(None)
        _, worker = pool.next_finished()
        os.kill(worker, signal.SIGKILL)
        multiprocessing.active_children()[0].join()
        pool.submit(None)
        _, other = pool.next_finished()
        assert isinstance(other, int)
        assert other != worker


def test_a_result_that_cannot_travel_fails_its_task(tasks):
    with Pool(tasks.do, 1, threads=1) as pool:
        pool.submit(("not picklable", None))
        _, failure = pool.next_finished()
        assert isinstance(failure, Failure)
        handle = pool.submit(("double", 1))
        assert pool.next_finished() == (handle, 2)


def test_leaving_the_pool_ends_workers_at_work(tasks):
    with Pool(tasks.do, 2, threads=1) as pool:
        pool.submit(("sleep", 60))
        workers = multiprocessing.active_children()
        start = time.monotonic()
    assert time.monotonic() - start < 3
    assert workers
    assert not any(worker.is_alive() for worker in workers)


def test_a_task_that_cannot_be_pickled_names_the_remedy(tasks):
    with Pool(tasks.double, 2, threads=1) as pool, pytest.raises(InputError, match="set `workers: 1`"):
        pool.check(lambda features: features)


class OnlyHere:
    """Pickles, but only the process that made it can load it."""

    def __reduce__(self):
        return importlib.import_module, ("module_that_only_the_driver_has",)


def test_a_task_that_workers_cannot_load_names_the_remedy(tasks):
    with Pool(tasks.double, 2, threads=1) as pool:
        pool.check("loadable")
        with pytest.raises(InputError, match=r"No module named 'module_that_only_the_driver_has'.*set `workers: 1`"):
            pool.check(OnlyHere())
        handle = pool.submit(1)
        assert pool.next_finished() == (handle, 2)


DRIVER = """
    import os, sys
    sys.path.insert(0, sys.argv[1])
    import functions_of_tasks
    from bompnas.trials.pool import Pool

    if __name__ == "__main__":
        with Pool(functions_of_tasks.do, 2, threads=1) as pool:
            for _ in range(2):
                pool.submit(("sleep", 60))
            print(*(worker.process.pid for _, worker in pool._busy.values()), flush=True)
            pool.next_finished()
"""


def test_workers_end_with_a_killed_driver(tasks, tmp_path, environment):
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    command = [sys.executable, script, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        workers = [psutil.Process(int(text)) for text in driver.stdout.readline().split()]
        time.sleep(0.5)
        driver.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert len(workers) == 2
    assert not alive


INTERRUPTED = """
    import os, signal, sys
    sys.path.insert(0, sys.argv[1])
    import functions_of_tasks
    from bompnas.trials.pool import Pool

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
        with Pool(functions_of_tasks.double, 1, threads=1) as pool:
            for number in range(2):
                pool.submit(number)
                os.killpg(0, signal.SIGINT)
                print(pool.next_finished()[1])
"""


def test_ctrl_c_in_the_terminal_reaches_the_driver_alone(tasks, tmp_path, environment):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    command = [sys.executable, script, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, start_new_session=True)
    assert done.stdout.split() == ["interrupted", "0", "interrupted", "2"]
    assert done.stderr == ""


UNGUARDED = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import functions_of_tasks
    from bompnas.errors import InputError
    from bompnas.trials.pool import Pool

    with Pool(functions_of_tasks.double, 2, threads=1) as pool:
        try:
            pool.check(1)
        except InputError as error:
            print("refused:", error)
"""


def test_a_script_without_a_guard_is_told_so(tasks, tmp_path, environment):
    script = tmp_path / "unguarded.py"
    script.write_text(textwrap.dedent(UNGUARDED))
    command = [sys.executable, script, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0
    assert 'guard a script with `if __name__ == "__main__":`' in done.stdout


def test_threads_share_the_cores():
    cores = resources.threads_per_worker(1)
    assert cores >= 1
    assert resources.threads_per_worker(2) == max(1, cores // 2)
    assert resources.threads_per_worker(1000) == 1


def test_what_native_code_says_at_import_is_shown_only_when_it_fails(capfd):
    with process.quiet_imports():
        os.write(2, b"chatter\n")
    assert capfd.readouterr().err == ""
    with contextlib.suppress(ImportError), process.quiet_imports():
        os.write(2, b"reason\n")
        raise ImportError
    assert capfd.readouterr().err == "reason\n"


def test_failures_travel():
    failure = Failure("reason", "trace")
    assert pickle.loads(pickle.dumps(failure)) == failure
