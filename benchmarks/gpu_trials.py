"""Times trials of `experiments/cifar10.yaml` under JAX on a GPU: one after the other, and several on it at a time.

    python benchmarks/gpu_trials.py --data cifar10.npz
    python benchmarks/gpu_trials.py --data cifar10.npz --images 512 --epochs 1 --networks 1 --workers 2 --work /tmp/a/b
    python benchmarks/gpu_trials.py --report               # writes the page anew, measures nothing

The seed network and five random ones, on all of CIFAR-10, 20 + 1 epochs, as the experiment file says. Every trial is
carried out by a process that has carried out a short one before; several at a time are as many processes that share the
GPU. JAX, Keras and QKeras must be installed, TensorFlow need not. Without a GPU the program runs on the CPU: shortened,
to see that it works.

Measurements go to `<work>/trials.jsonl`, which is continued where it exists; the page to the folder above it.
"""

import argparse
import os
import queue
import subprocess
import time
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

from end_to_end import machine
from running import gpu_page
from speed import cases, workers
from speed.cases import Case
from speed.study import Rows
from speed.workers import Worker

RESULTS = Path(__file__).resolve().parent / "results"
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share the GPU
}
WARM_UP = ("data.train_images=256", "data.validation=128", "training.epochs=1")


def main() -> None:
    """Measures what the command line asks for and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="CIFAR-10 as an .npz file; through Keras if not given")
    parser.add_argument("--images", type=int, help="training images, in place of all 45,000; a ninth to validate")
    parser.add_argument("--epochs", type=int, default=20, help="of float training")
    parser.add_argument("--networks", type=int, default=6, help="the seed network and random ones")
    parser.add_argument("--workers", nargs="*", type=int, default=[2, 3, 6], help="trials at a time, besides one")
    parser.add_argument("--work", type=Path, default=RESULTS / "gpu_trials", help="folder of the measurements")
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args()
    rows = Rows(options.work / "trials.jsonl")
    if not options.report:
        data = None if options.data is None else str(Path(options.data).resolve())
        shortened = []
        if options.images is not None:
            shortened = [f"data.train_images={options.images}", f"data.validation={max(1, options.images // 9)}"]
        case = Case("cifar10", (*shortened, f"training.epochs={options.epochs}"), options.networks)
        measure(case, data, options.workers, rows)
    print(f"written: {gpu_page.write(options.work.parent / 'gpu_trials.md', list(rows))}")


def measure(case: Case, data: str | None, counts: Sequence[int], rows: Rows) -> None:
    """Measures trials one after the other, then several at a time, as far as the rows do not hold them yet.

    Args:
        case: The experiment.
        data: CIFAR-10 as an .npz file.
        counts: Trials at a time.
        rows: Where the measurements are kept.
    """
    rows.once({"kind": "machine"}, dict, cpu=machine(("jax", "keras", "qkeras-v3")), gpu=gpu())
    with Worker(_threads(1), ENVIRONMENT) as worker:
        first = _first(worker, case, data)
        rows.once({"kind": "first"}, dict, **first)
        networks = rows.once({"kind": "networks"}, worker.run, cases.networks, case, data)["networks"]
        rows.once({"kind": "facts"}, worker.run, cases.facts, case, data)
        for name in networks:
            key = {"kind": "trial", "network": name}
            if rows.holds(key):
                continue
            row = rows.once(key, worker.run, workers.ours, case, data, networks[name], 0, None, 1)
            print(f"  {row['metrics']}, GPU memory in use: {used_memory()}", flush=True)
    for count in counts:
        rows.once({"kind": "together", "workers": count}, together, case, data, networks, count)


def together(case: Case, data: str | None, networks: dict[str, str], count: int) -> dict[str, Any]:
    """Carries out every network's trial, so many at a time.

    Returns:
        `seconds` from the first trial's start to the last one's end, `each` trial's seconds, `memory` of the GPU in use
        at the end; processes are started before.
    """
    crew = [Worker(_threads(count), ENVIRONMENT) for _ in range(count)]
    with futures.ThreadPoolExecutor(count) as threads:
        try:
            list(threads.map(lambda worker: _first(worker, case, data), crew))
            waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
            for network in networks.values():
                waiting.put(network)
            start = time.perf_counter()

            def work(worker: Worker) -> list[float]:
                spent = []
                while True:
                    try:
                        network = waiting.get_nowait()
                    except queue.Empty:
                        return spent
                    spent.append(worker.run(workers.ours, case, data, network, 0, None, 1)["total"]["wall"])

            each = [seconds for spent in threads.map(work, crew) for seconds in spent]
            return {"seconds": time.perf_counter() - start, "each": each, "memory": used_memory()}
        finally:
            for worker in crew:
                worker.__exit__()


def gpu() -> str | None:
    """Name and memory of the GPU, as `nvidia-smi` tells; None where it tells of none."""
    return _nvidia("name,memory.total")


def used_memory() -> str | None:
    """Memory of the GPU in use now."""
    return _nvidia("memory.used")


def _nvidia(query: str) -> str | None:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip().splitlines()[0] if found.stdout.strip() else None


def _first(worker: Worker, case: Case, data: str | None) -> dict[str, Any]:
    """The process' start, imports, data, and a short trial of a small network; `start` and `trial` [s]."""
    network, start = worker.timed(cases.smallest, case, data)
    short = Case(case.name, WARM_UP, 1)
    _, trial = worker.timed(workers.ours, short, data, network, 0, None, 1)
    return {"start": start, "trial": trial}


def _threads(count: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // count)


if __name__ == "__main__":
    main()
