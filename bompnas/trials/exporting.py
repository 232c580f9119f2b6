"""One network's integer files, and the proof that they compute the same: a task of an executor.

LiteRT's native code is at work here; in a process of its own, its crash fails that network alone.
"""

import dataclasses
import platform
import tempfile
from pathlib import Path

import keras
import numpy as np

from bompnas.errors import NotExportableError
from bompnas.experiment.sections import ExportSettings
from bompnas.export import latency, litert, models, packed, parity
from bompnas.export.extract import Extracted, extract
from bompnas.export.litert_operators import INT4_BITS
from bompnas.export.parity import Parity
from bompnas.networks.heads import CLASSIFICATION, Head, HeadSource
from bompnas.training.data import Split
from bompnas.training.loss import Criterion
from bompnas.trials.executors.contract import Shared, Tell, ignore
from bompnas.trials.record.entries import Export

IMAGES = 2_000  # that all engines are compared on


@dataclasses.dataclass(frozen=True)
class ExportTask:
    """What is needed to export a network.

    Attributes:
        candidate: Its id.
        model: The saved model.
        settings: Which files to write.
        data: The data set, as an executor shares it; its test part is used.
        class_names: Of the data set.
        head: What the network ends with.
    """

    candidate: int
    model: Path
    settings: ExportSettings
    data: Shared
    class_names: tuple[str, ...]
    head: HeadSource


@dataclasses.dataclass(frozen=True)
class Exported:
    """An export and its files.

    Attributes:
        export: What was found; names the files as they are to be called within the run's folder.
        files: Their contents by that name.
    """

    export: Export
    files: dict[str, bytes]


def names(candidate: int) -> tuple[str, str]:
    """What the packed file and the LiteRT file of a network are called within the run's folder."""
    return f"models/{candidate}.bits", f"models/{candidate}.tflite"


def export(task: ExportTask, tell: Tell = ignore) -> Exported:
    """Makes the integer files of a network, compares them with its Keras model, and measures their latency.

    Raises:
        InputError: The saved model cannot be read.
    """
    keras.backend.clear_session()
    model = models.load(task.model)
    extracted, reason = take_apart(model, task.settings.float_head)
    found = Export(task.candidate, task.settings.model_dump(), not_exportable=reason)
    if extracted is None:
        return Exported(found, {})
    bits, tflite = names(task.candidate)
    files = {bits: packed.pack(extracted.graph)}
    found = dataclasses.replace(found, packed=bits, packed_bytes=len(files[bits]))
    if reason is None:
        try:
            files[tflite] = litert.write(
                extracted.graph,
                io=task.settings.io,
                int4=task.settings.int4,
                tail=extracted.tail,
                labels=task.class_names,
            )
        except NotExportableError as error:
            found = dataclasses.replace(found, not_exportable=str(error))
        else:
            found = dataclasses.replace(found, tflite=tflite, tflite_bytes=len(files[tflite]))
    test = Split(*task.data.load()["test"])
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            path = Path(directory, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return Exported(_checked(found, model, extracted, Path(directory), test, task.head.head()), files)


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
        return Split(test.images[:], test.labels)
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:IMAGES])
    return Split(test.images[chosen], test.labels[chosen])


def _checked(export: Export, model: keras.Model, extracted: Extracted, folder: Path, test: Split, head: Head) -> Export:
    """With what the check and the clock say."""
    found = check(export, model, extracted, folder, sample(test), head)
    export = dataclasses.replace(
        export,
        images=found.images,
        argmax=found.worst.argmax,
        max_lsb=found.worst.max_lsb,
        deviation=found.deviation,
    )
    if export.tflite is None:
        return export
    tflite = folder / export.tflite
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
