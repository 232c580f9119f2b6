from typing import ClassVar

import pytest
import yaml
from speed.study import Rows
from supernets import cases, page, study, summary, timed
from supernets.summary import Mean, Study

from bompnas.candidate import State
from bompnas.search.random import RandomProposer
from bompnas.testing import problems

ACCURATE, FAST = cases.PRIORS


def network(accuracy, latency_ms, reward=0.0, **genes):
    groups = {"block1.kernel": 3, "block1.expansion": 6, "block1.bits": 8}
    return {
        "genotype": {**groups, **genes},
        "searched_val_accuracy": accuracy - 0.05,
        "latency_ms": latency_ms,
        "size_kb": 10 * latency_ms,
        "metrics": {"val_accuracy": accuracy, "test_accuracy": accuracy, "float_test_accuracy": accuracy + 0.01},
        "rewards": {prior: {"val": reward, "test": reward - 1} for prior in cases.PRIORS},
    }


def of_prior(prior, seed, networks, seconds=100.0):
    curves = {"val_accuracy": [0.2, 0.5, 0.8], "latency_ms": [4.0, 3.0, 2.0], "reward": [float("nan"), -3.0, -1.0]}
    trainings = [
        {"weights": weights, "epochs": epochs, **network(0.9 + shift + 0.001 * epochs + 0.01 * seed, 2.0)}
        for epochs in (5, 60)
        for weights, shift in (("fresh", 0.0), ("inherited", 0.02))
    ]
    facts = {"epochs": 3, "warm_up": 1, "images": 1079, "test_images": 400}
    of = {"part": "prior", "name": prior, "seed": seed}
    return {
        "of": of,
        "seconds": seconds,
        "wall": seconds + 20,
        "facts": facts,
        "curves": curves,
        "networks": networks,
        "trainings": trainings,
    }


def of_device(device, seed, rewards):
    on = {
        name: {"latency_ms": 1.0 if name == device else 1.0 + seed, "limit_ms": 2.0, "reward": reward}
        for name, reward in zip(cases.DEVICES, rewards, strict=True)
    }
    networks = [network(0.97, 1.0)]
    return {"of": {"part": "device", "name": device, "seed": seed}, "seconds": 9.0, "networks": networks, "on": on}


@pytest.fixture
def rows():
    """Two seeds of priors and devices, one of everything else."""
    first, second = cases.DEVICES
    return [
        {"of": {"part": "baseline", "seed": 0}, "networks": [network(0.97, 4.0)], "float_size_kb": 44.0},
        of_prior(ACCURATE, 0, [network(0.98, 3.0, 5), network(0.96, 2.0, 9)], 100.0),
        of_prior(ACCURATE, 1, [network(0.96, 2.0, 8), network(0.95, 1.0, 7)], 120.0),
        of_prior(FAST, 0, [network(0.94, 1.0, 2)], 140.0),
        of_prior(FAST, 1, [network(0.94, 1.5, 4)], 160.0),
        {
            "of": {"part": "method", "name": "random", "seed": 0},
            "seconds": 110.0,
            "given": 120.0,
            "trials": [{}] * 12,
            "networks": [network(0.95, 1.0, 3), network(0.99, 5.0, 4)],
        },
        of_device(first, 0, (5.0, 1.0)),
        of_device(second, 0, (3.0, 1.0)),
        of_device(first, 1, (2.0, 4.0)),
        of_device(second, 1, (3.0, 6.0)),
        {"of": {"part": "variant", "name": "no warm-up", "seed": 0}, "seconds": 80.0, "networks": [network(0.9, 2.5)]},
    ]


class Clock:
    """Ten seconds pass in every trial."""

    def __init__(self):
        self.seconds = 1000.0

    def train(self, candidate):
        self.seconds += 10
        return {"val_accuracy": 0.5} if candidate.id != 2 else None


