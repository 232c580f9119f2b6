"""Tables of the comparison page, as HTML."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from bompnas import pareto
from bompnas.candidate import Candidate
from bompnas.report.comparison.costs import cost
from bompnas.report.comparison.course import at
from bompnas.report.comparison.legend import mark
from bompnas.report.comparison.runs import Comparison, Member, Series, front
from bompnas.report.published import COSTS, NETWORKS
from bompnas.report.quantities import DASH, Quantity, duration, quantity
from bompnas.report.tables import cell, extra_costs, mean_bits, measured_keys, table
from bompnas.report.view import RunView
from bompnas.trials.events import SEARCH

_SCORE = quantity("score")
_MOST_SETTINGS = 24


@dataclasses.dataclass(frozen=True)
class _Column:
    """A number of every run; None where it has none."""

    head: str
    value: Callable[[Member], float | None]
    text: Callable[[float | None], str]


def results_table(comparison: Comparison) -> str:
    """What every run has come to; seeds of one experiment below their mean and range."""
    searched, final = quantity(comparison.plane.key), quantity(comparison.final_plane.key)
    columns = [_Column(f"Best {searched.label} of the search{_unit(searched)}", _best(comparison), searched.number)]
    if any(member.view.trained for member in comparison.members):
        best = _best(comparison, trained=True)
        columns.append(
            _Column(
                f"{final.axis_label.partition(' [')[0]} of the finally trained best{_unit(final)}", best, final.number
            )
        )
    columns.append(_Column("Best score of the search", _best_score, _SCORE.number))
    columns += _hypervolumes(comparison)
    joint = {
        member.anchor: sum(anchor == member.anchor for anchor, _ in comparison.joint_front)
        for member in comparison.members
    }

    def row(member: Member, kind: str) -> str:
        share = f"{joint[member.anchor]} of {len(front(member.view))}" if front(member.view) else DASH
        cells = [cell(escape(column.text(column.value(member)))) for column in columns]
        return f'<tr id="{member.anchor}" class="{kind}">{_label(comparison, member)}{"".join(cells)}{cell(share)}</tr>'

    rows = []
    for series in comparison.series:
        if len(series.members) > 1:
            cells = "".join(_mean(column, series) for column in columns)
            rows.append(f'<tr class="mean">{_named(series.number, series.label)}{cells}{cell("")}</tr>')
        rows += [row(member, "member" if len(series.members) > 1 else "single") for member in series.members]
    return table(["Runs", *(column.head for column in columns), "Front not dominated by other runs"], rows)


def settings_table(comparison: Comparison) -> str | None:
    """The settings in which the experiments differ; None where there is but one."""
    if len(comparison.series) < 2:
        return None
    flats = [_flat(_described(series.views[0])) for series in comparison.series]
    keys = [
        key
        for key in dict.fromkeys(key for flat in flats for key in flat)
        if len({str(flat.get(key)) for flat in flats}) > 1
    ]
    rows = [
        f'<tr><th scope="row"><code>{escape(key)}</code></th>'
        + "".join(cell(escape(str(flat.get(key, DASH)))) for flat in flats)
        + "</tr>"
        for key in keys[:_MOST_SETTINGS]
    ]
    if len(keys) > _MOST_SETTINGS:
        rows.append(f'<tr><th scope="row">and {len(keys) - _MOST_SETTINGS} more</th>{cell("") * len(flats)}</tr>')
    heads = "".join(f'<th scope="col">{mark(series.number)}{escape(series.label)}</th>' for series in comparison.series)
    return (
        f'<div class="scroll"><table class="settings"><thead><tr><th scope="col">Setting</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def cost_table(comparison: Comparison) -> str:
    """What every run has taken (BOMP-NAS, Table IV)."""
    costs = {member.anchor: cost(member.view) for member in comparison.members}
    phases = list(dict.fromkeys(phase for spent in costs.values() for phase in spent.search))
    rows = []
    for member in comparison.members:
        spent = costs[member.anchor]
        trials = (DASH, DASH) if member.view.supernet else (str(spent.trials), str(spent.trainings))
        cells = [
            *trials,
            str(spent.candidates),
            str(spent.failed),
            _duration(spent.search_seconds),
            _duration(spent.search_seconds / spent.trainings if spent.trainings else None),
            _duration(spent.search_seconds / spent.candidates if spent.candidates else None),
            str(spent.final_trainings),
            _duration(spent.final_seconds),
            f"{(spent.search_seconds + spent.final_seconds) / 3600:.3g}",
            *(_duration(spent.search.get(phase)) for phase in phases),
        ]
        rows.append(f"<tr>{_label(comparison, member)}{''.join(map(cell, cells))}</tr>")
    heads = [
        "Runs", "Trials", "Float trainings", "Candidates", "Failed", "Search", "per float training", "per candidate",
        "Final float trainings", "Final training", "In total [h]",
        *("supernet" if phase == SEARCH else f"{phase} of the search" for phase in phases),
    ]  # fmt: skip
    return table([head.replace("qaft", "QAFT") for head in heads], rows)


def published_tables(comparison: Comparison) -> str:
    """What the papers report for the same data set; empty for others than CIFAR."""
    networks, costs = NETWORKS.get(comparison.dataset, ()), COSTS.get(comparison.dataset, ())
    if not networks:
        return ""
    shown = [
        f"<tr>{cell(escape(item.method))}{cell(f'{100 * item.accuracy:.2f}')}{cell(f'{item.kilobytes:,.2f}')}</tr>"
        for item in sorted(networks, key=lambda item: item.kilobytes)
    ]
    spent = [
        f"<tr>{cell(escape(item.method))}{cell(f'{item.hours:g}')}{cell(item.table)}</tr>"
        for item in sorted(costs, key=lambda item: item.hours)
    ]
    return (
        table(["Method (Table II)", "Test accuracy [%]", "Model size [kB]"], shown)
        + "<br>"
        + table(["Search cost", "GPU hours for each deployment scenario", "Table"], spent)
    )


def fronts_table(comparison: Comparison) -> str:
    """The networks of all fronts, smallest first; grey where one of another run dominates."""
    networks = [(member, candidate) for member in comparison.members for candidate in _listed(member.view)]
    keys = list(
        dict.fromkeys(
            key
            for member in comparison.members
            for key in (*measured_keys(member.view, _listed(member.view)), *extra_costs(member.view))
        )
    )
    rows = []
    for member, candidate in sorted(networks, key=lambda item: (item[1].cost["size_bits"], item[0].anchor)):
        alive = (member.anchor, candidate.id) in comparison.joint_front
        cells = [
            cell(f"№ {candidate.id}"),
            cell(quantity("size_bits").number(candidate.cost["size_bits"])),
            *(cell(quantity(key).number(candidate.values.get(key))) for key in keys),
            cell(_SCORE.number(candidate.score)),
            cell(f"{mean_bits(candidate):.1f}"),
        ]
        kind = "" if alive else ' class="dominated"'
        rows.append(f'<tr id="{member.anchor}-{candidate.id}"{kind}>{_label(comparison, member)}{"".join(cells)}</tr>')
    heads = ["Runs", "Network", "Packed size [kB]", *(quantity(key).axis_label for key in keys), "Score", "Mean bits"]
    return table(heads, rows)


def tooltips(comparison: Comparison) -> dict[str, str]:
    """What the figures say of a network when it is pointed at, by link target."""
    found = {}
    for member in comparison.members:
        for candidate in _listed(member.view):
            values = [
                quantity(key).text(candidate.values[key])
                for key in (comparison.plane.cost.key, comparison.final_plane.key)
                if key in candidate.values
            ]
            found[f"#{member.anchor}-{candidate.id}"] = ", ".join([f"{member.label} № {candidate.id}", *values])
    return found


def _listed(view: RunView) -> list[Candidate]:
    """The networks of a run's fronts, those of the search too; with their final values where they have them."""
    return list({candidate.id: candidate for candidate in (*view.front, *view.trained)}.values())


