"""Carries out the trials of both sides, in turns, and keeps what was measured in a file that is continued."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speed import cases, workers
from speed.cases import Case
from speed.workers import Worker

WARM_UP_SEED, UNTIMED_SEED = 1000, 2000
LONG_QAFT = 4
"""Epochs of fine-tuning in the trials that tell how long a traced one takes."""
POLICIES, POLICY_TRIALS = 3, 3
VARIANTS = (
    "default",
    "jit_compile=False",
    "jit_compile=False, steps_per_execution of an epoch",
    "jit_compile=False, tf.data, drop_remainder",
)
"""Keys of `speed.baseline.VARIANTS`, which needs TensorFlow."""
SIDES = ("baseline", "ours")


class Rows:
    """Measurements in a JSON-lines file, by what they are of.

    Args:
        path: The file; made when the first row comes.
    """

    def __init__(self, path: Path):
        self._path = path
        self._rows: dict[tuple, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._keep(json.loads(line))

    def __iter__(self):
        return iter(self._rows.values())

    def holds(self, of: Mapping[str, Any]) -> bool:
        """Whether there is a row of `of`."""
        return tuple(of.items()) in self._rows

    def once(
        self, of: Mapping[str, Any], measure: Callable[..., Mapping[str, Any]], *arguments: Any, **options: Any
    ) -> dict[str, Any]:
        """The row of `of`, which is measured by a function and written if it is not there."""
        if (found := self._rows.get(tuple(of.items()))) is not None:
            return found
        row = {"of": dict(of), **measure(*arguments, **options)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._keep(row)
        seconds = f": {row['total']['wall']:.1f} s" if "total" in row else ""
        print(", ".join(str(value) for value in of.values()) + seconds, flush=True)
        return row

    def _keep(self, row: dict[str, Any]) -> None:
        self._rows[tuple(row["of"].items())] = row


def measure(
    case: Case,
    data: str | None,
    threads: int,
    seeds: int,
    rows: Rows,
    variants: Sequence[str] = VARIANTS,
    untimed: int = 0,
) -> None:
    """Measures a case with so many threads, as far as the rows do not hold it yet.

    Each side has a process of its own, which lives for all of its trials; they take turns. The first trial of a process
    is kept apart.

    Args:
        case: The experiment.
        data: An .npz file in place of the experiment's data.
        threads: Of each side.
        seeds: Trials of each network.
        rows: Where the measurements are kept.
        variants: Of the baseline, of which the fastest is taken.
        untimed: Further float trainings of each network that only tell accuracies, with seeds of their own; the
            machine may be busy meanwhile.
    """
    with Worker(threads) as ours, Worker(threads) as baseline:
        starts = {side: _started(worker, case, data) for side, worker in zip(SIDES, (baseline, ours), strict=True)}
        networks = rows.once({"kind": "networks"}, ours.run, cases.networks, case, data)["networks"]
        facts = rows.once({"kind": "facts"}, ours.run, cases.facts, case, data)

        def run(side: str, name: str, seed: int, variant: str, *, qaft_epochs: int | None = None) -> dict[str, Any]:
            if side == "ours":
                return ours.run(workers.ours, case, data, networks[name], seed, qaft_epochs, 1)
            return baseline.run(workers.baseline, case, data, networks[name], seed, qaft_epochs, variant)

        common = {"threads": threads}
        for side in SIDES:
            first = run(side, "seed", WARM_UP_SEED, VARIANTS[0])
            rows.once({"kind": "first", **common, "side": side}, dict, start=starts[side], **first)
        for variant in variants:
            rows.once({"kind": "variant", "variant": variant}, run, "baseline", "seed", 0, variant)
        best = fastest(rows)
        for seed in range(seeds):
            for name in networks:
                for side in SIDES if seed % 2 else SIDES[::-1]:
                    key = {"kind": "trial", **common, "side": side, "network": name, "seed": seed}
                    rows.once(key, run, side, name, seed, best)
        for seed in range(UNTIMED_SEED, UNTIMED_SEED + untimed):
            for name in networks:
                for side in SIDES:
                    key = {"kind": "accuracy", **common, "side": side, "network": name, "seed": seed}
                    rows.once(key, lambda *trial: _float_metrics(run(*trial, qaft_epochs=0)), side, name, seed, best)
        for name in networks:
            for side in SIDES:
                key = {"kind": "long qaft", **common, "side": side, "network": name}
                rows.once(key, run, side, name, 0, best, qaft_epochs=LONG_QAFT)
            for seed in range(min(POLICY_TRIALS, seeds)):
                key = {"kind": "policies", **common, "network": name, "seed": seed}
                rows.once(key, ours.run, workers.ours, case.of_all_epochs(), data, networks[name], seed, None, POLICIES)
            key = {"kind": "bare", **common, "network": name}
            rows.once(key, ours.run, workers.kernels, networks[name], facts["batch"])


def _float_metrics(trial: dict[str, Any]) -> dict[str, Any]:
    return {"metrics": {name: value for name, value in trial["metrics"].items() if name.startswith("float_")}}


def _started(worker: Worker, case: Case, data: str | None) -> float:
    """Time that a process takes to start, to import and to read the data [s]."""
    return worker.timed(cases.facts, case, data)[1]


def fastest(rows: Rows) -> str:
    """The baseline's variant that took the least wall time."""
    variants = [row for row in rows if row["of"]["kind"] == "variant"]
    return min(variants, key=lambda row: row["total"]["wall"])["of"]["variant"]
