import dataclasses
import json

import numpy as np
import pytest

from bompnas import experiment as experiments
from bompnas import run as runs
from bompnas.errors import InputError
from bompnas.networks import float_model, fold
from bompnas.supernet import checkpoint, hqnas
from bompnas.training import loop
from bompnas.training.loss import Criterion
from bompnas.trials import setup
from bompnas.trials.record import Record
from bompnas.trials.trial import train_quantized


@pytest.fixture(scope="module")
def document(pytestconfig, tmp_path_factory, small_text):
    path = tmp_path_factory.mktemp("hqnas") / "small.yaml"
    path.write_text(small_text)
    return {
        "name": "hqnas",
        "data": {"dataset": "digits", "train_images": 320, "test": 100},
        "space": str(path),
        "method": {
            "name": "hqnas",
            "accuracy_threshold": 0.9,
            "cost_threshold": 0.02,
            "warm_up": 1,
            "samples": 3,
            "candidates": 3,
            "units": "relative",
        },
        "training": {"epochs": 3, "optimizer": "adam", "learning_rate": 0.02, "batch_size": 64},
        "hardware": {"model": "bitfusion"},
        "objectives": {"accuracy": {"reference": 0.8}, "latency": {"reference": 1}},
        "final": {"epochs": 2, "qaft_epochs": 1},
    }


@pytest.fixture(scope="module")
def finished(document, tmp_path_factory):
    """A whole run, and its folder."""
    folder = tmp_path_factory.mktemp("runs") / "hqnas"
    return runs.run(experiments.parse(document), out=folder), folder


def changed(document, changes):
    text = json.loads(json.dumps(document))
    for path, value in changes.items():
        *parts, last = path.split(".")
        section = text
        for part in parts:
            section = section.setdefault(part, {})
        if value is None:
            section.pop(last)
        else:
            section[last] = value
    return text


def test_a_run_records_the_decided_network_first(finished):
    result, folder = finished
    with Record(folder / "run.db", read_only=True) as record:
        proposals, candidates = record.proposals, record.candidates
        curves, finals = record.curves("search"), record.finals
    assert [proposal.details["source"] for proposal in proposals][:1] == ["decided"]
    assert proposals[0].genotypes == (candidates[0].genotype,)
    assert {candidate.trial for candidate in candidates} == {1}
    assert candidates[0].seconds["search"] > 0
    assert all(not candidate.seconds for candidate in candidates[1:])
    assert {len(values) for values in curves.values()} == {3}
    assert {"loss", "val_accuracy", "latency_ms", "reward", "p(block2.bits=4)"} <= set(curves)
    assert 1 in {final.candidate for final in finals}
    assert result.candidates == candidates


def test_what_was_decided_is_trained_exported_and_exact(finished):
    result, folder = finished
    exports = {export.candidate: export for export in result.exports}
    assert 1 in exports
    for export in exports.values():
        assert export.error is None
        assert export.deviation is None
        assert (folder / export.packed).exists()
        assert (export.tflite is None) == (export.not_exportable is not None)
        widest = max(layer.weight_bits for layer in result.candidates[export.candidate - 1].network.layers)
        assert (export.not_exportable is not None) == (widest > 8)


def test_levels_of_the_networks_are_nested(finished):
    result, _ = finished
    for candidate in result.candidates:
        for layer in candidate.network.backbone:
            if layer.group.startswith("block"):
                assert layer.levels == {4: 7, 8: 119, 16: 30583}[layer.weight_bits]
            else:
                assert layer.weight_levels is None


def test_the_supernet_is_kept(finished, small):
    _, folder = finished
    known = checkpoint.unpack((folder / hqnas.KNOWLEDGE).read_bytes())
    assert known.thresholds.shape == (small.chains.gates,)
    assert known.classes == tuple("0123456789")
    assert known.arrays["block1_1_depthwise/kernel"].shape == (5, 5, 24, 1)


