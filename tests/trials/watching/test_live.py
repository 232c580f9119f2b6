import dataclasses
import io
import math

import pytest
from rich.console import Console

from bompnas.trials.events import Epoch
from bompnas.trials.watching.live import Running, Stage, duration, render

LONG = "9.7 kB, 0.243 M MACs, 12.3 ms, 4.56 mJ, 2-8 bits; another one of the same architecture"


def stage(**changes):
    running = (
        Running("trial 3", LONG, 988.0, Epoch("float", 0, 7, 20, 0.41234)),
        Running("trial 4", "2.2 kB", 935.0, Epoch("qaft", 1, 1, 1, 0.05)),
        Running("trial 5", "3.3 kB", 1000.0),
    )
    return Stage(
        **{
            "name": "trial",
            "total": 50,
            "done": 2,
            "running": running,
            "standing": "best score 1.4301, front 2",
            "seconds_left": 754.4,
            "written": 1000.0,
            **changes,
        }
    )


def drawn(stage, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(stage, now=1000.0))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_there_is_a_line_for_the_stage_and_one_for_each_job():
    head, *jobs = drawn(stage(), width=140)
    assert head.startswith("trial ")
    assert head.endswith(" 2 of 50 12:34 left, best score 1.4301, front 2")
    assert jobs == [
        f"trial 3  float 7/20            loss 0.4123  0:12  {LONG}",
        "trial 4  qaft 1/1 of policy 2  loss 0.0500  1:05  2.2 kB",
        "trial 5  begun                              0:00  3.3 kB",
    ]


SEARCH = Running(
    "search", "a supernet", 935.0, Epoch("search", 0, 12, 100, 1.25), {"loss": 1.25, "val_accuracy": 0.6125}
)


def test_the_search_of_a_supernet_is_counted_in_epochs():
    searching = stage(name="search", total=1, done=0, running=(SEARCH,), standing=None)
    assert searching.progress == 0.12
    head, job = drawn(searching, width=100)
    assert head.endswith(" epoch 12 of 100 12:34 left")
    assert job == "search  epoch 12/100  loss 1.2500  1:05  val_accuracy 0.6125"
    assert Stage.from_json(searching.to_json()) == searching
    assert drawn(stage(name="search", total=1, done=1, running=()), width=100)[0].startswith("search ")
    begun = dataclasses.replace(SEARCH, epoch=None, values={})
    assert " 0 of 1 " in drawn(stage(name="search", total=1, done=0, running=(begun,)), width=100)[0]


def test_descriptions_are_cut_to_the_width_and_nothing_else_is():
    head, *jobs = drawn(stage(), width=80)
    assert len(jobs) == 3
    assert "2 of 50 12:34 left" in head
    assert jobs[0].startswith("trial 3  float 7/20            loss 0.4123  0:12  9.7 kB")
    assert jobs[0].endswith("…")
    assert all(len(line) <= 80 for line in (head, *jobs))


def test_brackets_are_no_markup():
    (line,) = drawn(stage(running=(Running("trial 1", "[bold] [kB]", 1000.0),)))[1:]
    assert line.endswith("[bold] [kB]")


def test_epochs_of_what_runs_count():
    assert stage().progress == pytest.approx(2 + 0.8 * 7 / 20 + 0.95)
    assert stage(running=()).progress == 2


def test_a_stage_comes_back_from_its_file():
    assert Stage.from_json(stage().to_json()) == stage()
    diverged = stage(running=(Running("final 9", "", 0.5, Epoch("float", 0, 1, 2, math.nan)),), standing=None)
    (running,) = Stage.from_json(diverged.to_json()).running
    assert math.isnan(running.epoch.loss)


def test_durations():
    assert [duration(seconds) for seconds in (-1, 5.4, 65, 3725)] == ["0:00", "0:05", "1:05", "1:02:05"]