def _hypervolumes(comparison: Comparison) -> list[_Column]:
    """Hypervolumes where all runs have come to, at the end of each search, and after final training."""

    def until(axis: str, place: float) -> Callable[[Member], float | None]:
        def reached(member: Member) -> float | None:
            course = member.course
            if not len(course.seconds) or (axis == "trials" and member.view.supernet):
                return None
            return float(np.nan_to_num(at(getattr(course, axis), course.hypervolume, place)))

        return reached

    columns = []
    begun = [member for member in comparison.members if len(member.course.seconds)]
    counted = [len(member.course.seconds) for member in begun if not member.view.supernet]
    if len(begun) > 1:
        seconds = min(float(member.course.seconds[-1]) for member in begun)
        if len(set(counted)) > 1:
            trials = min(counted)
            columns.append(_Column(f"Hypervolume after {trials} float trainings", until("trials", trials), _volume))
        columns.append(_Column(f"Hypervolume after {duration(seconds)}", until("seconds", seconds), _volume))
    columns.append(_Column("Hypervolume of the search", until("seconds", np.inf), _volume))
    if any(member.view.trained for member in comparison.members):
        columns.append(_Column("Hypervolume after final training", _final_hypervolume, _volume))
    return columns


def _final_hypervolume(member: Member) -> float | None:
    view = member.view
    return pareto.hypervolume_of(view.trained, view.objectives) if view.trained else None