def timed_search(seconds):
    clock = Clock()
    problem = problems.networks().problem
    return timed.search(RandomProposer(), problem, clock.train, seconds, seed=0, clock=lambda: clock.seconds)


def test_a_search_by_trials_ends_before_its_time_is_over():
    found = timed_search(39.0)
    assert [candidate.state for candidate in found.candidates] == [State.COMPLETED, State.FAILED, State.COMPLETED]
    assert found.seconds == 30.0
    assert len(timed_search(40.0).candidates) == 4
    assert len(timed_search(0.0).candidates) == 1
    assert len({candidate.network.key for candidate in found.candidates}) == 3


def test_networks_of_one_architecture_are_trained_together():
    candidates = timed_search(100.0).candidates
    groups = timed.grouped(candidates)
    assert sorted(each.id for group in groups for each in group) == list(range(1, 11))
    for group in groups:
        assert len({each.network.architecture_key for each in group}) == 1
    assert len({group[0].network.architecture_key for group in groups}) == len(groups)


class FakeWorker:
    """A worker that only tells what it is asked."""

    asked: ClassVar[list] = []

    def __init__(self, threads):
        self.asked.clear()

    def run(self, function, part, case, *arguments):
        self.asked.append((part, *arguments))
        return {"seconds": 100.0 + arguments[-1]}

    def __exit__(self, *error):
        pass


def test_searches_by_trials_get_the_time_of_a_supernets(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "Worker", FakeWorker)
    path = tmp_path / "raw" / "searches.jsonl"
    study.measure(cases.QUICK, ("method",), 2, 2, Rows(path))
    assert FakeWorker.asked == []
    study.measure(cases.QUICK, ("method", "prior"), 2, 1, Rows(path))
    priors = [("prior", name, seed) for seed in range(2) for name in cases.PRIORS]
    methods = [("method", name, seed, 100.0 + seed) for seed in range(2) for name in cases.METHODS]
    assert FakeWorker.asked == priors + methods
    study.measure(cases.QUICK, ("tight",), 1, 1, Rows(tmp_path / "other.jsonl"))
    assert FakeWorker.asked == [("tight", device, 0, cases.LIMITS["tight"]) for device in cases.DEVICES]
    study.measure(cases.QUICK, ("prior", "baseline"), 3, 1, Rows(path))
    assert FakeWorker.asked == [
        *(("prior", name, 2) for name in cases.PRIORS),
        *(("baseline", seed) for seed in range(3)),
    ]
    assert len(list(Rows(path))) == 13


def test_searches_differ_in_what_is_compared_alone():
    from supernets import searches

    supernet = searches.prepared(cases.WHOLE, (cases.prior(FAST),), 1).experiment
    trials = searches._prepared_trials(cases.WHOLE, "bomp", 1).experiment
    assert supernet.method.cost_weight == 0.8
    given = yaml.safe_load(cases.TRIALS.read_text(encoding="utf-8"))["training"]
    assert given.items() <= trials.training.model_dump().items()
    for name in ("data", "space", "hardware", "objectives", "constraints", "seed"):
        assert getattr(supernet, name) == getattr(trials, name)


def test_the_devices_want_different_networks():
    from supernets import searches

    ratios = []
    for device in cases.DEVICES:
        setup = searches.prepared(cases.WHOLE, searches._for_device(cases.WHOLE, device, 0.5), 0)
        space = setup.problem.space
        larger = {name: 5 for name in space.seed if name.endswith(".kernel")}
        small, large = (setup.problem.cost(space.decode({**space.seed, **genes})) for genes in ({}, larger))
        ratios.append(large["latency_ms"] / small["latency_ms"])
        assert 0 < setup.experiment.method.cost_threshold < large["latency_ms"]
    assert ratios[0] > 1.5
    assert ratios[1] < 1.01


