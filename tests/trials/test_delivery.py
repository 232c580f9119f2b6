import dataclasses
import errno
import importlib
import os
import shutil
import textwrap
import types

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from bompnas.candidate import State
from bompnas.experiment.sections import ExportSettings
from bompnas.export import packed
from bompnas.export.interpreter import Interpreter
from bompnas.networks import float_model, fold, heads, quantize
from bompnas.networks.quantize import LayerBits, Policy
from bompnas.training import data, image_files
from bompnas.trials import delivery, exporting
from bompnas.trials.executors.choice import InProcess, Pool
from bompnas.trials.final import model_path
from bompnas.trials.jobs import Jobs
from bompnas.trials.record import Export, Final
from bompnas.trials.watching.progress import Watch

IMAGES = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1)).astype("uint8")
CLASSES = ("oak", "elm", "ash")


def dataset(task="classification"):
    labels = np.arange(120) % 3 if task == "classification" else np.linspace(0, 1, 360).reshape(120, 3)
    names = CLASSES if task == "classification" else ()
    return data.from_arrays(IMAGES, labels, input_size=8, input_channels=1, task=task, class_names=names)


def quantized(seed=0, bits=8, end=None):
    """A small network, not trained."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    values = keras.layers.Rescaling(float_model.PIXEL_SCALE, float_model.PIXEL_OFFSET)(inputs)
    values = keras.layers.Conv2D(4, 3, activation="relu", name="first")(values)
    values = keras.layers.GlobalAveragePooling2D()(values)
    values = keras.layers.Dense(3, name="last")(values)
    folded = fold.fold(keras.Model(inputs, values if end is None else end(values)))
    calibration = quantize.Calibration.of(folded, IMAGES[:64].astype("float32"))
    return quantize.quantize(folded, Policy({}, LayerBits(bits, 8)), calibration)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Saved models by kind."""
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for kind, model in {
        "first": quantized(),
        "second": quantized(seed=1),
        "wide weights": quantized(bits=12),
        "4 bits": quantized(bits=4),
        "softmax": quantized(end=keras.layers.Softmax(name="probabilities")),
    }.items():
        paths[kind] = folder / f"{kind}.keras"
        model.save(paths[kind])
    return paths


@pytest.fixture
def run(tmp_path, new_record, make_candidate, models):
    """A folder whose networks were finally trained: what a stage of a run works with."""

    def make(*kinds):
        (tmp_path / "models").mkdir()
        candidates = [make_candidate(state=State.COMPLETED) for _ in kinds]
        new_record.add(candidates)
        for candidate, kind in zip(candidates, kinds, strict=True):
            shutil.copy(models[kind], tmp_path / model_path(candidate.id))
            new_record.finish_finals("final", [Final(candidate.id, {}, {}, 1.0, model_path(candidate.id))])
        return types.SimpleNamespace(told=[], folder=tmp_path, record=new_record, candidates=candidates)

    return make


@pytest.fixture
def deliver():
    """Exports a run's networks, in this process by default; gives the ids of those that were exported."""

    def carry_out(run, task="classification", executor=None, retries=0, **settings):
        started = []

        def make_task(candidate):
            started.append(candidate.id)
            model = run.folder / model_path(candidate.id)
            head = heads.HeadSource(task, 3)
            return exporting.ExportTask(candidate.id, model, chosen, shared, dataset(task).class_names, head)

        chosen, test = ExportSettings(**settings), dataset(task).test
        waiting = delivery.undelivered(run.candidates, chosen, run.record, run.folder)
        with executor or InProcess(exporting.export, threads=1) as opened:
            shared = opened.share({"test": (test.images, test.labels)})
            jobs = Jobs(opened, run.folder / "checkpoints", retries, lambda job, event: run.told.append((job, event)))
            watch = Watch(Console(quiet=True))
            delivery.deliver(waiting, chosen, run.record, run.folder, jobs, make_task, watch, lambda: None)
        return started

    return carry_out


def test_files_are_written_checked_and_recorded(run, deliver, models, caplog):
    given = run("first", "second")
    with caplog.at_level("INFO", "bompnas"):
        assert deliver(given) == [1, 2]
    assert sorted(path.name for path in (given.folder / "models").iterdir()) == [
        "1.bits", "1.keras", "1.tflite", "2.bits", "2.keras", "2.tflite",
    ]  # fmt: skip
    test = dataset().test
    for export in given.record.exports:
        tflite, bits = given.folder / export.tflite, given.folder / export.packed
        assert (tflite.stat().st_size, bits.stat().st_size) == (export.tflite_bytes, export.packed_bytes)
        assert (export.argmax, export.max_lsb, export.images, export.deviation) == (1.0, 0, len(test), None)
        assert export.not_exportable is export.error is None
        raw = Interpreter(tflite)((test.images.astype(np.int16) - 128).astype(np.int8))
        assert export.metrics["test_accuracy"] == np.mean(raw.argmax(axis=1) == test.labels)
        assert 0 < export.latency["low_ms"] <= export.latency["median_ms"] <= export.latency["high_ms"]
        assert export.latency["cpu"]
        assert packed.load(bits).size_bits <= 8 * export.packed_bytes
    assert [line.partition(": ")[0] for line in caplog.messages] == ["export 1 of 2", "export 2 of 2"]
    assert "parity exact on 24 images" in caplog.messages[0]


