import dataclasses
import types

import numpy as np
import pytest
from scipy import stats

from bompnas import pareto
from bompnas.errors import InputError
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem
from bompnas.search.acquisition import (
    HypervolumeImprovement,
    RandomScalarization,
    ScoreConfidenceBound,
    UpperConfidenceBound,
)
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import Gene

QUALITY = Objective("quality", "val_quality", 0.8, maximize=True)
ERROR = Objective("error", "val_error", 0.5, maximize=False)
WEIGHT = Objective("weight", "weight", 4.0, maximize=False)
SPEED = Objective("speed", "speed", 2.0, maximize=True)
SIZE = Objective("size", "size", 3.0, maximize=False, transform="log10")
COUNT = 30


@dataclasses.dataclass(frozen=True)
class Table:
    """A surrogate that says what a table holds for each value of the space's one gene."""

    values: dict
    observed: np.ndarray
    succeeded: np.ndarray
    scale: float = 2.0

    def features(self, codes, batch, costs):
        return codes[:, 0]

    def predict(self, features):
        return {name: (mean[features], deviation[features]) for name, (mean, deviation) in self.values.items()}

    @property
    def processes(self):
        return {name: types.SimpleNamespace(deviation=self.scale) for name in self.values}


def costs(batch):
    place = batch.codes[:, 0]
    table = np.random.default_rng(7).uniform(1, 5, size=(2, COUNT))
    return {"weight": table[0, place], "speed": table[1, place], "size": 10.0 ** (1 + place / 4)}


def make_problem(objectives, constraints=()):
    space = HyperSpace(name="row", genes=(Gene("place", tuple(range(COUNT)), 0),))
    return Problem(space, costs, tuple(objectives), tuple(constraints))


def make_surrogate(seed, names=("quality",), deviation=None, failed=(), observed=8):
    generator = np.random.default_rng(seed)

    def column():
        spread = generator.uniform(0.2, 1.0, COUNT) if deviation is None else np.full(COUNT, deviation)
        return generator.normal(size=COUNT), spread

    codes = generator.permutation(COUNT)[:observed, None]
    succeeded = np.array([place not in failed for place in range(observed)])
    return Table({name: column() for name in names}, codes, succeeded)


def everything(problem):
    codes = np.arange(COUNT)[:, None]
    batch = problem.space.batch(codes)
    return codes, batch, problem.costs(batch)


class TestUpperConfidenceBound:
    @pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
    def test_it_is_the_score_of_optimistic_values_and_exact_costs(self, beta):
        problem = make_problem([QUALITY, WEIGHT, SPEED, SIZE])
        table = make_surrogate(0)
        found = UpperConfidenceBound(problem, table, beta)(*everything(problem))
        exact = everything(problem)[2]
        mean, deviation = table.values["quality"]
        for place in range(COUNT):
            value = {key: values[place].item() for key, values in exact.items()}
            value["val_quality"] = mean[place] + beta * deviation[place]
            assert found[place] == pytest.approx(problem.score(value))

    def test_a_minimized_metric_is_optimistic_downwards_and_stays_positive(self):
        problem = make_problem([ERROR])
        mean, deviation = np.linspace(-0.5, 2, COUNT), np.full(COUNT, 0.1)
        table = Table({"error": (mean, deviation)}, np.zeros((1, 1), dtype=int), np.array([True]))
        found = UpperConfidenceBound(problem, table, 2.0)(*everything(problem))
        np.testing.assert_allclose(found, 0.5 / np.maximum(mean - 0.2, 0.005))
        assert (np.diff(found) <= 0).all()
        assert (found > 0).all()

    def test_a_model_of_the_score_is_taken_as_it_is(self):
        problem = make_problem([QUALITY, WEIGHT])
        table = make_surrogate(1, ["score"])
        found = ScoreConfidenceBound(table, 2.0)(*everything(problem))
        mean, deviation = table.values["score"]
        np.testing.assert_allclose(found, mean + 2.0 * deviation)

    @pytest.mark.parametrize("at_least", [True, False])
    def test_breaking_a_measured_limit_costs_what_it_surely_exceeds(self, at_least):
        limit = Constraint("val_loss", 0.0, at_least)
        free, limited = make_problem([QUALITY]), make_problem([QUALITY], [limit])
        table = make_surrogate(2, ["quality", "constraint val_loss"])
        plain = UpperConfidenceBound(free, table, 1.0)(*everything(free))
        found = UpperConfidenceBound(limited, table, 1.0)(*everything(limited))
        mean, deviation = table.values["constraint val_loss"]
        excess = np.maximum((-mean if at_least else mean) - deviation, 0)
        loss = plain - found
        np.testing.assert_array_equal(loss > 0, excess > 0)
        assert 0 < (excess > 0).sum() < COUNT
        np.testing.assert_allclose(loss[excess > 0] / excess[excess > 0], loss.max() / excess.max())
        assert loss.max() > excess.max() / table.scale  # a deviation of the observations is worth more than that


