"""The last stage of a run: integer files of the finally trained networks, and the proof that they compute the same.

Networks are exported one after the other, so that nothing else disturbs the latencies.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bompnas.candidate import Candidate
from bompnas.experiment.sections import ExportSettings
from bompnas.trials.executors.contract import Failure
from bompnas.trials.exporting import Exported, names
from bompnas.trials.jobs import Jobs
from bompnas.trials.record import Export, Record
from bompnas.trials.watching.progress import Watch, describe
from bompnas.whole_files import replacing

_log = logging.getLogger(__name__)


def undelivered(
    candidates: Sequence[Candidate], settings: ExportSettings, record: Record, folder: Path
) -> list[Candidate]:
    """What is left to export: not what was exported by the same settings, unless it failed or a file is gone."""
    exports = {export.candidate: export for export in record.exports}
    return [candidate for candidate in candidates if not _delivered(exports.get(candidate.id), settings, folder)]


def deliver(
    candidates: Sequence[Candidate],
    settings: ExportSettings,
    record: Record,
    folder: Path,
    jobs: Jobs,
    make_task: Callable[[Candidate], Any],
    watch: Watch,
    changed: Callable[[], None],
) -> None:
    """Exports finally trained networks, checks the files, and records the outcome.

    Args:
        candidates: What to export, from `undelivered`.
        settings: Which files to write.
        record: The run's record, opened for writing.
        folder: The run's folder.
        jobs: Where the exports are made; what runs there makes an `Exported`.
        make_task: Turns a candidate into the executor's task.
        watch: Shows the user what goes on.
        changed: Called after every change of the record.
    """
    with watch.stage("export", len(candidates)) as progress:
        for number, candidate in enumerate(candidates, start=1):
            name, task = f"export {candidate.id}", make_task(candidate)
            progress.started(number, describe(candidate), name)
            record.forget_export(candidate.id)
            for stale in names(candidate.id):
                (folder / stale).unlink(missing_ok=True)
            jobs.start(name, lambda state, task=task: task)
            _, result = jobs.next_finished()
            export = _saved(candidate.id, result, settings, folder)
            record.finish_export(export)
            progress.finished(number, verdict(export), job=name)
            changed()


def verdict(export: Export) -> str:
    """An export in a few words."""
    if export.error:
        return f"failed: {export.error}"
    parts = []
    if export.packed_bytes is not None:
        parts.append(f"{export.packed_bytes / 1000:.2f} kB packed")
    if export.tflite_bytes is not None:
        parts += [f"{export.tflite_bytes / 1000:.1f} kB .tflite", f"{export.latency['median_ms']:.3f} ms"]
    if export.not_exportable:
        parts.append(f"no .tflite: {export.not_exportable}")
    if export.argmax is not None:
        exact = export.argmax == 1 and export.max_lsb == 0
        found = "parity exact" if exact else f"parity {export.argmax:.2%}, {export.max_lsb} LSB"
        parts.append(f"{found} on {export.images:,} images")
    if export.deviation:
        parts.append(f"beyond the limits: {export.deviation}")
    return ", ".join(parts)


def _saved(candidate: int, result: Exported | Failure, settings: ExportSettings, folder: Path) -> Export:
    """Writes the files of an export; what is recorded after that is there."""
    if isinstance(result, Failure):
        _log.debug("%s", result.traceback or result.error)
        return Export(candidate, settings.model_dump(), error=result.error)
    for name, content in result.files.items():
        with replacing(folder / name, durable=True) as draft:
            draft.write_bytes(content)
    return result.export


def _delivered(export: Export | None, settings: ExportSettings, folder: Path) -> bool:
    """Whether nothing is left to do."""
    if export is None or export.error or export.deviation or export.settings != settings.model_dump():
        return False
    files = ((export.packed, export.packed_bytes), (export.tflite, export.tflite_bytes))
    return all(name is None or _size(folder / name) == size for name, size in files)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
