"""Tables and lists of the page, as HTML."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from bompnas import pareto
from bompnas.candidate import Candidate, State
from bompnas.hardware.quantities import CYCLES, FACTS, LATENCY
from bompnas.report.quantities import DASH, duration, plain, quantity
from bompnas.report.view import RunView
from bompnas.trials.record import Export

_ALWAYS = ("macs", "params")
_SCORE = quantity("score")
_TEXTS = {"Remark": "text", "Runs": "label"}  # columns of words: their class


def cards(view: RunView) -> str:
    """The numbers that matter most, as a row of cards."""
    shown = view.trained_front or view.front
    quality = quantity(view.quality.key)
    facts: list[tuple[str, str, str]] = []
    if shown:
        pick = max if view.quality.maximize else min
        best = pick(shown, key=lambda candidate: candidate.values[view.quality.key])
        test = view.quality.key.replace("val_", "test_", 1)
        smallest = shown[0]
        facts.append((f"Best {quality.label}", quality.text(best.values[view.quality.key]), _size_and_number(best)))
        if test != view.quality.key and test in best.metrics:
            facts.append((f"Its {quantity(test).label}", quality.text(best.metrics[test]), "measured once, at the end"))
        facts.append(
            (
                "Smallest of the front",
                quantity("size_bits").text(smallest.cost["size_bits"]),
                f"{quality.text(smallest.values[view.quality.key])}, № {smallest.id}",
            )
        )
    if view.decided is not None:
        decided = next((item for item in view.trained if item.id == view.decided.id), view.decided)
        if view.quality.key in decided.values:
            facts.append(("Decided network", quality.text(decided.values[view.quality.key]), _size_and_number(decided)))
    if view.best is not None:
        facts.append(("Best score of the search", _SCORE.text(view.best.score), f"eq. (1), № {view.best.id}"))
    done, failed = view.count(State.COMPLETED), view.count(State.FAILED)
    facts.append(("Candidates", str(done), f"completed, {failed} failed" if failed else "completed, none failed"))
    facts.append(("Computing time", duration(_seconds(view.candidates) + _seconds(view.trained)), "all phases, summed"))
    items = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for label, value, note in facts
    )
    return f'<dl class="cards">{items}</dl>'


def front_table(view: RunView) -> str:
    """The networks of the front, smallest first; after final training with the values from before it in grey."""
    networks = view.trained or view.front
    searched = {candidate.id: candidate for candidate in view.candidates}
    alive = {candidate.id for candidate in view.trained_front or view.front}
    models = {final.candidate: final.model for final in view.finals}
    keys = [*measured_keys(view, networks), *extra_costs(view)]
    best = {key: _best(networks, key, view) for key in keys}

    def value(candidate: Candidate, key: str) -> str:
        unit = quantity(key)
        text = escape(unit.number(candidate.values.get(key)))
        before = searched[candidate.id].metrics.get(key)
        if view.trained and before is not None:
            text = f'<span class="before">{escape(unit.number(before))} →</span> {text}'
        return cell(text, "best" if len(networks) > 1 and candidate.id == best[key] else "")

    def score(candidate: Candidate) -> str:
        text = _SCORE.number(candidate.score)
        if view.trained:
            text = f'<span class="before">{_SCORE.number(searched[candidate.id].score)} →</span> {text}'
        return cell(text)

    rows = []
    for candidate in networks:
        link = f'<a href="#candidate-{candidate.id}">№ {candidate.id}</a>'
        link += " <small>decided</small>" if view.sources.get(candidate.id) == "decided" else ""
        cells = [
            cell(link),
            cell(quantity("size_bits").number(candidate.cost["size_bits"])),
            *(value(candidate, key) for key in keys),
            score(candidate),
            cell(f"{mean_bits(candidate):.1f}"),
        ]
        if view.trained:
            model = models[candidate.id]
            cells.append(cell(f'<a href="{escape(model, quote=True)}">{escape(model)}</a>' if model else DASH))
        kind = "" if candidate.id in alive else ' class="dominated"'
        rows.append(f'<tr id="network-{candidate.id}"{kind}>{"".join(cells)}</tr>')
    heads = ["Network", "Packed size [kB]", *(quantity(key).axis_label for key in keys), "Score", "Mean bits"]
    return table([*heads, "Model"] if view.trained else heads, rows)


def files_table(view: RunView) -> str:
    """The integer files of the finally trained networks, smallest first, and how well they agree with Keras."""
    exports = {export.candidate: export for export in view.exports}
    test = view.quality.key.replace("val_", "test_", 1)
    quality = quantity(test) if test != view.quality.key else None
    remarks = any(map(_remark, view.exports))
    rows = []
    for candidate in view.trained:
        export = exports.get(candidate.id)
        if export is None:
            continue
        values = (candidate.metrics.get(test), export.metrics.get(test)) if quality else ()
        cells = [
            cell(f'<a href="#network-{candidate.id}">№ {candidate.id}</a>'),
            cell(_file(export.packed, export.packed_bytes)),
            cell(_file(export.tflite, export.tflite_bytes)),
            *(cell(quality.number(value)) for value in values),
            cell(DASH if export.argmax is None else f"{100 * export.argmax:.2f}"),
            cell(DASH if export.max_lsb is None else str(export.max_lsb)),
            cell(_latency(export.latency)),
            *([cell(escape(_remark(export)), "text")] if remarks else []),
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    qualities = [f"{quality.axis_label}, {engine}" for engine in ("Keras", "LiteRT")] if quality else []
    heads = ["Network", ".bits [kB]", ".tflite [kB]", *qualities, "Agreement [%]", "Largest difference [LSB]"]
    return table([*heads, "Latency [ms]", *(["Remark"] if remarks else [])], rows)


def _file(path: str | None, size: int | None) -> str:
    """The size of a file [kB], as a link to it."""
    if path is None:
        return DASH
    return f'<a href="{escape(path, quote=True)}">{plain(size / 1000)}</a>'


def _latency(latency: Mapping) -> str:
    if not latency:
        return DASH
    return f"{plain(latency['median_ms'])} <small>({plain(latency['low_ms'])} to {plain(latency['high_ms'])})</small>"


def _remark(export: Export) -> str:
    """Why there is no file, or what is wrong with it."""
    parts = {"failed": export.error, "no .tflite": export.not_exportable, "beyond the limits": export.deviation}
    return "; ".join(f"{what}: {reason}" for what, reason in parts.items() if reason)


def candidates_table(view: RunView) -> str:
    """Every candidate in the order of sampling."""
    keys = [*measured_keys(view, view.completed), *extra_costs(view)]
    front = {candidate.id for candidate in view.front}
    rows = []
    for candidate in view.candidates:
        remark = {
            State.FAILED: f"failed: {candidate.error}",
            State.PENDING: "not finished",
            State.COMPLETED: "front of the search" if candidate.id in front else "",
        }[candidate.state]
        if candidate.id in view.sources:
            remark = f"{view.sources[candidate.id]}; {remark}" if remark else view.sources[candidate.id]
        if candidate.id == view.seed:
            remark = f"seed network; {remark}" if remark else "seed network"
        cells = [
            cell(f"№ {candidate.id}"),
            cell(quantity("size_bits").number(candidate.cost.get("size_bits"))),
            *(cell(quantity(key).number(candidate.values.get(key))) for key in keys),
            cell(_SCORE.number(candidate.score)),
            cell(f"{mean_bits(candidate):.1f}"),
            cell(duration(sum(candidate.seconds.values())) if candidate.seconds else DASH),
            cell(escape(remark), "text"),
        ]
        rows.append(f'<tr id="candidate-{candidate.id}">{"".join(cells)}</tr>')
    heads = ["Candidate", "Packed size [kB]", *(quantity(key).axis_label for key in keys)]
    return table([*heads, "Score", "Mean bits", "Time", "Remark"], rows)


def summary(view: RunView) -> str:
    """What was run, how far it came, and what it cost."""
    experiment = view.experiment
    method = experiment.get("method", {})
    planned = method.get("trials")
    search = {"Search of a supernet": view.progress} if view.supernet else {"Trials": _begun(view, planned)}
    counts = [f"{view.count(State.COMPLETED)} completed", f"{view.count(State.FAILED)} failed"]
    if view.count(State.PENDING):
        counts.append(f"{view.count(State.PENDING)} not finished")
    facts = {
        "Data set": _get(experiment, "data", "dataset"),
        "Search space": Path(experiment["space"]).stem if "space" in experiment else None,
        "Method": method.get("name"),
        "Quantization": _get(experiment, "quantization", "mode"),
        "Objectives": ", ".join(f"{item.name} (reference {item.reference:g})" for item in view.objectives),
        "Constraints": ", ".join(
            f"{quantity(item.key).label} {'≥' if item.at_least else '≤'} {quantity(item.key).text(item.limit)}"
            for item in view.constraints
        ),
        "Device": view.device.text if view.device else None,
        "Seed and workers": ", ".join(str(experiment[key]) for key in ("seed", "workers") if key in experiment),
        **search,
        "Candidates": ", ".join(counts),
        "Front of the search": _networks(len(view.front)),
        "Finally trained": _finals(view),
        "Integer files": _exports(view),
        "Hypervolume of the search": _hypervolume(view.candidates, view),
        "Hypervolume after final training": _hypervolume(view.trained, view),
        "Time of the search": duration(_seconds(view.candidates)),
        "Time of the final training": duration(_seconds(view.trained)) if view.trained else None,
        "Versions": ", ".join(f"{name} {version}" for name, version in view.versions.items()),
    }
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in facts.items() if text)
    return f'<dl class="facts">{items}</dl>'


def tooltips(view: RunView) -> dict[str, str]:
    """What the figures say of a network when it is pointed at, by link target."""

    def text(candidate: Candidate, kind: str) -> str:
        parts = [
            f"{kind} № {candidate.id}",
            quantity("size_bits").text(candidate.cost.get("size_bits")),
            *(quantity(key).text(candidate.values[key]) for key in [view.quality.key] if key in candidate.values),
        ]
        if candidate.score is not None:
            parts.append(f"score {_SCORE.text(candidate.score)}")
        return ", ".join([*parts, *(["failed"] if candidate.state is State.FAILED else [])])

    return {
        **{f"#candidate-{candidate.id}": text(candidate, "candidate") for candidate in view.candidates},
        **{f"#network-{candidate.id}": text(candidate, "finally trained") for candidate in view.trained},
    }


def mean_bits(candidate: Candidate) -> float:
    """Mean bit-width of the quantized weights."""
    layers = [layer for layer in candidate.network.layers if layer.kind != "float"]
    return float(np.average([layer.weight_bits for layer in layers], weights=[layer.weights for layer in layers]))


def measured_keys(view: RunView, networks: Iterable[Candidate]) -> list[str]:
    """The measured objectives, each followed by its test value where there is one."""
    known = {key for candidate in networks for key in candidate.metrics}
    keys = []
    for objective in view.objectives:
        keys += [objective.key, objective.key.replace("val_", "test_", 1)]
    return [key for key in dict.fromkeys(keys) if key in known]


def extra_costs(view: RunView) -> list[str]:
    """Costs besides the packed size that are objectives, always of interest, or known because they were asked for."""
    costs = view.candidates[0].cost if view.candidates else {}
    asked = [key for key in costs if key not in FACTS and not (key == CYCLES.name and LATENCY.name in costs)]
    wanted = [*(objective.key for objective in view.objectives), *_ALWAYS, *asked]
    return [key for key in dict.fromkeys(wanted) if key in costs and key != "size_bits"]


def _best(networks: Sequence[Candidate], key: str, view: RunView) -> int | None:
    """Id of the network with the best value of a metric; None for costs, of which the smallest comes first anyway."""
    measured = [candidate for candidate in networks if key in candidate.metrics]
    directions = {objective.key.removeprefix("val_"): objective.maximize for objective in view.objectives}
    choose: Callable = max if directions.get(key.removeprefix("val_").removeprefix("test_"), True) else min
    best = choose(measured, key=lambda candidate: candidate.metrics[key], default=None)
    return None if best is None else best.id


def table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls where it is too wide; the rows are elements."""
    cells = "".join(f'<th scope="col"{_class(head)}>{escape(head)}</th>' for head in heads)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _class(head: str) -> str:
    return f' class="{_TEXTS[head]}"' if head in _TEXTS else ""


