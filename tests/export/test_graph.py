import dataclasses

import numpy as np
import pytest

from bompnas.export.graph import Add, Clip, Convolution, Dense, Grid, IntegerGraph, Tensor, factor
from bompnas.networks import float_model

GRID = Grid(-7, -128, 127)


def dense(source, name, features, units, bits, bias):
    weights = np.ones((features, units), np.int32)
    steps = np.full(units, 0.1, np.float32)
    bias = np.zeros(units, np.int32) if bias else None
    return Dense((source,), Tensor(name, (units,), Grid(-3, 0, 255, -128)), weights, bits, steps, bias)


@pytest.fixture
def graph():
    """x -> a -> b, and c, which takes a and b."""
    a, b = dense("x", "a", 3, 5, 7, bias=True), dense("a", "b", 5, 5, 4, bias=False)
    add = Add(("a", "b"), Tensor("c", (5,), GRID))
    return IntegerGraph(Tensor("x", (3,), GRID), (a, b, add), "c", (1 / 128, -1.0))


def test_a_scale_is_a_power_of_two():
    assert [Grid(exponent, 0, 1).scale for exponent in (-3, 0, 2)] == [0.125, 1.0, 4.0]


@pytest.mark.parametrize("grid", [(0, 255, 0), (-129, 0, 0), (0, 256, -128), (5, 4, 0)])
def test_levels_must_fit_int8(grid):
    with pytest.raises(ValueError, match="do not fit INT8"):
        Grid(0, *grid)


def test_size_counts_weights_steps_and_biases(graph):
    assert [operation.size_bits for operation in graph.linear] == [15 * 7 + 5 * 64, 25 * 4 + 5 * 32]
    assert graph.size_bits == 15 * 7 + 25 * 4 + 15 * 32


def test_tensors_are_in_order(graph):
    assert list(graph.tensors) == ["x", "a", "b", "c"]
    assert graph.tensors["b"].shape == (5,)
    assert [operation.name for operation in graph.linear] == ["a", "b"]


def test_a_part_has_what_its_end_needs(graph):
    extra = Clip(("a",), Tensor("aside", (5,), graph.tensors["a"].grid))
    graph = dataclasses.replace(graph, operations=(graph.operations[0], extra, *graph.operations[1:]))
    assert [operation.name for operation in graph.until("c").operations] == ["a", "b", "c"]
    assert [operation.name for operation in graph.until("aside").operations] == ["a", "aside"]
    assert graph.until("b").output == "b"


def test_pixels_are_exact_levels():
    source = Tensor("x", (256,), GRID)
    graph = IntegerGraph(source, (), "x", (float_model.PIXEL_SCALE, float_model.PIXEL_OFFSET))
    levels = graph.levels(np.arange(256, dtype=np.uint8)[None])
    assert levels.dtype == np.int32
    np.testing.assert_array_equal(levels, [np.arange(256) - 128])


def test_levels_round_half_to_even_and_clamp():
    graph = IntegerGraph(Tensor("x", (7,), Grid(1, -2, 3)), (), "x", (2.0, 1.0))
    assert graph.levels(np.array([[-9.0, -1.0, 0.0, 0.5, 1.0, 2.0, 9.0]])).tolist() == [[-2, 0, 0, 1, 2, 2, 3]]


def test_a_factor_is_float32_of_step_and_scales():
    steps = np.array([0.1, 2.0**-40, 3.0], np.float32)
    weights = np.zeros((1, 1, 1, 3), np.int32)
    layer = Convolution(("x",), Tensor("made", (1, 1, 3), Grid(-4, -128, 127)), weights, 8, steps, None)
    found = factor(layer, GRID)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [np.float32(0.1) / 8, 2.0**-43, 0.375])
