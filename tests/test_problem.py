import dataclasses

import numpy as np
import pytest

from bompnas.hardware.counts import counts
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem, no_costs
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.network import Network
from bompnas.space.sampling import uniform
from bompnas.space.space import Gene

OBJECTIVES = (
    Objective("accuracy", "val_accuracy", 0.8, maximize=True),
    Objective("size", "size_bits", 8, maximize=False, transform="log10"),
)


@pytest.fixture
def problem(digits):
    limits = (Constraint("size_kb", 16), Constraint("macs", 60_000, at_least=True), Constraint("val_loss", 1.0))
    return Problem(digits, counts, OBJECTIVES, limits)


def some(problem, count=200):
    codes = uniform(problem.space, np.random.default_rng(0), count)
    return codes, [problem.space.decode(genotype) for genotype in problem.space.genotypes(codes)]


def test_costs_are_known_and_the_rest_is_measured(problem):
    assert problem.analytic == {
        "size_bits", "size_kb", "size_without_scales_bits", "float_size_bits", "macs", "params",
    }  # fmt: skip
    assert [limit.key for limit in problem.known_limits] == ["size_kb", "macs"]


def test_the_cost_of_one_network_is_its_row_of_the_batch(problem):
    codes, networks = some(problem, 20)
    found = problem.costs(problem.space.batch(codes))
    for place, network in enumerate(networks):
        cost = problem.cost(network)
        assert cost == {key: values[place] for key, values in found.items()}
        assert {type(value) for value in cost.values()} == {int, float}
    assert problem.cost(Network.from_json(networks[0].to_json())) == problem.cost(networks[0])


def test_what_is_feasible_keeps_every_known_limit(problem):
    codes, networks = some(problem)
    known = [problem.cost(network) for network in networks]
    expected = [cost["size_kb"] <= 16 and cost["macs"] >= 60_000 for cost in known]
    found = problem.feasible(problem.costs(problem.space.batch(codes)), len(codes))
    assert found.dtype == bool
    assert found.tolist() == [problem.keeps(network) for network in networks] == expected
    assert 10 < sum(expected) < 190
    assert any(cost["size_kb"] <= 16 and cost["macs"] < 60_000 for cost in known)


def test_a_limit_may_be_met_exactly(problem):
    network = some(problem, 1)[1][0]
    size = problem.cost(network)["size_kb"]
    for limit, kept in ((size, True), (np.nextafter(size, 0).item(), False)):
        assert dataclasses.replace(problem, constraints=(Constraint("size_kb", limit),)).keeps(network) is kept


def test_without_known_limits_everything_is_feasible(digits):
    for constraints in ((), (Constraint("val_loss", 1.0),)):
        problem = Problem(digits, counts, OBJECTIVES, constraints)
        assert problem.known_limits == ()
        assert problem.feasible({}, 3).tolist() == [True] * 3
        assert problem.keeps(digits.decode(digits.seed))
    assert problem.feasible({}, 0).shape == (0,)


def test_the_score_is_made_of_costs_and_metrics(problem):
    cost = problem.cost(problem.space.decode(problem.space.seed))
    expected = 0.9 / 0.8 + 8 / np.log10(cost["size_bits"])
    assert problem.score({**cost, "val_accuracy": 0.9}) == pytest.approx(expected)


def test_a_candidate_is_admitted_by_what_is_known_and_by_what_was_measured(problem):
    kept = {"size_kb": 16, "macs": 60_000, "val_loss": 1.0}
    assert problem.admits(kept)
    for broken in ({"size_kb": 17}, {"macs": 59_999}, {"val_loss": 1.1}):
        assert not problem.admits({**kept, **broken})
    assert not problem.admits({"size_kb": 16, "macs": 60_000})  # pending, or failed


def test_costs_of_plain_genes_are_whatever_the_user_says():
    space = HyperSpace(name="plain", genes=(Gene("units", (8, 64, 512), 64), Gene("deep", (False, True), False)))

    def costs(batch):
        values = np.array([genotype["units"] for genotype in space.genotypes(batch.codes)])
        return {"params": values * (1 + batch.codes[:, 1])}

    problem = Problem(space, costs, (), (Constraint("params", 128),))
    assert problem.analytic == {"params"}
    point = space.decode({"units": 64, "deep": True})
    assert problem.cost(point) == {"params": 128}
    assert problem.keeps(point)
    assert not problem.keeps(space.decode({"units": 512, "deep": False}))


def test_where_nothing_is_known_nothing_is_forbidden():
    space = HyperSpace(name="plain", genes=(Gene("units", (8, 64), 64),))
    problem = Problem(space, no_costs, OBJECTIVES[:1], (Constraint("params", 1),))
    assert problem.analytic == frozenset()
    assert problem.known_limits == ()
    assert problem.keeps(space.decode(space.seed))


def test_equal_problems_are_one_key(digits):
    first, second = (Problem(digits, counts, OBJECTIVES, (Constraint("size_kb", 16),)) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != dataclasses.replace(first, constraints=())
