import itertools
import logging
import math

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine.trial import Trial

from bompnas.errors import InputError
from bompnas.objectives import Constraint, Objective


def arbitrary(values):
    """A score that tells all values of the table apart."""
    return "wxyz".index(values["a"]) * 0.3 + values["b"] * 0.07


class TestProposals:
    def test_small_space_is_tried_whole_and_then_the_search_ends(self, table, new_oracle, run, caplog):
        oracle = new_oracle(table)
        with caplog.at_level(logging.INFO, "bompnas"):
            found = run(oracle, 20, arbitrary)
        assert len(found) == 13
        assert found.pop() == {}
        expected = [{"a": a, "b": b} for a, b in itertools.product("wxyz", [1, 2, 3])]
        assert all(values in found for values in expected)
        assert oracle.create_trial("tuner0").status == "STOPPED"
        assert len(oracle.trials) == 12
        assert "space exhausted" in caplog.text

    def test_first_trial_has_the_defaults(self, mixed, new_oracle):
        trial = new_oracle(mixed).create_trial("tuner0")
        assert trial.hyperparameters.values == {"a": 0, "b": -1.0, "c": 1e-5, "d": "constant"}

    def test_finds_the_best_of_a_mixed_space(self, mixed, new_oracle, run):
        oracle = new_oracle(mixed)
        run(oracle, 30)
        best = oracle.get_best_trials()[0]
        assert best.score > -0.2
        assert abs(best.hyperparameters.get("a") - 4) <= 1
        assert best.hyperparameters.get("b") >= 0.9

    def test_minimizes(self, mixed, new_oracle, run, evaluate):
        oracle = new_oracle(mixed, objective=keras_tuner.Objective("score", "min"))
        run(oracle, 30, lambda values: -10 - evaluate(values))
        assert oracle.get_best_trials()[0].score < -9.8

    def test_goes_where_scores_rise(self, new_oracle):
        hp = keras_tuner.HyperParameters()
        hp.Int("a", -100, 100)
        oracle = new_oracle(hp, num_initial_points=2)
        for number in range(5):  # put there by hand, with a score but no metrics
            for sign in (-1, 1):
                trial = Trial(hyperparameters=hp.copy(), status="COMPLETED")
                trial.hyperparameters.values = {"a": sign * 10 * number}
                trial.score = float(sign * number)
                oracle.trials[trial.trial_id] = trial
        assert oracle.create_trial("tuner0").hyperparameters.get("a") > 0

    def test_equal_scores_do_no_harm(self, mixed, new_oracle, run):
        found = run(new_oracle(mixed), 12, lambda values: 0.0)
        assert len({tuple(values.items()) for values in found}) == 12

    def test_steps_are_respected(self, new_oracle, run):
        hp = keras_tuner.HyperParameters()
        hp.Float("c", 0, 10, step=3)
        found = run(new_oracle(hp), 5, lambda values: values["c"])
        assert sorted(values["c"] for values in found[:4]) == [0, 3, 6, 9]
        assert len(found) == 5

    @pytest.mark.parametrize("seed", [0, 7, -3])
    def test_a_seed_fixes_the_search(self, mixed, new_oracle, run, seed):
        one, two = (run(new_oracle(mixed, project, seed=seed), 8) for project in ("one", "two"))
        assert one == two
        assert new_oracle(mixed, seed=seed).seed == seed

    def test_other_seeds_search_otherwise(self, mixed, new_oracle, run):
        assert run(new_oracle(mixed, "one", seed=0), 6) != run(new_oracle(mixed, "two", seed=1), 6)
        assert new_oracle(mixed, seed=None).seed != new_oracle(mixed, seed=None).seed

    def test_populating_without_a_trial_changes_nothing(self, mixed, new_oracle, run):
        asked, plain = new_oracle(mixed, "one"), new_oracle(mixed, "two")
        for _ in range(6):
            asked.populate_space("9")
            asked.save()
            assert run(asked, 1) == run(plain, 1)

    @pytest.mark.parametrize(
        "settings",
        [{"acquisition": "luck"}, {"preset": "best"}, {"beta": -1}, {"num_initial_points": 0}, {"beta": "high"}],
    )
    def test_wrong_settings_are_told(self, table, new_oracle, settings):
        (name,) = settings
        with pytest.raises(InputError, match=name):
            new_oracle(table, **settings)

    def test_paper_preset_and_several_betas(self, mixed, new_oracle, run):
        for settings in ({"preset": "paper"}, {"beta": (1, 3.5)}, {"acquisition": "parego"}):
            oracle = new_oracle(mixed, str(settings), **settings)
            assert len({tuple(values.items()) for values in run(oracle, 7)}) == 7