def cell(content: str, kind: str = "") -> str:
    """A cell of a table; the content is HTML."""
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def _size_and_number(candidate: Candidate) -> str:
    return f"at {quantity('size_bits').text(candidate.cost['size_bits'])}, № {candidate.id}"


def _seconds(candidates: Iterable[Candidate]) -> float:
    return sum(seconds for candidate in candidates for seconds in candidate.seconds.values())


def _networks(count: int) -> str:
    return f"{count} network" + ("" if count == 1 else "s")


def _begun(view: RunView, planned: int | None) -> str:
    trials = len({candidate.trial for candidate in view.candidates})
    return f"{trials} of {planned}" if planned else str(trials)


def _finals(view: RunView) -> str | None:
    if not view.finals:
        return None
    failed = sum(final.error is not None for final in view.finals)
    text = f"{_networks(len(view.trained))}, {len(view.trained_front)} of them still non-dominated"
    return f"{text}; {failed} failed" if failed else text


def _exports(view: RunView) -> str | None:
    if not view.exports:
        return None
    compared = [export for export in view.exports if export.argmax is not None]
    exact = sum(export.argmax == 1 and export.max_lsb == 0 for export in compared)
    there = sum(export.tflite is not None for export in view.exports)
    return f"{there} of {_networks(len(view.exports))} as .tflite; parity exact for {exact} of {len(compared)} compared"


def _hypervolume(candidates: Sequence[Candidate], view: RunView) -> str | None:
    return f"{pareto.hypervolume_of(candidates, view.objectives):.4f}" if candidates else None


def _get(mapping: Mapping, *path: str) -> object:
    for key in path:
        mapping = mapping.get(key) or {}
    return mapping or None
