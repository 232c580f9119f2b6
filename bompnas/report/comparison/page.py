"""The comparison page: one HTML file without scripts or anything from elsewhere."""

from collections.abc import Callable, Mapping
from html import escape

import bompnas
from bompnas.report import style
from bompnas.report.comparison import devices, tables
from bompnas.report.comparison.costs import cost
from bompnas.report.comparison.fronts import published_networks
from bompnas.report.comparison.runs import Comparison
from bompnas.report.quantities import quantity
from bompnas.report.stylesheet import STYLESHEET
from bompnas.report.view import RunView

_SECTIONS = {
    "search": (
        "Fronts of the searches",
        "Every run's front as its search measured it; all its candidates faintly behind. Point at a network for its "
        "numbers, click for its row.",
    ),
    "final": (
        "Fronts after final training",
        "Every run's front after final training; faint: finally trained networks that others of their run dominate.",
    ),
    "hypervolume": (
        "Hypervolume",
        "How much of the plane of the score's terms a run's candidates dominate, over the float trainings and over "
        "the computing time of its search. More is better.",
    ),
    "score": ("Best score", "The best score so far, eq. (1), over the float trainings and over the computing time."),
    "bits": (
        "Bit-widths of the fronts",
        "How many of the layers, and of the weights, have which bit-width, by kind of layer. Every network of a "
        "front counts alike.",
    ),
    "cost": (
        "Search cost",
        "What each phase took: of one float training with all its policies, and in total with the final training.",
    ),
}


