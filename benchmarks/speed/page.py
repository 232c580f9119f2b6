"""The page of results."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from end_to_end import machine
from exporting.markdown import table

from speed import plots, study, summary
from speed.cases import Case
from speed.clocks import PHASES
from speed.summary import Difference, Study

SIDES = {"baseline": "Keras + QKeras", "ours": "ours"}


def write(work: Path, cases: Mapping[str, Case], skipped: Mapping[str, str]) -> Path:
    """Writes the page of what a folder holds, and its pictures; returns the page's path."""
    target = work.parent / "trial_speed.md"
    lines = [
        "# A trial, beside the one written with KerasTuner, Keras and QKeras",
        "",
        f"`python benchmarks/trial_speed.py` on {machine()}.",
        "",
        "Both sides train the same networks on the same images, epochs and batches. Medians, with the lowest and the "
        "highest in brackets; the ratio's brackets are of trials with one seed. The first trial of each process is "
        "not among them.",
    ]
    for name, case in cases.items():
        path = work / f"{name}.jsonl"
        if not path.exists():
            lines += ["", f"## {name}", "", f"Not measured: {skipped.get(name, 'not asked for')}."]
            continue
        rows = study.Rows(path)
        for threads in sorted({row["of"]["threads"] for row in rows if row["of"]["kind"] == "trial"}):
            found = Study(list(rows), threads)
            picture = target.with_name(f"trial_speed_{name}_{threads}.png")
            plots.phases(found, picture)
            lines += ["", f"## {name}, {_count(threads, 'thread')}", "", *_case(found, case, picture)]
        lines += ["", f"## {name}: how the baseline is set", "", *_variants(rows)]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _case(found: Study, case: Case, picture: Path) -> Iterator[str]:
    facts = found.facts
    yield (
        f"{facts['images']:,} training images, {facts['validation']:,} to validate, {facts['epochs']} + "
        f"{facts['qaft_epochs']} epochs, batches of {facts['batch']}; "
        f"{_count(min(len(found.trials('ours', network)) for network in found.networks), 'trial')} of each network."
    )
    yield from ("", *_totals(found), "", f"![Phases]({picture.name})")
    for clock, title in (("wall", "Wall time by phase [s]"), ("cpu", "CPU time by phase [s]")):
        yield from ("", f"### {title}", "", *_phases(found, clock))
    yield from ("", "### Accuracy on the validation part [%]", "", *_accuracy(found))
    yield from ("", "### Further policies of a network", "", *_policies(found))
    yield from ("", "### Where our seconds go, beside the bare convolutions", "", *_limits(found))
    if case.whole is not None:
        yield from ("", "### A whole trial, extrapolated", "", *_extrapolation(found, *case.whole))
    yield from ("", "### The first trial of a process", "", *_firsts(found))


def _totals(found: Study) -> list[str]:
    return table(
        ("network", "baseline, wall [s]", "ours, wall [s]", "ratio", "baseline, CPU [s]", "ours, CPU [s]", "ratio"),
        [
            (
                network,
                *(
                    cell
                    for clock in ("wall", "cpu")
                    for cell in (
                        found.total("baseline", network, clock).text(),
                        found.total("ours", network, clock).text(),
                        found.ratio(network, clock).text(2),
                    )
                ),
            )
            for network in found.networks
        ],
    )


def _phases(found: Study, clock: str) -> list[str]:
    rows = [
        (network, label, *(f"{seconds:.2f}" for seconds in found.phases(side, network, clock).values()))
        for network in found.networks
        for side, label in SIDES.items()
    ]
    return [
        *table(("network", "side", *PHASES), rows),
        "",
        "`trace` is what the phase takes beyond its epochs at the time of a traced one; that of fine-tuning is told by "
        f"a trial with {study.LONG_QAFT} epochs of it.",
    ]


def _accuracy(found: Study) -> list[str]:
    rows, counts = [], []
    for name, label in (("float_val_accuracy", "float"), ("val_accuracy", "quantized")):
        rows += [(label, *row) for row in _accuracies(found, name)]
        counts.append(min(len(found.metric(side, network, name)) for network in found.networks for side in SIDES))
    lines = [
        f"Of {counts[0]} (float) and {counts[1]} (quantized) seeds of each network on each side; s is the standard "
        "deviation of one training, ± the standard error of a difference."
    ]
    if counts[0] > counts[1]:
        for kind, words in (("trial", "float, timed trials alone"), ("accuracy", "float, further seeds alone")):
            rows.append((words, *_accuracies(found, "float_val_accuracy", [kind])[-1]))
        lines.append(
            "The further seeds were trained after the timed trials, to tell a difference between the sides from chance."
        )
    return [*table(("model", "network", "baseline", "ours", "ours - baseline"), rows), "", " ".join(lines)]


