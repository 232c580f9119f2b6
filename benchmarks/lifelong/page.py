"""The page of results and its picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from end_to_end import machine
from exporting.markdown import table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bompnas.report import style
from lifelong.summary import LAST, SHARES, Study, end, mean, spread

NEW, OLD = style.SERIES[0], style.SERIES[1]


def write(path: Path, rows: Sequence[dict]) -> Path:
    """Writes the page and its picture; returns the page's path."""
    study = Study(rows)
    lines = ["# Lifelong learning with HQNAS", ""]
    lines += _page(study, path) if rows and study.seeds else ["Not measured yet."]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _page(study: Study, path: Path) -> Iterator[str]:
    plan, seeds = study.plan, study.seeds
    first, *_, last = plan["classes"]
    yield f"`python benchmarks/hqnas_lifelong.py` on {machine()}; one thread, CPU seconds."
    yield ""
    yield (
        f"`experiments/hqnas_lifelong_digits.yaml`, supernets alone: {first} digits first, then one more at a time, to "
        f"{last} (section IV-C, Figs. 9 and 10; the paper adds 100 classes of ImageNet at a time). Searches from "
        f"scratch have {plan['epochs']} epochs, {plan['warm_up']} of them with dropping; updates go on from the "
        f"checkpoint before for {plan['update']} epochs. Accuracies are means of the networks sampled in an epoch, on "
        f"the images that the thresholds learn from. {len(seeds)} seeds: median (lowest to highest)."
    )
    picture = path.with_suffix(".png")
    draw(study, picture)
    yield from ("", f"![Accuracy, epochs and weights]({picture.name})")
    yield from ("", "## How soon an update is there", "")
    yield (
        "Until a share of the accuracy is first reached that the search from scratch on the same classes ends with, "
        f"its mean of the last {LAST} epochs. Seconds are from the search's begin, with building and compiling the "
        "supernet."
    )
    for share in SHARES:
        yield from ("", *_until(study, share))
    yield from ("", "What they end with, as a mean of the seeds [%]:", "", *_ends(study))
    yield from ("", "## What it costs", "", *_costs(study))
    yield from ("", "## What is kept", "", *_kept(study))
    yield from ("", "## How far weights move", "", *_moved(study))


def _until(study: Study, share: float) -> Iterator[str]:
    def columns(classes: int) -> Iterator[str]:
        yield mean(share * end(study.scratch(seed, classes)) for seed in study.seeds)
        for place, digits in ((0, 0), (1, 1)):
            for side in ("scratch", "update"):
                found = study.until(side, classes, share)
                yield spread([None if each is None else each[place] for each in found], digits)

    yield from table(
        (
            "classes",
            f"{share:.0%} of it [%]",
            "epochs from scratch",
            "epochs of the update",
            "s from scratch",
            "s of it",
        ),
        [(str(classes), *columns(classes)) for classes in study.added],
    )


def _ends(study: Study) -> Iterator[str]:
    yield from table(
        ("classes", *map(str, study.added)),
        [
            (words, *(mean(end(side(seed, classes)) for seed in study.seeds) for classes in study.added))
            for words, side in (("from scratch", study.scratch), ("update", study.update))
        ],
    )


def _costs(study: Study) -> Iterator[str]:
    totals = [study.totals(seed) for seed in study.seeds]
    count, last = len(study.added), study.added[-1]
    each = {name: [total[name] for total in totals] for name in totals[0]}
    everything = [total["first"] + total["updates"] for total in totals]
    yield from table(
        ("searches", "epochs", "CPU seconds"),
        [
            ("the first one", study.plan["epochs"], spread(each["first"], 0)),
            (f"all {count} updates", count * study.plan["update"], spread(each["updates"], 0)),
            ("one update", study.plan["update"], spread([value / count for value in each["updates"]], 1)),
            (
                "the first one and all updates",
                study.plan["epochs"] + count * study.plan["update"],
                spread(everything, 0),
            ),
            (f"one from scratch on {last} classes", study.plan["epochs"], spread(each["scratch"], 0)),
        ],
    )
    ratios = [one / other for one, other in zip(everything, each["scratch"], strict=True)]
    single = [value / count / other for value, other in zip(each["updates"], each["scratch"], strict=True)]
    yield ""
    yield (
        f"All in all it takes {spread(ratios, 2)} times as long as one search from scratch on {last} classes, and a "
        f"single update {spread(single, 2)} times. {spread([study.start(seed) for seed in study.seeds], 1)} s of each "
        "search go by before its first epoch, for building and compiling the supernet."
    )
    yield ""
    yield (
        "Had each search ended once it was at the share above; an estimate, as the next one would have begun with a "
        "little less. The paper says that all in all it takes a little more than from scratch, and each update little."
    )
    yield ""
    yield from table(
        (
            "share",
            "epochs in all",
            f"epochs from scratch, {last} classes",
            "s in all",
            f"s from scratch, {last} classes",
        ),
        [(f"{share:.0%}", *_stopped(study, share)) for share in SHARES],
    )


def _stopped(study: Study, share: float) -> Iterator[str]:
    found = [study.stopped(seed, share) for seed in study.seeds]
    for place, digits in ((0, 0), (1, 1)):
        for side in ("lifelong", "scratch"):
            yield spread([each[side][place] for each in found], digits)