def test_means_and_differences(rows):
    found = Study(rows)
    assert Mean.of([0.5]).text(1, 100) == "50.0"
    assert Mean.of([1.0, 3.0]).text(2) == "2.00 ± 1.41"
    assert [each["latency_ms"] for each in found.decided(ACCURATE)] == [3.0, 2.0]
    assert [each["latency_ms"] for each in found.best("hqnas", ACCURATE)] == [2.0, 2.0]
    assert found.error_difference(found.decided(ACCURATE)) == pytest.approx(0.98 - 0.97)
    assert summary.apart([3, 2], [1.0, 1.5])
    assert not summary.apart([3, 1.2], [1.0, 1.5])


def test_hypervolumes_end_at_mobilenets_latency(rows):
    # Of random only (95 %, 1 ms) counts: half of the accuracy above 90 %, three quarters of 4 ms.
    assert Study(rows).hypervolumes("method", "random").value == pytest.approx(0.5 * 0.75)
    first = (0.06 * 2 + 0.02 * 1) / 0.4  # (96 %, 2 ms), and (98 %, 3 ms) above it
    second = (0.05 * 3 + 0.01 * 2) / 0.4
    assert Study(rows).hypervolumes("prior", ACCURATE).value == pytest.approx((first + second) / 2)


def test_inherited_weights_are_compared_in_pairs(rows):
    fresh, inherited, difference = Study(rows).inherited(5)
    assert Study(rows).epochs == [5, 60]
    assert fresh.value == pytest.approx(0.91)
    assert inherited.value == pytest.approx(0.93)
    assert (difference.value, difference.error) == (pytest.approx(0.02), pytest.approx(0.0, abs=1e-9))


def test_networks_win_on_their_own_device_seed_by_seed(rows):
    first, second = cases.DEVICES
    assert Study(rows).wins("device", first) == (1, 1, 2)
    assert Study(rows).wins("device", second) == (1, 1, 2)


def test_skipped_groups_have_no_kernel():
    skipped = {"block2.kernel": 5, "block2.expansion": 3, "block2.bits": 16, "block2.repetitions": 0}
    both = [network(0.9, 1.0, **skipped), network(0.9, 1.0, **{**skipped, "block2.repetitions": 1})]
    assert summary.groups_of(both).value == 1.5
    assert summary.kernel_of(both).value == 3.5
    assert summary.bits_of(both).value == 10.0


def test_the_page_tells_what_was_measured(rows, tmp_path):
    text = page.write(tmp_path / "raw", rows).read_text()
    assert "| accuracy first | 0.2 | 2.5000 ± 0.7071 | 25.00 ± 7.07 |" in text
    assert "Mean latencies differ by a factor of 2.00, and the ranges of the seeds do not overlap." in text
    assert (
        "The slowest search took 3.0 min of wall time (asked: less than 6), the least accurate decided network" in text
    )
    assert "One of the 400 test images is 0.25 %, and the standard error of a single accuracy of 96 % is 1.0 %" in text
    assert "| 5 | 91.00 ± 0.58 | 93.00 ± 0.58 | +2.00 ± 0.00 |" in text
    assert "| random | 110 | 12.0 | 2.0 | 37.5 |" in text
    assert "| MobileNetV2, float | 44.00 |  | 98.00 |  |  |" in text
    assert "| hqnas, decided, weights inherited | 20.00 ± 0.00 | 2.0000 ± 0.0000 | 98.50 ± 0.71 | -0.50 |" in text
    assert "| random, best | 50.00 | 5.0000 | 99.00 | -1.00 | 3.00 |" in text
    assert "is the faster one in 1 of 2 pairs of one seed, and has the larger reward in 1." in text
    assert "| no warm-up | 1 | 2.5000 | 90.00 | -1.00 | 80 |" in text
    for picture in ("hqnas_priors.png", "hqnas_methods.png"):
        assert (tmp_path / picture).stat().st_size > 5_000


def test_parts_that_were_not_measured_are_told(tmp_path):
    text = page.write(tmp_path / "raw", []).read_text()
    assert text.count("Not measured.") == 6
