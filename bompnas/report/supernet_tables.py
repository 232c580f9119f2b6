"""Tables of the search of a supernet, as HTML: what it decided, and how its networks do."""

from html import escape

import numpy as np

from bompnas.candidate import Candidate
from bompnas.report.decisions import choices, decisions, part_label, parts
from bompnas.report.quantities import DASH, quantity
from bompnas.report.supernet_plot import decided_value
from bompnas.report.tables import cell, extra_costs, measured_keys, table
from bompnas.report.view import RunView

_CHOICES = {"repetitions": "Kept or skipped"}


def decided_table(view: RunView) -> str:
    """What the decided network has in every part, and how probable that was at the end; empty before it is decided."""
    found = {(decision.part, decision.choice): decision for decision in decisions(view)}
    if view.decided is None or not found:
        return ""
    columns = choices(tuple(found.values()))

    def decided(part: str, choice: str) -> str:
        decision = found.get((part, choice))
        value = decision and decided_value(view, decision)
        if value is None:
            return cell(DASH)
        label = decision.labels[decision.values.index(value)]
        probability = decision.last(value)
        chance = f" <small>{probability:.2f}</small>" if np.isfinite(probability) else ""
        return cell(f"{escape(label)}{chance}")

    rows = [
        f"<tr>{cell(escape(part_label(part)))}{''.join(decided(part, choice) for choice in columns)}</tr>"
        for part in parts(tuple(found.values()))
    ]
    return table(["Part", *(_CHOICES.get(choice, choice.capitalize()) for choice in columns)], rows)


def networks_table(view: RunView) -> str:
    """The decided network and those sampled last: in the supernet, and after final training where there was one."""
    trained = {candidate.id: candidate for candidate in view.trained}
    shared = view.quality.key
    finals = measured_keys(view, view.trained)
    costs = extra_costs(view)

    def row(candidate: Candidate) -> str:
        final = trained.get(candidate.id)
        cells = [
            cell(f'<a href="#candidate-{candidate.id}">№ {candidate.id}</a>'),
            cell(escape(view.sources.get(candidate.id, DASH))),
            cell(quantity("size_bits").number(candidate.cost.get("size_bits"))),
            *(cell(quantity(key).number(candidate.cost.get(key))) for key in costs),
            cell(quantity(shared).number(candidate.metrics.get(shared))),
            *(cell(quantity(key).number(final and final.metrics.get(key))) for key in finals),
        ]
        kind = ' class="mean"' if candidate == view.decided else ""
        return f"<tr{kind}>{''.join(cells)}</tr>"

    heads = [
        "Network",
        "Source",
        "Packed size [kB]",
        *(quantity(key).axis_label for key in costs),
        f"{quantity(shared).axis_label} in the supernet",
        *(f"{quantity(key).axis_label}, finally trained" for key in finals),
    ]
    return table(heads, [row(candidate) for candidate in view.candidates])
