import itertools
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bompnas.hardware.huffman import HuffmanSize, code_lengths, coded_bits

COUNTS = st.lists(st.integers(1, 1000), min_size=1, max_size=40).map(np.array)


def layer(weights, bias=None):
    return types.SimpleNamespace(weights=np.array(weights), bias=bias)


def kilobytes(*layers):
    (size,) = HuffmanSize().measure(types.SimpleNamespace(linear=iter(layers))).values()
    return size


@pytest.mark.parametrize(
    ("counts", "lengths"),
    [
        ([5], [0]),
        ([5, 1], [1, 1]),
        ([45, 13, 12, 16, 9, 5], [1, 3, 3, 3, 4, 4]),
        ([1, 1, 1, 1], [2, 2, 2, 2]),
        ([1, 1, 2, 4, 8, 16], [5, 5, 4, 3, 2, 1]),
    ],
)
def test_known_codes(counts, lengths):
    found = code_lengths(np.array(counts))
    assert found.dtype == np.int64
    assert found.tolist() == lengths


def test_no_symbols_have_no_codes():
    assert code_lengths(np.array([], dtype=np.int64)).tolist() == []
    assert coded_bits(np.zeros((0, 3), dtype=np.int32)) == 0


@given(COUNTS)
def test_the_code_can_be_decoded_and_wastes_nothing(counts):
    lengths = code_lengths(counts)
    assert sum(2.0**-length for length in lengths.tolist()) == 1  # Kraft's inequality, with equality


@given(COUNTS)
def test_the_mean_length_is_within_a_bit_of_the_entropy(counts):
    shares = counts / counts.sum()
    entropy = -(shares * np.log2(shares)).sum()
    mean = (shares * code_lengths(counts)).sum()
    assert entropy - 1e-9 <= mean < entropy + 1


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5).map(np.array))
def test_no_other_prefix_code_of_a_small_alphabet_is_shorter(counts):
    lengths = itertools.product(range(1, len(counts)), repeat=len(counts))
    decodable = [np.array(tried) for tried in lengths if sum(2.0 ** -np.array(tried)) <= 1]
    assert counts @ code_lengths(counts) == min(counts @ tried for tried in decodable)


@given(COUNTS, st.randoms(use_true_random=False))
def test_only_frequencies_matter(counts, random):
    order = list(range(len(counts)))
    random.shuffle(order)
    assert counts[order] @ code_lengths(counts[order]) == counts @ code_lengths(counts)


def test_coded_bits_by_hand():
    # 0 x4, 7 x2, -3 x1, 1 x1: lengths 1, 2, 3, 3
    assert coded_bits(np.array([[0, 0, 7, -3], [7, 0, 0, 1]], dtype=np.int32)) == 4 + 4 + 3 + 3


def test_uniform_weights_of_all_levels_cost_their_width():
    assert coded_bits(np.repeat(np.arange(-8, 8), 25)) == 4 * 400


def test_size_by_hand():
    weights = np.zeros(512, dtype=np.int32)
    weights[:128] = 3
    bits = 512 * 1 + 2 * 64  # one bit a weight, two buckets
    assert kilobytes(layer(weights)) == bits / 8000
    assert kilobytes(layer(weights, bias=np.zeros(10))) == (bits + 320) / 8000


def test_layers_have_codes_of_their_own_and_buckets_are_shared_out():
    one, other = np.repeat([0, 1], 8), np.repeat([5, 6], 8)
    bits = 16 + 16 + 32 / 256 * 64
    assert kilobytes(layer(one), layer(other)) == bits / 8000
    assert kilobytes(layer(np.concatenate([one, other]))) == (2 * 32 + 8) / 8000


def test_a_constant_layer_costs_its_buckets_alone():
    assert kilobytes(layer(np.full((3, 3, 32), 4))) == 288 / 256 * 64 / 8000


def test_bell_shaped_weights_cost_less_than_their_width():
    weights = np.clip(np.random.default_rng(0).normal(0, 20, (64, 64)).round(), -127, 127)
    assert 6 * weights.size < coded_bits(weights) < 7 * weights.size
