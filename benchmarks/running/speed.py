"""Trials a minute, by workers and their threads."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

CONFIGURATIONS = ((1, 2), (1, 1), (2, 1))
"""Workers and threads of each."""


def measure(trials: int, rounds: int, short: bool = False) -> dict[str, Any]:
    """Carries out the same trials of `experiments/digits.yaml` through pools of each configuration, in turns.

    Every worker has carried out a trial before the clock starts.

    Args:
        trials: The seed network's trial and others of random feasible networks.
        rounds: How often each configuration is measured.
        short: Whether trials have one epoch only.

    Returns:
        `trials`; `rounds`: for each `[workers, threads]` the wall time of every round [s].
    """
    tasks = _tasks(trials, short)
    found: dict[tuple[int, int], list[float]] = {configuration: [] for configuration in CONFIGURATIONS}
    for number in range(rounds):
        for configuration in CONFIGURATIONS if number % 2 == 0 else CONFIGURATIONS[::-1]:
            found[configuration].append(_seconds(tasks, *configuration))
            print(f"{configuration}: {trials} trials in {found[configuration][-1]:.1f} s", flush=True)
    return {"trials": trials, "rounds": [[list(configuration), times] for configuration, times in found.items()]}


def _tasks(count: int, short: bool):
    """The prepared experiment, and candidates for each trial."""
    from speed.cases import CASES

    from bompnas import experiment as experiments
    from bompnas.candidate import Candidate, State
    from bompnas.search import feasible
    from bompnas.trials import setup

    prepared = setup.prepare(experiments.load(CASES["digits"].file, ["training.epochs=1"] if short else []))
    problem = prepared.problem
    codes = feasible.sample(problem, np.random.default_rng(0), count)
    networks = [problem.space.decode(problem.space.seed)]
    networks += [problem.space.decode(*problem.space.genotypes(code[None])) for code in codes[1:]]
    return prepared, [
        Candidate(number, number, network, None, State.PENDING, problem.cost(network))
        for number, network in enumerate(networks, start=1)
    ]


def _seconds(tasks: tuple[Any, Sequence[Any]], workers: int, threads: int) -> float:
    """Wall time of all trials [s]."""
    from bompnas.trials import setup
    from bompnas.trials.executors.pool import Pool
    from bompnas.trials.trial import run_trial

    prepared, candidates = tasks
    with Pool(run_trial, workers, threads) as pool:
        shared = pool.share(setup.parts(prepared.dataset))
        made = [prepared.trial_task([candidate], shared) for candidate in candidates]
        _run(pool, [made[0]] * workers)
        start = time.perf_counter()
        _run(pool, made)
        return time.perf_counter() - start


def _run(pool: Any, tasks: Sequence[Any]) -> None:
    """Carries out all tasks, as many at a time as the pool takes.

    Raises:
        RuntimeError: One of them failed.
    """
    waiting, running = list(tasks), 0
    while waiting or running:
        while waiting and running < pool.slots:
            pool.submit(waiting.pop(0))
            running += 1
        _, result = pool.next_finished()
        running -= 1
        errors = [outcome.error for outcome in getattr(result, "outcomes", ()) if outcome.error]
        if errors or not hasattr(result, "outcomes"):
            raise RuntimeError(errors[0] if errors else result.error)