class TestWorkers:
    def test_pending_values_are_not_proposed_again(self, table, new_oracle, finish):
        oracle = new_oracle(table)
        trials = [oracle.create_trial(f"tuner{number}") for number in range(12)]
        assert len({tuple(trial.hyperparameters.values.items()) for trial in trials}) == 12
        assert oracle.create_trial("late").status == "STOPPED"
        assert oracle.create_trial("tuner3").trial_id == trials[3].trial_id  # a worker's own goes on
        for trial in trials:
            finish(oracle, trial, 1.0)
        assert not oracle.ongoing_trials

    def test_pending_trials_change_what_is_proposed(self, mixed, new_oracle, run):
        oracles = [new_oracle(mixed, project) for project in ("one", "two")]
        for oracle in oracles:
            run(oracle, 8)
        first = [oracle.create_trial("a").hyperparameters.values for oracle in oracles]
        assert first[0] == first[1]
        second = oracles[0].create_trial("b").hyperparameters.values
        assert second != first[0]

    def test_four_workers_find_the_best(self, mixed, new_oracle, finish, evaluate):
        oracle = new_oracle(mixed)
        for _ in range(9):
            trials = [oracle.create_trial(f"tuner{number}") for number in range(4)]
            for trial in reversed(trials):
                finish(oracle, trial, evaluate(trial.hyperparameters.values))
        assert oracle.get_best_trials()[0].score > -0.2

    def test_ends_in_any_order(self, mixed, new_oracle, finish):
        oracle = new_oracle(mixed, num_initial_points=1)
        first, second = oracle.create_trial("a"), oracle.create_trial("b")
        finish(oracle, first, -1.0)
        third = oracle.create_trial("a")
        finish(oracle, second, -2.0)
        fourth = oracle.create_trial("b")
        finish(oracle, third, -0.5)
        finish(oracle, fourth, -0.7)
        assert len({tuple(trial.hyperparameters.values.items()) for trial in (first, second, third, fourth)}) == 4


class TestNewEntries:
    def test_are_tuned_and_take_their_default_in_old_trials(self, new_oracle, run, finish):
        hp = keras_tuner.HyperParameters()
        hp.Int("a", -100, 100)
        oracle = new_oracle(hp)
        run(oracle, 6, lambda values: values["a"] / 100)
        found = keras_tuner.HyperParameters()
        found.Float("b", 3.2, 6.4, step=0.2, default=3.6)
        found.Boolean("c", default=True)
        oracle.update_space(found)
        assert oracle.candidate(1, oracle.trials["000"]).genotype == {"a": -100, "b": 3.6, "c": True}
        seen = run(oracle, 8, lambda values: values["a"] / 100 + values["b"] + values["c"])
        assert all({"a", "b", "c"} == set(values) for values in seen)
        assert len({values["b"] for values in seen}) > 2

    def test_named_within_a_trial(self, new_oracle, finish):
        oracle = new_oracle(objective="val_loss")
        seen = []
        for _ in range(10):
            trial = oracle.create_trial("tuner0")
            if trial.status == "STOPPED":
                break
            hp = trial.hyperparameters
            seen.append((hp.Boolean("one"), hp.Boolean("two")))
            finish(oracle, trial, val_loss=sum(seen[-1]))
        assert sorted(seen) == [(False, False), (False, True), (True, False), (True, True)]

    def test_other_workers_wait_until_the_first_trial_told_the_space(self, new_oracle, finish, monkeypatch):
        slept = []
        monkeypatch.setattr("time.sleep", slept.append)
        oracle = new_oracle()
        first = oracle.create_trial("a")
        assert first.status == "RUNNING"
        assert oracle.create_trial("b").status == "IDLE"
        assert len(slept) == 1
        first.hyperparameters.Choice("units", [8, 16])
        finish(oracle, first, 0.5)
        assert oracle.create_trial("b").hyperparameters.values == {"units": 16}
        assert oracle.create_trial("a").status == "STOPPED"

    def test_a_space_of_constants_is_one_trial(self, new_oracle, run):
        hp = keras_tuner.HyperParameters()
        hp.Fixed("a", 3)
        assert run(new_oracle(hp, allow_new_entries=False), 5, lambda values: 1.0) == [{"a": 3}, {}]

    def test_not_tuned_keep_their_default(self, table, new_oracle, finish):
        oracle = new_oracle(table, tune_new_entries=False)
        for _ in range(3):
            trial = oracle.create_trial("tuner0")
            assert set(trial.hyperparameters.values) == {"a", "b"}
            assert trial.hyperparameters.Int("c", 1, 5, default=2) == 2
            finish(oracle, trial, 1.0)
        assert [entry.name for entry in oracle.get_space().space] == ["a", "b"]

    def test_refused_where_not_allowed_and_others_go_on(self, table, new_oracle, finish):
        import threading

        oracle = new_oracle(table, allow_new_entries=False)
        trial = oracle.create_trial("tuner0")
        trial.hyperparameters.Int("c", 1, 5)
        with pytest.raises(RuntimeError, match="allow_new_entries"):
            finish(oracle, trial, 1.0)
        found = []
        other = threading.Thread(target=lambda: found.append(oracle.create_trial("tuner1")), daemon=True)
        other.start()
        other.join(timeout=30)
        assert found, "the lock was not given back"


