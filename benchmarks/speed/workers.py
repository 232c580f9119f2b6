"""A process for each side, which lives for many trials as that of a search does."""

import concurrent.futures
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")


class Worker:
    """Runs functions in one process of its own; a context manager.

    Args:
        threads: Threads that TensorFlow may use in it.
        environment: Further variables of its environment.
    """

    def __init__(self, threads: int, environment: dict[str, str] | None = None):
        variables = {name: str(threads) for name in THREADS} | {"TF_CPP_MIN_LOG_LEVEL": "3"} | (environment or {})
        self._pool = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _prepare, (variables,)
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs an importable function there and returns what it returns."""
        return self._pool.submit(function, *arguments).result()

    def timed(self, function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
        """The same with its wall time here [s], the process' start included if it is the first."""
        start = time.perf_counter()
        return self.run(function, *arguments), time.perf_counter() - start


def _prepare(variables: dict[str, str]) -> None:
    os.environ.update(variables)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new network's tracing


# Functions of both sides; each loads its libraries in the worker.


def ours(*arguments: Any) -> dict[str, Any]:
    """See `speed.ours.run`."""
    from speed import ours as side

    return side.run(*arguments)


def baseline(*arguments: Any) -> dict[str, Any]:
    """See `speed.baseline.run`."""
    from speed import baseline as side

    return side.run(*arguments)


def kernels(*arguments: Any) -> dict[str, Any]:
    """See `speed.kernels.measure`."""
    from speed import kernels as limit

    return limit.measure(*arguments)
