import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bompnas.hardware.layers import COLUMNS, LayerTable, PriceCache, distinct
from bompnas.space.batch import CONV, DENSE, DEPTHWISE, FLOAT, KINDS, NetworkBatch
from bompnas.space.network import Layer, Network
from bompnas.space.sampling import uniform

SEEDS = st.integers(0, 2**32 - 1)
ROWS = arrays.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(0, 12)), elements=st.integers(-2, 2))


def layer(name, kind, channels, size=1, bits=8, output_size=None, **others):
    sizes = (size, size if output_size is None else output_size)
    values = {"activation": "linear", "group": "head" if kind in ("dense", "float") else "block1", **others}
    return Layer(name, kind, 1, 1, *channels, *sizes, 4, bits, **values)


def table_of(*layers):
    return LayerTable.of(NetworkBatch.of([Network(8, 3, layers)]))


def rows(table):
    return list(zip(*(values.tolist() for values in table.columns), strict=True))


def random_table(seed, count, highest=9):
    generator = np.random.default_rng(seed)
    return LayerTable(*(generator.integers(1, highest, count) for _ in COLUMNS))


def policy(network, seed):
    """The network with random widths of weights and activations."""
    widths = iter(np.random.default_rng(seed).integers(2, 9, 2 * len(network.layers)).tolist())
    layers = [
        dataclasses.replace(one, weight_bits=next(widths), activation_bits=next(widths)) for one in network.layers
    ]
    return dataclasses.replace(network, layers=tuple(layers))