class TestScopes:
    @pytest.fixture
    def scoped(self):
        hp = keras_tuner.HyperParameters()
        hp.Choice("model", ["linear", "mlp"])
        with hp.conditional_scope("model", "mlp"):
            hp.Int("layers", 1, 3)
            with hp.conditional_scope("layers", [2, 3]):
                hp.Boolean("residual")
            hp.Int("units", 1, 2)
        with hp.conditional_scope("model", "linear"):
            hp.Int("units", 3, 4)  # the same name in another scope
        return hp

    def test_only_active_values_and_none_twice(self, scoped, new_oracle, run):
        found = run(new_oracle(scoped), 30, lambda values: values["units"] / 4)
        assert found.pop() == {}
        expected = [{"model": "linear", "units": units} for units in (3, 4)]
        expected += [{"model": "mlp", "layers": 1, "units": units} for units in (1, 2)]
        expected += [
            {"model": "mlp", "layers": layers, "residual": residual, "units": units}
            for layers in (2, 3) for residual in (False, True) for units in (1, 2)
        ]  # fmt: skip
        assert len(found) == len(expected)
        assert all(values in found for values in expected)

    def test_a_tuner_builds_every_scope(self, tmp_path):
        from bompnas.integrations.keras_tuner import BompTuner

        built = []

        def build(hp):
            if hp.Choice("model", ["a", "b"]) == "a":
                with hp.conditional_scope("model", "a"):
                    built.append(("a", hp.Int("units", 1, 2)))
            else:
                with hp.conditional_scope("model", "b"):
                    built.append(("b", hp.Int("units", 3, 4)))

        tuner = BompTuner(build, objective="val_loss", directory=tmp_path)
        assert [entry.name for entry in tuner.oracle.get_space().space] == ["model", "units"]
        assert built == [("a", 1)]


