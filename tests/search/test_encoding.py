import dataclasses

import numpy as np
import pytest

from bompnas.problem import Problem, no_costs
from bompnas.search.encoding import encoding
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.sampling import uniform
from bompnas.space.space import Gene


def sample(problem, count=600, seed=1):
    return uniform(problem.space, np.random.default_rng(seed), count)


def rows_of(vectors):
    return getattr(vectors, "rows", vectors)


@pytest.fixture(scope="module")
def both(cifar_problem):
    return encoding(cifar_problem), encoding(cifar_problem, summaries=False)


def test_edits_come_first_and_keep_their_distances(cifar_problem, both):
    codes = sample(cifar_problem, 12)
    phi = cifar_problem.space.embedding.features(codes)
    for one in both:
        edits = rows_of(one(codes))[:, : one.edits]
        assert one.edits == phi.shape[1]
        np.testing.assert_allclose(edits - edits[0], phi - phi[0], atol=1e-12)


def test_groups_are_edits_then_summaries(cifar_problem, both):
    full, edits = both
    names = cifar_problem.space.embedding.group_names
    assert edits.group_names == names
    assert full.group_names[: len(names)] == names
    assert full.group_names[len(names)] == "log size_bits"
    assert {"log macs", "depth", "mean_bits"} <= set(full.group_names[len(names) :])
    np.testing.assert_array_equal(full.groups[: full.edits], cifar_problem.space.embedding.groups)
    assert full.groups[full.edits :].tolist() == list(range(len(names), len(full.group_names)))
    assert rows_of(full(sample(cifar_problem, 3))).shape == (3, len(full.groups))


def test_summaries_are_standard_and_monotone_in_what_they_sum_up(cifar_problem, both):
    full, _ = both
    codes = sample(cifar_problem)
    summaries = rows_of(full(codes))[:, full.edits :]
    np.testing.assert_allclose(summaries.mean(axis=0), 0, atol=0.25)
    np.testing.assert_allclose(summaries.std(axis=0), 1, atol=0.25)
    column = full.group_names.index("log size_bits") - full.groups[full.edits]
    sizes = cifar_problem.costs(cifar_problem.space.batch(codes))["size_bits"]
    np.testing.assert_array_equal(np.argsort(summaries[:, column]), np.argsort(sizes))


def test_a_summary_that_another_tells_as_well_is_left_out(cifar_problem, both):
    names = both[0].group_names
    assert "log size_kb" not in names  # the same as in bits
    doubled = dataclasses.replace(
        cifar_problem, costs=lambda batch: {"a": np.arange(len(batch)) + 1.0, "b": np.ones(len(batch))}
    )
    assert "log a" in encoding(doubled).group_names
    assert "log b" not in encoding(doubled).group_names  # it never varies


def test_what_is_known_already_changes_no_vector(cifar_problem, both):
    codes = sample(cifar_problem, 5)
    batch = cifar_problem.space.batch(codes)
    costs = cifar_problem.costs(batch)
    for one in both:
        np.testing.assert_array_equal(rows_of(one(codes)), rows_of(one(codes, batch, costs)))
        np.testing.assert_array_equal(rows_of(one(codes)), rows_of(one(codes, batch)))


def test_a_vector_does_not_depend_on_its_company(cifar_problem, both):
    codes = sample(cifar_problem, 5)
    for one in both:
        np.testing.assert_array_equal(rows_of(one(codes))[2], rows_of(one(codes[2:3]))[0])
        assert rows_of(one(codes[:0])).shape == (0, len(one.groups))


def test_it_is_made_once_for_equal_problems(cifar_problem):
    again = dataclasses.replace(cifar_problem)
    assert encoding(again) is encoding(cifar_problem)


def test_plain_genes_without_costs_have_no_summaries():
    space = HyperSpace(name="plain", genes=(Gene("a", (1, 2, 3), 1), Gene("b", ("x", "y"), "x", ordered=False)))
    found = encoding(Problem(space, no_costs, ()))
    assert found.group_names == ("a", "b")
    assert found.edits == len(found.groups)


def test_negative_and_zero_costs_give_finite_vectors():
    space = HyperSpace(name="plain", genes=(Gene("a", (0, 1, 2), 1),))
    found = encoding(Problem(space, lambda batch: {"loss": batch.codes[:, 0] - 1.0}, ()))
    assert np.isfinite(rows_of(found(np.array([[0], [1], [2]])))).all()
