import itertools

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.problem import Problem, no_costs
from bompnas.space.hyperspace import HyperSpace, Point
from bompnas.space.space import Gene

OPTIMIZER = Gene("optimizer", ("adam", "sgd", "rmsprop"), "adam", ordered=False)
RATE = Gene("rate", (1e-4, 1e-3, 1e-2), 1e-3)
MOMENTUM = Gene("momentum", (0.0, 0.5, 0.9), 0.9, conditions=(("optimizer", frozenset({"sgd", "rmsprop"})),))
NESTEROV = Gene(
    "nesterov",
    (False, True),
    False,
    conditions=(("optimizer", frozenset({"sgd"})), ("momentum", frozenset({0.5, 0.9}))),
    ordered=False,
)
UNITS = Gene("units", (8, 64, 512), 64, positions=(0.0, 0.5, 1.0))
GENES = (OPTIMIZER, RATE, MOMENTUM, NESTEROV, UNITS)


@pytest.fixture(scope="module")
def space():
    return HyperSpace(name="training", genes=GENES)


def everything(space):
    return [
        dict(zip([gene.name for gene in space.genes], values, strict=True))
        for values in itertools.product(*(gene.values for gene in space.genes))
    ]


def test_a_genotype_stands_for_its_active_genes(space):
    assert space.decode(space.seed) == Point({"optimizer": "adam", "rate": 1e-3, "units": 64})
    sgd = space.decode({**space.seed, "optimizer": "sgd", "momentum": 0.0, "nesterov": True})
    assert sgd.values == {"optimizer": "sgd", "rate": 1e-3, "momentum": 0.0, "units": 64}
    full = space.decode({**space.seed, "optimizer": "sgd", "nesterov": True})
    assert full.values == {"optimizer": "sgd", "rate": 1e-3, "momentum": 0.9, "nesterov": True, "units": 64}


def test_keys_are_equal_exactly_for_equal_points(space):
    genotypes = everything(space)
    points = [space.decode(genotype) for genotype in genotypes]
    batch = space.batch(space.encode(genotypes))
    assert len(batch) == len(genotypes) == 162
    distinct = {tuple(point.values.items()) for point in points}
    assert len(distinct) == 9 * (1 + (1 + 2 * 2) + 3)
    together = {(tuple(point.values.items()), point.key, key) for point, key in zip(points, batch.keys, strict=True)}
    assert len(together) == len({point.key for point in points}) == len(set(batch.keys)) == len(distinct)
    assert space.collect(points).keys == batch.keys
    assert batch.summaries == {}


def test_keys_tell_the_types_of_values_apart():
    keys = {Point({"a": value}).key for value in (1, 1.0, True, "1")}
    assert len(keys) == 4
    assert Point({"a": 1, "b": 2}).key == Point({"b": 2, "a": 1}).key


def test_canonical_codes_are_canonical_genotypes(space):
    genotypes = everything(space)
    codes = space.canonical_codes(space.encode(genotypes))
    assert space.genotypes(codes) == [space.canonical(genotype) for genotype in genotypes]
    np.testing.assert_array_equal(space.canonical_codes(codes), codes)
    active = [[gene.active(genotype) for gene in space.genes] for genotype in genotypes]
    np.testing.assert_array_equal(space.active(space.encode(genotypes)), active)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"optimizer": "rmsprop"}, {"optimizer": 1, "momentum": 1 / 2}),
        ({"rate": 1e-4}, {"rate": 1 / 2}),
        ({"units": 512, "rate": 1e-2}, {"units": 1 / 2, "rate": 1 / 2}),
        ({"optimizer": "sgd"}, {"optimizer": 1, "momentum": 1 / 2, "nesterov": 1 / 2}),
        ({"optimizer": "sgd", "momentum": 0.0}, {"optimizer": 1, "momentum": 1 / 2}),
        ({"momentum": 0.0, "nesterov": True}, {}),
    ],
)
def test_distances_from_the_seed_by_hand(space, change, expected):
    weights = {"optimizer": 2.0, "rate": 3.0, "momentum": 5.0, "nesterov": 7.0, "units": 11.0}
    assert space.embedding.group_names == tuple(weights)
    rows = space.embedding.features(space.encode([space.seed, {**space.seed, **change}]))
    by_feature = np.array(list(weights.values()))[space.embedding.groups]
    distance = (by_feature * (rows[0] - rows[1]) ** 2).sum()
    assert distance == pytest.approx(sum(weights[name] * share for name, share in expected.items()))


