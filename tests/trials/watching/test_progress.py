import io
import json
import logging
import math

import pytest
from rich.console import Console

from bompnas.trials.events import Epoch, Lost, Values
from bompnas.trials.watching.live import Stage
from bompnas.trials.watching.progress import Progress, Watch, console_logging


def console(**settings):
    return Console(file=io.StringIO(), width=100, **settings)


def test_without_a_terminal_there_is_one_line_for_each_finished_trial(clock):
    plain = console()
    with console_logging(plain), Watch(plain).stage("trial", 3, done=1) as progress:
        progress.started(2, "4 kB")
        progress.heard("trial 2", Epoch("float", 0, 1, 2, 0.5))
        progress.finished(2, "val_accuracy 0.9, score 1.2", "best score 1.2, front 1")
        progress.started(3, "5 kB")
        progress.finished(3, "failed: out of memory")
    assert plain.file.getvalue().splitlines() == [
        "trial 2 of 3: 4 kB -> val_accuracy 0.9, score 1.2 [best score 1.2, front 1, 0:00 left]",
        "trial 3 of 3: 5 kB -> failed: out of memory",
    ]


def test_on_a_terminal_what_runs_is_drawn_below_the_lines():
    terminal = console(force_terminal=True, color_system=None, legacy_windows=False)
    with console_logging(terminal), Watch(terminal).stage("trial", 2) as progress:
        progress.started(1, "4 kB")
        progress.started(2, "5 kB")
        progress.heard("trial 1", Epoch("float", 0, 7, 20, 0.25))
        progress.finished(2, "score 1.2")
    written = terminal.file.getvalue()
    after = written[written.index("trial 2 of 2: 5 kB -> score 1.2") :]
    assert "trial 1  float 7/20  loss 0.2500  0:00  4 kB" in after
    assert "trial 2  " not in after
    assert "1 of 2" in after


def test_time_left_follows_from_epochs_before_the_first_trial_is_finished(clock):
    progress = Progress("trial", 4, 0, console())
    progress.started(1, "")
    assert progress.now().seconds_left is None
    for number in range(1, 6):
        clock.now += 2
        progress.heard("trial 1", Epoch("float", 0, number, 20, 1.0))
    assert progress.now().seconds_left == pytest.approx(10 / 0.2 * 3.8)
    clock.now += 30
    progress.finished(1, "")
    assert progress.now().seconds_left == pytest.approx(40 * 3)


def test_what_an_earlier_session_finished_took_no_time_in_this_one(clock):
    progress = Progress("trial", 10, 8, console())
    progress.started(9, "")
    clock.now += 20
    progress.finished(9, "")
    assert progress.now().seconds_left == pytest.approx(20)
    progress.started(10, "")
    progress.finished(10, "")
    assert progress.now().seconds_left is None


def test_epochs_that_a_job_had_behind_it_took_no_time_in_this_session(clock):
    progress = Progress("trial", 1, 0, console())
    progress.started(1, "")
    clock.now += 4
    progress.heard("trial 1", Epoch("qaft", 0, 1, 2, 1.0))  # all float epochs lie before its checkpoint
    assert progress.now().seconds_left == pytest.approx(4 / 0.075 * 0.125)
    clock.now += 4
    progress.heard("trial 1", Lost("killed by signal 9; started again"))
    progress.heard("trial 1", Epoch("qaft", 0, 2, 2, 1.0))
    assert progress.now().seconds_left == pytest.approx(8 / 0.15 * 0.05)


def test_a_search_tells_its_epochs_and_how_much_time_is_left(clock):
    plain = console()
    with console_logging(plain), Watch(plain).stage("search", 1) as progress:
        progress.started(1, "supernet of 5 groups", "search")
        for number, reward in ((41, math.nan), (42, -3.125)):  # it goes on from a checkpoint
            clock.now += 2
            progress.heard("search", Epoch("search", 0, number, 100, 1.234567))
            values = {"loss": 1.234567, "val_accuracy": 0.61, "reward": reward, "p(block1.bits=4)": 0.5}
            progress.heard("search", Values(number, values))
        (running,) = progress.now().running
        assert running.values == {"loss": 1.234567, "val_accuracy": 0.61, "reward": -3.125}
        progress.finished(1, "16 networks", job="search")
    assert plain.file.getvalue().splitlines() == [
        "search: epoch 41 of 100, loss 1.235, val_accuracy 0.61, 1:58 left",
        "search: epoch 42 of 100, loss 1.235, val_accuracy 0.61, reward -3.125, 1:56 left",
        "search 1 of 1: supernet of 5 groups -> 16 networks",
    ]


def test_a_job_that_is_started_again_begins_anew():
    progress = Progress("final training", 2, 0, console())
    progress.started(1, "4 kB", "final 7")
    progress.heard("final 7", Epoch("float", 0, 3, 4, 0.5))
    progress.heard("final 7", Lost("killed by signal 9; started again"))
    (running,) = progress.now().running
    assert (running.job, running.phase, running.share) == ("final 7", "begun", 0.0)


def test_what_runs_is_kept_in_a_file_at_most_once_a_second_and_removed_at_the_end(clock, tmp_path):
    path = tmp_path / "status.json"
    with Watch(console(), path).stage("trial", 4) as progress:
        assert Stage.from_json(path.read_text()).running == ()
        progress.started(1, "4 kB")
        numbers = []
        for number in range(1, 7):
            clock.now += 0.4
            progress.heard("trial 1", Epoch("float", 0, number, 20, 0.5))
            epoch = json.loads(path.read_text())["running"][0]["epoch"]
            numbers.append(epoch and epoch["number"])
        assert numbers == [None, None, 3, 3, 3, 6]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_disturbs_nothing(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "bompnas"), Watch(console(), tmp_path / "no" / "folder").stage("trial", 1) as it:
        it.started(1, "4 kB")
        it.finished(1, "score 1")
    assert "trial 1 of 1: 4 kB -> score 1" in caplog.text


def test_epochs_and_their_values_go_to_whoever_listens_and_losses_of_workers_do_not():
    heard = []
    watch = Watch(console(), listen=lambda job, event: heard.append((job, event.number)))
    with watch.stage("trial", 1) as progress:
        progress.started(1, "")
        watch.hear("trial 1", Epoch("float", 0, 1, 2, 0.5))
        watch.hear("trial 1", Values(1, {"loss": 0.5}))
        watch.hear("trial 1", Lost("killed"))
    assert heard == [("trial 1", 1), ("trial 1", 1)]
