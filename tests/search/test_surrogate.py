import dataclasses
import itertools
import json

import numpy as np
import pytest

from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem, no_costs
from bompnas.search import gp, surrogate
from bompnas.search.encoding import encoding
from bompnas.search.surrogate import SCORE, Memory, build, due, observations, targets
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.sampling import uniform
from bompnas.space.space import Gene

MAE = Objective("mae", "val_mae", 0.5, maximize=False)
ACCURACY = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
SIZE = Objective("size", "size_bits", 8.0, maximize=False, transform="log10")
GENES = (*(Gene(name, tuple(range(9)), 4) for name in "abc"), Gene("kind", ("x", "y", "z"), "x", ordered=False))


def make_problem(objectives=(ACCURACY,), constraints=(), genes=GENES):
    return Problem(HyperSpace(name="plain", genes=genes), no_costs, tuple(objectives), tuple(constraints))


def bowl(genotype):
    """Best in the middle of a and at the end of b; c does nothing."""
    return 0.9 - 0.02 * (genotype["a"] - 4) ** 2 - 0.03 * (8 - genotype["b"]) - 0.1 * (genotype["kind"] == "y")


def metrics_of(genotype):
    return {"val_accuracy": bowl(genotype), "val_mae": 1.5 - bowl(genotype), "val_loss": genotype["a"] / 8}


def make_candidates(problem, count, seed=0, failed=()):
    """Measured candidates with distinct random genotypes, ordered by id."""
    codes = uniform(problem.space, np.random.default_rng(seed), 4 * count)
    codes = codes[np.sort(np.unique(codes, axis=0, return_index=True)[1])][:count]
    return [
        make_candidate(problem, id, genotype, id in failed)
        for id, genotype in enumerate(problem.space.genotypes(codes), 1)
    ]


def make_candidate(problem, id, genotype, failed=False):
    point = problem.space.decode(genotype)
    if failed:
        return Candidate(id, id, point, genotype, State.FAILED, {}, error="diverged")
    metrics = metrics_of(genotype)
    return Candidate(id, id, point, genotype, State.COMPLETED, {}, metrics, {}, problem.score(metrics))


def made(problem, candidates, fits=(), memory=None, modelled=None, model=gp.Model()):  # noqa: B008
    codes = problem.space.canonical_codes(problem.space.encode(candidate.genotype for candidate in candidates))
    return build(modelled or targets(problem), model, encoding(problem), (candidates, codes), fits, memory or Memory())


def predictions(problem, belief, seed=9, count=40):
    codes = uniform(problem.space, np.random.default_rng(seed), count)
    return belief.predict(belief.features(codes))


def assert_same(first, second):
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


class TestSchedule:
    def test_the_first_observations_are_all_fitted(self):
        assert [due(count) for count in range(2, 31)] == list(range(2, 31))

    def test_later_ones_are_fitted_ever_more_seldom(self):
        lengths = [due(count) for count in range(2, 3000)]
        assert lengths == sorted(lengths)
        assert all(length <= count for count, length in enumerate(lengths, 2))
        fitted = sorted(set(lengths))
        assert [due(length) for length in fitted] == fitted
        steps = np.diff([length for length in fitted if length >= 30])
        assert steps[0] > 1
        assert (np.diff(steps) >= -1).all()
        assert len(fitted) < 110
        assert max((count - length) / count for count, length in enumerate(lengths, 2)) < 0.15


class TestTargets:
    def test_what_is_measured_gets_a_process(self, digits_problem):
        problem = dataclasses.replace(
            digits_problem,
            objectives=(ACCURACY, MAE, SIZE),
            constraints=(Constraint("size_kb", 16), Constraint("val_loss", 1.0)),
        )
        found = targets(problem)
        assert [(target.name, target.maximize) for target in found] == [
            ("accuracy", True),
            ("mae", False),
            ("constraint val_loss", False),
        ]
        candidate = make_candidate(make_problem(), 1, make_problem().space.seed)
        values = [target.value(candidate) for target in found]
        assert values == [candidate.metrics[key] for key in ("val_accuracy", "val_mae", "val_loss")]

    def test_a_transformed_objective_is_modelled_on_the_scale_of_its_score(self):
        problem = make_problem([Objective("mae", "val_mae", 0.5, maximize=False, transform="log10")])
        (target,) = targets(problem)
        candidate = make_candidate(make_problem(), 1, problem.space.seed)
        assert target.value(candidate) == pytest.approx(np.log10(candidate.metrics["val_mae"]))

    def test_a_constraint_on_what_nobody_measures_is_an_input_error(self):
        problem = make_problem(constraints=[Constraint("val_f1", 0.5, at_least=True)])
        with pytest.raises(
            InputError, match="constraints: val_f1 is neither a cost nor measured, expected one of val_"
        ):
            made(problem, make_candidates(problem, 4))


