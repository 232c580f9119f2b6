"""The page: one HTML file without scripts or anything from elsewhere."""

import datetime
from collections.abc import Mapping
from html import escape

import yaml

import bompnas
from bompnas.report import supernet_tables, tables
from bompnas.report.stylesheet import STYLESHEET
from bompnas.report.view import RunView

_SECTIONS = {
    "search": (
        "Search",
        "Every blob is a candidate: the larger, the larger its packed size; the lighter, the later it was sampled. "
        "Candidates on one dotted line have the same score. Red rings mark the front as the search measured it; a red "
        "line leads from each to the finally trained network. Point at a blob for its numbers, click for its row.",
    ),
    "course": (
        "Course of the search",
        "What the networks that were sampled in an epoch reached in the supernet on average, what they cost, the "
        "reward, and the supernet's training loss. Dashed: the thresholds that the search is to keep to. Shaded: the "
        "warm-up, in which there is no reward yet.",
    ),
    "decisions": (
        "Decisions",
        "How probable every choice was, epoch by epoch: a row for each value, part by part from the input to the "
        "output.",
    ),
    "bits": (
        "Bit-widths by kind of layer",
        "How many of the weights have which bit-width, for every network of the front, smallest on top.",
    ),
    "policies": (
        "Bit-widths layer by layer",
        "Weight bits of every layer of the front's networks. Repetitions of a block share a column (their mean where "
        "they differ); a dot means that the network has no such layer.",
    ),
    "layers": (
        "Cost by layer",
        "What every layer of the network with the best score costs, in the order of execution; above the bars the bits "
        "of its weights.",
    ),
    "front_layers": (
        "Cost by layer of the other networks",
        "The same of the front's other networks, smallest first; where they are many, of some of them.",
    ),
    "roofline": (
        "Roofline",
        "How fast the layers of the network with the best score run, over their operations per byte of traffic: below "
        "the slope the bandwidth is the limit, below the flat part the multipliers. Hollow: the same layers with "
        "weights of 8 bits.",
    ),
    "score": ("Score", "The score of every candidate, eq. (1), and the best up to then."),
    "seconds": ("Time", "What each phase took, candidate by candidate, and in total."),
}

_SUPERNET = (
    "Every blob is a network with the weights of the supernet: the larger, the larger its packed size. The square is "
    "the one that the search decided for, the others were sampled last. "
)
"""What the caption of the search plot says of networks that share their weights, in place of its first sentences."""

_RELOAD = 30  # [s]


def render(view: RunView, figures: Mapping[str, str], drawn: datetime.datetime | None = None) -> str:
    """The whole page.

    Args:
        view: The run.
        figures: SVG elements by name, those that there are.
        drawn: When it was drawn, of a run that goes on; None of one that nobody is carrying out.
    """
    shown = {name: _section(view, name, svg) for name, svg in figures.items()}
    front = ""
    if view.front:
        when = "after final training (grey: during the search)" if view.trained else "as the search measured it"
        front = (
            f'<section id="front"><h2>Front</h2><p class="note">The best trade-offs {when}, smallest network first. '
            f"{'Networks in grey are dominated after final training. ' if _some_dominated(view) else ''}"
            f"{'Bold: the best of a column.' if len(view.front) > 1 else ''}</p>{tables.front_table(view)}</section>"
        )
    nothing = (
        "The search has not come to its networks yet." if view.supernet else "No candidate has been completed yet."
    )
    empty = "" if view.completed else f"<section><p>{nothing}</p></section>"
    status = (
        '<span class="badge">finished</span>' if view.finished else '<span class="badge running">not finished</span>'
    )
    reload = snapshot = ""
    if drawn is not None:
        reload = f'\n<meta http-equiv="refresh" content="{_RELOAD}">'
        snapshot = f'\n<p class="note">{escape(_snapshot(view, drawn))}</p>'
        status = '<span class="badge running">running</span>'
    experiment = yaml.safe_dump(dict(view.experiment), sort_keys=False, allow_unicode=True)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">{reload}
