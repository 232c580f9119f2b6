import json

import numpy as np
import pytest
from quality import ours, study, task
from quality.peers import PEERS
from quality.study import Method


@pytest.fixture(scope="module")
def synthetic():
    return task.synthetic(100)


class Repeating:
    """Proposes the seed network again and again, `count` times."""

    def __init__(self, problem, seed, count=1000):
        self.space, self.left, self.saw = problem.space, count, []

    def __call__(self, completed, pending):
        self.saw.append((len(completed), len(pending)))
        self.left -= 1
        return self.space.seed if self.left >= 0 else None


def test_initial_networks_are_distinct_and_those_of_the_instance(synthetic):
    keys = {synthetic.problem.space.decode(genotype).key for genotype in synthetic.initial}
    assert len(keys) == 10
    assert synthetic.initial == task.synthetic(100).initial
    assert synthetic.initial != task.synthetic(101).initial


def test_a_study_keeps_what_was_observed_and_what_is_true(synthetic):
    record = study.study(Method("random", PEERS["random"]), synthetic, 14)
    assert record["seconds"][:10] == [None] * 10
    assert all(value >= 0 for value in record["seconds"][10:])
    assert record["distinct"] == 14
    gaps = np.array(record["observed"]) - record["true"]
    assert 0 < np.abs(gaps).max() < 0.2
    expected = np.array(record["accuracy"]) / 0.8 + 8 / np.log10(record["size_bits"])
    np.testing.assert_allclose(record["true"], expected, atol=2e-6)
    assert record == json.loads(json.dumps(record))


def test_incumbents_are_chosen_by_observation_and_valued_by_truth():
    record = {"observed": [1.0, 3.0, 2.0, 4.0], "true": [1.5, 1.2, 9.0, 1.1]}
    assert study.incumbent(record) == [1.5, 1.2, 1.2, 1.1]


def test_trainings_of_one_network_have_their_own_noise(synthetic):
    record = study.study(Method("repeating", Repeating), synthetic, 14)
    assert len(set(record["observed"][10:])) == 4
    assert len(set(record["true"][10:])) == 1
    assert record["distinct"] == 11


def test_workers_keep_trials_pending(synthetic):
    searchers = []

    def start(problem, seed):
        searchers.append(Repeating(problem, seed))
        return searchers[0]

    record = study.study(Method("four", start, workers=4), synthetic, 16)
    assert searchers[0].saw == [(10, 0), (10, 1), (10, 2), (10, 3), (11, 3), (12, 3)]
    assert len(record["true"]) == 16


def test_an_exhausted_search_ends(synthetic):
    record = study.study(Method("two", lambda problem, seed: Repeating(problem, seed, 2), workers=4), synthetic, 20)
    assert len(record["true"]) == len(record["seconds"]) == 12


def test_runs_continue_and_shards_share_the_work(tmp_path, capsys):
    methods = [Method(name, PEERS[name]) for name in ("random", "aging10")]
    study.run(tmp_path, methods, [100, 101], task.synthetic, task.SYNTHETIC, 12, shard=(1, 2))
    assert {(row["method"], row["instance"]) for row in study.read(tmp_path)} == {("random", 100), ("random", 101)}
    file = tmp_path / "synthetic" / "random.jsonl"
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{second[:80]}")  # killed while it wrote
    capsys.readouterr()
    study.run(tmp_path, methods, [100, 101], task.synthetic, task.SYNTHETIC, 12)
    assert "3/3" in capsys.readouterr().out
    rows = study.read(tmp_path)
    assert len(rows) == 4
    again = next(row for row in rows if (row["method"], row["instance"]) == ("random", 101))
    assert {**again, "seconds": 0} == {**json.loads(second), "seconds": 0}


@pytest.mark.parametrize("name", ["bomp", "bomp_batch4", "bomp_stratified"])
def test_our_proposers_run_in_the_loop(name, synthetic):
    record = study.study(ours.methods()[name], synthetic, 15)
    assert record["distinct"] == len(record["true"]) == 15
    shared = study.study(Method("random", PEERS["random"]), synthetic, 10)["observed"]
    assert (record["observed"][:10] == shared) is (name != "bomp_stratified")
