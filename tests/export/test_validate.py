import dataclasses

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.export import graph as g
from bompnas.export.validate import output_shape, validate

GRID = g.Grid(-5, -128, 127)
SOURCE = g.Tensor("x", (5, 4, 2), GRID)


def numbers(*shape, channels):
    return {
        "weights": np.ones(shape, np.int32),
        "bits": 4,
        "steps": np.ones(channels, np.float32),
        "bias": np.zeros(channels, np.int32),
    }


@pytest.fixture
def convolution():
    tensor = g.Tensor("made", (5, 4, 3), GRID)
    return g.Convolution(("x",), tensor, **numbers(3, 2, 2, 3, channels=3))


def graph(*operations, source=SOURCE, output=None):
    return g.IntegerGraph(source, operations, output or operations[-1].name)


def changed(operation, shape=None, grid=None, **attributes):
    tensor = operation.output
    output = dataclasses.replace(tensor, shape=shape or tensor.shape, grid=grid or tensor.grid)
    return dataclasses.replace(operation, output=output, **attributes)


def moved(kind, shape=(5, 4, 2), grid=GRID, **attributes):
    return kind(("x",), g.Tensor("made", shape, grid), **attributes)


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs_are_valid(random_graph, seed):
    validate(random_graph(seed, largest_bits=16))


@pytest.mark.parametrize(
    ("length", "size", "stride", "dilation", "padding", "expected"),
    [
        (9, 3, 1, 1, "same", 9),
        (9, 6, 2, 1, "same", 5),
        (9, 3, 1, 4, "valid", 1),
        (9, 4, 2, 1, "valid", 3),
        (2, 5, 1, 3, "same", 2),
    ],
)
def test_places_of_a_window(length, size, stride, dilation, padding, expected):
    weights = numbers(size, 1, 1, channels=1)
    window = {"strides": (stride, 1), "dilation": (dilation, 1), "padding": padding}
    operation = g.DepthwiseConvolution(("x",), g.Tensor("made", (), GRID), **weights, **window)
    assert output_shape(operation, [g.Tensor("x", (length, 1, 1), GRID)]) == (expected, 1, 1)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"shape": (5, 4, 4)}, r"made: expected output shape \(5, 4, 3\); found \(5, 4, 4\)"),
        ({"inputs": ("y",)}, "made before it; found .'y'"),
        ({"inputs": ("x", "x")}, "expected 1 inputs"),
        ({"strides": (0, 1)}, "strides of 1 or more"),
        ({"padding": "valid", "dilation": (3, 1)}, "a window that fits into"),
        ({"bits": 1}, "2 to 16 bits; found 1"),
        ({"bits": 17}, "2 to 16 bits; found 17"),
        ({"weights": np.full((3, 2, 2, 3), -8, np.int32)}, r"\|weights\| up to 7; found 8"),
        ({"weights": np.ones((3, 2, 2, 3), np.int8)}, "weights int32"),
        ({"weights": np.ones((3, 2, 1, 3), np.int32)}, "weights for 2 channels; found 1"),
        ({"weights": np.ones((3, 2, 2), np.int32)}, "weights of 4 axes; found 3"),
        ({"steps": np.zeros(3, np.float32)}, "positive steps"),
        ({"steps": np.array([1, np.nan, 1], np.float32)}, "positive steps.* found .nan"),
        ({"steps": np.ones(2, np.float32)}, r"steps float32 of shape \(3,\); found float32 of shape \(2,\)"),
        ({"bias": np.ones(3, np.float32)}, "bias int32"),
        ({"grid": g.Grid(64, 0, 1)}, "exponent of -64 to 63; found 64"),
        ({"grid": g.Grid(0, 200, 220, -200)}, "zero point of -128 to 127; found -200"),
    ],
)
def test_a_convolution_that_cannot_be_computed_is_refused(convolution, attributes, message):
    validate(graph(convolution))
    with pytest.raises(InputError, match=message):
        validate(graph(changed(convolution, **attributes)))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (moved(g.Reshape, (5, 9)), "as many values"),
        (moved(g.Reshape, (40, 1, 1, 1, 1)), "1 to 4 axes"),
        (moved(g.Reshape, (-40, -1)), "1 to 4 axes and 1 to"),
        (moved(g.Reshape, (40,), g.Grid(-4, -128, 127)), "the grid of its input"),
        (moved(g.Transpose, (4, 5, 2), permutation=(1, 0, 0)), "an order of 3 axes"),
        (moved(g.Crop, (0, 4, 2), margins=((2, 3), (0, 0))), "leave some"),
        (moved(g.Pad, (5, 3, 2), margins=((0, 0), (0, -1))), "margins of 0 or more"),
        (moved(g.Upsample, (0, 4, 2), factors=(0, 1)), "factors of 1 or more"),
        (moved(g.Upsample, (2**30, 4, 2), factors=(2**30, 1)), "1 to 2147483647 values"),
        (moved(g.MaxPool, size=(6, 1), strides=(1, 1), padding="valid"), "fits into"),
        (moved(g.Clip, grid=g.Grid(-4, 0, 127)), "exponent and zero point"),
        (moved(g.Mean, (1, 2)), "output shape"),
        (moved(g.Operation), "no operation of integer graphs"),
        (g.Add(("x", "x"), g.Tensor("made", SOURCE.shape, g.Grid(28, -128, 127))), "at most 32 apart"),
    ],
)
def test_an_operation_that_cannot_be_computed_is_refused(operation, message):
    with pytest.raises(InputError, match=f"made: expected .*{message}|made: .*{message}"):
        validate(graph(operation))


def test_zeros_are_padded_only_where_there_is_a_level_zero():
    source = g.Tensor("x", (1, 1, 1), g.Grid(0, 1, 5))
    pad = g.Pad(("x",), g.Tensor("made", (2, 1, 1), source.grid), margins=((1, 0), (0, 0)))
    with pytest.raises(InputError, match="a level 0"):
        validate(graph(pad, source=source))


def test_summands_must_have_one_shape():
    flat = moved(g.Reshape, (40,))
    add = g.Add(("x", "made"), g.Tensor("sum", SOURCE.shape, GRID))
    with pytest.raises(InputError, match=r"two tensors of shape \(5, 4, 2\)"):
        validate(graph(flat, add))


def test_a_graph_has_operations_distinct_names_an_output_and_finite_centring(convolution):
    with pytest.raises(InputError, match="at least one operation"):
        validate(g.IntegerGraph(SOURCE, (), "x"))
    with pytest.raises(InputError, match="a name of its own"):
        validate(graph(convolution, convolution))
    with pytest.raises(InputError, match="name of a tensor; found nowhere"):
        validate(graph(convolution, output="nowhere"))
    with pytest.raises(InputError, match="finite"):
        validate(dataclasses.replace(graph(convolution), centring=(float("inf"), 0.0)))
