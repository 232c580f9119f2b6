"""The last stage of a run: integer files of the finally trained networks, and the proof that they compute the same.

Networks are exported one after the other in the run's own process, where nothing else disturbs the latencies.
"""

import dataclasses
import logging
import platform
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from bompnas.candidate import Candidate
from bompnas.errors import NotExportableError
from bompnas.experiment.sections import ExportSettings
from bompnas.export import latency, litert, models, packed, parity
from bompnas.export.extract import Extracted, extract
from bompnas.export.litert_operators import INT4_BITS
from bompnas.export.parity import Parity
from bompnas.networks.heads import CLASSIFICATION, Head
from bompnas.training.data import Dataset, Split
from bompnas.training.loss import Criterion
from bompnas.trials.final import model_path
from bompnas.trials.progress import Watch, describe
from bompnas.trials.record import Export, Record
from bompnas.whole_files import replacing

IMAGES = 2_000  # that all engines are compared on

_log = logging.getLogger(__name__)


def deliver(
    candidates: Sequence[Candidate],
    settings: ExportSettings,
    dataset: Dataset,
    head: Head,
    record: Record,
    folder: Path,
    watch: Watch,
    changed: Callable[[], None],
) -> None:
    """Exports the finally trained networks, checks the files, and records the outcome.

    What an earlier session has exported by the same settings is not exported again, unless it failed or a file is gone.

    Args:
        candidates: The finally trained ones.
        settings: Which files to write.
        dataset: The files are checked on its test part.
        head: What the networks end with.
        record: The run's record, opened for writing.
        folder: The run's folder.
        watch: Shows the user what goes on.
        changed: Called after every change of the record.
    """
    exports = {export.candidate: export for export in record.exports}
    waiting = [candidate for candidate in candidates if not _delivered(exports.get(candidate.id), settings, folder)]
    with watch.stage("export", len(waiting)) as progress:
        for number, candidate in enumerate(waiting, start=1):
            progress.started(number, describe(candidate))
            record.forget_export(candidate.id)
            try:
                export = _export(candidate.id, settings, dataset, head, folder)
            except Exception as error:
                _log.debug("%s", traceback.format_exc())
                reason = " ".join(str(error).split())
                export = Export(candidate.id, settings.model_dump(), error=f"{type(error).__name__}: {reason}")
            record.finish_export(export)
            progress.finished(number, verdict(export))
            changed()


def check(export: Export, model: keras.Model, extracted: Extracted, folder: Path, test: Split, head: Head) -> Parity:
    """Compares the files of an export with the Keras model that they were made of.

    Raises:
        InputError: A file is missing, damaged or another network's.
    """
    criterion = Criterion.of(head, model)
    limits = parity.EXACT
    if extracted.tail is not None:
        limits = parity.FLOAT_HEAD
    if export.settings["int4"] and any(layer.bits <= INT4_BITS for layer in extracted.graph.linear):
        limits = parity.INT4
    return parity.check(
        model,
        extracted,
        packed.load(folder / export.packed),
        None if export.tflite is None else folder / export.tflite,
        test.images,
        limits=limits,
        classes=head.task == CLASSIFICATION,
        measure=lambda outputs: criterion.measure(test.labels, outputs),
    )


def take_apart(model: keras.Model, float_head: bool) -> tuple[Extracted | None, str | None]:
    """The integer part of a model, even where it does not reach the end; and why it does not, if so.

    Returns:
        None for a model without an integer part, and None where nothing stands in the way.
    """
    try:
        return extract(model, float_head), None
    except NotExportableError as error:
        try:
            return extract(model, float_head=True), str(error)
        except NotExportableError:
            return None, str(error)


def sample(test: Split) -> Split:
    """The test part, or `IMAGES` of it, always the same."""
    if len(test) <= IMAGES:
        return test
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:IMAGES])
    return Split(test.images[chosen], test.labels[chosen])


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


def _delivered(export: Export | None, settings: ExportSettings, folder: Path) -> bool:
    """Whether nothing is left to do."""
    if export is None or export.error or export.deviation or export.settings != settings.model_dump():
        return False
    files = ((export.packed, export.packed_bytes), (export.tflite, export.tflite_bytes))
    return all(name is None or _size(folder / name) == size for name, size in files)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _export(candidate: int, settings: ExportSettings, dataset: Dataset, head: Head, folder: Path) -> Export:
    source = model_path(candidate)
    bits, tflite = (str(Path(source).with_suffix(suffix)) for suffix in (".bits", ".tflite"))
    for stale in (bits, tflite):
        (folder / stale).unlink(missing_ok=True)
    keras.backend.clear_session()
    model = models.load(folder / source)
    extracted, reason = take_apart(model, settings.float_head)
    export = Export(candidate, settings.model_dump(), not_exportable=reason)
    if extracted is None:
        return export
    content = packed.pack(extracted.graph)
    with replacing(folder / bits, durable=True) as draft:
        draft.write_bytes(content)
    export = dataclasses.replace(export, packed=bits, packed_bytes=len(content))
    if reason is None:
        try:
            content = litert.write(
                extracted.graph,
                io=settings.io,
                int4=settings.int4,
                tail=extracted.tail,
                labels=dataset.class_names,
            )
        except NotExportableError as error:
            export = dataclasses.replace(export, not_exportable=str(error))
        else:
            with replacing(folder / tflite, durable=True) as draft:
                draft.write_bytes(content)
            export = dataclasses.replace(export, tflite=tflite, tflite_bytes=len(content))
    return _checked(export, model, extracted, folder, dataset, head)


def _checked(
    export: Export, model: keras.Model, extracted: Extracted, folder: Path, dataset: Dataset, head: Head
) -> Export:
    """With what the check and the clock say."""
    found = check(export, model, extracted, folder, sample(dataset.test), head)
    export = dataclasses.replace(
        export,
        images=found.images,
        argmax=found.worst.argmax,
        max_lsb=found.worst.max_lsb,
        deviation=found.deviation,
    )
    if export.tflite is None:
        return export
    test, tflite = dataset.test, folder / export.tflite
    measured = Criterion.of(head, model).measure(test.labels, parity.run(tflite, extracted.graph, test.images))
    return dataclasses.replace(
        export,
        metrics={f"test_{name}": value for name, value in measured.items()},
        latency={**dataclasses.asdict(latency.measure(tflite)), "cpu": _cpu()},
    )


def _cpu() -> str:
    """What this machine's processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