@given(SEEDS, SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_table_holds_the_layers_of_all_networks_in_order(random_space, space_seed, seed):
    space = random_space(space_seed)
    codes = uniform(space, np.random.default_rng(seed), 5)
    networks = [space.decode(genotype) for genotype in space.genotypes(codes)]
    expected = [
        (
            KINDS.index(one.kind), one.kernel, one.stride, one.in_channels, one.out_channels, one.input_size,
            one.output_size, one.weight_bits, 8, one.activation_bits, one.bias,
        )
        for network in networks
        for one in network.layers
    ]  # fmt: skip
    table = LayerTable.of(space.batch(codes))
    assert rows(table) == expected
    assert table.weights.tolist() == [one.weights for network in networks for one in network.layers]
    assert table.macs.tolist() == [one.macs for network in networks for one in network.layers]
    assert {values.dtype for values in (*table.columns, table.weights, table.macs)} == {np.dtype(np.int64)}


def test_layers_read_what_the_one_before_writes():
    table = table_of(
        layer("stem", "conv", (3, 4), 8, bits=5),
        layer("depthwise", "depthwise", (4, 4), 8, bits=6, output_size=4),
        layer("project", "conv", (4, 7), 4, bits=3),
        layer("head", "dense", (7, 6), bits=2),
        layer("out", "dense", (6, 2), bits=4),
    )
    assert table.input_bits.tolist() == [8, 5, 6, 8, 2]
    assert table.output_bits.tolist() == [5, 6, 3, 2, 4]


@pytest.mark.parametrize(
    ("before", "head", "bits"),
    [
        (layer("last", "conv", (3, 7), 4, bits=3), layer("head", "dense", (7, 2)), 8),
        (layer("last", "conv", (3, 7), 1, bits=3), layer("head", "dense", (7, 2)), 8),
        (layer("last", "depthwise", (7, 7), 4, bits=3), layer("head", "dense", (7, 2)), 8),
        (layer("last", "conv", (3, 7), 4, bits=3), layer("head", "dense", (7 * 16, 2)), 3),
        (layer("last", "conv", (3, 7), 4, bits=3), layer("head", "dense", (7, 2), 4), 3),
        (layer("last", "conv", (3, 7), 4, bits=3), layer("head", "conv", (7, 2), 4), 3),
        (layer("norm", "float", (14, 1), bits=32), layer("head", "dense", (7, 2)), 8),
        (layer("norm", "float", (14, 1), bits=3), layer("head", "dense", (1, 2)), 8),
        (layer("last", "dense", (3, 7), bits=3), layer("head", "dense", (7, 2)), 3),
    ],
)
def test_what_stands_before_a_head_decides_what_it_reads(before, head, bits):
    assert table_of(layer("stem", "conv", (3, 3), 4), before, head).input_bits[-1] == bits


def test_networks_do_not_read_one_another():
    one = Network(8, 3, (layer("stem", "conv", (3, 7), 8, bits=2),))
    other = Network(1, 7, (layer("out", "dense", (7, 2), bits=2),))
    assert LayerTable.of(NetworkBatch.of([one, other, one])).input_bits.tolist() == [8, 8, 8]


def test_float_layers_have_weights_and_no_macs():
    table = table_of(layer("stem", "conv", (3, 2), 4), layer("norm", "float", (14, 1), bits=32))
    assert table.kind.tolist() == [CONV, FLOAT]
    assert (table.weights.tolist(), table.macs.tolist()) == ([6, 14], [6 * 16, 0])


def test_some_layers_of_a_table():
    table = random_table(0, 6)
    places = np.array([4, 0, 4])
    assert rows(table[places]) == [rows(table)[place] for place in places]
    assert rows(table[1:3]) == rows(table)[1:3]
    assert len(table[1:3]) == 2


def test_a_table_of_nothing():
    for batch in (NetworkBatch.of([]), NetworkBatch.of([Network(8, 1, ())])):
        assert len(LayerTable.of(batch)) == 0


@given(ROWS, st.sampled_from([1, 3, 2**40, 2**61]))
def test_distinct_rows_of_any_size(columns, scale):
    columns = columns * scale
    examples, numbers = distinct(columns)
    expected = {tuple(row) for row in columns.T.tolist()}
    assert {tuple(row) for row in columns[:, examples].T.tolist()} == expected
    assert len(examples) == len(expected)
    np.testing.assert_array_equal(columns[:, examples][:, numbers], columns)


def test_distinct_rows_of_many_wide_columns():
    columns = [np.tile(np.array([-(2**63), 2**63 - 1, 0, 5]), 3) for _ in range(30)]
    columns.append(np.arange(12) % 2)
    examples, numbers = distinct(columns)
    assert len(examples) == 4
    assert numbers.tolist() == numbers[:4].tolist() * 3


class Priced:
    """Prices that remember what they were asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, layers):
        self.asked += rows(layers)
        return {"cycles": layers.macs * layers.weight_bits, "latency_ms": layers.input_bits / layers.kernel}


def assert_priced(cache, price, table):
    found = cache.look_up(table, price)
    assert found["cycles"].tolist() == (table.macs * table.weight_bits).tolist()
    assert found["latency_ms"].tolist() == (table.input_bits / table.kernel).tolist()
    assert [values.dtype for values in found.values()] == [np.int64, np.float64]


@given(st.lists(st.tuples(SEEDS, st.integers(0, 30)), min_size=1, max_size=5))
def test_distinct_layers_are_priced_once(calls):
    cache, price, seen = PriceCache(), Priced(), set()
    for seed, count in calls:
        table = random_table(seed, count, highest=3)
        assert_priced(cache, price, table)
        seen |= set(rows(table))
    assert len(price.asked) == len(set(price.asked))
    assert set(price.asked) == seen


def test_every_column_tells_layers_apart():
    cache, price = PriceCache(), Priced()
    table = random_table(0, 1)
    assert_priced(cache, price, table)
    for name in COLUMNS:
        assert_priced(cache, price, dataclasses.replace(table, **{name: getattr(table, name) + 1}))
    assert len(price.asked) == 1 + len(COLUMNS)


def test_a_full_cache_begins_anew():
    cache, price = PriceCache(most=10), Priced()
    tables = [random_table(seed, 6) for seed in range(4)]
    for table in (*tables, *tables, random_table(9, 25)):
        assert_priced(cache, price, table)
    assert len(cache._places) <= 25
    assert len(price.asked) == 2 * 4 * 6 + 25


def test_a_cache_of_nothing_knows_the_names():
    assert {name: values.shape for name, values in PriceCache().look_up(random_table(0, 0), Priced()).items()} == {
        "cycles": (0,),
        "latency_ms": (0,),
    }


def test_kinds_are_places_among_the_batch_s():
    table = table_of(*(layer(kind, kind, (4, 4), 4) for kind in KINDS[1:]))
    assert table.kind.tolist() == [CONV, DEPTHWISE, DENSE, FLOAT]


def test_bits_of_a_policy_are_found_in_every_place(digits):
    networks = [policy(digits.decode(digits.seed), seed) for seed in range(20)]
    table = LayerTable.of(NetworkBatch.of(networks))
    starts = np.cumsum([0, *(len(network.layers) for network in networks)])
    for network, (start, stop) in zip(networks, itertools.pairwise(starts), strict=True):
        before = [8, *(one.activation_bits for one in network.layers[:-2]), 8]
        assert table.input_bits[start:stop].tolist() == before
