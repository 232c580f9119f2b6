import json

import numpy as np
import pytest
from quality import report, summary
from quality.summary import SCORE, VOLUME, Estimate


def record(method, instance, true, given=1, suite="synthetic", trials=None):
    """A study whose observations are the truth, of networks of 10,000 bits and accuracies that fit the scores."""
    return {
        "suite": suite, "method": method, "instance": instance, "trials": trials or len(true),
        "reference": [0.4, 6.4], "optimum": None, "observed": list(true), "true": list(true),
        "accuracy": [0.8 * (score - 2) for score in true], "size_bits": [10_000] * len(true),
        "seconds": [None] * given + [0.5] * (len(true) - given), "distinct": len(true),
    }  # fmt: skip


def test_estimates():
    estimate = Estimate(np.array([1.0, 2.0, 3.0, -1.0]))
    assert estimate.mean == 1.25
    assert estimate.error == pytest.approx(1.70782513 / 2)
    assert estimate.half_interval == pytest.approx(3.18244631 * 1.70782513 / 2)
    assert estimate.wins == 3


def test_curves_by_method_best_first():
    rows = [record("a", number, [2.5, 2.6, 2.55]) for number in range(3)]
    rows += [record("b", number, [2.5, 2.5, 2.7 + number / 10]) for number in range(3)]
    rows += [record("c", 0, [2.5], suite="other")]
    found = summary.curves(rows, "synthetic", 3)
    assert list(found) == ["b", "a"]
    assert found["a"].at(SCORE, 3).mean == pytest.approx(2.6)
    assert found["b"].mean(SCORE) == pytest.approx([2.5, 2.5, 2.8])
    difference = summary.difference(found["b"], found["a"], SCORE, 3)
    assert difference.values == pytest.approx([0.1, 0.2, 0.3])
    assert summary.difference(found["a"], found["b"], SCORE, 3).wins == 0
    assert summary.trials_to_reach(found["b"], 2.75) == 3
    assert summary.trials_to_reach(found["b"], 3.0) is None
    assert found["a"].seconds == 0.5


def test_pairs_are_made_on_common_instances():
    found = summary.curves(
        [record("a", 0, [2.5]), record("a", 1, [2.7]), record("b", 1, [2.6], given=0)], "synthetic", 1
    )
    assert summary.difference(found["a"], found["b"], SCORE, 1).values == pytest.approx([0.1])


def test_short_searches_keep_their_last_value():
    found = summary.curves([record("a", 0, [2.5, 2.6], trials=4)], "synthetic", 4)
    assert found["a"].mean(SCORE) == pytest.approx([2.5, 2.6, 2.6, 2.6])


def test_volumes_grow_with_the_front():
    row = record("a", 0, [2.0, 2.0, 2.0])
    row |= {"accuracy": [0.5, 0.45, 0.6], "size_bits": [10**5, 10**6, 10**6]}
    # (0.5 - 0.4) * 1.4; dominated; 0.1 * 0.4 more above it
    assert summary.volumes(row) == pytest.approx([0.14, 0.14, 0.18])


def test_methods_must_begin_with_the_same_networks():
    rows = [record("a", 0, [2.5, 2.6]), record("b", 0, [2.4, 2.6])]
    with pytest.raises(ValueError, match="instance 0: b and a began with different networks"):
        summary.curves(rows, "synthetic", 2)
    rows[1]["seconds"] = [0.1, 0.1]  # chose its own start
    assert len(summary.curves(rows, "synthetic", 2)) == 2


def test_the_page_says_what_is_met(tmp_path):
    folder = tmp_path / report.FOLDER / "synthetic"
    folder.mkdir(parents=True)
    levels = {"keras_tuner": 2.5, "bomp": 2.6, "bomp_batch4": 2.58, "bomp_ehvi": 2.55, "random": 2.45}
    for method, level in levels.items():
        rows = [record(method, n, [2.4] * 19 + [level + n / 1000] * 81) for n in range(20)]
        (folder / f"{method}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / report.FOLDER / "optimum.json").write_text(json.dumps({str(n): 2.7 for n in range(20)}))
    report.write(tmp_path)
    page = (tmp_path / "search_quality.md").read_text()
    assert "| `bomp` ahead of `keras_tuner` by 0.06 @20 | +0.1000 ± 0.0000 | yes |" in page
    assert "| wins at least 18 of 20 over `keras_tuner` @100 | 20 of 20 | yes |" in page
    level = "| level of `keras_tuner` @100 within 20 trials | the mean is there after 20; @20 it is off by "
    assert f"{level}+0.1000 ± 0.0000 | yes |" in page
    assert "| batches of 4 lose at most 0.01 @100 | +0.0200 ± 0.0000 | no |" in page
    assert "| `bomp_ehvi` ahead of `random` in hypervolume @100 |" in page
    assert "2.7000 on average" in page
    assert (tmp_path / "search_quality_synthetic.png").stat().st_size > 10_000


def test_hypervolumes_are_compared_too():
    rows = [record("bomp_ehvi", 0, [2.6, 2.7]), record("random", 0, [2.6, 2.65])]
    table = summary.paired_table(summary.curves(rows, "synthetic", 2), "bomp_ehvi", VOLUME, [2])
    assert table[0] == "| bomp_ehvi minus | hypervolume @2 |"
    assert "wins 1/1" in table[2]