def points_of(problem, table):
    """Every genotype's predicted measured value and exact objectives, as gains, shape (COUNT, objectives)."""
    _, _, known = everything(problem)
    columns = []
    for objective in problem.objectives:
        values = table.values[objective.name][0] if objective.name in table.values else known[objective.key]
        if objective.transform == "log10":
            values = np.log10(values)
        columns.append(values if objective.maximize else -values)
    return np.column_stack(columns)


def reference_of(improvement):
    return np.concatenate([[improvement._levels[0]], -improvement._worst])


@pytest.mark.parametrize("objectives", [[QUALITY, WEIGHT], [QUALITY, SIZE], [QUALITY, SIZE, SPEED], [ERROR, SPEED]])
class TestHypervolumeImprovement:
    def added(self, front, point, reference):
        flags = [True] * len(reference)
        return pareto.hypervolume(np.vstack([front, point]), reference, flags) - pareto.hypervolume(
            front, reference, flags
        )

    @pytest.mark.parametrize("seed", range(6))
    def test_what_is_certain_adds_the_volume_that_brute_force_says(self, objectives, seed):
        problem = make_problem(objectives)
        table = make_surrogate(seed, [objectives[0].name], deviation=1e-9, failed=(0, 3))
        improvement = HypervolumeImprovement(problem, table)
        points, reference = points_of(problem, table), reference_of(improvement)
        front = points[table.observed[table.succeeded, 0]]
        assert (front.min(axis=0) > reference).all()
        expected = [self.added(front, point, reference) for point in points]
        np.testing.assert_allclose(improvement(*everything(problem)), expected, atol=1e-7)
        assert max(expected) > 0.05

    @pytest.mark.parametrize("seed", range(2))
    def test_what_is_uncertain_adds_the_mean_volume_over_its_distribution(self, objectives, seed):
        problem = make_problem(objectives)
        table = make_surrogate(seed, [objectives[0].name])
        improvement = HypervolumeImprovement(problem, table)
        points, reference = points_of(problem, table), reference_of(improvement)
        front = points[table.observed[:, 0]]
        front = front[pareto.front(front, [True] * len(reference))]
        draws = np.linspace(-6, 6, 161)
        found = improvement(*everything(problem))
        for place in range(0, COUNT, 7):
            deviation = table.values[objectives[0].name][1][place]
            samples = np.tile(points[place], (len(draws), 1))
            samples[:, 0] += deviation * draws
            volumes = [self.added(front, sample, reference) for sample in samples]
            expected = np.trapezoid(volumes * stats.norm.pdf(draws), draws)
            assert found[place] == pytest.approx(expected, rel=5e-3, abs=1e-4)

    def test_what_breaks_a_measured_limit_is_worth_less_by_its_probability(self, objectives):
        limit = Constraint("val_loss", 0.3)
        free, limited = make_problem(objectives), make_problem(objectives, [limit])
        table = make_surrogate(4, [objectives[0].name, "constraint val_loss"])
        table.values["constraint val_loss"][0][table.observed[:, 0]] = -3.0  # all observed ones keep it
        plain = HypervolumeImprovement(free, table)(*everything(free))
        found = HypervolumeImprovement(limited, table)(*everything(limited))
        mean, deviation = table.values["constraint val_loss"]
        np.testing.assert_allclose(found, plain * stats.norm.cdf((0.3 - mean) / deviation))

    def test_observed_ones_that_break_a_measured_limit_are_not_on_the_front(self, objectives):
        problem = make_problem(objectives, [Constraint("val_loss", 0.3)])
        table = make_surrogate(4, [objectives[0].name, "constraint val_loss"], deviation=1e-9)
        losses = table.values["constraint val_loss"][0]
        losses[:] = -3.0
        points = points_of(problem, table)
        before = HypervolumeImprovement(problem, table)(*everything(problem))
        on_front = pareto.front(points[table.observed[:, 0]], [True] * points.shape[1])
        losses[table.observed[on_front, 0]] = 3.0
        after = HypervolumeImprovement(problem, table)(*everything(problem))
        assert (after[losses < 0] >= before[losses < 0] - 1e-9).all()
        assert after[losses < 0].max() > before[losses < 0].max()
        losses[table.observed[:, 0]] = 3.0  # none keeps it: any that may is an improvement
        alone = HypervolumeImprovement(problem, table)(*everything(problem))
        assert np.isfinite(alone).all()
        assert (alone >= 0).all()

    def test_one_observation_or_equal_ones_give_finite_values(self, objectives):
        problem = make_problem(objectives)
        table = make_surrogate(5, [objectives[0].name], observed=1)
        assert np.isfinite(HypervolumeImprovement(problem, table)(*everything(problem))).all()
        table.values[objectives[0].name][0][:] = 0.5
        assert np.isfinite(HypervolumeImprovement(problem, table)(*everything(problem))).all()


