import dataclasses
import json

import numpy as np
import pytest
from speed import clocks, page, study, summary
from speed.cases import Case
from speed.summary import Difference, Spread, Study

FACTS = {"of": {"kind": "facts"}, "images": 100, "validation": 30, "batch": 10, "epochs": 4, "qaft_epochs": 1}


def trial(side, seed, scale=1.0, kind="trial", network="seed", **more):
    """A trial of 30 s: first epoch 5 s, others 3 s; both clocks alike."""
    wall = {"build": 1.0, "train": 14.0, "evaluate": 4.0, "quantize": 2.0, "qaft": 8.0}
    wall = {phase: scale * seconds for phase, seconds in wall.items()}
    float_epochs = [scale * seconds for seconds in (5.0, 3.0, 3.0, 3.0)]
    return {
        "of": {"kind": kind, "threads": 2, "side": side, "network": network, "seed": seed},
        "wall": wall,
        "cpu": wall,
        "total": {"wall": 30 * scale, "cpu": 30 * scale},
        "epochs": {
            "float": {"wall": float_epochs, "cpu": float_epochs},
            "qaft": {"wall": [8 * scale], "cpu": [8 * scale]},
        },
        "metrics": {"float_val_accuracy": 0.9 + 0.01 * seed, "val_accuracy": 0.8 + 0.01 * seed},
        **more,
    }


def long_qaft(side, scale=1.0):
    times = [scale * seconds for seconds in (9.0, 2.0, 2.0, 2.0)]
    return {
        "of": {"kind": "long qaft", "threads": 2, "side": side, "network": "seed"},
        "epochs": {"qaft": {"wall": times, "cpu": times}},
    }


@pytest.fixture
def measured():
    """Five trials of each side, of which the baseline takes four times as long."""
    rows = [trial(side, seed, scale) for side, scale in (("baseline", 4.0), ("ours", 1.0)) for seed in range(5)]
    policies = {
        "of": {"kind": "policies", "threads": 2, "network": "seed", "seed": 0},
        "policies": [{"wall": seconds, "cpu": seconds} for seconds in (9.0, 3.0, 6.0)],
        "total": {"wall": 39.0, "cpu": 39.0},
    }
    bare = {"of": {"kind": "bare", "threads": 2, "network": "seed"}, "step": 0.1, "inference": 0.02, "cpu_step": 0.1}
    firsts = [
        {"of": {"kind": "first", "threads": 2, "side": side}, "start": 9.0, "total": {"wall": 60.0}}
        for side in ("baseline", "ours")
    ]
    variants = [
        {**trial("baseline", 0, scale), "of": {"kind": "variant", "variant": variant}}
        for variant, scale in (("default", 5.0), ("jit_compile=False", 4.0))
    ]
    return [FACTS, *rows, long_qaft("baseline", 4.0), long_qaft("ours"), policies, bare, *firsts, *variants]


def test_what_goes_before_the_first_epoch_counts_with_it():
    assert clocks.epochs(10.0, [103.0, 105.0, 107.5]) == [5.5, 2.0, 2.5]
    assert clocks.epochs(10.0, [103.0]) == [10.0]


def test_phases_add_up_to_the_trial():
    split = clocks.split(trial("ours", 0), "wall", qaft_epoch=2.0)
    assert split == {
        "build": 1.0,
        "trace": 2.0,
        "train": 12.0,
        "evaluate": 4.0,
        "quantize": 2.0,
        "trace qaft": 6.0,
        "qaft": 2.0,
        "rest": 1.0,
    }
    assert sum(split.values()) == 30.0


def test_without_a_second_epoch_tracing_is_not_told_apart():
    split = clocks.split(trial("ours", 0), "wall", qaft_epoch=None)
    assert (split["trace qaft"], split["qaft"]) == (0.0, 8.0)


def test_clocks_count_what_they_enclose():
    phases = clocks.Phases()
    for _ in range(2):
        with phases("work"):
            np.linalg.eigvals(np.random.default_rng(0).normal(size=(60, 60)))
    assert phases.wall.keys() == phases.cpu.keys() == {"work"}
    assert phases.wall["work"] > 0