def _accuracies(found: Study, name: str, *kinds: Sequence[str]) -> list[tuple[str, ...]]:
    """Network, means of the baseline and of ours, and the difference, for each network and for all of them, paired."""
    rows, pooled = [], ([], [])
    for network in found.networks:
        ours, theirs = (found.metric(side, network, name, *kinds) for side in ("ours", "baseline"))
        rows.append((network, *map(_mean, (theirs, ours)), _difference(Difference.of, ours, theirs)))
        for whole, part in zip(pooled, _same(ours, theirs), strict=True):
            whole.extend(part)
    return [*rows, ("all, paired", *map(_mean, pooled[::-1]), _difference(Difference.paired, *pooled))]


def _same(ours: Sequence[float], theirs: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    count = min(len(ours), len(theirs))
    return ours[:count], theirs[:count]


def _mean(values: Sequence[float]) -> str:
    spread = f", s = {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.2f}{spread}"


def _difference(of, ours: Sequence[float], theirs: Sequence[float]) -> str:
    if min(len(ours), len(theirs)) < 2:
        return "too few"
    difference = of(ours, theirs)
    return f"{100 * difference.value:+.2f} ± {100 * difference.error:.2f}"


def _policies(found: Study) -> list[str]:
    rows = []
    for network in found.networks:
        shares = found.policy_shares(network, "wall")
        theirs = found.phases("baseline", network, "wall")
        again = sum(theirs[phase] for phase in ("quantize", "trace qaft", "qaft")) + theirs["evaluate"] / 2
        kept = again / found.total("baseline", network, "wall").median
        rows.append((network, *(f"{100 * share.median:.0f} %" for share in shares), f"{100 * kept:.0f} %"))
    count = max(len(row) for row in rows) - 2
    header = ("network", *(f"policy {number}" for number in range(2, count + 2)), "baseline, float model kept")
    return [
        *table(header, rows),
        "",
        "Wall time of a further policy as a share of the trial with the first one alone, in trials with all epochs of "
        "the experiment file. The last column: what the baseline takes in the trials above for quantizing, fine-tuning "
        "and evaluating, if it kept the float model.",
    ]


def _limits(found: Study) -> list[str]:
    rows = []
    for network in found.networks:
        if (bare := found.bare(network)) is None:
            continue
        ours, limit = found.phases("ours", network, "wall"), summary.bare_seconds(bare, found.facts)
        for phase, seconds in ours.items():
            least = limit.get(phase)
            shown = ("", "") if least is None else (f"{least:.2f}", f"{seconds / least:.1f}")
            rows.append((network, phase, f"{seconds:.2f}", f"{100 * seconds / sum(ours.values()):.0f} %", *shown))
        total, least = sum(ours.values()), sum(limit.values())
        rows.append((network, "**all**", f"{total:.2f}", "", f"{least:.2f}", f"{total / least:.1f}"))
    steady = [
        (
            network,
            f"{(theirs := found.epoch('baseline', network, 'wall')):.3f}",
            f"{(ours := found.epoch('ours', network, 'wall')):.3f}",
            f"{theirs / ours:.2f}",
            f"{(least := bare['step'] * (found.facts['images'] // found.facts['batch'])):.3f}",
            f"{ours / least:.1f}",
        )
        for network in found.networks
        if (bare := found.bare(network)) is not None
    ]
    return [
        *table(("network", "phase", "ours [s]", "share", "bare convolutions [s]", "ours / bare"), rows),
        "",
        "A traced epoch of float training, where the kernels decide:",
        "",
        *table(("network", "baseline [s]", "ours [s]", "ratio", "bare convolutions [s]", "ours / bare"), steady),
    ]


def _extrapolation(found: Study, images: int, epochs: int) -> list[str]:
    rows = []
    for network in found.networks:
        theirs, ours = (
            summary.extrapolated(found.phases(side, network, "wall"), found.facts, images, epochs)
            for side in ("baseline", "ours")
        )
        rows.append((network, f"{theirs / 3600:.2f}", f"{ours / 3600:.2f}", f"{theirs / ours:.2f}"))
    return [
        f"Not measured: {images:,} images, {epochs} + {found.facts['qaft_epochs']} epochs, from the traced epochs "
        "above and everything else once.",
        "",
        *table(("network", "baseline [h]", "ours [h]", "ratio"), rows),
    ]


def _firsts(found: Study) -> list[str]:
    return table(
        ("side", "start, imports, data [s]", "first trial [s]"),
        [(SIDES[side], f"{row['start']:.1f}", f"{row['total']['wall']:.1f}") for side, row in found.firsts().items()],
    )


def _variants(rows: study.Rows) -> list[str]:
    variants = [row for row in rows if row["of"]["kind"] == "variant"]
    best = study.fastest(rows)
    return [
        "One trial of the seed network for each way to call `compile` and `fit`; the fastest is the baseline.",
        "",
        *table(
            ("variant", "wall [s]", "CPU [s]", "traced epoch [s]", ""),
            [
                (
                    row["of"]["variant"],
                    f"{row['total']['wall']:.1f}",
                    f"{row['total']['cpu']:.1f}",
                    f"{statistics.median(row['epochs']['float']['wall'][1:]):.2f}",
                    "the baseline" if row["of"]["variant"] == best else "",
                )
                for row in variants
            ],
        ),
    ]


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
