import pytest

from bompnas.candidate import State
from bompnas.search.random import RandomProposer
from bompnas.testing import problems
from bompnas.testing.search import search


@pytest.fixture(scope="module")
def parallel():
    return search(RandomProposer(policies=2), problems.networks(), 12, workers=3, fails=lambda id: id % 4 == 0)


def test_as_many_trials_run_as_there_are_workers(parallel):
    assert [len({c.trial for c in snapshot.pending}) for snapshot in parallel.snapshots] == [0, 1] + [2] * 10


def test_trials_finish_in_another_order_than_they_began(parallel):
    finished = [[candidate.id for candidate in snapshot.completed] for snapshot in parallel.snapshots]
    assert all(ids == sorted(ids) for ids in finished)
    assert any(ids != list(range(1, len(ids) + 1)) for ids in finished)


def test_snapshots_hold_all_candidates_in_the_state_of_that_time(parallel):
    by_id = {candidate.id: candidate for candidate in parallel.candidates}
    for snapshot in parallel.snapshots:
        assert len(snapshot.completed) + len(snapshot.pending) == 2 * snapshot.index
        assert all(candidate == by_id[candidate.id] for candidate in snapshot.completed)
        assert all(candidate.state is State.PENDING and not candidate.metrics for candidate in snapshot.pending)


def test_candidates_are_measured_scored_or_failed(parallel):
    trials = parallel.trials
    assert [candidate.id for candidate in parallel.candidates] == list(range(1, 25))
    for candidate in parallel.candidates:
        assert candidate.trial == (candidate.id + 1) // 2
        if candidate.id % 4 == 0:
            assert (candidate.state, candidate.score, candidate.metrics) == (State.FAILED, None, {})
        else:
            assert candidate.metrics == trials.measure(candidate.genotype)
            assert candidate.score == trials.problem.score(candidate.values)
    assert not parallel.exhausted


def test_fits_reach_the_proposals_that_follow():
    class Fitting(RandomProposer):
        def propose(self, problem, completed, pending, seed, index, fits=()):
            found = super().propose(problem, completed, pending, seed, index, fits)
            return type(found)(found.genotypes, {"fits": len(fits)}, {"length": index} if index % 2 else None)

    searched = search(Fitting(), problems.regression(), 6)
    assert [snapshot.proposal.details["fits"] for snapshot in searched.snapshots] == [0, 0, 1, 1, 2, 2]
    assert searched.snapshots[-1].fits == ({"length": 1}, {"length": 3})


def test_the_search_ends_with_the_space():
    searched = search(RandomProposer(), problems.twelve_points(), 20, workers=4)
    assert searched.exhausted
    assert len(searched.snapshots) == 13
    assert len(searched.candidates) == 12
