import dataclasses
import re

import pytest
from rich.console import Console

from bompnas.candidate import State
from bompnas.trials import final
from bompnas.trials.executors.contract import Failure
from bompnas.trials.executors.in_process import InProcess
from bompnas.trials.jobs import Jobs
from bompnas.trials.record import Final
from bompnas.trials.watching.progress import Watch


@pytest.fixture
def front(new_record, make_candidate):
    """Three completed candidates; the first and the last share an architecture."""
    first, second, third = (make_candidate(state=State.COMPLETED) for _ in range(3))
    third = dataclasses.replace(third, network=first.network.with_bits(5))
    new_record.add([first, second, third])
    return first, second, third


@pytest.fixture
def train(new_record, problem, fakes, tmp_path):
    """Trains a front with a fake trial; returns the ids of the candidates of each task."""

    def run(front, trial=fakes.trial):
        tasks = []

        def make_task(candidates, state):
            tasks.append([candidate.id for candidate in candidates])
            return tuple(candidates)

        jobs = Jobs(InProcess(trial, threads=1), tmp_path / "checkpoints", 0, lambda name, event: None)
        watch = Watch(Console(quiet=True))
        final.train(front, problem.objectives, new_record, tmp_path, jobs, make_task, watch, lambda: None)
        return tasks

    return run


def test_candidates_of_one_architecture_share_a_task(train, front):
    assert train(front) == [[1, 3], [2]]


def test_finals_hold_final_metrics_and_score(train, front, new_record, problem, fakes):
    train(front)
    finals = new_record.finals
    assert [item.candidate for item in finals] == [1, 2, 3]
    for candidate, item in zip(front, finals, strict=True):
        metrics = fakes.trial([candidate]).outcomes[0].metrics
        assert item.metrics == metrics
        assert item.score == problem.score({**candidate.cost, **metrics})
        assert item.model == f"models/{candidate.id}.keras"
    assert finals[0].seconds == {"train": 1.5, "qaft": 0.25}
    assert finals[2].seconds == {"qaft": 0.25}
    assert new_record.curves("final 1") == {"float_loss": [2.0, 1.0]}


def test_finished_finals_are_not_trained_again(train, front):
    train(front)
    assert train(front) == []


def test_a_model_that_is_gone_is_trained_again(train, front, tmp_path):
    train(front)
    (tmp_path / "models" / "2.keras").unlink()
    assert train(front) == [[2]]


def test_a_failed_final_is_recorded_and_tried_again(train, front, new_record, fakes):
    def one_fails(candidates, tell=None):
        return Failure("killed") if candidates[0].id == 2 else fakes.trial(candidates)

    train(front, one_fails)
    assert new_record.finals[1] == Final(2, {}, {}, None, None, "killed")
    assert train(front) == [[2]]
    assert all(item.error is None for item in new_record.finals)


def test_an_interrupted_final_training_goes_on(train, front, fakes):
    def interrupted(candidates, tell=None):
        if candidates[0].id == 2:
            raise KeyboardInterrupt
        return fakes.trial(candidates)

    with pytest.raises(KeyboardInterrupt):
        train(front, interrupted)
    assert train(front) == [[2]]


def test_an_empty_front_trains_nothing(train, new_record):
    assert train([]) == []
    assert new_record.finals == ()


def test_progress_counts_tasks(train, front, caplog):
    with caplog.at_level("INFO", "bompnas"):
        train(front)
    assert re.match(r"final training 1 of 2: .* kB, .*; .* kB, .* -> val_accuracy 0\.\d{4}, score", caplog.messages[0])
    assert len(caplog.messages) == 2
