import pytest

from bompnas.methods import METHODS
from bompnas.testing.conformance import ProposerConformance


def settings(name, **values):
    return METHODS[name].load_settings()(**values)


class TestRandom(ProposerConformance):
    def proposer(self):
        return settings("random").proposer()


class TestRandomPolicies(ProposerConformance):
    policies = 3

    def proposer(self):
        return settings("random", policies_per_network=3).proposer()


class TestBomp(ProposerConformance):
    def proposer(self):
        return settings("bomp", initial=4).proposer()


class TestBompPolicies(ProposerConformance):
    policies = 3

    def proposer(self):
        return settings("bomp", initial=3, policies_per_network=3).proposer()


class TestBompHypervolume(ProposerConformance):
    policies = 2
    needs_costs = True

    def proposer(self):
        return settings("bomp", initial=4, acquisition="ehvi", policies_per_network=2).proposer()


class TestBompScalarizations(ProposerConformance):
    def proposer(self):
        return settings("bomp", initial=4, acquisition="parego").proposer()


class TestBompPaper(ProposerConformance):
    def proposer(self):
        return settings("bomp", initial=4, preset="paper").proposer()


class TestAgingEvolution(ProposerConformance):
    def proposer(self):
        return settings("evolution", population=5, sample=3).proposer()


class TestAgingEvolutionPolicies(ProposerConformance):
    policies = 3

    def proposer(self):
        return settings("evolution", population=5, sample=3, policies_per_network=3).proposer()


class TestTournamentEvolution(ProposerConformance):
    def proposer(self):
        return settings("evolution", population=5, sample=3, removal="worst", edits=1.0).proposer()


class TestJasqLimited(ProposerConformance):
    needs_costs = True

    def proposer(self):
        return settings("evolution", population=5, sample=5, removal="worst", fitness="limited", target=1e4).proposer()


class TestJasqProduct(ProposerConformance):
    needs_costs = True
    policies = 2

    def proposer(self):
        values = {"removal": "worst", "fitness": "product", "policies_per_network": 2}
        return settings("evolution", population=5, sample=5, **values).proposer()


def test_every_method_is_tested():
    tested = {type(kind().proposer()) for kind in ProposerConformance.__subclasses__()}
    by_trials = [name for name, entry in METHODS.items() if entry.trials]
    assert {type(METHODS[name].load_settings()().proposer()) for name in by_trials} <= tested


def test_a_class_without_a_proposer_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"defines proposer\(\)"):
        ProposerConformance().proposer()
