import dataclasses
import itertools
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from bompnas.candidate import State
from bompnas.search.bayesian import BompSettings
from bompnas.trials import loop, record
from bompnas.trials.executors import Failure, InProcess
from bompnas.trials.record import Record


class Scripted:
    """Several slots whose tasks finish in random order."""

    def __init__(self, function, slots, seed=0):
        self.slots = slots
        self._function = function
        self._generator = np.random.default_rng(seed)
        self._handles = itertools.count()
        self.waiting = {}

    def submit(self, task):
        assert len(self.waiting) < self.slots
        handle = next(self._handles)
        self.waiting[handle] = task
        return handle

    def next_finished(self):
        handle = list(self.waiting)[self._generator.integers(len(self.waiting))]
        return handle, self._function(self.waiting.pop(handle))


def undisturbed(tmp_path, make_run, fakes, trials):
    path = tmp_path / "undisturbed.db"
    record.create(path, {})
    with Record(path) as opened:
        loop.search(fakes.Settings(trials), make_run(opened, InProcess(fakes.trial, threads=1)))
        return opened.candidates, opened.proposals


def test_every_trial_is_proposed_recorded_and_scored(new_record, make_run, fakes, problem):
    loop.search(fakes.Settings(5), make_run(new_record, InProcess(fakes.trial, threads=1)))
    candidates = new_record.candidates
    assert (
        [candidate.id for candidate in candidates] == [candidate.trial for candidate in candidates] == [1, 2, 3, 4, 5]
    )
    for candidate in candidates:
        assert candidate.state is State.COMPLETED
        assert candidate.network == problem.space.decode(candidate.genotype)
        assert candidate.cost == problem.cost(candidate.network)
        assert candidate.metrics == fakes.trial([candidate]).outcomes[0].metrics
        assert candidate.score == problem.score(candidate.values)
        assert candidate.seconds == {"train": 1.5, "qaft": 0.25}
    assert new_record.curves("trial 3") == {"float_loss": [2.0, 1.0]}
    assert [proposal.completed for proposal in new_record.proposals] == [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]


def test_proposals_see_what_is_pending(new_record, make_run, fakes):
    loop.search(fakes.Settings(9), make_run(new_record, Scripted(fakes.trial, slots=3)))
    proposals = new_record.proposals
    assert [proposal.pending for proposal in proposals[:3]] == [(), (1,), (1, 2)]
    for proposal in proposals:
        assert sorted(proposal.completed + proposal.pending) == list(range(1, proposal.index + 1))
        assert len(proposal.pending) <= 2


@pytest.mark.parametrize("slots", [1, 3])
def test_replay_reproduces_every_stored_proposal(new_record, make_run, fakes, problem, slots):
    loop.search(fakes.Settings(9), make_run(new_record, Scripted(fakes.trial, slots), seed=5))
    for stored in new_record.proposals:
        proposal = loop.replay(fakes.Proposer(), problem, new_record.candidates, 5, stored)
        assert proposal.genotype == stored.genotype
        assert proposal.details == stored.details


def test_a_failed_trial_is_recorded_and_the_search_goes_on(new_record, make_run, fakes):
    def trial(candidates):
        return Failure("Diverged: the loss is nan", "trace") if candidates[0].id == 2 else fakes.trial(candidates)

    loop.search(fakes.Settings(4), make_run(new_record, Scripted(trial, slots=1)))
    states = [candidate.state for candidate in new_record.candidates]
    assert states == [State.COMPLETED, State.FAILED, State.COMPLETED, State.COMPLETED]
    failed = new_record.candidates[1]
    assert (failed.error, failed.score, failed.metrics) == ("Diverged: the loss is nan", None, {})
    assert new_record.proposals[3].completed == (1, 2, 3)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        ({"metrics": {"val_accuracy": float("nan")}}, "val_accuracy is nan"),
        ({"metrics": {}}, "val_accuracy was not measured"),
        ({"metrics": {}, "error": "ValueError: no"}, "ValueError: no"),
    ],
)
def test_a_trial_without_a_score_is_failed(new_record, make_run, fakes, outcome, error):
    def trial(candidates):
        return fakes.Result((fakes.Outcome(**{"seconds": {}, **outcome}),), {}, {})

    loop.search(fakes.Settings(1), make_run(new_record, InProcess(trial, threads=1)))
    (candidate,) = new_record.candidates
    assert (candidate.state, candidate.error, candidate.score) == (State.FAILED, error, None)


