"""All figures of a run; here those of its course: score over trials, seconds of the phases."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from bompnas.candidate import Candidate, State
from bompnas.report import style
from bompnas.report.bits import bits_figure, policies_figure
from bompnas.report.layer_costs import best_roofline_figure, front_layers_figure, layers_figure
from bompnas.report.points import draw_candidates, draw_failed, focus
from bompnas.report.quantities import time_unit
from bompnas.report.search_plot import search_figure
from bompnas.report.supernet_plot import course_figure, decisions_figure
from bompnas.report.view import RunView

# Order in which phases follow each other in a trial; a phase that is not named here comes after them.
PHASES = ("search", "build", "train", "quantize", "qaft", "evaluate")


def draw(view: RunView) -> dict[str, Figure]:
    """All figures that the run has data for, by the name of their file, in the order of the page."""
    makers: dict[str, Callable[[RunView], Figure | None]] = {
        "search": search_figure,
        "course": course_figure,
        "decisions": decisions_figure,
        "bits": bits_figure,
        "policies": policies_figure,
        "layers": layers_figure,
        "front_layers": front_layers_figure,
        "roofline": best_roofline_figure,
        "score": score_figure,
        "seconds": seconds_figure,
    }
    drawn = {name: make(view) for name, make in makers.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def score_figure(view: RunView) -> Figure | None:
    """Every candidate's score and the best so far, in the order of sampling; None of a supernet, which has no order."""
    scored = [candidate for candidate in view.completed if candidate.score is not None]
    if not scored or view.supernet:
        return None
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    ids = np.array([candidate.id for candidate in scored])
    scores = np.array([candidate.score for candidate in scored])
    last = view.candidates[-1].id
    best = np.maximum.accumulate(scores)
    axes.step(
        [*ids, last], [*best, best[-1]], where="post", color=style.ACCENT, linewidth=1.8, zorder=2, label="best so far"
    )
    axes.set_ylim(focus(scores, best[-1:], maximize=True))
    draw_candidates(axes, ids, ids, scores, np.full(len(ids), 34.0), last)
    failed = [candidate.id for candidate in view.candidates if candidate.state is State.FAILED]
    draw_failed(axes, failed, failed)
    initial = view.experiment.get("method", {}).get("initial")
    if initial and initial < last:
        axes.axvspan(0.5, initial + 0.5, color=style.MUTED, alpha=0.1, linewidth=0, zorder=0, label="initial set")
    _set_order_axis(axes, last)
    axes.set_ylabel("Score, eq. (1)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def seconds_figure(view: RunView) -> Figure | None:
    """Seconds that each phase took, candidate by candidate, and in total for the search and the final training.

    Networks of a supernet share its search, so that only their final training is shown one by one.
    """
    timed = [candidate for candidate in view.candidates if candidate.seconds]
    single = [candidate for candidate in view.trained if candidate.seconds] if view.supernet else timed
    phases = phase_names([*timed, *view.trained])
    if not single or not phases:
        return None
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    each, total = figure.subplots(1, 2, width_ratios=(4, 1.15))
    _draw_stack(each, [candidate.id for candidate in single], single, phases)
    _set_order_axis(each, view.candidates[-1].id)
    if view.supernet:
        each.set_xlabel("Candidate")
    each.set_ylabel(f"Time of a {'final training' if view.supernet else 'candidate'} [s]")
    _draw_totals(total, view, timed, phases)
    handles = [Patch(color=phase_colour(phases, phase), label=phase) for phase in phases]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    return figure


def phase_names(candidates: Sequence[Candidate]) -> list[str]:
    """Names of the phases that took time, in their order within a trial."""
    found = _in_order(phase for candidate in candidates for phase in candidate.seconds)
    return sorted(found, key=lambda phase: PHASES.index(phase) if phase in PHASES else len(PHASES))


def _set_order_axis(axes: Axes, last: int) -> None:
    """Candidates from left to right, with room for at least six."""
    axes.set_xlim(0.4, max(last, 6) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, steps=(1, 2, 5, 10), min_n_ticks=1))
    axes.set_xlabel("Candidate, in order of sampling")


def _draw_stack(axes: Axes, places: Sequence[float], candidates: Sequence[Candidate], phases: Sequence[str]) -> None:
    """Stacked bars, one polygon a phase however many candidates there are."""
    edges = np.add.outer(np.asarray(places, dtype=np.float64), [-0.4, -0.4, 0.4, 0.4]).ravel()
    bottom = np.zeros(len(places))
    for phase in phases:
        top = bottom + [candidate.seconds.get(phase, 0.0) for candidate in candidates]
        heights = [np.outer(level, [0, 1, 1, 0]).ravel() for level in (bottom, top)]
        axes.fill_between(edges, *heights, color=phase_colour(phases, phase), linewidth=0)
        bottom = top
    axes.set_ylim(0, 1.06 * bottom.max() or 1.0)
    axes.grid(visible=False, axis="x")


def _draw_totals(axes: Axes, view: RunView, timed: Sequence[Candidate], phases: Sequence[str]) -> None:
    parts = {"search": timed, "final": view.trained} if view.trained else {"search": timed}
    sums = {
        part: {phase: sum(candidate.seconds.get(phase, 0.0) for candidate in chosen) for phase in phases}
        for part, chosen in parts.items()
    }
    longest = max(sum(part.values()) for part in sums.values())
    unit, length = time_unit(longest)
    for place, part in enumerate(sums.values()):
        bottom = 0.0
        for phase in phases:
            height = part[phase] / length
            axes.bar(place, height, 0.7, bottom, color=phase_colour(phases, phase), linewidth=0)
            bottom += height
    axes.set_xticks(range(len(sums)), list(sums))
    axes.set_xlim(-0.6, len(sums) - 0.4)
    axes.set_ylabel(f"Total [{unit}]")
    axes.grid(visible=False, axis="x")


def phase_colour(phases: Sequence[str], phase: str) -> str:
    """Colour of one of the phases."""
    return style.CATEGORIES[phases.index(phase) % len(style.CATEGORIES)]


def _in_order(names: Iterable[str]) -> list[str]:
    """Distinct names in the order of their first appearance."""
    return list(dict.fromkeys(names))