class TestObservations:
    def values(self, target, candidates):
        return observations(target, candidates)

    def test_they_are_what_was_measured(self):
        problem = make_problem([ACCURACY, MAE])
        candidates = make_candidates(problem, 12)
        for target in (*targets(problem), SCORE):
            values, failed = observations(target, candidates)
            assert values.tolist() == [target.value(candidate) for candidate in candidates]
            assert not failed.any()

    @pytest.mark.parametrize("objective", [ACCURACY, MAE], ids=["maximized", "minimized"])
    def test_failures_are_worse_than_most(self, objective):
        problem = make_problem([objective])
        candidates = make_candidates(problem, 40, failed={3, 8})
        (target,) = targets(problem)
        values, failed = observations(target, candidates)
        assert np.flatnonzero(failed).tolist() == [2, 7]
        worse = values[~failed] < values[2] if objective.maximize else values[~failed] > values[2]
        assert 0 < worse.mean() < 0.2
        assert values[2] == values[7]

    @pytest.mark.parametrize("objective", [ACCURACY, MAE], ids=["maximized", "minimized"])
    def test_outliers_on_the_bad_side_are_pulled_in_and_good_ones_kept(self, objective):
        problem = make_problem([objective])
        candidates = make_candidates(problem, 30)
        sign = 1 if objective.maximize else -1
        for place, value in ((4, -1e6), (5, 1e6)):
            candidates[place] = dataclasses.replace(candidates[place], metrics={objective.key: sign * value})
        (target,) = targets(problem)
        values, failed = observations(target, candidates)
        gains = sign * values
        assert gains[5] == 1e6
        assert -10 < gains[4] <= gains.min()
        assert not failed.any()
        others = [place for place in range(30) if place not in (4, 5)]
        assert values[others].tolist() == [target.value(candidates[place]) for place in others]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_what_is_no_finite_number_counts_as_failed(self, value):
        problem = make_problem([ACCURACY], [Constraint("val_loss", 0.5)])
        candidates = make_candidates(problem, 10)
        candidates[3] = dataclasses.replace(candidates[3], metrics={**candidates[3].metrics, "val_loss": value})
        accuracy, loss = targets(problem)
        assert not observations(accuracy, candidates)[1].any()
        values, failed = observations(loss, candidates)
        assert np.flatnonzero(failed).tolist() == [3]
        assert np.isfinite(values).all()
        for mean, deviation in predictions(problem, made(problem, candidates)).values():
            assert np.isfinite(mean).all()
            assert np.isfinite(deviation).all()


