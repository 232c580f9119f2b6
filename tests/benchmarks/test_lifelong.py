import json

import numpy as np
import pytest
import yaml
from lifelong import page, study, summary
from lifelong.study import Plan
from lifelong.summary import Study
from speed.study import Rows

PLAN = {"of": {"kind": "plan"}, "classes": [2, 3, 4], "epochs": 6, "warm_up": 1, "update": 3}
SCRATCH = [0.3, 0.5, 0.7, 0.8, 0.8, 0.8]


def course(accuracies, moved=0.1, seed=0):
    accuracies = [value + 0.01 * seed for value in accuracies]
    return {
        "accuracy": accuracies,
        "seconds": [5.0 + 0.5 * epoch for epoch in range(1, len(accuracies) + 1)],
        "whole_seconds": 6.0 + 0.5 * len(accuracies),
        "old_test_accuracy": 0.9,
        "new_test_accuracy": 0.6,
        "all_test_accuracy": 0.8,
        "drift": {"stem": {"change": moved, "cosine": 1 - moved}},
    }


def measured(seeds=3, updated=(0.6, 0.74, 0.76)):
    """Updates are at 95 % of 0.72 after the second epoch, searches from scratch after the third."""
    rows = [PLAN]
    for seed in range(seeds):
        steps = [{"classes": 2, **course(SCRATCH, seed=seed)}]
        steps += [{"classes": classes, **course(updated, seed=seed)} for classes in (3, 4)]
        rows.append({"of": {"kind": "updates", "seed": seed}, "steps": steps})
        for classes in (3, 4):
            of = {"kind": "from scratch", "seed": seed, "classes": classes}
            rows.append({"of": of, **course(SCRATCH, 0.5, seed)})
    return rows


def test_a_search_ends_with_the_mean_of_its_last_epochs():
    assert summary.end(course(SCRATCH)) == pytest.approx(0.72)


def test_the_first_epoch_that_reaches_an_accuracy():
    assert summary.reached(course(SCRATCH), 0.7) == (3, 6.5)
    assert summary.reached(course(SCRATCH), 0.71) == (4, 7.0)
    assert summary.reached(course([0.8, 0.1, 0.9]), 0.75) == (1, 5.5)
    assert summary.reached(course(SCRATCH), 0.81) is None


def test_both_sides_are_measured_by_the_search_from_scratch():
    found = Study(measured(1))
    assert found.added == [3, 4]
    assert found.until("scratch", 3, 0.95) == [(3, 6.5)]
    assert found.until("update", 3, 0.95) == [(2, 6.0)]
    assert Study(measured(1, (0.1, 0.2, 0.3))).until("update", 3, 0.95) == [None]


def test_the_first_search_is_from_scratch():
    found = Study(measured(1))
    assert found.scratch(0, 2) == found.update(0, 2)
    assert found.totals(0) == {"first": 9.0, "updates": 15.0, "scratch": 9.0}


def test_searches_that_end_early_cost_less():
    found = Study(measured(1))
    assert found.stopped(0, 0.95) == {"lifelong": (3 + 2 + 2, 6.5 + 6.0 + 6.0), "scratch": (3, 6.5)}
    never = Study(measured(1, (0.1, 0.2, 0.3)))
    assert never.stopped(0, 0.95)["lifelong"] == (3 + 3 + 3, 6.5 + 7.5 + 7.5)


def test_what_goes_before_the_first_epoch():
    assert Study(measured(1)).start(0) == 5.0


def test_seeds_count_once_they_are_complete():
    assert Study(measured(2)).seeds == [0, 1]
    assert Study(measured(2)[:-1]).seeds == [0]
    assert Study(measured(2)[:2]).seeds == []


def test_missing_values_are_told():
    assert summary.spread([1.0, 2.0, 4.0], 1) == "2.0 (1.0 to 4.0)"
    assert summary.spread([1.0, None, 3.0], 0) == "2 (1 to 3), never in 1 of 3"
    assert summary.spread([None, None], 0) == "never in 2 of 2"


def test_the_page_tells_what_was_measured(tmp_path):
    text = page.write(tmp_path / "hqnas_lifelong.md", measured()).read_text()
    assert "| 3 | 69.3 | 3 (3 to 3) | 2 (2 to 2) | 6.5 (6.5 to 6.5) | 6.0 (6.0 to 6.0) |" in text
    assert "| one update | 3 | 7.5 (7.5 to 7.5) |" in text
    assert "| the first one and all updates | 12 | 24 (24 to 24) |" in text
    assert "it takes 2.67 (2.67 to 2.67) times as long" in text
    assert "| from scratch | 73.0 | 73.0 |" in text
    assert "5.0 (5.0 to 5.0) s of each search go by before" in text
    assert "| 95% | 7 (7 to 7) | 3 (3 to 3) | 18.5 (18.5 to 18.5) | 6.5 (6.5 to 6.5) |" in text
    assert "| 4 | 80.0 | 90.0 | 60.0 | 90.0 | 60.0 |" in text
    assert "| `stem` | 0.10 (0.10 to 0.10) | 0.50 (0.50 to 0.50) | 0.900 (0.900 to 0.900) |" in text
    assert (tmp_path / "hqnas_lifelong.png").stat().st_size > 20_000


def test_nothing_measured_is_said(tmp_path):
    assert page.write(tmp_path / "page.md", []).read_text().endswith("\n\nNot measured yet.\n")


def test_drift_of_a_weight_vector():
    before = {f"{layer}/kernel": np.array([[3.0], [4.0]]) for layer in study.LAYERS}
    after = {f"{layer}/kernel": np.array([[4.0], [3.0]]) for layer in study.LAYERS}
    assert study.drift(before, before)["stem"] == {"change": 0.0, "cosine": 1.0}
    assert study.drift(before, after)["stem"] == pytest.approx({"change": np.sqrt(2) / 5, "cosine": 24 / 25})


# --- With TensorFlow --------------------------------------------------------------------------------------------------


def test_searches_that_learn_nothing_move_nothing(tmp_path):
    """A search from scratch begins with the weights that its drift is told from, an update with those of before."""
    document = yaml.safe_load((study.EXPERIMENT.parents[1] / "search_spaces" / "hqnas_digits.yaml").read_text())
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump({**document, "blocks": document["blocks"][:3]}))
    nothing = ("training.learning_rate=1.0e-12", "training.weight_decay=0.0")
    small = (f"space={space}", "method.samples=2", "method.candidates=0", "data.train_images=300")
    plan = Plan(classes=(2, 3), epochs=1, warm_up=0, update=1, overrides=(*nothing, *small))
    path = tmp_path / "raw" / "searches.jsonl"
    study.measure(plan, 1, Rows(path))
    lines = path.read_text()
    rows = [json.loads(line) for line in lines.splitlines()]
    found = Study(rows)
    assert found.seeds == [0]
    for each in (found.scratch(0, 3), found.update(0, 3)):
        assert each["drift"].keys() == set(study.LAYERS)
        for moved in each["drift"].values():
            assert (moved["change"], moved["cosine"]) == (pytest.approx(0, abs=1e-5), pytest.approx(1))
        assert len(each["accuracy"]) == len(each["seconds"]) == 1
        assert 0 < each["seconds"][0] < each["whole_seconds"]
        shares = [each[f"{name}_test_accuracy"] for name in ("old", "new", "all")]
        assert min(shares[:2]) <= shares[2] <= max(shares[:2])
    study.measure(plan, 1, Rows(path))
    assert path.read_text() == lines
