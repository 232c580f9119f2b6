import json

import pytest
from running import gpu_page, page, summary

SPEED = {"trials": 12, "rounds": [[[1, 2], [100.0, 120.0]], [[1, 1], [110.0, 110.0]], [[2, 1], [50.0, 80.0]]]}


def memory():
    """Six trials: the driver grows by 10 MB with each, one of two workers is replaced, a helper is small."""
    samples = [
        {
            "seconds": float(finished),
            "finished": finished,
            "driver": 400.0 + 10 * finished,
            "children": {"1": 500.0, ("2" if finished < 3 else "3"): 600.0 + finished, "9": 12.0},
        }
        for finished in range(7)
    ]
    return {"trials": 8, "samples": [*samples, {**samples[-1], "finished": 7, "driver": 421.0}, final(8)]}


def final(finished):
    """A sample of the final training."""
    return {"seconds": 9.0, "finished": finished, "driver": 2000.0, "children": {"7": 3000.0}}


def test_two_workers_are_compared_round_by_round():
    assert summary.ratios(SPEED, (2, 1), (1, 2)) == [2.0, 1.5]
    assert summary.ratios(SPEED, (2, 1), (1, 1)) == [2.2, 1.375]
    assert summary.per_minute(12, [60.0, 120.0]) == [12.0, 6.0]


def test_the_driver_is_watched_until_the_last_trial():
    by_trial = summary.driver_by_trial(memory())
    assert by_trial == {**{finished: 400.0 + 10 * finished for finished in range(7)}, 7: 421.0}
    assert summary.growth(by_trial) == 421.0 - 450.0
    assert summary.growth({0: 5.0, 1: 8.0}) == 3.0


def test_helpers_are_no_workers():
    workers = summary.workers(memory())
    assert workers.keys() == {"1", "2", "3"}
    assert workers["2"] == [(0, 600.0), (1, 601.0), (2, 602.0)]


def test_the_page_tells_what_was_measured(tmp_path):
    work = tmp_path / "throughput"
    work.mkdir()
    (work / "speed.json").write_text(json.dumps(SPEED))
    (work / "memory.json").write_text(json.dumps(memory()))
    text = page.write(work).read_text()
    assert "| 2 | 1 | 11.70 (9.00 to 14.40) |" in text
    assert "2 workers of 1 thread carry out 1.75 (1.50 to 2.00) times as many as 1 worker of 2 threads" in text
    assert "3 worker processes in all. From trial 5 on the driver grows by -29 MB" in text
    assert text.endswith("## README's first command\n\nNot measured.\n")
    assert (tmp_path / "throughput_memory.png").stat().st_size > 5_000


def trials_on_a_gpu():
    def trial(name, seconds):
        return {
            "of": {"kind": "trial", "network": name},
            "total": {"wall": seconds},
            "epochs": {"float": {"wall": [20.0, 2.0, 3.0, 4.0]}},
            "metrics": {"float_val_accuracy": 0.8, "val_accuracy": 0.75},
        }

    return [
        {"of": {"kind": "machine"}, "gpu": "Some GPU, 80 GiB", "cpu": "16 cores"},
        {"of": {"kind": "facts"}, "images": 45_000, "validation": 5_000, "batch": 64, "epochs": 20, "qaft_epochs": 1},
        {"of": {"kind": "first"}, "start": 12.0, "trial": 34.0},
        trial("seed", 60.0),
        trial("random 1", 84.0),
        {"of": {"kind": "together", "workers": 2}, "seconds": 90.0, "each": [70.0, 90.0], "memory": "3000 MiB"},
    ]


def test_a_search_is_extrapolated_from_the_mean_trial(tmp_path):
    text = gpu_page.write(tmp_path / "page.md", trials_on_a_gpu()).read_text()
    assert "Some GPU, 80 GiB; 16 cores." in text
    assert "| seed | 60.0 | 3.00 | 80.00 | 75.00 |" in text
    assert "| 1 | 72.0 | 2.00 |  |" in text
    assert "| 2 | 45.0 | 1.25 | 3000 MiB |" in text
    assert gpu_page.hours(36.0) == pytest.approx(1.0)


def test_without_trials_the_page_says_so(tmp_path):
    assert "Not measured yet." in gpu_page.write(tmp_path / "page.md", []).read_text()