def test_totals_and_ratio(measured):
    found = Study(measured, 2)
    assert found.networks == ["seed"]
    assert found.total("baseline", "seed", "wall") == Spread(120.0, 120.0, 120.0)
    assert found.ratio("seed", "cpu") == Spread(4.0, 4.0, 4.0)
    assert found.epoch("ours", "seed", "wall") == 3.0
    assert Study(measured, 1).networks == []


def test_a_further_policy_is_compared_with_the_trial_of_one(measured):
    shares = Study(measured, 2).policy_shares("seed", "wall")
    assert [share.median for share in shares] == [0.1, 0.2]


def test_bare_convolutions_of_a_trial(measured):
    found = Study(measured, 2)
    assert summary.bare_seconds(found.bare("seed"), found.facts) == pytest.approx(
        {"train": 4.0, "qaft": 1.0, "evaluate": 0.12}
    )


def test_only_what_grows_is_extrapolated(measured):
    phases = Study(measured, 2).phases("ours", "seed", "wall")
    assert summary.extrapolated(phases, FACTS, images=200, epochs=8) == 16.0 + 12.0 * 4 + 2.0 * 2
    assert summary.extrapolated(phases, FACTS, images=100, epochs=4) == 30.0


def test_differences_of_means():
    ours, theirs = [2.0, 4.0, 6.0], [1.0, 2.0, 3.0]
    assert Difference.of(ours, theirs) == Difference(2.0, pytest.approx(np.sqrt(4 / 3 + 1 / 3)))
    assert Difference.paired(ours, theirs) == Difference(2.0, pytest.approx(1 / np.sqrt(3)))


def test_the_page_holds_every_part(tmp_path, measured):
    case = Case("digits", (), 1, whole=(1000, 40))
    work = tmp_path / "trial_speed"
    work.mkdir()
    (work / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in measured))
    text = page.write(work, {"digits": case, "cifar10": case}, {"cifar10": "no data"}).read_text()
    assert (tmp_path / "trial_speed_digits_2.png").stat().st_size > 10_000
    assert "| seed | 120.0 (120.0 to 120.0) | 30.0 (30.0 to 30.0) | 4.00 (4.00 to 4.00) |" in text
    assert "| seed | ours | 1.00 | 2.00 | 12.00 | 4.00 | 2.00 | 6.00 | 2.00 | 1.00 |" in text
    assert "| quantized | seed | 82.00, s = 1.58 | 82.00, s = 1.58 | +0.00 ± 1.00 |" in text
    assert "| seed | train | 12.00 | 40 % | 4.00 | 3.0 |" in text
    assert "| jit_compile=False | 120.0 | 120.0 | 12.00 | the baseline |" in text
    assert "Not measured: no data." in text


def test_further_seeds_are_told_apart_from_the_timed_trials(measured):
    def accuracy(side, seed, value):
        of = {"kind": "accuracy", "threads": 2, "side": side, "network": "seed", "seed": seed}
        return {"of": of, "metrics": {"float_val_accuracy": value}}

    timed = page._accuracy(Study(measured, 2))
    assert not [line for line in timed if "further" in line]
    further = [accuracy("baseline", 2001, 0.5), accuracy("baseline", 2000, 0.4)]  # rows come in any order
    further += [accuracy("ours", 2000, 0.5), accuracy("ours", 2001, 0.8)]
    lines = page._accuracy(Study([*measured, *further], 2))
    assert "| float, timed trials alone | all, paired | 92.00, s = 1.58 | 92.00, s = 1.58 | +0.00 ± 0.00 |" in lines
    assert "| float, further seeds alone | all, paired | 45.00, s = 7.07 | 65.00, s = 21.21 | +20.00 ± 10.00 |" in lines
    assert "Of 7 (float) and 5 (quantized) seeds" in lines[-1]