class TestBuild:
    def test_it_learns_what_was_observed_and_which_genes_matter(self):
        problem = make_problem([ACCURACY, MAE])
        belief = made(problem, make_candidates(problem, 60))
        codes = uniform(problem.space, np.random.default_rng(9), 100)
        truth = np.array([bowl(genotype) for genotype in problem.space.genotypes(codes)])
        predicted = belief.predict(belief.features(codes))
        assert np.abs(predicted["accuracy"][0] - truth).max() < 0.1
        assert np.corrcoef(predicted["accuracy"][0], truth)[0, 1] > 0.98
        np.testing.assert_allclose(predicted["mae"][0], 1.5 - predicted["accuracy"][0], atol=0.02)
        ends = [{**problem.space.seed, gene: value} for gene in "ac" for value in (0, 4, 8)]
        mean = belief.predict(belief.features(problem.space.encode(ends)))["accuracy"][0]
        assert np.ptp(mean[:3]) > 0.2
        assert np.ptp(mean[3:]) < 0.05

    def test_deviations_cover_the_truth(self):
        problem = make_problem()
        belief = made(problem, make_candidates(problem, 20))
        codes = uniform(problem.space, np.random.default_rng(9), 200)
        truth = np.array([bowl(genotype) for genotype in problem.space.genotypes(codes)])
        mean, deviation = belief.predict(belief.features(codes))["accuracy"]
        assert (np.abs(mean - truth) < 2 * deviation + 0.02).mean() > 0.9

    def test_a_fit_survives_json_and_serves_again(self, monkeypatch):
        problem = make_problem([ACCURACY, MAE], [Constraint("val_loss", 0.5)])
        candidates = make_candidates(problem, 25)
        first = made(problem, candidates)
        fit = json.loads(json.dumps(first.fit))
        assert fit == first.fit
        monkeypatch.setattr(gp, "fit", None)
        second = made(problem, candidates, [fit])
        assert second.fit == first.fit
        assert_same(predictions(problem, first), predictions(problem, second))

    def test_between_fits_the_last_one_serves(self, monkeypatch):
        problem = make_problem()
        count = next(count for count in itertools.count(30) if due(count) < count)
        candidates = make_candidates(problem, count)
        fit = made(problem, candidates[: due(count)]).fit
        fresh = made(problem, candidates)
        assert fresh.fit == fit
        monkeypatch.setattr(gp, "fit", None)
        assert_same(predictions(problem, fresh), predictions(problem, made(problem, candidates, [fit])))

    def test_a_later_fit_starts_at_the_last_one(self, monkeypatch):
        problem = make_problem()
        candidates = make_candidates(problem, 26)
        earlier = [made(problem, candidates[:count]).fit for count in (20, 25)]
        starts = []
        original = gp.fit

        def spying(features, standard, extra, model, start=None):
            starts.append(start)
            return original(features, standard, extra, model, start)

        monkeypatch.setattr(gp, "fit", spying)
        made(problem, candidates, earlier)
        made(problem, candidates, [])
        assert starts[0].signal == earlier[1]["targets"]["accuracy"]["signal"]
        assert starts[1] is None

    @pytest.mark.parametrize("failed", [(), (2, 7, 30, 34)])
    def test_memory_changes_no_bit(self, failed):
        problem = make_problem([ACCURACY, MAE])
        candidates = make_candidates(problem, 45, failed=set(failed))
        kept, fits = Memory(), []
        for count in range(5, 46):
            remembered = made(problem, candidates[:count], fits, kept)
            forgotten = made(problem, candidates[:count], fits)
            assert remembered.fit == forgotten.fit
            assert_same(predictions(problem, remembered), predictions(problem, forgotten))
            fits = [*[fit for fit in fits if fit != remembered.fit], json.loads(json.dumps(remembered.fit))]

    def test_memory_of_another_order_or_problem_is_not_used(self):
        problem = make_problem()
        candidates = make_candidates(problem, 34)
        kept = Memory()
        fit = made(problem, candidates, memory=kept).fit
        late = [*candidates[:10], *candidates[11:], candidates[10]]  # one finished after those that started later
        for changed in (
            late,
            candidates[:31],
            make_candidates(problem, 34, failed={4}),
            make_candidates(problem, 34, 1),
        ):
            remembered, forgotten = made(problem, changed, [fit], kept), made(problem, changed, [fit])
            assert_same(predictions(problem, remembered), predictions(problem, forgotten))
        other = make_problem(genes=GENES[:3] + (Gene("kind", ("x", "y", "z"), "x"),))
        kept_other = made(other, make_candidates(other, 34), [fit], kept)
        assert_same(predictions(other, kept_other), predictions(other, made(other, make_candidates(other, 34), [fit])))

    def test_long_records_are_fitted_on_the_best_and_some_others(self, monkeypatch):
        problem = make_problem()
        candidates = make_candidates(problem, 470)
        seen = []

        def spying(features, standard, extra, model, start=None):
            seen.append(standard)
            return original(features, standard, extra, dataclasses.replace(model, linear=False), start)

        original = gp.fit
        monkeypatch.setattr(gp, "fit", spying)
        monkeypatch.setattr(gp, "COLD_ITERATIONS", 3)
        first = made(problem, candidates, model=gp.Model(linear=False))
        made(problem, candidates, model=gp.Model(linear=False))
        np.testing.assert_array_equal(seen[0], seen[1])
        assert len(seen[0]) == surrogate.LARGEST_FIT < due(470)
        values = np.sort([candidate.metrics["val_accuracy"] for candidate in candidates[: due(470)]])[::-1]
        fit = first.fit["targets"]["accuracy"]
        looked_at = np.sort(seen[0] * fit["deviation"] + fit["mean"])[::-1]
        np.testing.assert_allclose(looked_at[:200], values[:200])
        assert looked_at[-1] < np.median(values)
        assert len(first.observed) == 470  # all of them are conditioned on

    def test_a_failure_lowers_hopes_around_it_but_is_doubted(self):
        problem = make_problem()
        candidates = make_candidates(problem, 25)
        best = max(candidates, key=lambda candidate: candidate.score)
        failed = make_candidate(problem, best.id, best.genotype, failed=True)
        told = [failed if candidate is best else candidate for candidate in candidates]
        without = [candidate for candidate in candidates if candidate is not best]
        fit = made(problem, candidates).fit
        code = problem.space.encode([best.genotype])
        found = []
        for observed in (candidates, told, without):
            belief = made(problem, observed, [fit | {"length": len(observed)}])
            found.append(tuple(value.item() for value in belief.predict(belief.features(code))["accuracy"]))
        (mean, deviation), (mean_failed, deviation_failed), (mean_without, deviation_without) = found
        assert mean_failed < mean_without < mean
        assert deviation < deviation_failed < deviation_without

    def test_believing_keeps_means_and_shrinks_deviations(self):
        problem = make_problem([ACCURACY, MAE])
        belief = made(problem, make_candidates(problem, 20))
        pending = uniform(problem.space, np.random.default_rng(5), 3)
        believed = belief.believing(pending)
        before, after = predictions(problem, belief), predictions(problem, believed)
        there = belief.predict(belief.features(pending)), believed.predict(believed.features(pending))
        for name in ("accuracy", "mae"):
            np.testing.assert_allclose(after[name][0], before[name][0], atol=1e-9)
            assert (after[name][1] <= before[name][1] + 1e-12).all()
            assert (there[1][name][1] < there[0][name][1]).all()
        assert belief.believing(pending[:0]) is belief

    def test_genes_added_later_take_their_default_in_what_was_observed(self):
        problem = make_problem()
        candidates = make_candidates(problem, 30)
        fit = made(problem, candidates).fit
        wider = make_problem(genes=(*GENES, Gene("new", (1, 2, 3), 2)))
        filled = [dataclasses.replace(one, genotype={**one.genotype, "new": 2}) for one in candidates]
        belief, explicit = made(wider, candidates, [fit]), made(wider, filled, [fit])
        assert_same(predictions(wider, belief), predictions(wider, explicit))
        assert set(belief.observed[:, -1]) == {1}
        codes = wider.space.encode([{**candidates[0].genotype, "new": value} for value in (1, 2, 3)])
        mean, deviation = belief.predict(belief.features(codes))["accuracy"]
        assert deviation[1] < min(deviation[0], deviation[2])  # the new values are unknown
        assert mean[1] == pytest.approx(candidates[0].metrics["val_accuracy"], abs=0.05)
        refitted = made(wider, [*candidates, make_candidate(wider, 31, {**wider.space.seed, "new": 3})], [fit])
        assert np.isfinite(predictions(wider, refitted)["accuracy"]).all()

    @pytest.mark.parametrize("count", [2, 3, 10, 35])
    def test_equal_observations_are_no_obstacle(self, count):
        problem = make_problem()
        flat = [
            dataclasses.replace(candidate, metrics={"val_accuracy": 0.5}, score=0.625)
            for candidate in make_candidates(problem, count)
        ]
        for modelled, value in ((targets(problem), 0.5), ([SCORE], 0.625)):
            (found,) = predictions(problem, made(problem, flat, modelled=modelled)).values()
            np.testing.assert_allclose(found[0], value)
            assert np.isfinite(found[1]).all()
            assert (found[1] > 0).all()

    @pytest.mark.parametrize("completed", [{31, 32}, {1, 32}, {32}])
    def test_a_start_of_failures_is_no_obstacle(self, completed):
        problem = make_problem()
        candidates = make_candidates(problem, 32, failed=set(range(1, 33)) - completed)
        found = predictions(problem, made(problem, candidates))["accuracy"]
        assert np.isfinite(found).all()
        assert (found[1] > 0).all()

    def test_the_papers_model_has_one_weight_and_no_linear_part(self):
        problem = make_problem([ACCURACY, MAE])
        belief = made(problem, make_candidates(problem, 15), modelled=[SCORE], model=gp.Model(tied=True, linear=False))
        (fit,) = belief.fit["targets"].values()
        assert len(set(fit["weights"].values())) == 1
        assert fit["linear"] == [0.0, 0.0]
