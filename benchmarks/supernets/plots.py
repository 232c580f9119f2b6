"""The pictures: searches over their epochs, and what was found by each method."""

from pathlib import Path

from matplotlib.figure import Figure

from bompnas.report import style
from supernets import cases, summary
from supernets.summary import HQNAS, MOBILENET, Study


def curves(found: Study, path: Path) -> None:
    """Accuracy and latency of the sampled networks over the epochs, one line a search, one colour a prior."""
    with style.context():
        figure = Figure(figsize=(7.6, 5.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        warm_up = found.of("prior")[0]["facts"]["warm_up"]
        for axes in (above, below):
            axes.axvspan(0.5, warm_up + 0.5, color=style.GRID, alpha=0.5, linewidth=0)
        below.annotate(
            "warm-up", (warm_up + 0.5, 0), (-5, 5), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="right", color=style.MUTED,
        )  # fmt: skip
        for number, prior in enumerate(cases.PRIORS):
            look = style.series(number)
            for place, row in enumerate(found.of("prior", prior)):
                for axes, name, factor in ((above, "val_accuracy", 100), (below, "latency_ms", 1)):
                    values = [factor * value for value in row["curves"][name]]
                    axes.plot(
                        range(1, len(values) + 1), values, color=look.colour, linewidth=1.2, alpha=0.85,
                        label=None if place else prior,
                    )  # fmt: skip
        learning = [value for row in found.of("prior") for value in row["curves"]["val_accuracy"][warm_up:]]
        above.set_ylim(100 * min(learning) - 5, 100)  # how the first epochs rise is of no interest
        above.set_ylabel("Accuracy of sampled networks [%]")
        below.set_ylabel("Latency of sampled networks [ms]")
        below.set_ylim(bottom=0)
        below.set_xlabel("Epoch")
        below.set_xlim(left=0)
        above.legend(loc="lower right")
        style.save_png(figure, path)


def trained(found: Study, path: Path) -> None:
    """All finally trained networks, test accuracy over latency, one colour a method."""
    series = {f"{HQNAS}, {prior}": found.of("prior", prior) for prior in cases.PRIORS}
    series |= {method: found.of("method", method) for method in cases.METHODS}
    with style.context():
        figure = Figure(figsize=(7.6, 4.8), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, rows) in enumerate(series.items()):
            networks = [network for row in rows for network in row["networks"]]
            if networks:
                look = style.series(number)
                axes.scatter(
                    *_places(networks),
                    s=30,
                    color=look.colour,
                    marker=look.marker,
                    alpha=0.75,
                    linewidths=0,
                    label=name,
                )
        decided = [network for prior in cases.PRIORS for network in found.decided(prior)]
        axes.scatter(
            *_places(decided), s=90, facecolors="none", edgecolors=style.INK, linewidths=0.9, label=f"{HQNAS}, decided"
        )
        if found.baselines:
            axes.scatter(
                *_places(found.baselines), s=60, color=style.INK, marker="*", linewidths=0, label=f"{MOBILENET}, 8 bits"
            )
            axes.axhline(100 * found.float_accuracy.value, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                f"{MOBILENET} in float", (1, 100 * found.float_accuracy.value), (0, 3), ha="right", color=style.MUTED,
                xycoords=("axes fraction", "data"), textcoords="offset points",
            )  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_xlabel("Latency [ms]")
        axes.set_ylabel("Test accuracy [%]")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        style.save_png(figure, path)


def _places(networks: list[summary.Row]) -> tuple[list[float], list[float]]:
    latencies = [network["latency_ms"] for network in networks]
    return latencies, [100 * network["metrics"]["test_accuracy"] for network in networks]