<meta name="generator" content="bompnas {escape(bompnas.__version__)}">
<title>{escape(view.name)} · bompnas</title>
<style>{STYLESHEET}</style>
</head>
<body>
<main>
<header>
<h1>{escape(view.name)}{status}</h1>
<p class="subtitle">{escape(_subtitle(view))}</p>{snapshot}
</header>
{tables.cards(view)}
{empty}{shown.pop("search", "")}
{front}{_files(view)}
{"".join(shown.values())}
<section id="summary"><h2>Run</h2>{tables.summary(view)}
<p class="note">Hypervolume is taken in the plane of the score's terms, from the origin: more is better, comparable
between runs with the same objectives and references. Times are summed over all workers.</p></section>
{_candidates(view)}
<section id="experiment"><details><summary>Experiment</summary>
<pre><code>{escape(experiment)}</code></pre></details></section>
<footer>bompnas {escape(bompnas.__version__)}</footer>
</main>
</body>
</html>
"""


def describe(name: str) -> str:
    """What a figure shows, in one sentence."""
    return _SECTIONS[name][0] + ": " + _SECTIONS[name][1].split(". ")[0].rstrip(".") + "."


def _section(view: RunView, name: str, svg: str) -> str:
    title, caption = _SECTIONS[name]
    if name == "search" and view.supernet:
        caption = _SUPERNET + caption[caption.index("Candidates on") :]
    if name == "seconds" and view.supernet:
        caption = "What each phase of the final trainings took, and the search and they in total."
    if name == "decisions" and view.decided is not None:
        caption += (
            " Triangles: what the decided network has. Bits are decided step by step, so that of three values it need "
            "not be the most probable one."
        )
    caption += _of_device(view, name)
    return (
        f'<section id="{name}"><h2>{title}</h2><figure><div class="scroll">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>{_more(view, name)}</section>"
    )


def _more(view: RunView, name: str) -> str:
    """What stands below a figure."""
    if name != "decisions" or not view.candidates:
        return ""
    decided = supernet_tables.decided_table(view)
    return (
        f"<h3>The decided network, with the last probabilities</h3>{decided}" if decided else ""
    ) + f"<h3>Decided and sampled networks</h3>{supernet_tables.networks_table(view)}"


def _of_device(view: RunView, name: str) -> str:
    """What a caption adds about the device."""
    if name != "layers" or view.device is None:
        return ""
    if view.device.model is None:
        return f" What layers cost on {view.device.text} is not known from the record; size and operations are counted."
    return f" For a batch on {view.device.text}."


def _files(view: RunView) -> str:
    if not view.exports:
        return ""
    images = max(export.images for export in view.exports)
    note = (
        "What the finally trained networks became: packed integers and LiteRT models. Keras, an integer emulator and "
        f"LiteRT were compared on {images:,} test images: the share on which all agree, and the largest difference of "
        "an output."
    )
    timed = next((export.latency for export in view.exports if export.latency), None)
    if timed:
        note += (
            f" Latency of one image: median of {timed['repetitions']} runs, in brackets the 10th and 90th percentile; "
            f"LiteRT with {timed['threads']} thread{'s' * (timed['threads'] > 1)} on {timed['cpu']}."
        )
    return (
        f'<section id="files"><h2>Integer files</h2><p class="note">{escape(note)}</p>{tables.files_table(view)}'
        "</section>"
    )


def _candidates(view: RunView) -> str:
    if not view.candidates:
        return ""
    return (
        f'<section id="candidates"><details><summary>All {len(view.candidates)} candidates</summary>'
        f"{tables.candidates_table(view)}</details></section>"
    )


def _subtitle(view: RunView) -> str:
    experiment = view.experiment
    parts = [
        f"search by {name}" if (name := experiment.get("method", {}).get("name")) else None,
        f"on {data}" if (data := experiment.get("data", {}).get("dataset")) else None,
    ]
    return "Mixed-precision network " + " ".join(part for part in parts if part) if any(parts) else ""


def _snapshot(view: RunView, drawn: datetime.datetime) -> str:
    finals = f" and {len(view.finals)} of {len(view.chosen)} final trainings" if view.finals else ""
    return (
        f"As of {drawn:%Y-%m-%d %H:%M:%S %Z}: {view.progress}{finals}. This page reloads itself while the run goes on."
    )


def _some_dominated(view: RunView) -> bool:
    return len(view.trained_front) < len(view.trained)
