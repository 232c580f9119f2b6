import json
import os

import keras_tuner
import pytest

from bompnas.errors import InputError
from bompnas.integrations import state_files


def values_of(oracle):
    return [trial.hyperparameters.values for trial in oracle.trials.values()]


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def killed_at_write(monkeypatch):
    """Lets the process die at one of the next file replacements, before or after it, counted from 1."""
    replace = os.replace

    def arm(number, *, before=True):
        count = iter(range(1, 10**6))

        def dying(source, target):
            last = next(count) == number
            if last and before:
                raise Killed
            replace(source, target)
            if last:
                raise Killed

        monkeypatch.setattr(state_files.os, "replace", dying)

    yield arm
    monkeypatch.setattr(state_files.os, "replace", replace)


class TestResume:
    def test_a_reloaded_oracle_proposes_what_the_undisturbed_one_does(self, mixed, new_oracle, run):
        undisturbed = new_oracle(mixed, "undisturbed")
        expected = run(undisturbed, 19)
        found = []
        for count in (1, 4, 2, 10, 2):  # also within the initial design, and where fits start from earlier ones
            oracle = new_oracle(mixed, "stopped")
            if found:
                oracle.reload()
            found += run(oracle, count)
        assert found == expected
        stored = [json.loads(json.dumps(one._proposals)) for one in (undisturbed, oracle)]
        assert stored[0] == stored[1]

    def test_stored_fits_are_handed_on_unless_the_objective_changed(self, mixed, new_oracle, run):
        class Watched:
            def __init__(self, proposer):
                self.proposer, self.preset = proposer, proposer.preset

            def propose(self, *arguments):
                self.fits = arguments[-1]
                return self.proposer.propose(*arguments)

        def watched(**settings):
            oracle = new_oracle(mixed, **settings)
            oracle._proposer = Watched(oracle._proposer)
            return oracle

        oracle = watched()
        run(oracle, 9)
        assert [fit["length"] for fit in oracle._proposer.fits] == [4, 5, 6, 7]
        resumed = watched()
        resumed.reload()
        run(resumed, 1)
        assert resumed._proposer.fits == [told["fit"] for told in oracle._proposals.values() if told["fit"]]
        changed = watched(objective=keras_tuner.Objective("score", "min"))
        changed.reload()
        run(changed, 1)
        assert changed._proposer.fits == []

    def test_interrupted_trials_are_run_again_first(self, mixed, new_oracle, run, finish):
        oracle = new_oracle(mixed)
        run(oracle, 5)
        first, second = oracle.create_trial("a"), oracle.create_trial("b")
        oracle.update_trial(first.trial_id, {"score": -9.0})  # reported, but never ended
        resumed = new_oracle(mixed)
        resumed.reload()
        assert not resumed.ongoing_trials
        again = {resumed.create_trial(tuner).trial_id for tuner in ("a", "c")}
        assert again == {first.trial_id, second.trial_id}
        assert values_of(resumed) == values_of(oracle)
        trial = resumed.trials[first.trial_id]
        finish(resumed, trial, -1.0)
        assert resumed.trials[first.trial_id].score == -1.0  # not the mean of both

    def test_failed_and_infeasible_trials_survive(self, table, new_oracle, finish):
        oracle = new_oracle(table)
        finish(oracle, oracle.create_trial("a"), status="FAILED")
        finish(oracle, oracle.create_trial("a"), infeasible=1.0, status="INVALID")
        finish(oracle, oracle.create_trial("a"), 1.0)
        resumed = new_oracle(table)
        resumed.reload()
        assert [trial.status for trial in resumed.trials.values()] == ["FAILED", "INVALID", "COMPLETED"]
        assert resumed.create_trial("a").trial_id == oracle.create_trial("a").trial_id == "003"
        assert values_of(resumed) == values_of(oracle)

    def test_new_entries_survive(self, new_oracle, finish):
        oracle = new_oracle()
        for _ in range(5):
            trial = oracle.create_trial("a")
            units = trial.hyperparameters.Int("units", 1, 50)
            finish(oracle, trial, units / 50)
        resumed = new_oracle()
        resumed.reload()
        assert resumed.create_trial("a").hyperparameters.values == oracle.create_trial("a").hyperparameters.values

    def test_goes_on_with_a_project_of_keras_tuner(self, mixed, new_oracle, run, tmp_path):
        theirs = keras_tuner.oracles.BayesianOptimizationOracle(
            keras_tuner.Objective("score", "max"), 100, num_initial_points=2, seed=3, hyperparameters=mixed.copy()
        )
        theirs._set_project_dir(tmp_path, "project")
        theirs.verbose = 0
        run(theirs, 6)
        ours = new_oracle(mixed)
        ours.reload()
        assert ours.seed == 3
        assert len(ours.trials) == 6
        run(ours, 6)
        assert len({tuple(trial.hyperparameters.values.items()) for trial in ours.trials.values()}) == 12

    def test_a_damaged_file_is_told(self, mixed, new_oracle, run, tmp_path):
        run(new_oracle(mixed), 2)
        path = tmp_path / "project" / "oracle.json"
        path.write_text(path.read_text()[:50])
        with pytest.raises(InputError, match=r"project: a state file is not whole .* overwrite=True"):
            new_oracle(mixed).reload()


