"""The record's views for people and spreadsheets: `candidates.csv` and `pareto.csv`."""

import collections
import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bompnas import pareto
from bompnas.candidate import Candidate
from bompnas.hardware.quantities import FACTS
from bompnas.objectives import Objective
from bompnas.trials.events import SEARCH
from bompnas.trials.record import Export, Final, Record
from bompnas.trials.record.entries import StoredProposal
from bompnas.whole_files import write_text

_Row = tuple[Mapping[str, Any], ...]  # the cells of a row in parts, the same parts in every row of a table


def write(folder: Path, record: Record, objectives: Sequence[Objective]) -> None:
    """Writes both files anew.

    Args:
        folder: The run's folder.
        record: Its record.
        objectives: What the final front is judged by.
    """
    origins = sources(record.candidates, record.proposals) if record.curves(SEARCH) else {}
    rows = [_candidate_row(candidate, origins) for candidate in record.candidates]
    write_text(folder / "candidates.csv", _csv(rows, ("id", "trial", "state")))
    write_text(folder / "pareto.csv", _csv(_pareto_rows(record, objectives), _pareto_columns(objectives)))


class Recorded(Protocol):
    """Candidates and their final trainings: a record, or what was read from one."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All candidates."""

    @property
    def finals(self) -> Sequence[Final]:
        """All final trainings, failed ones too."""


def finally_trained(record: Recorded) -> list[Candidate]:
    """The candidates whose final training succeeded, with the metrics, seconds and score of that training."""
    by_id = {candidate.id: candidate for candidate in record.candidates}
    return [
        dataclasses.replace(by_id[final.candidate], metrics=final.metrics, seconds=final.seconds, score=final.score)
        for final in record.finals
        if final.error is None
    ]


def sources(candidates: Sequence[Candidate], proposals: Sequence[StoredProposal]) -> dict[int, str]:
    """Where candidates come from, by id, as far as their proposals tell: `decided`, `sampled`."""
    told = [proposal.details.get("source") for proposal in proposals for _ in proposal.genotypes]
    # Candidates are numbered in the order of their proposals.
    return {candidate.id: source for candidate, source in zip(candidates, told, strict=False) if source is not None}


def _candidate_row(candidate: Candidate, origins: Mapping[int, str]) -> _Row:
    return (
        {"id": candidate.id, "trial": candidate.trial, "state": candidate.state},
        {"source": origins[candidate.id]} if candidate.id in origins else {},
        candidate.genotype or {},
        candidate.cost,
        candidate.metrics,
        {"score": candidate.score},
        {f"seconds_{phase}": seconds for phase, seconds in candidate.seconds.items()},
        {"error": candidate.error},
    )


def _pareto_rows(record: Record, objectives: Sequence[Objective]) -> list[_Row]:
    searched = {candidate.id: candidate for candidate in record.candidates}
    models = {final.candidate: final.model for final in record.finals}
    exports = {export.candidate: export for export in record.exports}
    trained = sorted(finally_trained(record), key=lambda candidate: (candidate.cost["size_bits"], candidate.id))
    front = {candidate.id for candidate in pareto.front_of(trained, objectives)}
    return [
        (
            {"id": candidate.id},
            candidate.metrics,
            candidate.cost,
            {"score": candidate.score},
            {f"search_{name}": value for name, value in searched[candidate.id].metrics.items()},
            {"search_score": searched[candidate.id].score, "pareto": candidate.id in front},
            candidate.genotype or {},
            {"model": models[candidate.id]},
            _export_cells(exports.get(candidate.id)),
        )
        for candidate in trained
    ]


def _export_cells(export: Export | None) -> Mapping[str, Any]:
    """What was exported; the same cells for every network, but for metrics."""
    export = export or Export(0, {})
    return {
        "tflite": export.tflite,
        **{f"tflite_{name}": value for name, value in export.metrics.items()},
        "parity_argmax": export.argmax,
        "parity_max_lsb": export.max_lsb,
        "parity_images": export.images or None,
        "parity_deviation": export.deviation,
        "tflite_bytes": export.tflite_bytes,
        "packed": export.packed,
        "packed_bytes": export.packed_bytes,
        "tflite_ms": export.latency.get("median_ms"),
        "not_exportable": export.not_exportable,
        "export_error": export.error,
    }


def _pareto_columns(objectives: Sequence[Objective]) -> list[str]:
    """The columns that come first in `pareto.csv`, whether or not there are rows."""
    measured = [objective.key for objective in objectives if objective.key.startswith("val_")]
    return [
        "id",
        *(key for name in measured for key in (name, name.replace("val_", "test_"))),
        *(name for name in FACTS if name != "float_size_bits"),
        *(objective.key for objective in objectives if not objective.key.startswith("val_")),
        "score",
        *(f"search_{name}" for name in measured),
        "search_score",
        "pareto",
    ]


def _csv(rows: Iterable[_Row], leading: Sequence[str]) -> str:
    """Rows as CSV: the leading columns, then the others, part by part, in the order in which they first appear."""
    rows = list(rows)
    parts = zip(*rows, strict=True)
    columns = list(dict.fromkeys([*leading, *(name for part in parts for cells in part for name in cells)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(collections.ChainMap(*row)) for row in rows)
    return text.getvalue()