def render(comparison: Comparison, figures: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        comparison: The runs.
        figures: SVG elements by name, those that there are.
    """
    sections = {name: _figure(comparison, name, svg) for name, svg in figures.items()}
    settings = tables.settings_table(comparison)
    different = (
        f'<section id="settings"><h2>What differs</h2><p class="note">Settings of the experiments, the search space\'s '
        f"contents and the packages' versions, where they are not the same.</p>{settings}</section>"
        if settings
        else ""
    )
    costs = (
        f'<section id="costs"><h2>{_SECTIONS["cost"][0]}</h2><p class="note">A trial is one float training, however '
        "many policies it is quantized by; what its policies share is counted once. Times are those of the phases, "
        "summed over all workers, without the choice of the networks, and compare on one machine only.</p>"
        f"{tables.cost_table(comparison)}{sections.pop('cost', '')}</section>"
    )
    fronts = ""
    if any(member.view.front for member in comparison.members):
        fronts = (
            '<section id="fronts"><details><summary>Networks of all fronts</summary><p class="note">Smallest first; '
            "with the values of the final training where there was one. Grey: not on its run's last front, or "
            f"dominated by a network of another run.</p>{tables.fronts_table(comparison)}</details></section>"
        )
    count = len(comparison.members)
    title = f"Comparison of {count} runs"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="bompnas {escape(bompnas.__version__)}">
<title>{title} · bompnas</title>
<style>{STYLESHEET}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p class="subtitle">{escape(_subtitle(comparison))}</p>
</header>
<section id="results"><h2>Results</h2><p class="note">{_results_note(comparison)}</p>
{tables.results_table(comparison)}{_notes(comparison)}</section>
{sections.pop("search", "")}
{sections.pop("final", "")}
{"".join(sections.values())}
{_devices(comparison)}
{costs}
{_published(comparison)}
{different}
{fronts}
<footer>bompnas {escape(bompnas.__version__)}</footer>
</main>
</body>
</html>
"""


def describe(name: str) -> str:
    """What a figure shows, in one sentence."""
    return _SECTIONS[name][0] + ": " + _SECTIONS[name][1].split(". ")[0].rstrip(".") + "."


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know of single runs before comparing them."""
    found = []
    if comparison.rescored:
        references = ", ".join(f"{item.name} {item.reference:g}" for item in comparison.objectives)
        found.append(
            f"The runs have different references; all scores and hypervolumes here are taken with those of "
            f"{comparison.members[0].label} ({references})."
        )
    for text, remark in _REMARKS.items():
        remarks = [(member.label, remark(member.view)) for member in comparison.members]
        told = [f"{label} ({more})" if more else label for label, more in remarks if more is not None]
        if told:
            found.append(f"{text}: {', '.join(told)}.")
    if len(comparison.series) > len(style.SERIES):
        found.append(f"With more than {len(style.SERIES)} experiments colours repeat; the markers tell them apart.")
    return found


def _empty(view: RunView) -> str | None:
    return None if view.completed else ""


def _unfinished(view: RunView) -> str | None:
    if view.finished or not view.completed:
        return None
    planned = view.experiment.get("method", {}).get("trials")
    if view.supernet:
        return f"{view.progress}, {len(view.trained)} of {len(view.chosen)} networks finally trained"
    trials = f"{cost(view).trials} of {planned} trials" if planned else f"{cost(view).trials} trials"
    return f"{trials}, {len(view.trained)} of {len(view.front)} of the front finally trained"


def _policies(view: RunView) -> str | None:
    trials = {candidate.trial for candidate in view.candidates}
    several = len(view.candidates) > len(trials) and not view.supernet
    return f"{len(view.candidates)} candidates of {len(trials)} float trainings" if several else None


def _supernet(view: RunView) -> str | None:
    return f"{len(view.candidates)} candidates" if view.supernet and view.candidates else None


def _workers(view: RunView) -> str | None:
    workers = view.experiment.get("workers", 1)
    return str(workers) if workers > 1 else None


def _quantized_afterwards(view: RunView) -> str | None:
    return "" if view.experiment.get("quantization", {}).get("mode") == "none" else None


# What is said of the runs that a remark is not None for; it stands behind their names.
_REMARKS: dict[str, Callable[[RunView], str | None]] = {
    "Nothing completed yet, therefore in tables only": _empty,
    "Not finished": _unfinished,
    "Several policies of each float training, every one a candidate": _policies,
    "Networks of one supernet, known only at the end of its search and measured with the weights that they share": (
        _supernet
    ),
    "Several workers, whose times are summed, though the wall clock ran faster": _workers,
    "Quantized after the search, with the scores of the quantized networks here": _quantized_afterwards,
}


def _figure(comparison: Comparison, name: str, svg: str) -> str:
    title, caption = _SECTIONS[name]
    figure = (
        f'<figure><div class="scroll">{svg}</div>'
        f"<figcaption>{escape(caption + _more(comparison, name))}</figcaption></figure>"
    )
    return figure if name == "cost" else f'<section id="{name}"><h2>{title}</h2>{figure}</section>'


def _more(comparison: Comparison, name: str) -> str:
    """What a caption adds for these runs."""
    text = ""
    if name in ("hypervolume", "score") and any(len(series.members) > 1 for series in comparison.series):
        text += " Seeds of one experiment: line their mean, band their range, as far as all of them have come."
    if name in ("hypervolume", "score") and any(member.view.supernet for member in comparison.members):
        text += " The networks of a supernet come all at the end of its search: one mark, over the time alone."
    if name == "final":
        if comparison.final_plane.key != comparison.plane.key:
            text += " Networks were chosen on validation data and are shown by what they reach on test data."
        if comparison.dataset in ("cifar10", "cifar100"):
            text += _published_caption(comparison)
    return text


def _published_caption(comparison: Comparison) -> str:
    sizes = [candidate.cost["size_bits"] / 8000 for member in comparison.members for candidate in member.view.trained]
    if published_networks(comparison, min(sizes), max(sizes)):
        return (
            " Hollow marks: networks of about these sizes from Table II of BOMP-NAS; sizes are as published, and may "
            "not count scales and biases as ours do."
        )
    return (
        " Networks of the papers are not shown: they compare with test accuracies of networks of about their size "
        "that were trained on the whole data set."
    )


def _devices(comparison: Comparison) -> str:
    crossed = devices.cross_table(comparison)
    if crossed is None:
        return ""
    items = "".join(f"<li>{escape(device.text)}</li>" for device in devices.devices(comparison))
    return (
        '<section id="devices"><h2>Networks on each other\'s devices</h2><p class="note">The network with the best '
        "score of every run, priced on the devices of all runs; bold: on the device that it was searched for. Costs "
        f'are those of a whole batch.</p>{crossed}<ul class="notes note">{items}</ul></section>'
    )


def _published(comparison: Comparison) -> str:
    found = tables.published_tables(comparison)
    if not found:
        return ""
    return (
        '<section id="published"><details><summary>Published numbers</summary><p class="note">As the BOMP-NAS paper '
        "reports them (Tables II, III and IV): other hardware, other counts of a model's size, and settings that the "
        f"paper does not all give.</p>{found}</details></section>"
    )


def _notes(comparison: Comparison) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes(comparison))
    return f'<ul class="notes note">{items}</ul>' if items else ""


def _results_note(comparison: Comparison) -> str:
    seeds = any(len(series.members) > 1 for series in comparison.series)
    mean = " Seeds of one experiment stand below their mean and range." if seeds else ""
    return (
        "Hypervolume is taken in the plane of the score's terms, from the origin: more is better. It is given where "
        f"all runs have come to, so that none wins by a larger budget.{mean}"
    )


def _subtitle(comparison: Comparison) -> str:
    plane = comparison.plane
    label = quantity(plane.key).axis_label.partition(" [")[0]
    return f"{label} and {plane.cost.label} on {comparison.data}"
