"""The choice of where a run's tasks are carried out on this machine."""

from bompnas.trials.executors.contract import Executor, Function
from bompnas.trials.executors.in_process import InProcess
from bompnas.trials.executors.pool import Pool


def local(
    function: Function,
    workers: int,
    threads: int,
    timeout: float | None = None,
    memory_gb: float | None = None,
) -> Executor:
    """The executor for this machine.

    One worker without limits is this process itself, where it can be debugged; all others are processes of a pool,
    as a task can be stopped only there.

    Args:
        function: What to do with a task; importable by workers.
        workers: Number of tasks at the same time.
        threads: Threads of each.
        timeout: How long a task may take [s]; None for ever.
        memory_gb: What a worker may use [GB]; None for its share of the machine's memory.
    """
    if workers == 1 and timeout is None and memory_gb is None:
        return InProcess(function, threads)
    return Pool(function, workers, threads, timeout, None if memory_gb is None else memory_gb * 1e9)


def alone(function: Function, threads: int, beside: Executor) -> Executor:
    """The executor for one task at a time: this process if others run in it too, else one whose crash ends only that.

    Args:
        function: What to do with a task; importable by workers.
        threads: Of the task.
        beside: What carries out the run's other tasks.
    """
    return InProcess(function, threads) if isinstance(beside, InProcess) else Pool(function, 1, threads)
