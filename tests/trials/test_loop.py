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
from bompnas.trials.executors.contract import Failure
from bompnas.trials.executors.in_process import InProcess
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

    def next_finished(self, listen=None):
        handle = list(self.waiting)[self._generator.integers(len(self.waiting))]
        return handle, self._function(self.waiting.pop(handle), None)


def undisturbed(tmp_path, make_run, fakes, settings):
    path = tmp_path / "undisturbed.db"
    record.create(path, {})
    with Record(path) as opened:
        loop.search(settings, make_run(opened, InProcess(fakes.trial, threads=1)))
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
    for count, stored in enumerate(new_record.proposals, 1):
        proposal = loop.replay(fakes.Proposer(), problem, new_record.candidates, 5, new_record.proposals[:count])
        assert (proposal.genotypes, proposal.details, proposal.fit) == (stored.genotypes, stored.details, stored.fit)


def test_proposals_see_the_fits_of_earlier_ones_in_order(new_record, make_run, fakes):
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Spying(fakes.Proposer):
        def propose(self, problem, completed, pending, seed, index, fits=()):
            seen.append([fit["length"] for fit in fits])
            return super().propose(problem, completed, pending, seed, index, fits)

    settings = fakes.Settings(7)
    object.__setattr__(settings, "proposer", Spying)
    loop.search(settings, make_run(new_record, InProcess(fakes.trial, threads=1)))
    assert seen == [[], [], [], [2], [2], [2], [2, 5]]
    assert [stored.fit for stored in new_record.proposals[:3]] == [None, None, {"length": 2}]


def test_every_policy_of_a_trial_is_a_candidate_of_its_own(new_record, make_run, fakes, problem):
    trained = []

    def trial(candidates, tell=None):
        trained.append([candidate.id for candidate in candidates])
        return fakes.trial(candidates)

    loop.search(fakes.Settings(4, policies=3), make_run(new_record, InProcess(trial, threads=1)))
    candidates = new_record.candidates
    assert trained == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]
    assert [candidate.trial for candidate in candidates] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert [candidate.id for candidate in candidates] == list(range(1, 13))
    assert len({candidate.network.key for candidate in candidates}) == 12
    assert len({candidate.network.architecture_key for candidate in candidates}) == 4
    for stored in new_record.proposals:
        own = [candidate for candidate in candidates if candidate.trial == stored.trial]
        assert stored.genotypes == tuple(candidate.genotype for candidate in own)
    for candidate in candidates:
        assert candidate.score == problem.score(candidate.values)
        assert candidate.cost == problem.cost(candidate.network)
        assert candidate.seconds == {"qaft": 0.25} | ({"train": 1.5} if candidate.id % 3 == 1 else {})
    assert new_record.proposals[2].completed == (1, 2, 3, 4, 5, 6)


def test_a_policy_that_fails_leaves_the_others_completed(new_record, make_run, fakes):
    def trial(candidates, tell=None):
        outcomes = fakes.trial(candidates).outcomes
        broken = fakes.Outcome({}, {"qaft": 0.1}, "ValueError: no scale")
        return fakes.Result((outcomes[0], broken), {}, {})

    loop.search(fakes.Settings(2, policies=2), make_run(new_record, Scripted(trial, slots=2)))
    assert [candidate.state for candidate in new_record.candidates] == [State.COMPLETED, State.FAILED] * 2
    assert new_record.candidates[1].error == "ValueError: no scale"


def test_a_failed_trial_is_recorded_and_the_search_goes_on(new_record, make_run, fakes):
    def trial(candidates, tell=None):
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
    def trial(candidates, tell=None):
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


@pytest.mark.parametrize("policies", [1, 2])
@pytest.mark.parametrize("slots", [1, 3])
def test_interrupted_trials_are_run_again_with_their_genotypes(tmp_path, new_record, make_run, fakes, slots, policies):
    settings = fakes.Settings(8, policies=policies)

    def trial(candidates, tell=None):
        if candidates[0].trial == 4:
            raise KeyboardInterrupt
        return fakes.trial(candidates)

    with pytest.raises(KeyboardInterrupt):
        loop.search(settings, make_run(new_record, Scripted(trial, slots)))
    interrupted = [candidate for candidate in new_record.candidates if candidate.state is State.PENDING]
    assert 4 in [candidate.trial for candidate in interrupted]
    assert len(interrupted) % policies == 0
    again = []

    def remembered(candidates, tell=None):
        again.append(tuple(candidate.id for candidate in candidates))
        return fakes.trial(candidates)

    loop.search(settings, make_run(new_record, Scripted(remembered, slots)))
    candidates, proposals = new_record.candidates, new_record.proposals
    for before in interrupted:
        assert candidates[before.id - 1].genotype == before.genotype
        assert sum(before.id in ids for ids in again) == 1
    assert {len(ids) for ids in again} == {policies}
    assert all(candidate.state is State.COMPLETED for candidate in candidates)
    assert len(candidates) == policies * len(proposals) == policies * 8
    if slots == 1:
        assert (candidates, proposals) == undisturbed(tmp_path, make_run, fakes, settings)


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


