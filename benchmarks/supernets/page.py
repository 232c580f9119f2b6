"""The page of results."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from end_to_end import machine
from exporting.markdown import table

from supernets import cases, plots, summary
from supernets.summary import HQNAS, MOBILENET, Mean, Row, Study

MINUTES, ACCURACY = 6.0, 0.96
"""What is asked for: of a search, and of what it decides."""


def write(work: Path, rows: Sequence[Row]) -> Path:
    """Writes the page of rows, and its pictures, beside their folder; returns the page's path."""
    target, found = work.parent / "hqnas.md", Study(rows)
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# HQNAS on digits", "", f"`python benchmarks/hqnas.py` on {machine()}; every search has one thread."]
    lines += [
        "",
        "± is the standard deviation between seeds. Rewards are eqs. (2) and (3) of the test accuracy. Times of "
        "searches are CPU seconds of their one thread, which others that use the machine do not change.",
    ]
    for part, title, show in (
        ("prior", "Two priors", lambda: _priors(found, target)),
        ("prior", "Fresh and inherited weights", lambda: _weights(found)),
        ("method", "Other methods at equal time", lambda: _methods(found, target)),
        ("device", "Two devices", lambda: _devices(found, "device")),
        ("tight", "Two devices, tight limits", lambda: _devices(found, "tight")),
        ("variant", "Other settings", lambda: _variants(found)),
    ):
        lines += ["", f"## {title}", "", *(show() if found.of(part) else ["Not measured."])]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _priors(found: Study, page: Path) -> Iterator[str]:
    picture = page.with_name("hqnas_priors.png")
    plots.curves(found, picture)
    rows = found.of("prior")
    facts, slowest = rows[0]["facts"], max(row["wall"] for row in rows)
    networks = {prior: found.decided(prior) for prior in cases.PRIORS if found.of("prior", prior)}
    yield (
        f"`{cases.EXPERIMENT.relative_to(cases.ROOT)}`, {facts['epochs']} epochs on {facts['images']:,} training "
        f"images, {len(found.of('prior', next(iter(networks))))} seeds. What the thresholds decided:"
    )
    yield ""
    yield from table(
        (
            "prior",
            "mu",
            "latency [ms]",
            "packed [kB]",
            "accuracy in the supernet [%]",
            "test accuracy [%]",
            "search, CPU [s]",
        ),
        [
            (
                prior,
                cases.PRIORS[prior],
                Mean.of(each["latency_ms"] for each in decided).text(4),
                Mean.of(each["size_kb"] for each in decided).text(2),
                Mean.of(each["searched_val_accuracy"] for each in decided).text(2, 100),
                summary.accuracy(decided).text(2, 100),
                Mean.of(row["seconds"] for row in found.of("prior", prior)).text(0),
            )
            for prior, decided in networks.items()
        ],
    )
    yield ""
    yield from table(
        ("prior", "groups of 5", "mean kernel", "mean expansion", "mean bits"),
        [(prior, *_shape(decided)) for prior, decided in networks.items()],
    )
    image = 100 / facts["test_images"]
    deviation = image * (ACCURACY * (1 - ACCURACY) * facts["test_images"]) ** 0.5
    latencies = [[each["latency_ms"] for each in decided] for decided in networks.values()]
    lowest = min(each["metrics"]["test_accuracy"] for decided in networks.values() for each in decided)
    yield ""
    if len(latencies) > 1:
        factor = summary.Mean.of(latencies[0]).value / summary.Mean.of(latencies[1]).value
        order = "do not overlap" if summary.apart(*latencies) else "overlap"
        yield f"Mean latencies differ by a factor of {factor:.2f}, and the ranges of the seeds {order}."
    yield (
        f"The slowest search took {slowest / 60:.1f} min of wall time (asked: less than {MINUTES:.0f}), the least "
        f"accurate decided network has {100 * lowest:.2f} % (asked: {100 * ACCURACY:.0f}). One of the "
        f"{facts['test_images']} test images is {image:.2f} %, and the standard error of a single accuracy of "
        f"{100 * ACCURACY:.0f} % is {deviation:.1f} %, everywhere on this page."
    )
    yield from ("", f"![Accuracy and latency over the epochs]({picture.name})")


def _shape(networks: Sequence[Row]) -> tuple[str, ...]:
    described = (summary.groups_of, summary.kernel_of, summary.expansion_of, summary.bits_of)
    return tuple(describe(networks).text(1) for describe in described)


def _weights(found: Study) -> Iterator[str]:
    yield "Test accuracy [%] of the decided networks of both priors, trained for so many epochs and fine-tuned:"
    yield ""
    rows = []
    for epochs in found.epochs:
        fresh, inherited, difference = found.inherited(epochs)
        shown = "" if difference is None else f"{100 * difference.value:+.2f} ± {100 * difference.error:.2f}"
        rows.append((epochs, fresh.text(2, 100), inherited.text(2, 100), shown))
    yield from table(("epochs", "fresh", "inherited", "inherited - fresh, paired, ± standard error"), rows)