def test_what_is_exported_is_not_exported_again(run, deliver):
    given = run("first", "second")
    deliver(given)
    before = given.record.exports
    assert deliver(given) == []
    assert given.record.exports == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: (run.folder / "models/2.tflite").unlink(),
        lambda run: (run.folder / "models/2.bits").unlink(),
        lambda run: (run.folder / "models/2.tflite").write_bytes(b"cut off"),
        lambda run: run.record.finish_export(dataclasses.replace(run.record.exports[1], error="killed")),
        lambda run: run.record.finish_export(dataclasses.replace(run.record.exports[1], deviation="differs")),
        lambda run: run.record.finish_finals("final", [Final(2, {}, {}, 1.0, "models/2.keras")]),
    ],
)
def test_what_is_missing_or_failed_or_trained_anew_is_exported_again(run, deliver, spoil):
    given = run("first", "second")
    deliver(given)
    before = given.record.exports
    spoil(given)
    assert deliver(given) == [2]
    assert [dataclasses.replace(export, latency={}) for export in given.record.exports] == [
        dataclasses.replace(export, latency={}) for export in before
    ]


def test_other_settings_export_anew(run, deliver):
    given = run("first")
    deliver(given)
    assert deliver(given, io="float") == [1]
    assert Interpreter(given.folder / "models/1.tflite").input.dtype == np.float32
    (export,) = given.record.exports
    assert (export.settings["io"], export.argmax, export.max_lsb) == ("float", 1.0, 0)


