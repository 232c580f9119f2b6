import dataclasses
import math

import numpy as np
import pydantic
import pytest

from bompnas import pareto
from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.hardware.counts import counts
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem, no_costs
from bompnas.search.bayesian import CAUTIOUS, BayesianProposer, BompSettings, initial_design
from bompnas.search.random import RandomProposer
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import Gene

PROPOSER = BayesianProposer(initial=6)
PAPER = BayesianProposer(initial=6, preset="paper", betas=(2.576,))


@pytest.fixture(scope="module")
def simulation(digits_problem, simulate):
    """A short run that every test may read."""
    return simulate(BayesianProposer(initial=6), digits_problem, seed=0).run(12)


@pytest.fixture(scope="module")
def paper_simulation(digits_problem, simulate):
    return simulate(BayesianProposer(initial=6, preset="paper", betas=(2.576,)), digits_problem, seed=0).run(12)


def predict(problem, belief, networks):
    codes = problem.space.encode(candidate.genotype for candidate in networks)
    return belief.predict(belief.features(codes))


class TestStart:
    def test_it_is_the_seed_network_then_sizes_spread_evenly(self, digits_problem, simulation):
        start = simulation.candidates[:6]
        assert start[0].genotype == digits_problem.space.seed
        assert all(snapshot.proposal.details == {"source": "start"} for snapshot in simulation.snapshots[:6])
        sizes = sorted(math.log(candidate.cost["size_kb"]) for candidate in start[1:])
        assert sizes[-1] - sizes[0] > math.log(5)
        assert max(np.diff(sizes)) < 0.6 * (sizes[-1] - sizes[0])

    def test_it_depends_on_the_seed_only(self, digits_problem):
        first, again, other = (initial_design(digits_problem, 6, seed=seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first[1:], other[1:])

    def test_an_infeasible_seed_network_is_not_proposed(self, digits_problem):
        problem = dataclasses.replace(digits_problem, constraints=(Constraint("size_kb", 4),))
        assert not problem.keeps(problem.space.decode(problem.space.seed))
        codes = initial_design(problem, 6, seed=0)
        batch = problem.space.batch(codes)
        assert len(set(batch.keys)) == 6
        assert problem.feasible(problem.costs(batch), 6).all()

    def test_one_that_was_tried_is_left_out(self, digits_problem, simulation):
        """A run that takes over candidates of another one does not train them again."""
        tried = simulation.candidates[:3]
        proposal = PROPOSER.propose(digits_problem, tried, (), 0, 0)
        assert digits_problem.space.decode(proposal.genotypes[0]).key not in {one.network.key for one in tried}

    def test_one_longer_than_the_space_goes_on_until_exhausted(self, tiny_problem, simulate):
        simulation = simulate(BayesianProposer(initial=14), tiny_problem, seed=0).run(20)
        assert len(simulation.keys) == len(simulation.candidates) == 12
        assert simulation.snapshots[-1].proposal.genotypes == ()

    def test_without_known_sizes_it_is_the_seed_and_random_points(self):
        problem = plain_problem()
        codes = initial_design(problem, 8, seed=0)
        np.testing.assert_array_equal(codes[0], problem.space.defaults)
        assert len(set(problem.space.batch(codes).keys)) == 8


class TestProposals:
    def test_after_the_start_the_surrogate_proposes_feasible_new_networks(self, digits_problem, simulation):
        assert {snapshot.proposal.details["source"] for snapshot in simulation.snapshots[6:]} == {"surrogate"}
        assert len(simulation.keys) == 12
        assert all(digits_problem.keeps(candidate.network) for candidate in simulation.candidates)
        for snapshot in simulation.snapshots:
            (genotype,) = snapshot.proposal.genotypes
            assert digits_problem.space.canonical(genotype) == genotype

    @pytest.mark.parametrize(("name", "target"), [("simulation", "accuracy"), ("paper_simulation", "score")])
    def test_details_hold_what_the_surrogate_expected(self, digits_problem, request, name, target):
        run = request.getfixturevalue(name)
        for snapshot in run.snapshots[6:]:
            belief = run.proposer.surrogate(digits_problem, snapshot.completed, (), snapshot.fits)
            codes = digits_problem.space.encode(snapshot.proposal.genotypes)
            mean, deviation = belief.predict(belief.features(codes))[target]
            assert snapshot.proposal.details[f"{target} mean"] == pytest.approx(mean.item(), rel=1e-9)
            assert snapshot.proposal.details[f"{target} deviation"] == pytest.approx(deviation.item(), rel=1e-9)
            assert snapshot.proposal.details["beta"] in run.proposer.betas

    @pytest.mark.parametrize("name", ["simulation", "paper_simulation"])
    def test_replay_reproduces_every_proposal(self, request, replays, name):
        run = request.getfixturevalue(name)
        replays(run, run.proposer)
        fresh = dataclasses.replace(run.proposer)
        assert fresh._memory is not run.proposer._memory
        replays(run, fresh)

    def test_a_proposer_that_remembers_nothing_says_the_same(self, simulation):
        for index in range(6, 12):
            snapshot = simulation.snapshots[index]
            assert simulation.ask(BayesianProposer(initial=6), snapshot, index) == snapshot.proposal

    def test_a_proposer_that_remembers_something_else_says_the_same(self, tiny_problem, simulation, simulate):
        proposer = BayesianProposer(initial=6)
        simulate(proposer, tiny_problem, seed=3).run(8)
        for index in (11, 7, 9):
            assert simulation.ask(proposer, simulation.snapshots[index], index) == simulation.snapshots[index].proposal

    def test_a_stored_fit_is_not_made_again(self, simulation):
        last = simulation.snapshots[-1]
        assert last.proposal.fit["length"] == 11
        again = last._replace(fits=(*last.fits, last.proposal.fit))
        repeated = simulation.ask(BayesianProposer(initial=6), again, 11)
        assert repeated == dataclasses.replace(last.proposal, fit=None)

    def test_seeds_differ(self, digits_problem, simulation, simulate):
        """Each draws scalarizations of its own; with one beta the best network is the best to all."""
        proposer = BayesianProposer(initial=6, acquisition="parego")
        other = simulate(proposer, digits_problem, seed=1)
        other.candidates, other.fits = list(simulation.candidates), simulation.fits
        proposals = {str(simulation.ask(proposer, simulation.snapshots[-1], 11).genotypes)}
        for seed in range(1, 4):
            other.seed = seed
            proposals.add(str(other.ask(proposer, simulation.snapshots[-1], 11).genotypes))
        assert len(proposals) > 1

    def test_few_observations_are_met_with_the_least_optimism(self, tiny_problem, digits_problem, simulate):
        """Whatever the seed; later, and with other acquisitions, each proposal draws its own."""
        proposer = BayesianProposer(initial=4, betas=(3.0, 0.5, 8.0))
        run = simulate(proposer, digits_problem, seed=0).run(CAUTIOUS + 8)
        betas = [snapshot.proposal.details["beta"] for snapshot in run.snapshots[4:]]
        assert set(betas[: CAUTIOUS - 4]) == {0.5}
        assert len(set(betas[CAUTIOUS - 4 :])) > 1
        run = simulate(dataclasses.replace(proposer, acquisition="parego"), tiny_problem, seed=0).run(12)
        assert len({snapshot.proposal.details["beta"] for snapshot in run.snapshots[4:]}) > 1

    @pytest.mark.parametrize("preset", ["bomp", "paper"])
    def test_twelve_networks_then_exhausted(self, tiny_problem, simulate, replays, preset):
        proposer = BayesianProposer(initial=4, preset=preset)
        simulation = simulate(proposer, tiny_problem, seed=0).run(20)
        assert len(simulation.keys) == len(simulation.candidates) == 12
        assert simulation.snapshots[-1].proposal.genotypes == ()
        replays(simulation, BayesianProposer(initial=4, preset=preset))

    @pytest.mark.parametrize("name", ["simulation", "paper_simulation"])
    def test_the_surrogate_is_on_the_scale_of_what_it_models(self, digits_problem, request, name):
        run = request.getfixturevalue(name)
        belief = run.proposer.surrogate(digits_problem, run.candidates, (), run.fits)
        ((target, (mean, deviation)),) = predict(digits_problem, belief, run.candidates).items()
        values = [one.score if target == "score" else one.metrics["val_accuracy"] for one in run.candidates]
        assert np.corrcoef(mean, values)[0, 1] > 0.9
        assert abs(mean.mean() - np.mean(values)) < np.std(values)
        assert (deviation < np.std(values)).all()

    @pytest.mark.parametrize("name", ["simulation", "paper_simulation"])
    def test_pending_networks_lower_the_deviation_and_are_not_proposed_again(self, digits_problem, request, name):
        run = request.getfixturevalue(name)
        last = run.snapshots[-1]
        pending = run.pending(last.proposal, 99)
        free, waiting = (run.proposer.surrogate(digits_problem, last.completed, some) for some in ((), pending))
        ((mean, deviation),) = predict(digits_problem, free, pending).values()
        ((believed, shrunk),) = predict(digits_problem, waiting, pending).values()
        np.testing.assert_allclose(believed, mean)
        assert shrunk < 0.9 * deviation
        second = run.ask(run.proposer, last._replace(pending=tuple(pending)), 11)
        assert digits_problem.space.decode(second.genotypes[0]).key != pending[0].network.key

    def test_a_batch_of_pending_networks_is_diverse(self, digits_problem, simulation):
        pending = []
        for number in range(4):
            snapshot = simulation.snapshots[-1]._replace(pending=tuple(pending))
            pending += simulation.pending(simulation.ask(PROPOSER, snapshot, 11 + number), 50 + number)
        assert len({candidate.network.key for candidate in pending}) == 4
        assert all(digits_problem.keeps(candidate.network) for candidate in pending)

    def test_with_too_few_completed_candidates_proposals_are_random(self, digits_problem, simulate, replays):
        simulation = simulate(PROPOSER, digits_problem, seed=0, fails=lambda network: True).run(9)
        assert [snapshot.proposal.details["source"] for snapshot in simulation.snapshots[6:]] == ["random"] * 3
        assert len(simulation.keys) == 9
        replays(simulation, PROPOSER)

    def test_failed_networks_are_kept_away_from(self, digits_problem, simulate):
        """All with a wide last conv fail: after a few, few more are tried."""

        def fails(network):
            return network.backbone[-1].out_channels >= 48

        simulation = simulate(BayesianProposer(initial=10), digits_problem, seed=0, fails=fails).run(30)
        failed = [candidate.state is State.FAILED for candidate in simulation.candidates]
        assert sum(failed[:10]) >= 2
        assert np.mean(failed[15:]) < 0.35
        assert len(simulation.keys) == 30

    @pytest.mark.parametrize("preset", ["bomp", "paper"])
    def test_equal_observations_are_no_obstacle(self, tiny_problem, simulate, preset):
        flat = simulate(
            BayesianProposer(initial=3, preset=preset), tiny_problem, 0, measure=lambda *_: {"val_accuracy": 0.5}
        ).run(12)
        assert len(flat.keys) == 12
        for snapshot in flat.snapshots[3:]:
            numbers = [value for value in snapshot.proposal.details.values() if not isinstance(value, str)]
            assert np.isfinite(numbers).all()

    def test_candidates_without_genotypes_are_not_learned_from_but_not_tried_again(self, tiny_problem, simulate):
        every = simulate(RandomProposer(), tiny_problem, seed=0).run(12).candidates
        bare = [dataclasses.replace(candidate, genotype=None) for candidate in every[:9]]
        left = {candidate.network.key for candidate in every[9:]}
        proposer = BayesianProposer(initial=1)
        for known in (bare, [*bare, *every[9:11]]):
            proposal = proposer.propose(tiny_problem, known, (), 0, 5)
            assert tiny_problem.space.decode(proposal.genotypes[0]).key in left
        assert proposer.propose(tiny_problem, [*bare, *every[9:]], (), 0, 5).genotypes == ()

    def test_limits_that_no_network_keeps_are_an_input_error(self, tiny_problem):
        problem = dataclasses.replace(tiny_problem, constraints=(Constraint("size_kb", 0.01),))
        with pytest.raises(InputError, match="constraints: no network of space 'tiny' keeps them, as pricing every"):
            PROPOSER.propose(problem, (), (), 0, 0)


class TestPolicies:
    @pytest.mark.parametrize("acquisition", ["ucb", "ehvi", "parego"])
    def test_they_share_an_architecture_are_distinct_and_feasible(self, digits_problem, simulate, replays, acquisition):
        proposer = BayesianProposer(initial=3, acquisition=acquisition, policies=3)
        simulation = simulate(proposer, digits_problem, seed=0).run(6)
        assert len(simulation.keys) == len(simulation.candidates) == 18
        for snapshot in simulation.snapshots:
            networks = [digits_problem.space.decode(genotype) for genotype in snapshot.proposal.genotypes]
            assert len({network.key for network in networks}) == 3
            assert len({network.architecture_key for network in networks}) == 1
            assert all(digits_problem.keeps(network) for network in networks)
        assert {snapshot.proposal.details["source"] for snapshot in simulation.snapshots[3:]} == {"surrogate"}
        replays(simulation, dataclasses.replace(proposer))

    def test_the_first_is_the_one_that_is_proposed_alone(self, digits_problem, simulation):
        last = simulation.snapshots[-1]
        several = simulation.ask(BayesianProposer(initial=6, policies=3), last, 11)
        assert several.genotypes[0] == last.proposal.genotypes[0]
        assert (several.details, several.fit) == (last.proposal.details, last.proposal.fit)

    def test_where_no_further_policy_is_left_there_are_fewer(self, tiny_problem, simulate):
        simulation = simulate(BayesianProposer(initial=4, policies=3), tiny_problem, seed=0).run(20)
        assert [len(snapshot.proposal.genotypes) for snapshot in simulation.snapshots] == [1] * 12 + [0]

    def test_policies_tell_about_their_neighbours(self, digits_problem, simulate):
        """Three policies a training find a better score than one in as many trainings."""
        gains = []
        for seed in range(6):
            one, three = (
                simulate(BayesianProposer(initial=4, policies=policies), digits_problem, seed).run(9).best
                for policies in (1, 3)
            )
            gains.append(three - one)
        assert np.mean(gains) > 0  # 0.055 +- 0.017 over ten seeds


def plain_problem(objectives=None, constraints=(), genes=None):
    """A search of plain genes of every kind without any known cost."""
    genes = genes or (
        Gene("layers", tuple(range(1, 9)), 2),
        Gene("units", tuple(8 * 2**n for n in range(7)), 32),
        Gene("rate", tuple(10**-n for n in (4, 3.5, 3, 2.5, 2, 1.5, 1)), 1e-3),
        Gene("optimizer", ("sgd", "adam", "rmsprop", "lion"), "sgd", ordered=False),
        Gene("momentum", (0.0, 0.3, 0.6, 0.9), 0.9, conditions=(("optimizer", frozenset({"sgd", "rmsprop"})),)),
        *(Gene(f"noise{n}", (0, 1, 2, 3), 0) for n in range(3)),
    )
    objectives = objectives or (Objective("accuracy", "val_accuracy", 0.8, maximize=True),)
    return Problem(HyperSpace(name="plain", genes=tuple(genes)), no_costs, tuple(objectives), tuple(constraints))


def loss(genotype):
    """A validation loss of a training with these hyperparameters: 0.2 at the best, some 1.5 at the worst."""
    capacity = math.log2(genotype["units"]) + 0.5 * genotype["layers"]
    off = {"sgd": 0.3, "adam": 0.0, "rmsprop": 0.1, "lion": 0.25}[genotype["optimizer"]]
    if genotype["optimizer"] in ("sgd", "rmsprop"):
        off += 0.1 * (0.9 - genotype["momentum"])
    return 0.2 + 0.02 * (capacity - 9) ** 2 + 0.1 * (math.log10(genotype["rate"]) + 2.5) ** 2 + off


def measure_regression(genotype, point):
    return {"val_mse": loss(genotype), "val_mae": 0.1 + math.sqrt(loss(genotype)) / 2}


REGRESSION = (
    Objective("mse", "val_mse", 0.5, maximize=False),
    Objective("mae", "val_mae", 0.5, maximize=False),
)


class TestQuality:
    def advantages(self, simulate, problem, proposer, trials, seeds=3, **keywords):
        """How much better the best score is than that of random search, for each seed."""
        runs = [
            [simulate(one, problem, seed, **keywords).run(trials).best for one in (proposer, RandomProposer())]
            for seed in range(seeds)
        ]
        return [ours - random for ours, random in runs]

    @pytest.mark.parametrize(("proposer", "least"), [(PROPOSER, 0.08), (PAPER, 0.02)], ids=["bomp", "paper"])
    def test_search_beats_random_search(self, digits_problem, simulate, proposer, least):
        assert np.mean(self.advantages(simulate, digits_problem, proposer, 18)) > least

    @pytest.mark.parametrize("acquisition", ["ucb", "parego"])
    def test_regression_with_two_errors_beats_random_search(self, simulate, replays, acquisition):
        problem, proposer = plain_problem(REGRESSION), BayesianProposer(initial=6, acquisition=acquisition)
        gains = self.advantages(simulate, problem, proposer, 40, measure=measure_regression)
        assert np.mean(gains) > 0.1  # 0.41 +- 0.09 over ten seeds, of which all win
        assert min(gains) > -0.1
        short = simulate(proposer, problem, 0, measure=measure_regression).run(9)
        details = short.snapshots[-1].proposal.details
        assert {"mse mean", "mse deviation", "mae mean", "mae deviation"} < set(details)
        replays(short, BayesianProposer(initial=6, acquisition=acquisition))

    def test_a_loss_near_zero_is_kept_positive(self, simulate):
        """Optimism would make the predicted loss negative, and a term of the score infinite."""

        def measure(genotype, point):
            return {"val_mse": loss(genotype) - 0.2, "val_mae": 1e-6 * loss(genotype)}

        simulation = simulate(BayesianProposer(initial=4), plain_problem(REGRESSION), 0, measure=measure).run(12)
        assert len(simulation.keys) == 12
        for snapshot in simulation.snapshots[4:]:
            assert np.isfinite([v for v in snapshot.proposal.details.values() if not isinstance(v, str)]).all()

    def test_ehvi_widens_the_front_more_than_random_search(self, digits_problem, simulate):
        def volume(proposer, seed):
            run = simulate(proposer, digits_problem, seed).run(18)
            points = [
                (candidate.metrics["val_accuracy"], math.log10(candidate.cost["size_bits"]))
                for candidate in run.candidates
            ]
            return pareto.hypervolume(np.array(points), [0.0, 5.2], [True, False])

        ehvi = BayesianProposer(initial=6, acquisition="ehvi")
        gains = [volume(ehvi, seed) - volume(RandomProposer(), seed) for seed in range(3)]
        assert np.mean(gains) > 0.2
        assert min(gains) > 0

    @pytest.mark.parametrize("acquisition", ["ucb", "parego"])
    def test_a_measured_limit_is_learned(self, simulate, acquisition):
        """Accuracy falls with speed, which is to be maximized: the limit forbids the fastest two thirds."""

        def measure(genotype, point):
            speed = genotype["layers"] + 8 - math.log2(genotype["units"] / 8)
            accuracy = 1 - speed / 20 - 0.02 * (genotype["optimizer"] == "lion")
            return {"speed": speed, "val_accuracy": accuracy, "val_loss": 0.1 + genotype["layers"]}

        objectives = [Objective("speed", "speed", 5.0, maximize=True)]
        if acquisition == "parego":
            objectives.append(Objective("loss", "val_loss", 0.1, maximize=False))
        limits = (Constraint("val_accuracy", 0.6, at_least=True),)
        genes = [gene for gene in plain_problem().space.genes if gene.name in ("layers", "units", "optimizer")]
        kept = {}
        for name, constraints in (("free", ()), ("limited", limits)):
            problem = plain_problem(objectives, constraints, genes)
            run = simulate(BayesianProposer(initial=6, acquisition=acquisition), problem, 0, measure=measure).run(30)
            kept[name] = [candidate.metrics["val_accuracy"] >= 0.6 for candidate in run.candidates]
        assert np.mean(kept["free"][6:]) < 0.3
        assert np.mean(kept["limited"][20:]) > 0.5  # 0.75 over eight seeds
        fastest = max(one.metrics["speed"] for one, ok in zip(run.candidates, kept["limited"], strict=True) if ok)
        assert fastest == 8  # the most that the limit allows

    def test_a_measured_limit_for_ehvi(self, digits_problem, simulate):
        limited = dataclasses.replace(digits_problem, constraints=(Constraint("val_loss", 1.0),))

        def measure(genotype, network):
            return {
                "val_accuracy": 0.5 + network.backbone[-1].out_channels / 200,
                "val_loss": genotype["stem.bits"] / 6,
            }

        run = simulate(BayesianProposer(initial=6, acquisition="ehvi"), limited, 0, measure=measure).run(16)
        assert np.mean([candidate.metrics["val_loss"] <= 1 for candidate in run.candidates[8:]]) > 0.7

    def test_ehvi_refuses_what_it_cannot_do(self, simulate):
        proposer = BayesianProposer(initial=3, acquisition="ehvi")
        simulation = simulate(proposer, plain_problem(REGRESSION), 0, measure=measure_regression).run(3)
        with pytest.raises(InputError, match="ehvi found 2 measured and 0 exact objectives"):
            simulation.propose()

    def test_genes_added_later_are_searched_too(self, simulate):
        problem = plain_problem(REGRESSION)
        before = simulate(BayesianProposer(initial=6), problem, 0, measure=measure_regression).run(12)
        wider = plain_problem(REGRESSION, genes=(*problem.space.genes, Gene("dropout", (0.0, 0.2, 0.5), 0.0)))

        def measure(genotype, point):
            return {
                name: value - 0.1 * genotype["dropout"] for name, value in measure_regression(genotype, point).items()
            }

        after = simulate(BayesianProposer(initial=6), wider, 0, measure=measure)
        after.candidates, after.snapshots, after.fits = list(before.candidates), list(before.snapshots), before.fits
        after.run(10)
        tried = [candidate.genotype["dropout"] for candidate in after.candidates[12:]]
        assert len(set(tried)) > 1
        assert all("dropout" not in candidate.genotype for candidate in after.candidates[:12])
        points = [wider.space.decode({"dropout": 0.0, **candidate.genotype}).key for candidate in after.candidates]
        assert len(set(points)) == 22


class TestSmallSpaces:
    def measure(self, genotype, point):
        return {"val_accuracy": 0.5 + 0.1 * genotype.get("a", 0)}

    @pytest.mark.parametrize("acquisition", ["ucb", "parego"])
    @pytest.mark.parametrize("policies", [1, 2])
    @pytest.mark.parametrize("ordered", [True, False])
    def test_one_gene(self, simulate, acquisition, policies, ordered):
        problem = plain_problem(genes=(Gene("a", (0, 1, 2, 3, 4), 2, ordered=ordered),))
        proposer = BayesianProposer(initial=2, acquisition=acquisition, policies=policies)
        simulation = simulate(proposer, problem, 0, measure=self.measure).run(9)
        assert len(simulation.keys) == len(simulation.candidates) == 5
        assert simulation.snapshots[-1].proposal.genotypes == ()

    def test_one_gene_of_bits_is_searched_by_policies(self, simulate):
        problem = plain_problem(genes=(Gene("a", (0, 1, 2, 3, 4), 2, part="bits"),))
        simulation = simulate(BayesianProposer(initial=1, policies=3), problem, 0, measure=self.measure).run(4)
        assert [len(snapshot.proposal.genotypes) for snapshot in simulation.snapshots] == [3, 2, 0]

    def test_no_gene(self, simulate):
        problem = dataclasses.replace(plain_problem(), space=HyperSpace(name="nothing", genes=()))
        for proposer in (BayesianProposer(initial=1), BayesianProposer(initial=3, policies=2)):
            simulation = simulate(proposer, problem, 0, measure=self.measure).run(4)
            assert [snapshot.proposal.genotypes for snapshot in simulation.snapshots] == [({},), ()]

    @pytest.mark.parametrize("floor", [0.0, 0.7])
    def test_a_space_of_which_some_fail(self, tiny_problem, simulate, floor):
        def fails(network):
            return int(network.key, 16) % 100 / 100 >= floor

        simulation = simulate(BayesianProposer(initial=3), tiny_problem, 0, fails=fails).run(20)
        assert len(simulation.keys) == 12
        assert simulation.snapshots[-1].proposal.genotypes == ()
        assert any(candidate.state is State.FAILED for candidate in simulation.candidates)

    @pytest.mark.parametrize("seed", range(8))
    def test_random_spaces_are_searched_to_their_end(self, random_space, simulate, seed):
        problem = Problem(random_space(seed), counts, (Objective("accuracy", "val_accuracy", 0.8, maximize=True),))
        simulation = simulate(BayesianProposer(initial=3, policies=2), problem, seed).run(8)
        assert len(simulation.keys) == len(simulation.candidates) >= min(8, len(simulation.snapshots) - 1)


class TestSettings:
    def test_they_make_a_proposer(self):
        settings = BompSettings(trials=16, initial=6, acquisition="ehvi", policies_per_network=3)
        assert settings.proposer() == BayesianProposer(6, "bomp", "ehvi", tuple(settings.beta), 3)
        assert len(settings.beta) > 1

    def test_one_beta_or_several(self):
        assert BompSettings(beta=1.5).proposer().betas == (1.5,)
        assert BompSettings(beta=[1, 2.5]).proposer().betas == (1, 2.5)

    def test_the_papers_preset(self):
        settings = BompSettings(preset="paper")
        assert settings.proposer() == BayesianProposer(10, "paper", "ucb", (2.576,))
        assert BompSettings(preset="paper", beta=1.0).proposer().betas == (1.0,)
        with pytest.raises(pydantic.ValidationError, match="preset paper models the score alone"):
            BompSettings(preset="paper", acquisition="ehvi")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"trials": 0},
            {"initial": 0},
            {"beta": -1.0},
            {"beta": math.nan},
            {"beta": []},
            {"beta": [1.0, -2.0]},
            {"beta": True},
            {"beta": "2"},
            {"trials": "9"},
            {"betas": 2.0},
            {"preset": "keras"},
            {"acquisition": "ei"},
            {"policies_per_network": 0},
        ],
        ids=str,
    )
    def test_wrong_ones_are_refused(self, wrong):
        with pytest.raises(pydantic.ValidationError):
            BompSettings(**wrong)


def test_an_objective_may_be_called_score(digits_problem, simulate):
    accuracy, size = digits_problem.objectives
    renamed = dataclasses.replace(digits_problem, objectives=(dataclasses.replace(accuracy, name="score"), size))
    first, second = (
        simulate(BayesianProposer(initial=4), problem, seed=0).run(7) for problem in (digits_problem, renamed)
    )
    chosen, again = ([candidate.genotype for candidate in run.candidates] for run in (first, second))
    assert chosen == again