def _kept(study: Study) -> Iterator[str]:
    yield (
        "Test accuracies [%] in the supernet, without final training: the decided network and those sampled last, all "
        "test images as one batch; means of the seeds. Old classes are those of the search before."
    )
    yield ""
    numbers = study.plan["classes"]

    def columns(before: int, classes: int) -> Iterator[str]:
        yield mean(study.update(seed, before)["all_test_accuracy"] for seed in study.seeds)
        for side in (study.update, study.scratch):
            for part in ("old", "new"):
                yield mean(side(seed, classes)[f"{part}_test_accuracy"] for seed in study.seeds)

    yield from table(
        (
            "classes",
            "old, before the update",
            "old, after it",
            "new, after it",
            "old, from scratch",
            "new, from scratch",
        ),
        [(str(classes), *columns(before, classes)) for before, classes in zip(numbers, study.added, strict=False)],
    )


def _moved(study: Study) -> Iterator[str]:
    yield (
        "Weight vectors of three layers before and after an update (all updates of all seeds), and before and after a "
        "search from scratch: the length of the change relative to that of the old vector, and the cosine of both."
    )
    yield ""
    layers = list(study.update(study.seeds[0], study.added[0])["drift"])

    def values(side: str, layer: str, what: str) -> list[float]:
        return [
            getattr(study, side)(seed, classes)["drift"][layer][what] for seed in study.seeds for classes in study.added
        ]

    yield from table(
        ("layer", "change by an update", "change from scratch", "cosine by an update", "cosine from scratch"),
        [
            (
                f"`{layer}`",
                *(spread(values(side, layer, "change"), 2) for side in ("update", "scratch")),
                *(spread(values(side, layer, "cosine"), 3) for side in ("update", "scratch")),
            )
            for layer in layers
        ],
    )


def draw(study: Study, path: Path) -> None:
    """The courses of one seed, the epochs of all, and the cosines of layers before and after."""
    with style.context():
        figure = Figure(figsize=(7.6, 8.4), layout="constrained")
        courses, epochs, cosines = figure.subplots(3, 1)
        _courses(study, courses)
        _epochs(study, epochs)
        _cosines(study, cosines)
        style.save_png(figure, path)


def _courses(study: Study, axes: Axes) -> None:
    seed, passed = study.seeds[0], 0.0
    first, *_, last = study.plan["classes"]
    for classes in study.plan["classes"]:
        course = study.update(seed, classes)
        accuracies = [100 * value for value in course["accuracy"]]
        label = "with the checkpoint before" if classes == first else None
        axes.plot([passed + value for value in course["seconds"]], accuracies, color=NEW, label=label)
        words = f"{classes} classes" if classes == first else f"{classes}"
        axes.annotate(words, (passed + course["seconds"][-1], 100.6), ha="right", color=NEW, fontsize=9)
        passed += course["whole_seconds"]
        axes.axvline(passed, color=style.GRID, linewidth=0.8)
    course = study.scratch(seed, last)
    accuracies = [100 * value for value in course["accuracy"]]
    axes.plot(course["seconds"], accuracies, color=OLD, linestyle="--", label=f"from scratch, {last} classes")
    axes.set_xlabel(f"CPU time of seed {seed} [s]")
    axes.set_ylabel("Accuracy of sampled\nnetworks [%]")
    axes.set_ylim(top=104)
    axes.set_xlim(left=0)
    _legend(axes, 2)


def _epochs(study: Study, axes: Axes) -> None:
    for place, (side, colour, words) in enumerate((("scratch", OLD, "from scratch"), ("update", NEW, "update"))):
        for share, filled in zip(SHARES, (True, False), strict=True):
            for classes in study.added:
                found = [each[0] for each in study.until(side, classes, share) if each is not None]
                offset = 0.16 * (2 * place - 1) + 0.07 * (1 if filled else -1)
                axes.plot(
                    [classes + offset] * len(found),
                    found,
                    style.MARKERS[place],
                    color=colour,
                    markerfacecolor=colour if filled else "none",
                    markersize=6,
                    linestyle="none",
                    label=f"{words}, {share:.0%}" if classes == study.added[0] else None,
                )
    axes.set_xticks(study.added)
    axes.set_xlabel("Classes")
    axes.set_ylabel("Epochs until the share of\nthe accuracy is reached")
    axes.set_xlim(study.added[0] - 0.5, study.added[-1] + 0.5)
    axes.set_ylim(bottom=0)
    _legend(axes, 4)


def _cosines(study: Study, axes: Axes) -> None:
    layers = list(study.update(study.seeds[0], study.added[0])["drift"])
    for number, layer in enumerate(layers):
        look = style.series(number)
        for side, filled in (("update", True), ("scratch", False)):
            course = [
                sum(getattr(study, side)(seed, classes)["drift"][layer]["cosine"] for seed in study.seeds)
                / len(study.seeds)
                for classes in study.added
            ]
            axes.plot(
                study.added,
                course,
                color=look.colour,
                marker=look.marker,
                linestyle="-" if filled else "--",
                markerfacecolor=look.colour if filled else "none",
                label=f"{layer}, {'update' if filled else 'from scratch'}",
            )
    axes.set_xticks(study.added)
    axes.set_xlabel("Classes")
    axes.set_ylabel("Cosine of a layer's weights\nbefore and after")
    axes.set_xlim(study.added[0] - 0.5, study.added[-1] + 0.5)
    axes.set_ylim(top=1.02)
    _legend(axes, 3)


def _legend(axes: Axes, columns: int) -> None:
    """Above the axes, where it hides nothing."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)