class TestCrashes:
    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("number", range(1, 6))
    def test_at_any_write_of_a_trial_nothing_is_lost_or_done_twice(
        self, mixed, new_oracle, run, killed_at_write, evaluate, number, before, monkeypatch
    ):
        expected = run(new_oracle(mixed, "undisturbed"), 8)
        oracle = new_oracle(mixed)
        run(oracle, 5)
        killed_at_write(number, before=before)  # create: trial, oracle; update: trial; end: trial, oracle
        with pytest.raises(Killed):
            run(oracle, 1)
        monkeypatch.undo()

        resumed = new_oracle(mixed)
        resumed.reload()
        ended = 6 if number == 5 or (number == 4 and not before) else 5
        assert len(resumed.end_order) == ended  # what was saved as completed is not run again
        run(resumed, 8 - ended)
        assert values_of(resumed) == expected
        assert resumed.end_order == [f"{number:03d}" for number in range(8)]
        assert [trial.score for trial in resumed.trials.values()] == [evaluate(values) for values in expected]

    def test_files_are_whole_or_as_they_were(self, tmp_path, killed_at_write):
        path = tmp_path / "state.json"
        state_files.write_json(path, {"a": [1, 0.1]})
        killed_at_write(1)
        with pytest.raises(Killed):
            state_files.write_json(path, {"a": "new"})
        assert json.loads(path.read_text()) == {"a": [1, 0.1]}

    def test_a_full_disk_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "state.json"
        state_files.write_json(path, {"a": 1})

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(state_files.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            state_files.write_json(path, {"a": 2})
        assert json.loads(path.read_text()) == {"a": 1}

    def test_files_are_synced_before_they_are_seen(self, tmp_path, monkeypatch):
        calls = []
        fsync, replace = os.fsync, os.replace
        monkeypatch.setattr(state_files.os, "fsync", lambda file: (calls.append("sync"), fsync(file)))
        monkeypatch.setattr(state_files.os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
        state_files.write_json(tmp_path / "state.json", {})
        assert calls == ["sync", "replace", "sync"]


class TestRetries:
    def end(self, oracle, finish, status, count=1, **metrics):
        seen = []
        for _ in range(count):
            trial = oracle.create_trial("tuner0")
            seen.append(trial.trial_id)
            finish(oracle, trial, status=status, message="what went wrong", **metrics)
        return seen

    def test_none_by_default(self, mixed, new_oracle, finish):
        oracle = new_oracle(mixed)
        assert self.end(oracle, finish, "INVALID") == ["000"]
        assert oracle.trials["000"].status == "FAILED"
        assert oracle.create_trial("tuner0").trial_id == "001"

    def test_crashed_trials_are_run_again(self, mixed, new_oracle, finish):
        oracle = new_oracle(mixed, max_retries_per_trial=2)
        assert self.end(oracle, finish, "INVALID", 2) == ["000", "000"]
        trial = oracle.create_trial("tuner0")
        assert trial.trial_id == "000"
        finish(oracle, trial, 0.5)
        assert oracle.trials["000"].status == "COMPLETED"
        assert oracle.end_order == ["000"]

    def test_waiting_for_a_retry_is_pending(self, table, new_oracle, finish):
        oracle = new_oracle(table, max_retries_per_trial=1)
        trials = [oracle.create_trial(tuner) for tuner in "ab"]
        finish(oracle, trials[0], status="INVALID")
        assert oracle.candidate(1, trials[0]).state == "pending"
        assert oracle.create_trial("c").trial_id == trials[0].trial_id

    def test_failed_ones_are_not(self, mixed, new_oracle, finish):
        oracle = new_oracle(mixed, max_retries_per_trial=3)
        self.end(oracle, finish, "FAILED")
        assert oracle.create_trial("tuner0").trial_id == "001"

    @pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
    def test_a_score_that_is_no_number_is_forgotten_by_the_retry(self, mixed, new_oracle, finish, score):
        oracle = new_oracle(mixed, max_retries_per_trial=1)
        finish(oracle, oracle.create_trial("tuner0"), score)
        assert oracle.trials["000"].status == "INVALID"
        finish(oracle, oracle.create_trial("tuner0"), 0.5)
        assert oracle.trials["000"].score == 0.5

    def test_consecutive_failures_end_the_search_after_saving(self, mixed, new_oracle, finish):
        oracle = new_oracle(mixed, max_retries_per_trial=1)
        self.end(oracle, finish, "INVALID", 4)  # two trials, each run twice
        finish(oracle, oracle.create_trial("tuner0"), 0.5)
        self.end(oracle, finish, "FAILED", 2)
        with pytest.raises(RuntimeError, match=r"Number of consecutive failures .* 3; the last one: what went wrong"):
            self.end(oracle, finish, "FAILED")
        assert not oracle.ongoing_trials
        resumed = new_oracle(mixed)
        resumed.reload()
        assert [trial.status for trial in resumed.trials.values()].count("FAILED") == 5
        finish(resumed, resumed.create_trial("tuner0"), 0.5)  # what worked again goes on

    def test_failures_are_bad_news_for_their_neighbourhood(self, new_oracle, run, finish):
        hp = keras_tuner.HyperParameters()
        hp.Int("a", 0, 60)
        hp.Int("b", 0, 60)
        late = {}
        for name, fails in {"failing": True, "working": False}.items():
            oracle = new_oracle(hp, name, num_initial_points=8, max_consecutive_failed_trials=100)
            for _ in range(24):
                trial = oracle.create_trial("tuner0")
                a = trial.hyperparameters.get("a")
                if fails and a > 30:
                    finish(oracle, trial, status="FAILED")
                else:
                    finish(oracle, trial, a / 60)
            late[name] = sum(values["a"] > 30 for values in values_of(oracle)[8:])
        assert late["failing"] < late["working"]

    def test_infeasible_is_not_failed(self, table, new_oracle, finish):
        oracle = new_oracle(table, max_retries_per_trial=2)
        self.end(oracle, finish, "FAILED", 2)
        seen = self.end(oracle, finish, "FAILED", 9, infeasible=1.0)  # as a plain tuner reports it
        assert len(set(seen)) == 9  # none is retried, none counts as a failure, none comes twice
        assert {oracle.trials[trial_id].status for trial_id in seen} == {"INVALID"}
        assert len({tuple(values.items()) for values in values_of(oracle)}) == 11
        with pytest.raises(RuntimeError, match="consecutive"):
            self.end(oracle, finish, "FAILED")


class TestScopesOfOneName:
    def test_values_are_kept_where_keras_tuner_drops_them(self, new_oracle):
        hp = keras_tuner.HyperParameters()
        hp.Choice("model", ["a", "b"])
        for model, low in (("a", 1), ("b", 3)):
            with hp.conditional_scope("model", model):
                hp.Int("units", low, low + 1)
        oracle = new_oracle(hp)
        seen = [oracle.create_trial(str(number)).hyperparameters.values for number in range(4)]
        assert sorted(values["units"] for values in seen) == [1, 2, 3, 4]
        assert all((values["units"] < 3) == (values["model"] == "a") for values in seen)