@pytest.mark.parametrize("slots", [1, 4])
def test_an_exhausted_space_ends_the_search(new_record, make_run, fakes, caplog, slots):
    with caplog.at_level("INFO", "bompnas"):
        loop.search(fakes.Settings(10, limit=3), make_run(new_record, Scripted(fakes.trial, slots)))
    assert [candidate.state for candidate in new_record.candidates] == [State.COMPLETED] * 3
    assert caplog.text.count("space exhausted") == 1


def test_a_finished_search_does_nothing_more(new_record, make_run, fakes):
    loop.search(fakes.Settings(3), make_run(new_record, InProcess(fakes.trial, threads=1)))
    before = new_record.candidates
    loop.search(fakes.Settings(3), make_run(new_record, InProcess(None, threads=1)))
    assert new_record.candidates == before


@pytest.mark.parametrize("slots", [1, 3])
def test_interrupted_trials_are_run_again_with_their_genotype(tmp_path, new_record, make_run, fakes, slots):
    def trial(candidates):
        if candidates[0].id == 4:
            raise KeyboardInterrupt
        return fakes.trial(candidates)

    with pytest.raises(KeyboardInterrupt):
        loop.search(fakes.Settings(8), make_run(new_record, Scripted(trial, slots)))
    interrupted = [candidate for candidate in new_record.candidates if candidate.state is State.PENDING]
    assert 4 in [candidate.id for candidate in interrupted]
    executor = Scripted(fakes.trial, slots)
    loop.search(fakes.Settings(8), make_run(new_record, executor))
    candidates, proposals = new_record.candidates, new_record.proposals
    for before in interrupted:
        assert candidates[before.id - 1].genotype == before.genotype
    assert all(candidate.state is State.COMPLETED for candidate in candidates)
    assert len(candidates) == len(proposals) == 8
    if slots == 1:
        assert (candidates, proposals) == undisturbed(tmp_path, make_run, fakes, 8)


@dataclasses.dataclass
class Killer:
    """Ends the program at the n-th change of the record, before or after it is made."""

    left: int

    def around(self, change):
        def changed(*arguments, **keywords):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            result = change(*arguments, **keywords)
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return result

        return changed


def test_an_interruption_at_any_change_loses_nothing_finished(tmp_path, make_run, fakes, monkeypatch):
    expected = undisturbed(tmp_path, make_run, fakes, 4)
    for moment in itertools.count(1):
        path = tmp_path / f"{moment}.db"
        record.create(path, {})
        killer = Killer(moment)
        with monkeypatch.context() as patched, Record(path) as opened:
            patched.setattr(Record, "add", killer.around(Record.add))
            patched.setattr(Record, "finish", killer.around(Record.finish))
            try:
                loop.search(fakes.Settings(4), make_run(opened, InProcess(fakes.trial, threads=1)))
                break
            except KeyboardInterrupt:
                finished = [candidate for candidate in opened.candidates if candidate.state is State.COMPLETED]
        with Record(path) as opened:
            assert tuple(finished) == opened.candidates[: len(finished)]
            loop.search(fakes.Settings(4), make_run(opened, InProcess(fakes.trial, threads=1)))
            assert (opened.candidates, opened.proposals) == expected
    assert moment == 17


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from rich.console import Console
    from bompnas.hardware.counts import counts
    from bompnas.objectives import Objective
    from bompnas.problem import Problem
    from bompnas.search.bayesian import BompSettings
    from bompnas.space import loader
    from bompnas.trials import loop, record
    from bompnas.trials.context import Run
    from bompnas.trials.executors import InProcess
    from bompnas.trials.progress import Progress
    from types import SimpleNamespace

    path, space, killed_trial = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

    def trial(candidates):
        (candidate,) = candidates
        if candidate.trial == killed_trial:
            os.kill(os.getpid(), signal.SIGKILL)
        accuracy = int(candidate.network.key, 16) % 997 / 997
        outcome = SimpleNamespace(metrics={"val_accuracy": accuracy}, seconds={}, error=None)
        return SimpleNamespace(outcomes=(outcome,), seconds={}, curves={})

    if not path.exists():
        record.create(path, {})
    objectives = (
        Objective("accuracy", "val_accuracy", 0.8, maximize=True),
        Objective("size", "size_bits", 8.0, maximize=False, transform="log10"),
    )
    problem = Problem(loader.load(space), counts, objectives)
    with record.Record(path) as opened:
        progress = Progress("trial", 8, 0, Console(quiet=True))
        run = Run(problem, opened, InProcess(trial, 1), tuple, 3, progress, lambda: None)
        loop.search(BompSettings(trials=8, initial=3), run)
