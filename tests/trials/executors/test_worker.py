import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from bompnas.trials.executors import worker


@pytest.fixture
def run_script(tmp_path, environment):
    """Runs a driver's script with the path of `pool_tasks` as its argument."""

    def run(text, **options):
        script = tmp_path / "driver.py"
        script.write_text(textwrap.dedent(text))
        command = [sys.executable, script, Path(__file__).parent]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
        )

    return run


DRIVER = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import pool_tasks
    from bompnas.trials.executors.pool import Pool

    if __name__ == "__main__":
        with Pool(pool_tasks.do, 2, threads=1) as pool:
            pool.submit(("tell_id_and", "sleep", 60))
            pool.submit(("tell_id_and", "compute_without_end"))
            pool.next_finished(lambda handle, event: print(event, flush=True))
"""


def test_workers_end_with_a_killed_driver(run_script):
    with run_script(DRIVER) as driver:
        workers = [psutil.Process(int(driver.stdout.readline())) for _ in range(2)]
        time.sleep(0.5)  # they are at work
        driver.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


INTERRUPTED = """
    import os, signal, sys
    sys.path.insert(0, sys.argv[1])
    import pool_tasks
    from bompnas.trials.executors.pool import Pool

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
        with Pool(pool_tasks.do, 1, threads=1) as pool:
            for number in range(2):
                pool.submit(("double", number))
                os.killpg(0, signal.SIGINT)
                print(pool.next_finished()[1])
"""


def test_ctrl_c_in_the_terminal_reaches_the_driver_alone(run_script):
    output, errors = run_script(INTERRUPTED, start_new_session=True).communicate(timeout=60)
    assert output.split() == ["interrupted", "0", "interrupted", "2"]
    assert errors == ""


UNGUARDED = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import pool_tasks
    from bompnas.errors import InputError
    from bompnas.trials.executors.pool import Pool

    with Pool(pool_tasks.do, 2, threads=1) as pool:
        try:
            pool.check(1)
        except InputError as error:
            print("refused:", error)
"""


def test_a_script_without_a_guard_is_told_so_in_one_sentence(run_script):
    driver = run_script(UNGUARDED)
    output, errors = driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert 'guard a script with `if __name__ == "__main__":`' in output
    assert output.count("refused:") == 1
    assert errors == ""


BROKEN = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import pool_tasks
    from bompnas.errors import InputError
    from bompnas.trials.executors.pool import Pool

    if __name__ == "__main__":
        with Pool(pool_tasks.do, 2, threads=1) as pool:
            try:
                pool.check(1)
            except InputError as error:
                print("refused:", error)
    else:
        raise RuntimeError("this script is no module")
"""


def test_what_keeps_a_worker_from_starting_is_said(run_script):
    output, errors = run_script(BROKEN).communicate(timeout=60)
    assert "exit status 1 (RuntimeError: this script is no module)" in output
    assert errors == ""


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (0, "the worker process ended unexpectedly with exit status 0"),
        (7, "the worker process ended unexpectedly with exit status 7"),
        (-signal.SIGBUS, "the worker process was killed by SIGBUS"),
        (
            -signal.SIGKILL,
            "the worker process was killed by SIGKILL, which is what the system does when memory runs out",
        ),
        (-(signal.SIGRTMIN + 3), "the worker process was killed by signal 37"),
        (None, "the worker process stopped answering"),
    ],
)
def test_a_death_is_named(status, reason):
    assert worker.cause_of_death(status) == reason
