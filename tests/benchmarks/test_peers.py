import numpy as np
import pytest
from quality import check, peers, task
from quality.peers import PEERS, KerasTuner
from quality.study import Method, Trials, study

KERAS_TUNER = ("keras_tuner", "keras_tuner_original")
TPE = ("tpe", "tpe_independent", "tpe_group")


@pytest.fixture(scope="module")
def synthetic():
    return task.synthetic(100)


@pytest.fixture(scope="module")
def tabled(conditional_table):
    return task.from_table(conditional_table, "val_accuracy", "size_bits")(3)


def started(search):
    trail = Trials(search)
    for genotype in search.initial:
        trail.begin(genotype)
        trail.end()
    return trail


@pytest.mark.parametrize("name", sorted(set(PEERS) - {"keras_tuner_original"}))
def test_every_peer_searches_both_kinds_of_space(name, synthetic, tabled):
    if name in TPE:
        pytest.importorskip("optuna")
    for search in (synthetic, tabled):
        method = Method(name, PEERS[name])
        record = study(method, search, 14)
        assert len(record["true"]) == 14
        assert record["observed"][:10] == [round(candidate.score, 6) for candidate in started(search).completed]
        assert study(method, search, 14)["observed"] == record["observed"]


@pytest.mark.parametrize("name", ["random", "aging10", "aging20"])
def test_random_and_evolution_never_repeat_a_network(name, tabled):
    record = study(Method(name, PEERS[name]), tabled, 60)
    assert record["distinct"] == 60


def test_evolution_changes_one_gene_of_a_member_of_its_population(synthetic):
    trail = started(synthetic)
    searcher = peers.Aging(synthetic.problem, 0, population=10, sample=10)
    best = max(trail.completed, key=lambda candidate: candidate.score).genotype
    child = searcher(trail.completed, ())
    changed = [
        gene for gene in synthetic.problem.space.genes if gene.active(best) and best[gene.name] != child[gene.name]
    ]
    assert len(changed) == 1


def test_genes_become_conditional_choices(tabled):
    hyper_parameters = peers.hyper_parameters(tabled.problem.space)
    assert {choice.name: choice.ordered for choice in hyper_parameters.space} == {
        "kind": False, "units": True, "kernel": True, "rate": True, "depth": True,
    }  # fmt: skip
    hyper_parameters.values["kind"] = "conv"
    assert hyper_parameters.is_active("kernel")
    assert not hyper_parameters.is_active("units")


def test_parents_stand_before_genes_that_depend_on_them(synthetic):
    placed = [gene.name for gene in peers.parents_first(synthetic.problem.space)]
    assert sorted(placed) == sorted(gene.name for gene in synthetic.problem.space.genes)
    for gene in synthetic.problem.space.genes:
        assert all(placed.index(parent) < placed.index(gene.name) for parent, _ in gene.conditions)


def test_the_oracle_is_told_what_was_observed(tabled):
    trail = started(tabled)
    searcher = KerasTuner(tabled.problem, 0)
    trail.begin(searcher(trail.completed, ()))
    trail.end()
    searcher.tell(trail.completed)
    told = list(searcher.oracle.trials.values())
    assert [trial.score for trial in told] == [candidate.score for candidate in trail.completed]
    assert all(trial.status == "COMPLETED" for trial in told)
    assert not searcher.oracle.ongoing_trials
    space = tabled.problem.space
    for trial, candidate in zip(told, trail.completed, strict=True):
        assert space.canonical({**space.seed, **trial.hyperparameters.values}) == candidate.genotype
        assert set(trial.hyperparameters.values) == {
            gene.name for gene in space.genes if gene.active(candidate.genotype)
        }


def test_the_oracle_with_exact_gradients_suggests_what_the_original_suggests(tabled):
    comparisons = check.compare(tabled, (10, 16))
    assert [comparison.completed for comparison in comparisons] == [10, 16]
    assert [comparison.different_genes for comparison in comparisons] == [0, 0]


def test_exact_gradient_of_the_lower_bound(tabled):
    from quality.exact_gradient import LowerBound

    trail = started(tabled)
    searcher = KerasTuner(tabled.problem, 0)
    searcher(trail.completed, ())
    process = searcher.oracle.gpr
    bound = LowerBound(process, 2.6)
    generator = np.random.default_rng(0)
    for x in generator.random((5, process.X_train_.shape[1])):
        value, gradient = bound(x)
        mean, deviation = process.predict(x[None], return_std=True)
        assert value == pytest.approx(mean[0] - 2.6 * deviation[0], abs=1e-9)
        steps = 1e-6 * np.eye(len(x))
        numeric = [(bound(x + step)[0] - bound(x - step)[0]) / 2e-6 for step in steps]
        np.testing.assert_allclose(gradient, numeric, atol=1e-6)