def _best(comparison: Comparison, trained: bool = False) -> Callable[[Member], float | None]:
    """The best quality of a run's front: as searched, or of the finally trained network that validation says is best.

    Test data chooses nothing.
    """
    pick = max if comparison.plane.quality.maximize else min
    chosen_by, shown = comparison.plane.key, (comparison.final_plane if trained else comparison.plane).key

    def best(member: Member) -> float | None:
        networks = member.view.trained_front if trained else member.view.front
        found = pick(networks, key=lambda candidate: candidate.values[chosen_by], default=None)
        return None if found is None else found.values.get(shown)

    return best


def _best_score(member: Member) -> float | None:
    return None if member.view.best is None else member.view.best.score


def _unit(shown: Quantity) -> str:
    return f" [{shown.unit}]" if shown.unit else ""


def _mean(column: _Column, series: Series) -> str:
    values = [value for member in series.members if (value := column.value(member)) is not None]
    if not values:
        return cell(DASH)
    spread = f"{column.text(min(values))}\u2013{column.text(max(values))}"
    if len(values) < len(series.members):
        spread += f", {len(values)} of {len(series.members)} seeds"
    return cell(f"{escape(column.text(float(np.mean(values))))}<small>{escape(spread)}</small>")


def _label(comparison: Comparison, member: Member) -> str:
    number = next(series.number for series in comparison.series if member in series.members)
    return _named(number, member.label)


def _named(number: int, label: str) -> str:
    return cell(f"{mark(number)}{escape(label)}", "label")


def _described(view: RunView) -> dict[str, Any]:
    """What tells experiments apart: settings, the search space's contents, and the packages' versions."""
    settings = {key: value for key, value in view.identity.items() if key not in ("name", "seed")}
    settings["data"] = {key: value for key, value in settings.get("data", {}).items() if key != "fingerprint"}
    settings["head"] = {key: value for key, value in settings.get("head", {}).items() if key != "layers"}
    return {**settings, "versions": dict(view.versions)}


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Nested mappings and lists of mappings as one mapping from dotted place to value."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        items = enumerate(value, start=1)
    else:
        return {place: value}
    return {
        key: leaf
        for name, item in items
        for key, leaf in _flat(item, f"{place}.{name}" if place else str(name)).items()
    }


def _duration(seconds: float | None) -> str:
    return DASH if not seconds else duration(seconds)


def _volume(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"
