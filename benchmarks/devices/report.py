"""`benchmarks/results/hardware_search.md` and its picture."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bompnas.report import style
from devices import budget, policies
from devices.specialization import BUDGET, DEVICES, Crossing

CHECKED = "checked.json"
_DRAWN = 20
"""Policies at random that are measured with Keras, beside the best ones."""


def check(folder: Path) -> None:
    """Measures the best policies, and some at random, the usual way; keeps what Keras says."""
    table = policies.read(folder / "policies.csv")
    crossing = Crossing.of(table)
    chosen = [crossing.policies[crossing.best(device)] for device in DEVICES] + [policies.UNIFORM_8]
    drawn = np.random.default_rng(0).choice(len(crossing.policies), _DRAWN, replace=False)
    found = policies.check(table, dict.fromkeys([*chosen, *(crossing.policies[place] for place in drawn)]))
    told = {str(policy): found[policy] for policy in found}
    (folder / CHECKED).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def write(results: Path) -> None:
    """Writes the page of what the folder `hardware` holds, and its picture."""
    folder = results / "hardware"
    crossing = Crossing.of(policies.read(folder / "policies.csv"))
    checked = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
    studies = budget.read(folder / "budget.jsonl")
    digits = budget.Digits.load()
    draw(crossing, results / "hardware_search.png")
    lines = [
        "# Networks for a device",
        "",
        "`python benchmarks/hardware.py`; latencies are those of the cost models.",
        *["", "## The best policy for each device", "", *specialization(crossing, checked)],
        *["", "## Searches within a budget", "", *searches(studies, digits)],
    ]
    runs = folder / "runs.json"
    if runs.exists():
        lines += ["", "## A whole run", "", *whole(json.loads(runs.read_text(encoding="utf-8")))]
    (results / "hardware_search.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def specialization(crossing: Crossing, checked: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The cross table, and what the policies are."""
    chosen = {device: crossing.best(device) for device in DEVICES}
    uniform = crossing.policies.index(policies.UNIFORM_8)
    lines = [
        f"One network of five layers (digits, 8x8 pixels), trained once in float ({policies.EPOCHS} epochs), and all "
        f"{len(crossing.policies):,} policies of it, quantized after training: weights of the first four layers with "
        f"{_listed(policies.WEIGHT_BITS)} bits, the three maps between them with {_listed(policies.ACTIVATION_BITS)}. "
        f"For each device the most accurate policy that takes at most {BUDGET:g} times as long there as 8 bits do "
        "(validation part, 539 images; of equals the fastest). Its latency in ms on all three; in bold on its own, in "
        "italics where it is over that device's budget:",
        "",
        "| made for | weights, activations | validation | test | " + " | ".join(DEVICES) + " |",
        "|---" * (4 + len(DEVICES)) + "|",
    ]
    for made_for, place in [*chosen.items(), ("8 bits", uniform)]:
        policy = crossing.policies[place]
        cells = [_latency(crossing, place, device, made_for) for device in DEVICES]
        accuracies = f"{100 * crossing.accuracies[place]:.2f} % | {100 * checked[str(policy)]['test_accuracy']:.2f} %"
        lines.append(f"| {made_for} | {policy} | {accuracies} | {' | '.join(cells)} |")
    budgets = " | ".join(f"{crossing.budget_ms(device):.4f}" for device in DEVICES)
    lines.append(f"| budget | | | | {budgets} |")
    distinct = len(set(chosen.values()))
    lines += [
        "",
        f"{distinct} different policies for {len(DEVICES)} devices. Widths stand in the order of the layers: stem, "
        "depthwise, project, last conv; and of what the last three of them read. One image is 0.19 %: the "
        "differences in accuracy are those of a few images.",
        "",
        "Within the other budgets the specialized policies are not the best either: validation accuracy of the best "
        "policy of each device's budget that keeps another one's too:",
        "",
        "| | " + " | ".join(f"and {device}" for device in DEVICES) + " |",
        "|---" * (1 + len(DEVICES)) + "|",
    ]
    for one in DEVICES:
        both = [_best_of_both(crossing, one, other) for other in DEVICES]
        lines.append(f"| {one} | " + " | ".join(both) + " |")
    lines += [
        "",
        f"{len(checked)} policies, the best ones and {_DRAWN} at random, were also quantized and measured with Keras, "
        "as trials do: the same accuracies.",
        "",
        "![Accuracy over latency of all policies on each device](hardware_search.png)",
    ]
    return lines