def test_a_finished_search_is_not_searched_again(finished, document, monkeypatch):
    result, folder = finished

    def never(*_):
        raise AssertionError("searched again")

    monkeypatch.setattr("bompnas.supernet.search.search", never)
    again = runs.run(experiments.parse(document), out=folder)
    assert again.candidates == result.candidates
    assert again.trained == result.trained


def test_the_report_shows_the_search(finished):
    _, folder = finished
    page = (folder / "report.html").read_text()
    assert "decided" in page


def test_final_trainings_begin_with_the_supernets_weights_where_asked(finished, document):
    result, folder = finished
    prepared = setup.prepare(experiments.parse(changed(document, {"method.weights": "inherited"})))
    settings = prepared.experiment.method
    candidate = result.candidates[0]
    weights = hqnas.weights(settings, folder)(candidate)
    known = checkpoint.unpack((folder / hqnas.KNOWLEDGE).read_bytes())
    last = candidate.network.backbone[-2]
    np.testing.assert_array_equal(
        weights[f"{last.name}/kernel"], known.arrays[f"{last.name}/kernel"][:, :, : last.in_channels]
    )
    assert hqnas.weights(settings.model_copy(update={"weights": "fresh"}), folder)(candidate) is None
    arrays = setup.parts(prepared.dataset)
    task = prepared.final_task([candidate], None, weights=weights)
    untrained = {phase: dataclasses.replace(getattr(task, phase), epochs=0) for phase in ("early", "qaft")}
    found = train_quantized(dataclasses.replace(task, **untrained), arrays).outcomes[0]
    model = float_model.build(candidate.network, prepared.head.head())
    float_model.restore(model, weights)
    criterion = Criterion.of(prepared.head.head(), model)
    expected = loop.evaluate(fold.fold(model), criterion, *arrays["validation"])
    assert found.metrics["float_val_loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_weights_go_to_the_layers_they_are_named_for(finished, head):
    result, _ = finished
    network = result.candidates[0].network
    model = float_model.build(dataclasses.replace(network, layers=network.backbone), head.head())
    with pytest.raises(ValueError, match="the model has no weight elsewhere/kernel; expected one of stem/kernel"):
        float_model.restore(model, {"elsewhere/kernel": np.zeros(1)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method.cost": "energy"}, "method.cost: energy is not known before training; expected one of .*latency_ms"),
        (
            {"hardware": None, "objectives": None},
            "latency_ms is not known before training.*or a device in the section hardware",
        ),
        ({"method.warm_up": 3}, r"method.warm_up: 3 of 3 epochs \(training.epochs\) leave none"),
        ({"quantization.mode": "none"}, "quantization.mode: method hqnas scores quantized networks; found none"),
        (
            {"head.class": "regression", "objectives": {"loss": {"reference": 1}}},
            "found a head for regression, expected one that classifies",
        ),
        ({"method.samples": 1}, "method.samples: expected 2 or more; found 1"),
        ({"method.accuracy_threshold": 97}, "method.accuracy_threshold"),
        ({"method.cost_threshold": None}, "method.cost_threshold"),
        ({"method.trials": 5}, "method.trials: unknown key"),
        ({"method.checkpoint": "nowhere.npz"}, "method.checkpoint: .*nowhere.npz"),
        ({"method.reward_images": 1.5}, "method.reward_images: expected a fraction"),
        ({"space": "search_spaces/mobilenetv2_digits.yaml"}, "space mobilenetv2_digits: "),
    ],
)
def test_bad_input_gets_one_clear_error_and_leaves_nothing(document, tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        runs.run(experiments.parse(changed(document, changes)), out=tmp_path / "run")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_measured_limit_is_refused(document, tmp_path):
    document = changed(document, {"hardware": {"model": "litert_cpu"}, "method.cost": "size_kb"})
    document["constraints"] = {"latency_ms": 1.0}
    with pytest.raises(InputError, match="constraints: latency_ms is measured"):
        runs.run(experiments.parse(document), out=tmp_path / "run")
