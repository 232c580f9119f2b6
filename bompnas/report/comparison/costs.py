"""What the searches cost (BOMP-NAS, Table IV)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bompnas.candidate import Candidate, State
from bompnas.report import style
from bompnas.report.comparison.runs import Comparison, Member
from bompnas.report.figures import phase_colour, phase_names
from bompnas.report.quantities import time_unit
from bompnas.report.view import RunView
from bompnas.trials.record import Final


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run took. Seconds are those of the phases, of all workers together.

    Attributes:
        trials: Trials that were finished.
        trainings: Float trainings of the search.
        candidates: Candidates that were completed.
        failed: Candidates that failed.
        search: Seconds of the search by phase.
        final_trainings: Float trainings of the final training, which networks of one architecture share.
        final: Seconds of the final training by phase.
    """

    trials: int
    trainings: int
    candidates: int
    failed: int
    search: dict[str, float]
    final_trainings: int
    final: dict[str, float]

    @property
    def search_seconds(self) -> float:
        """Seconds of the search."""
        return sum(self.search.values())

    @property
    def final_seconds(self) -> float:
        """Seconds of the final training."""
        return sum(self.final.values())


def cost(view: RunView) -> Cost:
    """What a run has taken up to now."""
    pending = {candidate.trial for candidate in view.candidates if candidate.state is State.PENDING}
    phases = phase_names([*view.candidates, *view.trained])

    def by_phase(measured: Sequence[Candidate | Final]) -> dict[str, float]:
        totals = {phase: sum(item.seconds.get(phase, 0.0) for item in measured) for phase in phases}
        return {phase: total for phase, total in totals.items() if total}

    return Cost(
        trials=len({candidate.trial for candidate in view.candidates} - pending),
        trainings=_trainings(view.candidates),
        candidates=view.count(State.COMPLETED),
        failed=view.count(State.FAILED),
        search=by_phase(view.candidates),
        final_trainings=_trainings(view.finals),
        final=by_phase(view.finals),
    )


def cost_figure(comparison: Comparison) -> Figure | None:
    """Seconds of each phase: of a float training and its policies in the search, and of the whole run."""
    costs = {member: cost(member.view) for member in comparison.members}
    costs = {
        member: spent
        for member, spent in costs.items()
        if spent.search_seconds and (spent.trainings or member.view.supernet)
    }
    if not costs:
        return None
    phases = phase_names(
        [candidate for member in costs for candidate in (*member.view.candidates, *member.view.trained)]
    )
    figure = Figure(figsize=(7.6, 1.5 + 0.3 * len(costs)), layout="constrained")
    each, total = figure.subplots(1, 2, sharey=True)
    per_training = [
        {phase: seconds / spent.trainings for phase, seconds in spent.search.items()} if spent.trainings else {}
        for spent in costs.values()
    ]
    _draw_bars(each, per_training, phases, "Search, per float training")
    for row, spent in enumerate(costs.values()):
        if not spent.trainings:
            each.annotate(
                "one supernet", (0, row), xytext=(5, 0), textcoords="offset points", va="center", color=style.MUTED
            )
    whole = [
        {phase: spent.search.get(phase, 0.0) + spent.final.get(phase, 0.0) for phase in phases}
        for spent in costs.values()
    ]
    _draw_bars(total, whole, phases, "Search and final training")
    _label(each, list(costs))
    handles = [Patch(color=phase_colour(phases, phase), label=phase) for phase in phases]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
    return figure


def _trainings(measured: Sequence[Candidate | Final]) -> int:
    """Float trainings: their time is counted with the first of the candidates that share one."""
    return sum("train" in item.seconds for item in measured)


def _draw_bars(axes: Axes, rows: list[dict[str, float]], phases: list[str], title: str) -> None:
    unit, length = time_unit(max(sum(row.values()) for row in rows))
    left = np.zeros(len(rows))
    for phase in phases:
        widths = np.array([row.get(phase, 0.0) for row in rows]) / length
        axes.barh(range(len(rows)), widths, 0.72, left=left, color=phase_colour(phases, phase), linewidth=0)
        left += widths
    axes.set_title(title)
    axes.set_xlabel(f"Time [{unit}]")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _label(axes: Axes, members: list[Member]) -> None:
    axes.set_yticks(range(len(members)), [member.label for member in members])
    axes.set_ylim(len(members) - 0.4, -0.6)
