"""The page of results: what was measured, and whether it reaches what was asked for."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from end_to_end import machine

from quality import plots, study, summary
from quality.peers import INITIAL
from quality.summary import SCORE, VOLUME, Curves, Estimate
from quality.task import SYNTHETIC

FOLDER = "search_quality"
OURS, FRONT, BATCH = "bomp", "bomp_ehvi", "bomp_batch4"
ORACLES = "keras_tuner", "keras_tuner_flat"
AHEAD = {20: 0.06, 50: 0.04, 100: 0.025}
SECONDS = {100: 0.15, 500: 0.3, 1000: 0.5}
MEGABYTES = 300
LEGEND = f"""\
Every method starts from the same {INITIAL} uniform random networks of an instance, but for `bomp_stratified`, which
chooses its own. *Score* is eq. (1) with the **true** accuracy of the trial whose **observed** score is best;
*hypervolume* is that of the true accuracies and log10 sizes of all trials. Means are given with their standard error,
differences with half their 95 % interval (Student's t), over the same instances. The synthetic family is described in
`benchmarks/quality/instances.py`; it was frozen before any method was tuned, and tuning used other instances. In a
table of real trainings a network's accuracy is that of its one training.

`keras_tuner` is KerasTuner's `BayesianOptimizationOracle` with the exact gradient of its own acquisition (see the last
section); its choices lie in conditional scopes, those of `keras_tuner_flat` do not. It is given {INITIAL} initial
points, where its default is three times the dimensions: random search for long.
`tpe` is Optuna's `TPESampler` as it comes, `tpe_independent` and `tpe_group` are its other two modes. `aging10` and
`aging20` are aging evolution with that population and samples of 3 and 5. Peers cannot be told the exact sizes.
`bomp_batch4` has four networks in training at a time.
"""


def checkpoints(trials: int) -> list[int]:
    """After how many trials results are shown."""
    return [number for number in (20, 50, 100) if number < trials] + [trials]


def write(results: Path) -> None:
    """Writes `search_quality.md` and the pictures into the folder of results."""
    records = study.read(results / FOLDER)
    lines = ["# Search quality and speed", "", f"`python benchmarks/search_quality.py report` on {machine()}.", ""]
    lines += [LEGEND]
    for suite, trials in sorted(
        {(row["suite"], row["trials"]) for row in records}, key=lambda key: key[0] != SYNTHETIC
    ):
        lines += _suite(results, records, suite, trials)
    lines += _speed(_read(results, "speed"))
    lines += _check(_read(results, "check"))
    (results / "search_quality.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _suite(results: Path, records: Iterable[study.Record], suite: str, trials: int) -> list[str]:
    methods = summary.curves(records, suite, trials)
    instances = sorted({number for row in methods.values() for number in row.instances})
    optima = _optima(results, records, suite)
    points = checkpoints(trials)
    picture = f"search_quality_{suite}.png"
    plots.over_trials(results / picture, methods, f"{suite}: {len(instances)} instances, {trials} trials", INITIAL)
    lines = [f"## {suite}: instances {instances[0]} to {instances[-1]}, {trials} trials", ""]
    lines += [*summary.results_table(methods, points, optima), ""]
    if optima:
        best = sum(optima.values()) / len(optima)
        how = "that long searches without noise found" if suite == SYNTHETIC else "of the table"
        among = "" if len(optima) == len(instances) else f", of the {len(optima)} instances where it is known"
        lines += [f"Regret is to the best score {how}, {best:.4f} on average{among}.", ""]
    lines += [f"![score and hypervolume over trials]({picture})", ""]
    for first, quantity in ((OURS, SCORE), (FRONT, VOLUME)):
        if first in methods:
            lines += [*summary.paired_table(methods, first, quantity, points), ""]
    if suite == SYNTHETIC and trials == max(AHEAD) and OURS in methods:
        lines += _asked(methods)
    return lines


def _optima(results: Path, records: Iterable[study.Record], suite: str) -> dict[int, float]:
    """Instance -> its best true score, where that is known."""
    if suite == SYNTHETIC:
        return {int(key): value for key, value in (_read(results, "optimum") or {}).items()}
    return {row["instance"]: row["optimum"] for row in records if row["suite"] == suite}


def _asked(methods: Mapping[str, Curves]) -> list[str]:
    """What was asked for on the synthetic family, and what came out; met when the 95 % interval reaches it."""
    ours = methods[OURS]
    lines = ["| asked for | found | met |", "|---|---|---|"]
    for name in filter(methods.__contains__, ORACLES):
        oracle = methods[name]
        for trial, wanted in AHEAD.items():
            found = summary.difference(ours, oracle, SCORE, trial)
            lines.append(_row(f"`{OURS}` ahead of `{name}` by {wanted} @{trial}", found, wanted))
        final = summary.difference(ours, oracle, SCORE, 100)
        share = f"{final.wins} of {len(final.values)}"
        lines.append(_line(f"wins at least 18 of 20 over `{name}` @100", share, final.wins >= 18))
        reached = summary.trials_to_reach(ours, oracle.mean(SCORE)[-1])
        behind = summary.difference(ours, oracle, SCORE, 20, 100)
        lines.append(
            _line(
                f"level of `{name}` @100 within 20 trials",
                f"the mean is there after {reached}; @20 it is off by {summary.signed(behind)}",
                behind.mean + behind.half_interval >= 0,
            )
        )
    if BATCH in methods:
        lost = summary.difference(ours, methods[BATCH], SCORE, 100)
        met = lost.mean - lost.half_interval <= 0.01
        lines.append(_line("batches of 4 lose at most 0.01 @100", summary.signed(lost), met))
    if FRONT in methods:
        for name, row in methods.items():
            if not name.startswith(OURS):
                ahead = summary.difference(methods[FRONT], row, VOLUME, 100)
                lines.append(
                    _line(f"`{FRONT}` ahead of `{name}` in hypervolume @100", summary.signed(ahead), ahead.mean > 0)
                )
    return [*lines, ""]


def _row(text: str, found: Estimate, wanted: float) -> str:
    return _line(text, summary.signed(found), found.mean + found.half_interval >= wanted)


def _line(text: str, found: str, met: bool) -> str:
    return f"| {text} | {found} | {'yes' if met else 'no'} |"


def _speed(data: Mapping[str, Any] | None) -> list[str]:
    if not data:
        return []
    lines = [
        "## Seconds per proposal and memory",
        "",
        "One core; one search on a development instance. Seconds are those that the process computed (CPU); wall time, "
        "in brackets, depends on what else the machine did. Each figure of ours is the mean of the proposals from n to "
        "1.1 n completed trials, one interval between two refits. KerasTuner's is the unmodified oracle's in the same "
        "run, told of as many trials of a search.",
        "",
        "| method | completed | s / proposal | asked for | resident memory [MB] |",
        "|---|---|---|---|---|",
    ]
    for row in data["ours"]:
        for length, (seconds, wall) in row["average"].items():
            wanted, memory = SECONDS.get(int(length), ""), row["megabytes"][length]
            lines.append(f"| {row['method']} | {length} | {seconds:.3f} ({wall:.3f}) | {wanted} | {memory:.0f} |")
    for length, row in data["keras_tuner"].items():
        seconds, wall = np.mean(row["seconds"], axis=0) if row["seconds"] else (0, 0)
        shown = f"{seconds:.1f} ({wall:.1f})" if seconds else f"none within {row['limit']:.0f}, stopped"
        lines.append(f"| KerasTuner's original | {length} | {shown} | | |")
    lines.append("")
    for row in data["ours"]:
        lines.append(
            f"`{row['method']}` began at {row['megabytes']['0']:.0f} MB. Less than {MEGABYTES} MB were asked for at "
            f"{max(SECONDS):,} trials; the most at any moment of the whole search was {row['peak']:.0f} MB."
        )
    return [*lines, ""]


def _check(rows: list[dict[str, Any]] | None) -> list[str]:
    if not rows:
        return []
    same = sum(row["different_genes"] == 0 for row in rows)
    others = [row for row in rows if row["different_genes"]]
    text = "; ".join(
        f"instance {row['instance']} after {row['completed']} trials in {row['different_genes']} gene(s)"
        for row in others
    )
    return [
        "## The accelerated KerasTuner oracle",
        "",
        f"From the same state it suggests the same as the original in {same} of {len(rows)} cases, at records of "
        f"{', '.join(map(str, sorted({row['completed'] for row in rows})))} trials of "
        f"{len({row['instance'] for row in rows})} instances"
        + (f"; they differ at {text}: there finite differences stop on the other side of a rounding." if text else "."),
        "",
    ]


def _read(results: Path, name: str) -> Any:
    path = results / FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