@pytest.mark.parametrize(
    ("place", "name"),
    [(exporting.models, "load"), (exporting, "check"), (exporting.latency, "measure"), (delivery, "replacing")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_kill_loses_the_export_in_progress_alone(run, deliver, monkeypatch, place, name):
    given = run("first", "second")
    deliver(given)
    calls, original = [], getattr(place, name)

    def killed(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, killed)
        with pytest.raises(KeyboardInterrupt):
            deliver(given, io="float")
    kept = {export.candidate for export in given.record.exports if export.settings["io"] == "float"}
    assert kept == ({1} if name != "replacing" else set())
    assert deliver(given, io="float") == sorted({1, 2} - kept)
    assert all(export.max_lsb == 0 and export.settings["io"] == "float" for export in given.record.exports)


def test_what_litert_cannot_hold_is_packed_and_emulated_all_the_same(run, deliver):
    given = run("wide weights")
    deliver(given)
    (export,) = given.record.exports
    assert "layer 'first'" in export.not_exportable
    assert "12" in export.not_exportable
    assert export.tflite is None
    assert not (given.folder / "models/1.tflite").exists()
    assert (export.argmax, export.max_lsb, export.images) == (1.0, 0, 24)
    assert export.metrics == export.latency == {}
    assert max(layer.bits for layer in packed.load(given.folder / export.packed).linear) == 12
    assert deliver(given) == []


def test_a_softmax_is_refused_by_name_unless_it_may_stay_in_float(run, deliver):
    given = run("softmax")
    deliver(given, float_head=True)
    (export,) = given.record.exports
    assert (export.argmax, export.max_lsb, export.not_exportable) == (1.0, 0, None)
    outputs = Interpreter(given.folder / "models/1.tflite")((IMAGES.astype(np.int16) - 128).astype(np.int8))
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)
    assert deliver(given) == [1]
    (export,) = given.record.exports
    assert "layer 'probabilities'" in export.not_exportable
    assert "float_head" in export.not_exportable
    assert (export.tflite, export.packed, export.argmax) == (None, "models/1.bits", 1.0)
    assert not (given.folder / "models/1.tflite").exists()


def test_int4_files_are_checked_by_their_own_limits(run, deliver):
    given = run("4 bits")
    deliver(given)
    exact = given.record.exports[0]
    assert deliver(given, int4=True) == [1]
    (export,) = given.record.exports
    assert export.tflite_bytes < exact.tflite_bytes
    assert export.packed_bytes == exact.packed_bytes
    assert (exact.argmax, exact.max_lsb) == (1.0, 0)
    assert export.deviation is None


def test_regression_is_compared_by_value(run, deliver):
    given = run("first")
    deliver(given, task="regression")
    (export,) = given.record.exports
    assert (export.argmax, export.max_lsb) == (1.0, 0)
    assert set(export.metrics) == {"test_loss", "test_mae", "test_mse"}


def test_a_model_that_cannot_be_read_fails_alone(run, deliver, caplog):
    given = run("first", "second")
    (given.folder / "models/1.keras").write_bytes(b"no model")
    with caplog.at_level("INFO", "bompnas"):
        deliver(given)
    failed, whole = given.record.exports
    assert "models/1.keras: cannot be read as a Keras model" in failed.error
    assert "\n" not in failed.error
    assert whole.argmax == 1.0
    assert "failed: InputError" in caplog.messages[0]


CRASHING = """
    import os, signal
    from bompnas.trials import exporting

    def export(task, tell):
        if task.candidate == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return exporting.export(task, tell)
"""


def test_a_crash_of_native_code_fails_its_export_alone(run, deliver, tmp_path, monkeypatch):
    (tmp_path / "crashing_export.py").write_text(textwrap.dedent(CRASHING))
    monkeypatch.syspath_prepend(tmp_path)
    crashing = importlib.import_module("crashing_export")
    given = run("first", "second")
    assert deliver(given, executor=Pool(crashing.export, 1, 1), retries=1) == [1, 2]
    crashed, whole = given.record.exports
    assert crashed.error == "the worker process was killed by SIGSEGV"
    assert (whole.error, whole.argmax, whole.max_lsb) == (None, 1.0, 0)
    assert [(job, event.reason.rpartition("; ")[2]) for job, event in given.told] == [
        ("export 1", "started again"),
        ("export 1", "given up"),
    ]
    assert sorted(path.name for path in (given.folder / "models").iterdir()) == [
        "1.keras", "2.bits", "2.keras", "2.tflite",
    ]  # fmt: skip
    assert deliver(given) == [1]
    assert given.record.exports[0].error is None


def test_a_full_disk_ends_the_run_and_no_export(run, deliver, monkeypatch):
    given = run("first", "second")
    deliver(given)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: .*models/1\.bits"):
            deliver(given, io="float")
    assert [export.candidate for export in given.record.exports] == [2]
    assert sorted(path.name for path in (given.folder / "models").iterdir()) == [
        "1.keras", "2.bits", "2.keras", "2.tflite",
    ]  # fmt: skip
    assert deliver(given, io="float") == [1, 2]


def test_a_deviation_is_kept_with_the_layer_that_differs_first(run, deliver, monkeypatch):
    given = run("first")

    def another(graph, **options):
        operations = list(graph.operations)
        operations[-1] = dataclasses.replace(operations[-1], bias=operations[-1].bias + 10**5)
        return original(dataclasses.replace(graph, operations=tuple(operations)), **options)

    original = exporting.litert.write
    with monkeypatch.context() as patch:
        patch.setattr(exporting.litert, "write", another)
        deliver(given)
    (export,) = given.record.exports
    assert "the first layer that differs is 'last' (the emulator and LiteRT" in export.deviation
    assert export.max_lsb > 0
    assert (given.folder / export.tflite).stat().st_size == export.tflite_bytes
    assert deliver(given) == [1]
    assert given.record.exports[0].deviation is None


def test_large_test_parts_are_sampled(monkeypatch):
    monkeypatch.setattr(exporting, "IMAGES", 10)
    test = dataset().test
    some = exporting.sample(test)
    assert len(some) == 10
    places = [np.flatnonzero((test.images == image).all(axis=(1, 2, 3)))[0] for image in some.images]
    assert places == sorted(places)
    np.testing.assert_array_equal(some.labels, test.labels[places])
    np.testing.assert_array_equal(exporting.sample(test).images, some.images)


@pytest.mark.parametrize("most", [10, 100])
def test_of_images_in_files_those_that_are_compared_are_read(monkeypatch, tmp_path, most):
    monkeypatch.setattr(exporting, "IMAGES", most)
    test = dataset().test
    (tmp_path / "all").mkdir()
    for number, image in enumerate(test.images):
        Image.fromarray(image[..., 0]).save(tmp_path / "all" / f"{number:03}.png")
    files = image_files.find(tmp_path, 8, 1)[0]
    np.testing.assert_array_equal(
        exporting.sample(data.Split(files, test.labels)).images, exporting.sample(test).images, strict=True
    )


def test_of_large_test_parts_a_sample_is_compared_and_the_whole_measured(run, deliver, monkeypatch):
    given = run("first")
    deliver(given)
    whole = given.record.exports[0]
    monkeypatch.setattr(exporting, "IMAGES", 10)
    given.record.forget_export(1)
    deliver(given)
    (export,) = given.record.exports
    assert (whole.images, export.images) == (24, 10)
    assert export.metrics == whole.metrics


def test_a_verdict_tells_what_there_is():
    timed = {"median_ms": 0.0124}
    whole = Export(1, {}, "b", 9980, "t", 26100, images=2000, argmax=1.0, max_lsb=0, latency=timed)
    assert delivery.verdict(whole) == "9.98 kB packed, 26.1 kB .tflite, 0.012 ms, parity exact on 2,000 images"
    worse = dataclasses.replace(whole, argmax=0.5, max_lsb=3, deviation="all of it")
    assert delivery.verdict(worse).endswith("parity 50.00%, 3 LSB on 2,000 images, beyond the limits: all of it")
    assert delivery.verdict(Export(1, {}, not_exportable="layer 'x'")) == "no .tflite: layer 'x'"
