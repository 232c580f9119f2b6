import itertools
import math

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine import hyperparameters as types
from keras_tuner.src.engine.conditions import Parent

from bompnas.integrations.keras_tuner_space import LEVELS, HyperParameterSpace, ScopedHyperParameters, levels
from bompnas.space import sampling


def translate(*calls):
    hp = keras_tuner.HyperParameters()
    for kind, *arguments in calls:
        *positional, keywords = arguments if isinstance(arguments[-1], dict) else [*arguments, {}]
        getattr(hp, kind)(*positional, **keywords)
    return HyperParameterSpace(hp)


def everything(translation):
    """All distinct values of a small space, as KerasTuner names them."""
    space = translation.space
    codes = np.array(list(itertools.product(*(range(size) for size in space.sizes))), dtype=int)
    found = {}
    for genotype in space.genotypes(space.canonical_codes(codes)):
        found[space.decode(genotype).key] = translation.values(genotype)
    return list(found.values())


@pytest.fixture
def nested():
    """A choice of model, of which one has layers, of which the first has an activation; another hyperparameter of the
    same name in the other model."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("model", ["linear", "mlp"])
    with hp.conditional_scope("model", "linear"):
        hp.Int("units", 1, 2)
    with hp.conditional_scope("model", "mlp"):
        hp.Int("layers", 0, 2)
        with hp.conditional_scope("layers", [1, 2]):
            hp.Choice("units", [8, 16, 32])
            hp.Fixed("bias", True)
            with hp.conditional_scope("bias", True):  # depends on a constant that is itself conditional
                hp.Boolean("deep")
    return hp


class TestLevels:
    def test_discrete_kinds_keep_all_their_values(self):
        assert levels(types.Choice("a", ["x", "y", "x"])) == ("x", "y")
        assert levels(types.Choice("a", [0.1, 0.01])) == (0.1, 0.01)
        assert levels(types.Boolean("a")) == (False, True)
        assert levels(types.Fixed("a", 7)) == (7,)
        assert levels(types.Int("a", 6, 13, step=3)) == (6, 9, 12)
        assert levels(types.Int("a", 2, 33, step=2, sampling="log")) == (2, 4, 8, 16, 32)
        assert levels(types.Int("a", 1, 9, sampling="log")) == tuple(range(1, 10))
        assert levels(types.Float("a", 0, 1, step=0.25)) == (0, 0.25, 0.5, 0.75, 1)
        assert levels(types.Float("a", 0.001, 10, step=10, sampling="log")) == pytest.approx((0.001, 0.01, 0.1, 1, 10))
        assert levels(types.Float("a", 1, 100, step=10, sampling="reverse_log")) == (1, 91, 100)
        assert levels(types.Float("a", 2, 2)) == (2,)

    @pytest.mark.parametrize(
        "entry",
        [
            types.Float("a", -1, 3, default=0.123),
            types.Float("a", 1e-5, 1e-1, sampling="log", default=3e-4),
            types.Float("a", 1, 1000, sampling="reverse_log", default=500.5),
            types.Int("a", 0, 10**9, default=12345),
            types.Int("a", 1, 10**6, sampling="log", default=777),
            types.Int("a", -500, 500, step=7, default=-5),
            types.Float("a", 0, 1, step=1e-4, default=0.55555),
        ],
    )
    def test_long_ranges_are_thinned_and_keep_default_and_ends(self, entry):
        found = levels(entry)
        assert 32 <= len(found) <= LEVELS
        assert list(found) == sorted(set(found))
        assert found[0] == entry.min_value
        top = entry.max_value if entry.step in (None, 1) else entry.prob_to_value(math.nextafter(1, 0))
        assert found[-1] == top
        assert entry.default in found
        others = [value for value in found if value != entry.default]
        assert all(type(value) is type(found[0]) for value in others)

    def test_levels_lie_evenly_on_the_scale(self):
        found = np.array(levels(types.Float("a", 1e-4, 1e-1, sampling="log")))
        np.testing.assert_allclose(np.diff(np.log(found)), math.log(1000) / (LEVELS - 1))
        reverse = levels(types.Float("a", 1, 1000, sampling="reverse_log"))
        assert sum(value > 900 for value in reverse) > LEVELS / 2

    def test_values_that_a_scope_names_are_kept(self):
        entry = types.Int("a", 0, 1000)
        assert not {37, 701} & set(levels(entry))
        assert {37, 701, 0, 1000} <= set(levels(entry, [37, 701, 5000, "x"]))
        assert len(levels(entry, [37, 701, 5000])) == LEVELS
        assert 9 not in levels(types.Int("a", 0, 1000, step=5), [9])


class TestGenes:
    def test_kinds(self):
        translation = translate(
            ("Choice", "kind", ["a", "b", "c"], {"default": "b"}),
            ("Choice", "width", [8, 16], {}),
            ("Choice", "unordered", [8, 16], {"ordered": False}),
            ("Boolean", "flag", {"default": True}),
            ("Fixed", "constant", 3),
            ("Choice", "single", ["only"]),
            ("Int", "count", 1, 4, {"default": 2}),
            ("Float", "rate", 1e-4, 1e-2, {"sampling": "log", "default": 1e-3}),
        )
        genes = {gene.name: gene for gene in translation.space.genes}
        assert list(genes) == ["kind", "width", "unordered", "flag", "count", "rate"]
        assert [gene.default for gene in genes.values()] == ["b", 8, 8, True, 2, 1e-3]
        assert [gene.ordered for gene in genes.values()] == [False, True, False, True, True, True]
        assert genes["count"].values == (1, 2, 3, 4)
        rate = genes["rate"]
        assert rate.positions[0] == 0
        assert rate.positions[-1] == 1
        assert rate.positions[rate.values.index(1e-3)] == pytest.approx(0.5)
        assert translation.values(translation.space.seed) == {
            "kind": "b", "width": 8, "unordered": 8, "flag": True, "constant": 3, "single": "only", "count": 2,
            "rate": 1e-3,
        }  # fmt: skip

    def test_only_active_values_are_there(self, nested):
        found = everything(HyperParameterSpace(nested))
        expected = [{"model": "linear", "units": 1}, {"model": "linear", "units": 2}, {"model": "mlp", "layers": 0}]
        expected += [
            {"model": "mlp", "layers": layers, "units": units, "bias": True, "deep": deep}
            for layers in (1, 2) for units in (8, 16, 32) for deep in (False, True)
        ]  # fmt: skip
        assert len(found) == len(expected)
        assert all(values in found for values in expected)

    def test_keras_tuner_finds_all_of_them_active(self, nested):
        for values in everything(HyperParameterSpace(nested)):
            trial = nested.copy()
            trial.values = dict(values)
            assert {entry.name for entry in nested.space if trial.is_active(entry)} == set(values)

    def test_a_parent_of_several_scopes_makes_a_gene_for_each(self):
        hp = keras_tuner.HyperParameters()
        hp.Choice("model", ["a", "b", "c"])
        for model in "ab":
            with hp.conditional_scope("model", model):
                hp.Boolean("deep")
        hp.merge([types.Int("depth", 1, 3, conditions=[Parent("deep", [True])])])
        translation = HyperParameterSpace(hp)
        assert [gene.name for gene in translation.space.genes] == ["model", "deep", "deep#2", "depth", "depth#2"]
        found = everything(translation)
        assert len(found) == 2 * (1 + 3) + 1
        assert {"model": "b", "deep": True, "depth": 3} in found

    def test_one_name_active_twice_is_one_value(self):
        translation = translate(
            ("Choice", "model", ["a", "b"]),
            ("Int", "units", 1, 3),
            ("Int", "units", 1, 3, {"parent_name": "model", "parent_values": ["a"]}),
        )
        assert [gene.name for gene in translation.space.genes] == ["model", "units"]

    def test_scopes_that_never_hold_make_no_gene(self):
        translation = translate(
            ("Fixed", "model", "a"),
            ("Int", "units", 1, 3, {"parent_name": "model", "parent_values": ["b"]}),
            ("Int", "layers", 1, 3, {"parent_name": "model", "parent_values": ["a"]}),
        )
        assert [gene.name for gene in translation.space.genes] == ["layers"]
        assert not translation.space.genes[0].conditions
        assert everything(translation) == [{"model": "a", "layers": layers} for layers in (1, 2, 3)]

    def test_order_of_arrival_does_not_matter(self, nested):
        # Sent to another process, hyperparameters arrive sorted by type, children before parents.
        by_type = sorted(nested.space, key=lambda entry: type(entry).__name__)
        assert by_type != nested.space
        expected = everything(HyperParameterSpace(nested))
        found = everything(HyperParameterSpace(by_type))
        assert len(found) == len(expected)
        assert all(values in found for values in expected)

    def test_of_constants_alone(self):
        translation = translate(("Fixed", "a", 1), ("Choice", "b", ["x"]))
        assert translation.space.genes == ()
        assert translation.values({}) == {"a": 1, "b": "x"}
        assert HyperParameterSpace(keras_tuner.HyperParameters()).values({}) == {}


class TestScopedHyperParameters:
    def test_names_of_two_scopes_keep_their_value(self, nested):
        for values in everything(HyperParameterSpace(nested)):
            scoped = ScopedHyperParameters.from_config(nested.get_config())
            scoped.values = {**values, "layers": values.get("layers", 2), "gone": 1}
            scoped.ensure_active_values()
            assert scoped.values == values

    def test_missing_values_are_the_defaults(self, nested):
        scoped = ScopedHyperParameters.from_config(nested.get_config())
        scoped.values = {"model": "mlp", "layers": 1}
        scoped.ensure_active_values()
        assert scoped.values == {"model": "mlp", "layers": 1, "units": 8, "bias": True, "deep": False}


class TestGenotype:
    def test_is_the_inverse_of_values(self, nested):
        with nested.conditional_scope("model", "mlp"):
            nested.Float("rate", 1e-4, 1e-1, sampling="log")
        translation = HyperParameterSpace(nested)
        codes = sampling.uniform(translation.space, np.random.default_rng(0), 200)
        for genotype in translation.space.genotypes(codes):
            assert translation.genotype(translation.values(genotype)) == genotype

    def test_missing_values_take_their_default_and_unknown_ones_are_left_out(self):
        translation = translate(("Int", "a", 1, 5, {"default": 3}), ("Boolean", "b", {"default": True}))
        assert translation.genotype({"b": False, "gone": 9}) == {"a": 3, "b": False}

    def test_values_between_levels_go_to_the_nearest(self):
        translation = translate(
            ("Float", "rate", 1e-4, 1e-1, {"sampling": "log"}),
            ("Float", "step", 0, 1, {"step": 0.1}),
            ("Choice", "kind", ["a", "b"]),
        )
        rates = translation.space.genes[0].values
        sent = {"rate": float(np.float32(rates[10])), "step": float(np.float32(0.3)), "kind": "removed"}
        genotype = translation.genotype(sent)
        assert genotype == {"rate": rates[10], "step": pytest.approx(0.3), "kind": "a"}
        assert genotype["step"] in translation.space.genes[1].values
        assert translation.genotype({"rate": 1e3})["rate"] == 1e-1