def test_rows_are_measured_once(tmp_path):
    path, calls = tmp_path / "raw" / "rows.jsonl", []

    def measure(value):
        calls.append(value)
        return {"value": value}

    rows = study.Rows(path)
    assert rows.once({"kind": "a", "seed": 1}, measure, 5)["value"] == 5
    again = study.Rows(path)
    assert again.once({"kind": "a", "seed": 1}, measure, 6)["value"] == 5
    assert again.once({"kind": "a", "seed": 2}, measure, 7)["value"] == 7
    assert calls == [5, 7]
    assert again.holds({"kind": "a", "seed": 2})
    assert not again.holds({"kind": "b"})


def test_the_fastest_variant_is_the_baseline(tmp_path, measured):
    rows = study.Rows(tmp_path / "rows.jsonl")
    for row in measured:
        if row["of"]["kind"] == "variant":
            rows.once(row["of"], dict, total=row["total"])
    assert study.fastest(rows) == "jit_compile=False"


# --- With TensorFlow --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick():
    """A case of two epochs, its networks, and the smallest one of its space."""
    from speed import cases

    case = Case("digits", ("training.epochs=2", "data.test=0.5", "data.validation=0.3"), networks=2)
    return case, {**cases.networks(case, None)["networks"], "smallest": cases.smallest(case, None)}


def test_further_policies_differ_in_their_weights_alone(quick):
    from speed import cases

    from bompnas.space.network import Network

    network = Network.from_json(quick[1]["random 1"])
    first, second, third = cases.policies(network, 3)
    assert first == network
    assert second.architecture_key == third.architecture_key == network.architecture_key
    assert len({first.key, second.key, third.key}) == 3


def test_the_variants_are_those_of_the_study():
    from speed.baseline import VARIANTS

    assert tuple(VARIANTS) == study.VARIANTS


def test_the_quantized_baseline_computes_nearly_what_the_float_network_does(quick):
    import keras
    from speed import baseline

    from bompnas.networks import float_model
    from bompnas.networks.heads import HeadSource
    from bompnas.space.network import Network

    network = Network.from_json(quick[1]["seed"])
    keras.utils.set_random_seed(0)
    model = float_model.build(network, HeadSource("classification", 10).head())
    quantized = baseline.quantize(model, network)
    assert sum("Q" in type(layer).__name__ for layer in quantized.layers) >= 2 * len(network.layers)
    assert quantized.count_params() == model.count_params()
    images = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1)).astype("float32")
    name = "block2_1_expand_normalization"  # maps shrink further behind in an untrained network
    expected, found = (
        np.asarray(keras.Model(each.input, each.get_layer(name).output)(images)) for each in (model, quantized)
    )
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.99


def test_both_sides_measure_alike(quick):
    from speed import baseline, ours

    case, networks = quick
    theirs = baseline.run(case, None, networks["smallest"], 0, None, "jit_compile=False")
    found = ours.run(case, None, networks["smallest"], 0, None, 2)
    for side in (theirs, found):
        assert {"build", "train", "evaluate", "quantize", "qaft"} <= side["wall"].keys()
        assert sum(side["wall"].values()) <= side["total"]["wall"]
        assert len(side["epochs"]["float"]["wall"]) == 2
        assert sum(side["epochs"]["float"]["wall"]) == pytest.approx(side["wall"]["train"])
        assert len(side["epochs"]["qaft"]["cpu"]) == 1
        assert {"float_val_accuracy", "val_accuracy"} <= side["metrics"].keys()
        json.dumps(side)
    assert len(found["policies"]) == 2


def test_bare_convolutions_of_a_deeper_network_take_longer(quick):
    from speed import kernels

    from bompnas.space.network import Network

    network = Network.from_json(quick[1]["seed"])
    small = dataclasses.replace(network, layers=network.layers[:1])
    whole, part = (kernels.measure(each.to_json(), 16) for each in (network, small))
    assert whole["step"] > part["step"] > 0
    assert whole["step"] > whole["inference"] > 0