def _methods(found: Study, page: Path) -> Iterator[str]:
    picture = page.with_name("hqnas_methods.png")
    plots.trained(found, picture)
    trials = yaml.safe_load(cases.TRIALS.read_text(encoding="utf-8"))
    training = trials["training"]
    yield (
        f"`random` and `bomp` search by trials of {training['epochs']} + {training['qaft_epochs']} epochs, as in "
        f"`{cases.TRIALS.relative_to(cases.ROOT)}`, with the objectives accuracy and latency, for as long as the "
        "searches of a supernet with the same seed took on average. One such search serves both priors; hqnas searches "
        f"once for each. The first {trials['method']['initial']} trials of `bomp` are its start, before there is a "
        "surrogate."
    )
    yield ""
    searches = [("prior", prior, f"{HQNAS}, {prior}") for prior in cases.PRIORS]
    searches += [("method", method, method) for method in cases.METHODS]
    yield from table(
        ("search", "search, CPU [s]", "trials", "finally trained", "hypervolume [%]"),
        [
            (
                shown,
                Mean.of(row["seconds"] for row in rows).text(0),
                Mean.of(len(row["trials"]) for row in rows).text(1) if part == "method" else "1 supernet",
                Mean.of(len(row["networks"]) for row in rows).text(1),
                found.hypervolumes(part, name).text(1, 100),
            )
            for part, name, shown in searches
            if (rows := found.of(part, name))
        ],
    )
    yield ""
    yield (
        f"Hypervolume: of the finally trained networks in test accuracy and latency, as a share of what is above "
        f"{100 * summary.WORST_ACCURACY:.0f} % and faster than {MOBILENET} with 8 bits."
    )
    for prior in cases.PRIORS:
        yield from ("", f"### {prior.capitalize()}, mu = {cases.PRIORS[prior]}", "", *_compared(found, prior))
    yield ""
    yield (
        "Best: of each search the finally trained network of the largest reward on the validation part. What is "
        "finally trained is the front of what the search saw: by the accuracy in the supernet with hqnas, with the "
        f"others by that of their short trainings. {MOBILENET} is the "
        f"space's seed network: kernel 3, expansion 6, nothing skipped; errors are compared with its mean one in float."
    )
    yield from ("", f"![All finally trained networks]({picture.name})")


def _compared(found: Study, prior: str) -> list[str]:
    baselines = found.baselines
    size = Mean.of(row["float_size_kb"] for row in found.of("baseline"))
    compared = {f"{MOBILENET}, 8 bits": baselines, f"{HQNAS}, decided": found.decided(prior)}
    compared[f"{HQNAS}, decided, weights inherited"] = found.trainings(prior, "inherited", max(found.epochs))
    compared |= {f"{method}, best": found.best(method, prior) for method in (HQNAS, *cases.METHODS)}
    rows = [(f"{MOBILENET}, float", f"{size.value:.2f}", "", found.float_accuracy.text(2, 100), "", "")]
    rows += [
        (
            name,
            Mean.of(each["size_kb"] for each in networks).text(2),
            Mean.of(each["latency_ms"] for each in networks).text(4),
            summary.accuracy(networks).text(2, 100),
            f"{100 * found.error_difference(networks):+.2f}",
            summary.reward(networks, prior).text(2),
        )
        for name, networks in compared.items()
        if networks
    ]
    difference = f"error compared to {MOBILENET}"
    return table(("network", "size [kB]", "latency [ms]", "test accuracy [%]", difference, "reward"), rows)


def _devices(found: Study, part: str) -> Iterator[str]:
    limits = {device: row["on"][device]["limit_ms"] for row in found.of(part) for device in cases.DEVICES}
    yield (
        f"Searches for accuracy within a limit on the latency, which {100 * cases.LIMITS[part]:.0f} % of random "
        "networks of the space keep: "
        + ", ".join(f"{limit:g} ms on `{device}`" for device, limit in limits.items())
        + ". What is above the limit counts in percent of it against the accuracy in percent, what is below counts "
        f"nothing ({', '.join(f'`{override}`' for override in cases.LIMITED)}). Decided networks, finally trained:"
    )
    yield ""
    headings = [heading for device in cases.DEVICES for heading in (f"{device} [ms]", f"reward on {device}")]
    rows = []
    for searched in cases.DEVICES:
        own = found.of(part, searched)
        cells = [
            cell
            for device in cases.DEVICES
            for cell in (
                Mean.of(row["on"][device]["latency_ms"] for row in own).text(4),
                Mean.of(row["on"][device]["reward"] for row in own).text(2),
            )
        ]
        networks = [row["networks"][0] for row in own]
        rows.append((f"`{searched}`", *cells, summary.accuracy(networks).text(2, 100), *_shape(networks)))
    shape = ("groups of 5", "mean kernel", "mean expansion", "mean bits")
    yield from table(("searched for", *headings, "test accuracy [%]", *shape), rows)
    yield ""
    for device in cases.DEVICES:
        faster, better, pairs = found.wins(part, device)
        yield (
            f"On `{device}` the network searched for it is the faster one in {faster} of {pairs} pairs of one seed, "
            f"and has the larger reward in {better}."
        )


def _variants(found: Study) -> Iterator[str]:
    first = next(iter(cases.PRIORS))
    yield f"Searches with one setting changed, {first}; their decided networks, finally trained:"
    yield ""
    searches = {cases.AS_IT_IS: found.of("prior", first)} | {name: found.of("variant", name) for name in cases.VARIANTS}
    yield from table(
        ("search", "seeds", "latency [ms]", "test accuracy [%]", "reward", "search, CPU [s]"),
        [
            (
                name,
                len(rows),
                Mean.of(each["latency_ms"] for each in decided).text(4),
                summary.accuracy(decided).text(2, 100),
                summary.reward(decided, first).text(2),
                Mean.of(row["seconds"] for row in rows).text(0),
            )
            for name, rows in searches.items()
            if (decided := [row["networks"][0] for row in rows])
        ],
    )