"""


def test_replay_reproduces_bayesian_proposals(new_record, make_run, fakes, problem):
    settings = BompSettings(trials=8, initial=4)
    loop.search(settings, make_run(new_record, Scripted(fakes.trial, slots=2), seed=1))
    sources = set()
    for stored in new_record.proposals:
        proposal = loop.replay(settings.proposer(), problem, new_record.candidates, 1, stored)
        assert (proposal.genotype, proposal.details) == (stored.genotype, stored.details)
        sources.add(stored.details["source"])
    assert sources == {"start", "surrogate"}


def test_killed_in_the_fifth_trial_the_search_goes_on_as_if_undisturbed(tmp_path, space_file, environment):
    def search(name, killed_trial):
        program = [sys.executable, "-c", textwrap.dedent(KILLED)]
        arguments = [str(tmp_path / name), str(space_file), str(killed_trial)]
        return subprocess.run(program + arguments, env=environment, timeout=100).returncode

    assert search("killed.db", 5) == -signal.SIGKILL
    with Record(tmp_path / "killed.db", read_only=True) as opened:
        states = [candidate.state for candidate in opened.candidates]
        kept = opened.candidates[:4]
    assert states == [State.COMPLETED] * 4 + [State.PENDING]
    assert search("killed.db", 0) == 0
    assert search("undisturbed.db", 0) == 0
    with (
        Record(tmp_path / "killed.db", read_only=True) as resumed,
        Record(tmp_path / "undisturbed.db", read_only=True) as whole,
    ):
        assert resumed.candidates[:4] == kept
        assert resumed.candidates == whole.candidates
        assert resumed.proposals == whole.proposals
        assert len(whole.proposals) == 8


def test_progress_says_what_is_tried_and_how_the_run_stands(new_record, make_run, fakes, caplog):
    run = make_run(new_record, Scripted(fakes.trial, slots=1), total=2)
    with caplog.at_level("INFO", "bompnas"):
        loop.search(fakes.Settings(2), run)
    first, last = caplog.messages
    assert re.fullmatch(
        r"trial 1 of 2: [\d.]+ kB, [\d.]+ M MACs, \d-8 bits -> val_accuracy 0\.\d{4}, score \d\.\d{4} "
        r"\[best score \d\.\d{4}, front 1, \d:\d\d left\]",
        first,
    )
    assert last.startswith("trial 2 of 2: ")
    assert "left" not in last


def test_views_are_redrawn_after_every_trial(new_record, make_run, fakes):
    seen = []
    run = make_run(new_record, InProcess(fakes.trial, 1), changed=lambda: seen.append(new_record.candidates[-1].state))
    loop.search(fakes.Settings(3), run)
    assert seen == [State.COMPLETED] * 3