def searches(studies: Sequence[Mapping[str, Any]], digits: budget.Digits) -> list[str]:
    """Statistics of the searches with and without the limit."""
    feasible = digits.costs[budget.LATENCY] <= digits.limit_ms
    seeds = len({study["seed"] for study in studies})
    lines = [
        f"The {len(feasible)} real trainings of `digits_table.csv` priced on BitFusion (16 x 32); limit: half the "
        f"latency of the space's seed network, {digits.limit_ms * 1000:.2f} µs, which {feasible.sum()} networks keep; "
        f"the best of those reaches {100 * digits.accuracies[feasible].max():.2f} %. {budget.TRIALS} trials, "
        f"{budget.INITIAL} of them before the surrogate is asked, {seeds} seeds each. Best accuracy and hypervolume "
        "count networks within the limit only; mean and standard error.",
        "",
        "| minimizes | limit | networks over the limit | best accuracy within it [%] | hypervolume within it |",
        "|---|---|---|---|---|",
    ]
    for goal in budget.GOALS:
        for kind in (budget.LIMITED, budget.FREE):
            found = _outcomes(studies, goal, kind, digits.limit_ms)
            over = f"{sum(one.infeasible for one in found)} of {sum(one.trained for one in found)}"
            accuracy = _mean([100 * one.accuracy for one in found], 2)
            volume = _mean([one.hypervolume for one in found], 4)
            lines.append(f"| {goal} | {'yes' if kind == budget.LIMITED else 'no'} | {over} | {accuracy} | {volume} |")
    lines.append("")
    for goal in budget.GOALS:
        pairs = list(
            zip(
                _outcomes(studies, goal, budget.LIMITED, digits.limit_ms),
                _outcomes(studies, goal, budget.FREE, digits.limit_ms),
                strict=True,
            )
        )
        better = sum(one.hypervolume > other.hypervolume for one, other in pairs)
        equal = sum(one.hypervolume == other.hypervolume for one, other in pairs)
        lines.append(
            f"Minimizing {goal}, the front with the limit is better within it for {better} of {len(pairs)} seeds, "
            f"equal for {equal}, worse for {len(pairs) - better - equal} (hypervolume)."
        )
    return lines


def whole(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Two runs of the experiment, one without its limit."""
    limit_ms = next(run["limit_ms"] for run in runs if run["limit_ms"] is not None)
    lines = [
        f"`experiments/digits_bitfusion.yaml`, all trainings real, {len(runs[0][budget.METRIC])} trials, seed "
        f"{runs[0]['seed']}, and the same without its limit of {limit_ms * 1000:g} µs, half the latency of the seed "
        "network.",
        "",
        "| limit | networks over the limit | best accuracy within it [%] | hypervolume within it |",
        "|---|---|---|---|",
    ]
    for run in runs:
        found = budget.outcome(run, limit_ms)
        over = f"{found.infeasible} of {found.trained}"
        limited = "no" if run["limit_ms"] is None else "yes"
        lines.append(f"| {limited} | {over} | {100 * found.accuracy:.2f} | {found.hypervolume:.4f} |")
    return lines


def draw(crossing: Crossing, path: Path) -> None:
    """All policies of each device, its budget, what can be reached there, and the three best policies."""
    with style.context():
        figure = Figure(figsize=(9.6, 3.7), layout="constrained")
        panels = figure.subplots(1, len(DEVICES), sharey=True)
        lowest = 100 * np.quantile(crossing.accuracies, 0.25)
        for panel, device in zip(panels, DEVICES, strict=True):
            accuracies = 100 * crossing.accuracies
            panel.scatter(crossing.latency_ms[device], accuracies, s=3, color=style.MUTED, alpha=0.25, linewidths=0)
            panel.step(*(crossing.reached(device).T * [[1], [100]]), where="post", color=style.INK, linewidth=1.2)
            panel.axvline(crossing.budget_ms(device), color=style.ACCENT, linewidth=1, linestyle=(0, (4, 2)))
            for number, made_for in enumerate(DEVICES):
                place, look = crossing.best(made_for), style.series(number)
                panel.plot(
                    crossing.latency_ms[device][place], accuracies[place], linestyle="none", marker=look.marker,
                    markersize=13 if made_for == device else 8, markerfacecolor=look.colour, markeredgecolor=style.RIM,
                    label=f"made for {made_for}", zorder=4,
                )  # fmt: skip
            panel.set_title(device)
            panel.set_xlabel("Latency [ms]")
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panels[0].set_ylim(lowest, 100 * crossing.accuracies.max() + 0.3)
        panels[0].set_ylabel("Validation accuracy [%]")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(DEVICES))
        style.save_png(figure, path)


def _outcomes(studies: Iterable[Mapping[str, Any]], goal: str, kind: str, limit_ms: float) -> list[budget.Outcome]:
    """Of the searches of a kind, by seed."""
    chosen = [study for study in studies if (study["goal"], study["search"]) == (goal, kind)]
    return [budget.outcome(study, limit_ms) for study in sorted(chosen, key=lambda study: study["seed"])]


def _latency(crossing: Crossing, place: int, device: str, made_for: str) -> str:
    text = f"{crossing.latency_ms[device][place]:.4f}"
    if made_for == device:
        return f"**{text}**"
    return f"*{text}*" if crossing.latency_ms[device][place] > crossing.budget_ms(device) else text


def _best_of_both(crossing: Crossing, one: str, other: str) -> str:
    within = [crossing.latency_ms[device] <= crossing.budget_ms(device) for device in (one, other)]
    return f"{100 * crossing.accuracies[within[0] & within[1]].max():.2f} %"


def _mean(values: Sequence[float], digits: int) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}"


def _listed(values: Sequence[int]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
