"""How long LiteRT files take on this machine: `python -m bompnas.export.latency FILE ...`."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bompnas.errors import InputError
from bompnas.export.interpreter import Interpreter

SPREAD = (10, 90)  # percentiles: a busy machine has outliers


@dataclasses.dataclass(frozen=True)
class Latency:
    """Time of one inference of one input.

    Attributes:
        median_ms: Median over the repetitions [ms].
        low_ms: 10th percentile [ms].
        high_ms: 90th percentile [ms].
        repetitions: Measured runs.
        threads: That LiteRT used.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    repetitions: int
    threads: int


def measure(model: bytes | Path, threads: int = 1, warmup: int = 10, repetitions: int = 100) -> Latency:
    """Times a file on the CPU, with the default kernels.

    Args:
        model: The file or its bytes.
        threads: For LiteRT.
        warmup: Runs before the measured ones.
        repetitions: Measured runs, each of the same random input.

    Raises:
        InputError: The file cannot be run.
    """
    interpreter = Interpreter(model, threads)
    values = _input(interpreter)
    for _ in range(warmup):
        interpreter(values)
    seconds = np.empty(repetitions)
    for place in range(repetitions):
        start = time.perf_counter()
        interpreter(values)
        seconds[place] = time.perf_counter() - start
    low, median, high = (float(value) for value in 1000 * np.percentile(seconds, [SPREAD[0], 50, SPREAD[1]]))
    return Latency(median, low, high, repetitions, threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Times files and prints a table.

    Returns:
        The exit status: 0, or 2 when a file cannot be run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bompnas.export.latency", description="Time LiteRT files on this machine, one input at a time."
    )
    parser.add_argument("files", type=Path, metavar="FILE", nargs="+", help="a .tflite file")
    parser.add_argument("--threads", type=_positive, default=1, help="threads for LiteRT (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=10, help="runs before the measured ones (default: %(default)s)")
    parser.add_argument("--repetitions", type=_positive, default=100, help="measured runs (default: %(default)s)")
    options = parser.parse_args(arguments)
    title = f"{options.repetitions} runs, {options.threads} threads"
    table = Table("file", title=title)
    for header in ("bytes", "median, ms", "10 %, ms", "90 %, ms"):
        table.add_column(header, justify="right")
    try:
        for path in options.files:
            latency = measure(path, options.threads, options.warmup, options.repetitions)
            times = (latency.median_ms, latency.low_ms, latency.high_ms)
            table.add_row(str(path), str(path.stat().st_size), *(f"{value:.3f}" for value in times))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    Console().print(table)
    return 0


def _input(interpreter: Interpreter) -> np.ndarray:
    """One random input, always the same."""
    port, random = interpreter.input, np.random.default_rng(0)
    if port.dtype.kind == "f":
        return random.random((1, *port.shape), np.float32)
    limits = np.iinfo(port.dtype)
    return random.integers(limits.min, limits.max, (1, *port.shape), port.dtype, endpoint=True)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