@pytest.mark.parametrize(
    ("objectives", "measured", "exact"),
    [
        ([QUALITY], 1, 0),
        ([WEIGHT, SIZE], 0, 2),
        ([QUALITY, ERROR, SIZE], 2, 1),
        ([QUALITY, WEIGHT, SPEED, SIZE], 1, 3),
    ],
)
def test_hypervolume_improvement_refuses_other_objectives(objectives, measured, exact):
    message = (
        f"method.acquisition: ehvi found {measured} measured and {exact} exact objectives, expected one measured one "
        "and one or two costs; use parego"
    )
    with pytest.raises(InputError) as caught:
        HypervolumeImprovement(make_problem(objectives), make_surrogate(0, ["quality", "error"]))
    assert str(caught.value) == message


class TestRandomScalarization:
    problem = make_problem([QUALITY, ERROR, WEIGHT, SPEED])

    def values(self, table, seed=0, beta=1.0, problem=problem):
        return RandomScalarization(problem, table, beta, np.random.default_rng(seed))(*everything(problem))

    def with_unobserved(self, table, name, place, mean=None, deviation=None):
        """The table with other predictions for one genotype that was not observed."""
        assert place not in table.observed[:, 0]
        means, deviations = (column.copy() for column in table.values[name])
        means[place] = means[place] if mean is None else mean
        deviations[place] = deviations[place] if deviation is None else deviation
        return dataclasses.replace(table, values=table.values | {name: (means, deviations)})

    @pytest.mark.parametrize(("name", "better"), [("quality", 1), ("error", -1)])
    def test_better_means_are_worth_more(self, name, better):
        table = make_surrogate(3, ["quality", "error"])
        place = next(place for place in range(COUNT) if place not in table.observed[:, 0])
        for seed in range(5):
            worths = [
                self.values(self.with_unobserved(table, name, place, mean=better * mean), seed)[place]
                for mean in np.linspace(-3, 3, 9)
            ]
            assert (np.diff(worths) > 0).all()

    def test_more_doubt_is_worth_more(self):
        table = make_surrogate(3, ["quality", "error"])
        place = next(place for place in range(COUNT) if place not in table.observed[:, 0])
        for name in ("quality", "error"):
            doubted = self.with_unobserved(table, name, place, deviation=3.0)
            assert self.values(doubted)[place] > self.values(table)[place]
            assert self.values(doubted, beta=0.0)[place] == self.values(table, beta=0.0)[place]

    def test_it_is_the_augmented_chebyshev_distance_to_the_ideal(self):
        table = make_surrogate(1, ["quality", "error"])
        weights = np.random.default_rng(9).dirichlet(np.ones(4))
        points = points_of(self.problem, table)
        seen = points[table.observed[:, 0]]
        shortfall = (seen.max(axis=0) - points) / np.ptp(seen, axis=0) * weights
        expected = -(shortfall.max(axis=1) + 0.05 * shortfall.sum(axis=1))
        np.testing.assert_allclose(self.values(table, seed=9, beta=0.0), expected)

    def test_weights_differ_from_proposal_to_proposal(self):
        table = make_surrogate(2, ["quality", "error"])
        assert len({self.values(table, seed).argmax() for seed in range(30)}) > 1

    def test_dominated_ones_are_never_the_best(self):
        table = make_surrogate(6, ["quality", "error"])
        front = pareto.front(points_of(self.problem, table), [True] * 4)
        for seed in range(20):
            assert self.values(table, seed, beta=0.0).argmax() in front

    def test_a_surely_broken_limit_is_worth_less(self):
        limited = dataclasses.replace(self.problem, constraints=(Constraint("val_loss", 0.0),))
        table = make_surrogate(2, ["quality", "error", "constraint val_loss"])
        mean, deviation = table.values["constraint val_loss"]
        difference = self.values(table) - self.values(table, problem=limited)
        np.testing.assert_array_equal(difference > 1e-12, mean - deviation > 0)

    def test_equal_observations_give_finite_values(self):
        table = make_surrogate(2, ["quality", "error"])
        for name in ("quality", "error"):
            table.values[name][0][:] = 0.5
        assert np.isfinite(self.values(table)).all()