class TestObjectives:
    def test_list_is_the_signed_sum_as_in_keras_tuner(self, mixed, new_oracle, finish):
        objectives = [keras_tuner.Objective("gain", "max"), keras_tuner.Objective("loss", "min")]
        oracle = new_oracle(mixed, objective=objectives, acquisition="parego")
        generator = np.random.default_rng(0)
        for _ in range(8):
            trial = oracle.create_trial("tuner0")
            gain, loss = generator.random(2)
            finish(oracle, trial, gain=gain, loss=loss)
            assert oracle.trials[trial.trial_id].score == pytest.approx(loss - gain)
        scores = [trial.score for trial in oracle.get_best_trials(8)]
        assert scores == sorted(scores)

    def test_pareto_trials(self, mixed, new_oracle, finish):
        objectives = [keras_tuner.Objective("gain", "max"), keras_tuner.Objective("loss", "min")]
        oracle = new_oracle(mixed, objective=objectives)
        for gain, loss in [(1.0, 1.0), (2.0, 2.0), (1.5, 2.5), (0.5, 0.9)]:
            finish(oracle, oracle.create_trial("tuner0"), gain=gain, loss=loss)
        finish(oracle, oracle.create_trial("tuner0"), status="FAILED")
        front = {trial.metrics.get_best_value("gain") for trial in oracle.get_pareto_trials()}
        assert front == {1.0, 2.0, 0.5}

    def test_eq_1_with_a_known_cost(self, mixed, new_oracle, finish):
        objectives = [
            Objective("accuracy", "val_accuracy", 0.8, maximize=True),
            Objective("size", "size_bits", 8.0, maximize=False, transform="log10"),
        ]
        oracle = new_oracle(mixed, objective=objectives, costs={"size_bits": lambda values: 10.0 ** (3 + values["a"])})
        assert oracle.objective.name == "score"
        assert oracle.problem.analytic >= {"size_bits"}
        for _ in range(6):
            trial = oracle.create_trial("tuner0")
            finish(oracle, trial, val_accuracy=0.4)
            expected = 0.5 + 8 / (3 + trial.hyperparameters.get("a"))
            assert oracle.trials[trial.trial_id].score == pytest.approx(expected)
        best = oracle.get_best_trials()[0]
        assert best.hyperparameters.get("a") == min(t.hyperparameters.get("a") for t in oracle.trials.values())

    def test_ehvi_spreads_over_the_front(self, mixed, new_oracle, finish):
        objectives = ["val_accuracy", keras_tuner.Objective("a", "min")]
        with pytest.raises(InputError, match="ehvi found 2 measured objectives and 0 that are costs"):
            new_oracle(mixed, objective=objectives, acquisition="ehvi")
        found = {}
        for acquisition in ("ucb", "ehvi"):
            settings = {"objective": objectives, "seed": 0, "costs": {"a": lambda values: values["a"]}}
            oracle = new_oracle(mixed, acquisition, acquisition=acquisition, **settings)
            for _ in range(14):
                trial = oracle.create_trial("tuner0")
                finish(oracle, trial, val_accuracy=(trial.hyperparameters.get("a") / 10) ** 0.5)
            found[acquisition] = {trial.hyperparameters.get("a") for trial in oracle.get_pareto_trials()}
        assert len(found["ehvi"]) > len(found["ucb"])  # every a is on the front, the sum is best at 0

    def test_minimized_cost_of_a_keras_tuner_objective(self, mixed, new_oracle, run):
        oracle = new_oracle(
            mixed,
            objective=["val_accuracy", keras_tuner.Objective("a", "min")],
            costs={"a": lambda values: values["a"]},
        )
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"val_accuracy": 0.75})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        assert oracle.trials[trial.trial_id].score == 0.75  # a is 0

    def test_the_best_step_counts(self, mixed, new_oracle, finish):
        objectives = [keras_tuner.Objective("gain", "max"), keras_tuner.Objective("loss", "min")]
        oracle = new_oracle(mixed, objective=objectives)
        trial = oracle.create_trial("tuner0")
        for step, (gain, loss) in enumerate([(1.0, 1.0), (2.0, 1.0), (math.nan, 0.0)]):
            oracle.update_trial(trial.trial_id, {"gain": gain, "loss": loss}, step=step)
        finish(oracle, trial)
        assert oracle.trials[trial.trial_id].score == -1.0
        assert oracle.trials[trial.trial_id].best_step == 1

    def test_missing_objective_is_refused(self, mixed, new_oracle):
        oracle = new_oracle(mixed)
        trial = oracle.create_trial("tuner0")
        with pytest.raises(ValueError, match="score"):
            oracle.update_trial(trial.trial_id, {"other": 1.0})


class TestConstraints:
    def test_known_ones_filter_before_any_training(self, table, new_oracle, run):
        costs = {"size": lambda values: "wxyz".index(values["a"]) + values["b"]}
        found = run(new_oracle(table, costs=costs, constraints={"size": 3}), 20, arbitrary)
        assert found.pop() == {}
        assert {(values["a"], values["b"]) for values in found} == {
            ("w", 1), ("w", 2), ("w", 3), ("x", 1), ("x", 2), ("y", 1)
        }  # fmt: skip

    def test_impossible_ones_are_told(self, table, new_oracle):
        oracle = new_oracle(table, costs={"size": lambda values: float(values["b"])}, constraints={"size": 0.5})
        with pytest.raises(InputError, match=r"size 1 where 0\.5 is allowed"):
            oracle.create_trial("tuner0")

    def test_a_cost_that_fails_is_told_with_its_values(self, table, new_oracle):
        oracle = new_oracle(table, costs={"size": lambda values: values["units"]}, constraints={"size": 3})
        with pytest.raises(InputError, match=r"costs: size failed with KeyError: 'units' for the values .*'a': "):
            oracle.create_trial("tuner0")

    def test_measured_ones_rank_and_are_learned(self, mixed, new_oracle, finish):
        oracle = new_oracle(mixed, constraints=[Constraint("latency", 3.0)])
        for _ in range(20):
            trial = oracle.create_trial("tuner0")
            a = trial.hyperparameters.get("a")
            finish(oracle, trial, a / 10, latency=float(a))
        best = oracle.get_best_trials()[0]
        assert best.hyperparameters.get("a") == 3
        assert all(trial.hyperparameters.get("a") <= 3 for trial in oracle.get_pareto_trials())
        late = [trial.hyperparameters.get("a") for trial in list(oracle.trials.values())[10:]]
        assert sum(a <= 4 for a in late) > sum(a > 4 for a in late)

    def test_missing_metric_is_refused(self, mixed, new_oracle):
        oracle = new_oracle(mixed, constraints={"latency": 3.0})
        trial = oracle.create_trial("tuner0")
        with pytest.raises(keras_tuner.errors.FatalValueError, match="latency"):
            oracle.update_trial(trial.trial_id, {"score": 1.0})