def test_positions_place_ordered_values():
    space = HyperSpace(name="x", genes=(Gene("rate", (1, 2, 3), 1, positions=(0.0, 0.9, 1.0)),))
    rows = space.embedding.features(np.arange(3)[:, None])
    distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(distances, [[0, 0.9, 1], [0.9, 0, 0.1], [1, 0.1, 0]], atol=1e-15)


def test_a_gene_added_later_takes_its_default_in_old_genotypes(space):
    old = {"optimizer": "sgd", "rate": 1e-2, "gone": 3}
    (genotype,) = space.genotypes(space.encode([old]))
    assert genotype == {**space.seed, "optimizer": "sgd", "rate": 1e-2}


@pytest.mark.parametrize("value", ["lion", None, 3, ["adam"]])
def test_encode_names_a_value_that_is_no_choice(space, value):
    with pytest.raises(InputError) as caught:
        space.encode([space.seed, {**space.seed, "optimizer": value}])
    assert str(caught.value) == f"genotype: optimizer is {value!r}, expected one of ['adam', 'sgd', 'rmsprop']"


def test_decode_needs_every_gene(space):
    with pytest.raises(InputError, match="gene 'rate' of space 'training' is missing"):
        space.decode({"optimizer": "adam"})
    with pytest.raises(InputError, match="space 'training' has no gene 'epochs'"):
        space.decode({**space.seed, "epochs": 3})


def test_a_space_without_genes_holds_one_point():
    space = HyperSpace(name="nothing", genes=())
    codes = space.encode([{}, {}])
    assert codes.shape == (2, 0)
    assert space.genotypes(codes) == [{}, {}]
    assert len(set(space.batch(codes).keys)) == 1
    assert space.embedding.features(codes).shape == (2, 0)
    assert space.decode({}).values == {}


def test_a_problem_without_costs_keeps_everything(space):
    problem = Problem(space, no_costs, ())
    assert problem.analytic == frozenset()
    assert problem.cost(space.decode(space.seed)) == {}
    assert problem.keeps(space.decode(space.seed))


def conditional(name, values=(1, 2), **conditions):
    listed = tuple((parent, frozenset(chosen)) for parent, chosen in conditions.items())
    return Gene(name, values, values[0], conditions=listed)


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ((RATE, OPTIMIZER, RATE), "gene 'rate' is there twice, expected different names"),
        ((Gene("a", (1,), 1),), r"gene 'a' has the values \[1\], expected at least two different ones"),
        ((Gene("a", (1, 1, 2), 1),), r"gene 'a' has the values \[1, 1, 2\], expected at least two different ones"),
        ((Gene("a", (1, 2), 3),), r"gene 'a' has the default 3, expected one of \[1, 2\]"),
        ((MOMENTUM, OPTIMIZER), "gene 'momentum' depends on 'optimizer', expected a gene that stands before it"),
        ((conditional("a", a=[1]),), "gene 'a' depends on 'a', expected a gene that stands before it"),
        (
            (conditional("a", (1, "x")), conditional("b", a=[2, "y"])),
            r"gene 'b' depends on 'a' being one of \[.*\], which may be \[1, 'x'\]",
        ),
        ((conditional("a"), conditional("b", a=[])), r"gene 'b' depends on 'a' being one of \[\], which may be"),
        (
            (conditional("a"), conditional("b", a=[2]), conditional("c", b=[1])),
            r"gene 'c' depends on 'b', which depends on 'a' being one of \[2\]; expected that condition here too",
        ),
        (
            (conditional("a"), conditional("b", a=[2]), conditional("c", b=[1], a=[1, 2])),
            r"gene 'c' depends on 'b', which depends on 'a' being one of \[2\]; expected that condition here too",
        ),
        ((Gene("a", (1, 2, 3), 1, positions=(0.0, 1.0)),), r"positions \[0.0, 1.0\], expected 3 ascending numbers"),
        ((Gene("a", (1, 2), 1, positions=(0.0, 1.5)),), r"positions \[0.0, 1.5\], expected 2 ascending numbers from 0"),
        ((Gene("a", (1, 2, 3), 1, positions=(0.0, 1.0, 0.5)),), "expected 3 ascending numbers from 0 to 1"),
    ],
)
def test_bad_genes_are_refused_in_one_line(genes, message):
    with pytest.raises(InputError, match=message) as caught:
        HyperSpace(name="bad", genes=genes)
    assert str(caught.value).startswith("space 'bad': gene ")
    assert "\n" not in str(caught.value)