@pytest.mark.parametrize("policies", [1, 2])
def test_an_interruption_at_any_change_loses_nothing_finished(tmp_path, make_run, fakes, monkeypatch, policies):
    settings = fakes.Settings(4, policies=policies)
    expected = undisturbed(tmp_path, make_run, fakes, settings)
    for moment in itertools.count(1):
        path = tmp_path / f"{moment}.db"
        record.create(path, {})
        killer = Killer(moment)
        with monkeypatch.context() as patched, Record(path) as opened:
            patched.setattr(Record, "add", killer.around(Record.add))
            patched.setattr(Record, "finish", killer.around(Record.finish))
            try:
                loop.search(settings, make_run(opened, InProcess(fakes.trial, threads=1)))
                break
            except KeyboardInterrupt:
                finished = [candidate for candidate in opened.candidates if candidate.state is State.COMPLETED]
        with Record(path) as opened:
            assert tuple(finished) == opened.candidates[: len(finished)]
            loop.search(settings, make_run(opened, InProcess(fakes.trial, threads=1)))
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
    from bompnas.trials.executors.in_process import InProcess
    from bompnas.trials.jobs import Jobs
    from bompnas.trials.watching.progress import Progress
    from types import SimpleNamespace

    path, space, killed_trial, policies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

    def outcome(candidate):
        accuracy = int(candidate.network.key, 16) % 997 / 997
        return SimpleNamespace(metrics={"val_accuracy": accuracy}, seconds={}, error=None)

    def trial(candidates, tell=None):
        if candidates[0].trial == killed_trial:
            os.kill(os.getpid(), signal.SIGKILL)
        return SimpleNamespace(outcomes=[outcome(candidate) for candidate in candidates], seconds={}, curves={})

    if not path.exists():
        record.create(path, {})
    objectives = (
        Objective("accuracy", "val_accuracy", 0.8, maximize=True),
        Objective("size", "size_bits", 8.0, maximize=False, transform="log10"),
    )
    problem = Problem(loader.load(space), counts, objectives)
    with record.Record(path) as opened:
        progress = Progress("trial", 8, 0, Console(quiet=True))
        jobs = Jobs(InProcess(trial, 1), path.parent / "checkpoints", 0, lambda name, event: None)
        run = Run(problem, opened, jobs, lambda candidates, state: candidates, 3, progress, lambda: None)
        loop.search(BompSettings(trials=8, initial=3, policies_per_network=policies), run)
"""


@pytest.mark.parametrize(
    "settings",
    [
        BompSettings(trials=8, initial=4),
        BompSettings(trials=8, initial=4, preset="paper"),
        BompSettings(trials=6, initial=2, acquisition="ehvi", policies_per_network=3),
        BompSettings(trials=6, initial=2, acquisition="parego", policies_per_network=2),
    ],
    ids=["bomp", "paper", "ehvi", "parego"],
)
def test_replay_reproduces_bayesian_proposals(new_record, make_run, fakes, problem, settings):
    loop.search(settings, make_run(new_record, Scripted(fakes.trial, slots=2), seed=1))
    sources, proposals = set(), new_record.proposals
    for count, stored in enumerate(proposals, 1):
        proposal = loop.replay(settings.proposer(), problem, new_record.candidates, 1, proposals[:count])
        assert (proposal.genotypes, proposal.details, proposal.fit) == (stored.genotypes, stored.details, stored.fit)
        assert len(proposal.genotypes) == settings.policies_per_network
        sources.add(stored.details["source"])
    assert sources == {"start", "surrogate"}
    assert any(stored.fit for stored in proposals)


@pytest.mark.parametrize("policies", [1, 2])
def test_killed_in_the_fifth_trial_the_search_goes_on_as_if_undisturbed(tmp_path, space_file, environment, policies):
    def search(name, killed_trial):
        program = [sys.executable, "-c", textwrap.dedent(KILLED)]
        arguments = [str(tmp_path / name), str(space_file), str(killed_trial), str(policies)]
        return subprocess.run(program + arguments, env=environment, timeout=100).returncode

    assert search("killed.db", 5) == -signal.SIGKILL
    with Record(tmp_path / "killed.db", read_only=True) as opened:
        states = [candidate.state for candidate in opened.candidates]
        kept = opened.candidates[: 4 * policies]
    assert states == [State.COMPLETED] * 4 * policies + [State.PENDING] * policies
    assert search("killed.db", 0) == 0
    assert search("undisturbed.db", 0) == 0
    with (
        Record(tmp_path / "killed.db", read_only=True) as resumed,
        Record(tmp_path / "undisturbed.db", read_only=True) as whole,
    ):
        assert resumed.candidates[: 4 * policies] == kept
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
