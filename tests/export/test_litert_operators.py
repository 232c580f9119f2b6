import itertools
import math

import numpy as np
import pytest
from ai_edge_litert import interpreter as runtime

from bompnas.export import graph, litert, litert_limits
from bompnas.export.emulator import emulate
from bompnas.export.interpreter import Interpreter, litert_levels

SIGNED = graph.Grid(-7, -128, 127)
UNSIGNED = graph.Grid(-5, 0, 255, -128)
RATIOS = litert_limits.RATIO_EXPONENTS
KINDS = [graph.Convolution, graph.DepthwiseConvolution, graph.Dense]
GRIDS = [
    *(graph.Grid(bits - 7, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in range(2, 9)),
    *(graph.Grid(bits - 9, 0, 2**bits - 1, -128) for bits in range(1, 9)),
    *(graph.Grid(exponent, 0, round(6 / 2.0**exponent), -128) for exponent in (-5, -4, -1, 0, 1, 2)),
    graph.Grid(-3, -5, 90),
]


def image(*shape, grid=SIGNED):
    return graph.Tensor("image", shape, grid)


def ending_with(source, *operations):
    return graph.IntegerGraph(source, operations, operations[-1].name)


def linear(kind, source, shape, weights, grid, factors, bias=None, name="layer", **window):
    """A linear layer whose accumulators are multiplied by `factors`, one or one for each channel."""
    ratio = np.float32(2.0 ** (grid.exponent - source.grid.exponent))
    steps = np.broadcast_to(np.float32(factors) * ratio, weights.shape[-1:])
    return kind((source.name,), graph.Tensor(name, shape, grid), weights, 8, steps, bias, **window)


def identity(kind, source, grid, factors=1.0, **keywords):
    """A layer whose accumulators are its input's levels."""
    weights = np.eye(source.shape[-1], dtype=np.int32)
    if kind is graph.DepthwiseConvolution:
        weights = weights.diagonal()
    if kind is not graph.Dense:
        weights = weights[None, None]
    return linear(kind, source, source.shape, weights, grid, factors, **keywords)


def random_layer(kind, source, grid, filters=5, size=(3, 3), seed=0, **window):
    """A layer of random weights whose outputs span the grid and exceed it."""
    generator = np.random.default_rng(seed)
    channels = source.shape[-1]
    shapes = {
        graph.Convolution: (*size, channels, filters),
        graph.DepthwiseConvolution: (*size, channels),
        graph.Dense: (channels, filters),
    }
    weights = generator.integers(-127, 128, shapes[kind], dtype=np.int32)
    shape = (*source.shape[:-1], weights.shape[-1])
    if kind is not graph.Dense:
        window = {"strides": (1, 1), "padding": "same", "dilation": (1, 1), **window}
        shape = (*places(source.shape[:2], size, **window), weights.shape[-1])
    typical = 75 * 75 * math.sqrt(weights[..., 0].size)
    factors = (grid.high - grid.low) / typical * generator.uniform(0.3, 1, shape[-1])
    bias = generator.integers(-typical / 2, typical / 2 + 1, shape[-1]).astype(np.int32)
    return linear(kind, source, shape, weights, grid, factors, bias, **window)


def places(lengths, size, strides, padding, dilation=(1, 1)):
    if padding == "valid":
        lengths = [length - (extent - 1) * gap for length, extent, gap in zip(lengths, size, dilation, strict=True)]
    return [-(-length // stride) for length, stride in zip(lengths, strides, strict=True)]


def levels_of(model, images=100):
    grid = model.input.grid
    return np.random.default_rng(0).integers(grid.low, grid.high + 1, (images, *model.input.shape), dtype=np.int32)


def assert_exact(model, levels=None):
    """The file computes what the emulator computes; returns that."""
    levels = levels_of(model) if levels is None else levels
    expected = emulate(model, levels)
    np.testing.assert_array_equal(litert_levels(Interpreter(litert.write(model)), model, levels), expected)
    return expected


def runs_in_xnnpack(data):
    """Whether one call of XNNPACK leads from the input to the output."""
    interpreter = runtime.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    calls = [operator for operator in interpreter._get_ops_details() if operator["op_name"] == "DELEGATE"]
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    return len(calls) == 1 and source["index"] in calls[0]["inputs"] and result["index"] in calls[0]["outputs"]


# Linear layers


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_clamp_to_any_grid(kind, grid):
    source = image(6, 5, 4)
    found = assert_exact(ending_with(source, random_layer(kind, source, grid)))
    assert (found.min(), found.max()) == (grid.low, grid.high)


@pytest.mark.parametrize("source_grid", [SIGNED, UNSIGNED], ids=["signed", "unsigned"])
@pytest.mark.parametrize("grid", [graph.Grid(-4, -128, 127), graph.Grid(-4, 0, 255, -128)], ids=["signed", "unsigned"])
@pytest.mark.parametrize("factor", [0.5, 0.25, 1.5, 2.0**-6])
@pytest.mark.parametrize("kind", KINDS)
def test_ties_round_to_even(kind, factor, grid, source_grid):
    source = image(1, 1, 256, grid=source_grid)
    model = ending_with(source, identity(kind, source, grid, factor))
    levels = np.arange(source_grid.low, source_grid.high + 1, dtype=np.int32).reshape(1, 1, 1, 256)
    exact = levels * factor
    assert (exact % 1 == 0.5).any()
    np.testing.assert_array_equal(assert_exact(model, levels), np.clip(np.rint(exact), grid.low, grid.high))
    assert runs_in_xnnpack(litert.write(model))


@pytest.mark.parametrize(
    ("strides", "dilation"),
    [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((3, 3), (1, 1)), ((1, 2), (1, 1)), ((1, 1), (2, 2)), ((1, 1), (1, 2))],
)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kind", [graph.Convolution, graph.DepthwiseConvolution])
def test_windows(kind, padding, strides, dilation):
    source = image(9, 10, 3, grid=UNSIGNED)  # the zero point of -128 pads
    for size in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (2, 3), (3, 1)]:
        operation = random_layer(kind, source, SIGNED, size=size, padding=padding, strides=strides, dilation=dilation)
        assert_exact(ending_with(source, operation), levels_of(ending_with(source, operation), 20))


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("channels", [1, 2, 17])
@pytest.mark.parametrize("kind", [graph.Convolution, graph.DepthwiseConvolution])
def test_large_kernels_and_few_channels(kind, channels, size):
    source = image(8, 8, channels)
    operation = random_layer(kind, source, UNSIGNED, size=(size, size), filters=1, strides=(2, 2))
    assert_exact(ending_with(source, operation))


@pytest.mark.parametrize("kind", KINDS)
def test_dead_channels_return_their_bias(kind):
    source = image(3, 3, 4)
    weights = identity(kind, source, SIGNED).weights * 0
    bias = np.array([0, 2**22, -(2**22), 1], np.int32)
    factors = np.float32([2.0**-40, 100 / 2**22, 100 / 2**22, 2.0**-40])
    model = ending_with(source, linear(kind, source, source.shape, weights, SIGNED, factors, bias))
    assert set(assert_exact(model).reshape(-1, 4)[0]) == {0, 100, -100}


@pytest.mark.parametrize("kind", KINDS)
def test_large_accumulators_lose_bits(kind):
    source = image(3, 3, 64)
    bias = (2 * np.arange(-32, 32, dtype=np.int32) + 1) * 2**23  # half a level, give or take what float32 drops
    model = ending_with(source, identity(kind, source, SIGNED, 2.0**-24, bias=bias))
    levels = levels_of(model)
    exact = np.rint((levels + bias.astype(float)) / 2**24)
    assert (assert_exact(model, levels) != exact).any()


@pytest.mark.parametrize("kind", KINDS)
def test_accumulators_wrap(kind):
    source = image(3, 3, 2)
    bias = np.array([2**31 - 1, -(2**31)], np.int32)
    model = ending_with(source, identity(kind, source, SIGNED, 2.0**-24, bias=bias))
    found = assert_exact(model)
    for channel in range(2):
        assert set(found[..., channel].ravel()) == {-128, 127}


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_dense_layers_on_vectors_and_maps(shape):
    source = image(*shape)
    assert_exact(ending_with(source, random_layer(graph.Dense, source, UNSIGNED, filters=3)))


# Sums, means and maxima


@pytest.mark.parametrize("exponents", list(itertools.combinations_with_replacement(RATIOS, 2)))
def test_sums_at_every_ratio_of_scales(exponents):
    source = image(2, 2, 64, grid=graph.Grid(0, -128, 127))
    left, right = (
        identity(graph.Convolution, source, graph.Grid(exponent, -128, 127), name=f"summand_{place}")
        for place, exponent in enumerate(exponents)
    )
    reversed_channels = graph.Convolution(
        right.inputs, right.output, right.weights[..., ::-1].copy(), right.bits, right.steps, None
    )
    total = graph.Add((left.name, right.name), graph.Tensor("sum", source.shape, graph.Grid(0, -128, 127)))
    model = ending_with(source, left, reversed_channels, total)
    levels = levels_of(model, 20)
    exact = (levels * 2.0 ** exponents[0]) + (levels[..., ::-1] * 2.0 ** exponents[1])
    np.testing.assert_array_equal(assert_exact(model, levels), np.clip(np.floor(exact + 0.5), -128, 127))
    assert runs_in_xnnpack(litert.write(model))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_sums_clamp_to_any_grid(grid):
    source = image(4, 4, 8, grid=graph.Grid(grid.exponent + 1, -128, 127))
    twice = graph.Add(("image", "image"), graph.Tensor("sum", source.shape, grid))
    found = assert_exact(ending_with(source, twice))
    assert (found.min(), found.max()) == (grid.low, grid.high)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (7, 7), (5, 3), (3, 3), (7, 1), (6, 10)])
@pytest.mark.parametrize("zero_points", list(itertools.product((0, -128), repeat=2)))
@pytest.mark.parametrize("keep_axes", [False, True])
def test_means_next_to_ties(size, zero_points, keep_axes):
    source_grid, grid = (graph.Grid(0, -128 - zero, 127 - zero, zero) for zero in zero_points)
    source = image(*size, 8, grid=source_grid)
    levels = levels_of(ending_with(source, graph.Clip(("image",), source)), 200)
    count = math.prod(size)
    for exponent in (-5, -2, 0, 1, 2, 20):
        output = graph.Tensor(
            "mean", (1, 1, 8) if keep_axes else (8,), graph.Grid(exponent, grid.low, grid.high, grid.zero_point)
        )
        near = nudged(levels, source_grid, count * 2 ** max(exponent, 0))
        assert_exact(ending_with(source, graph.Mean(("image",), output)), near)


def nudged(levels, grid, unit):
    """Levels of which the sums are half a unit, one and a half, and so on, where the grid allows."""
    flat = levels.reshape(len(levels), -1, levels.shape[-1]).copy()
    totals = flat.sum(axis=1)
    missing = totals // unit * unit + unit // 2 - totals
    for row in range(flat.shape[1]):
        moved = np.clip(flat[:, row] + missing, grid.low, grid.high)
        missing = missing - (moved - flat[:, row])
        flat[:, row] = moved
    return flat.reshape(levels.shape)


def test_means_clamp_to_any_grid():
    for grid in GRIDS:
        source = image(2, 2, 8, grid=graph.Grid(grid.exponent + 2, -128, 127))
        found = assert_exact(ending_with(source, graph.Mean(("image",), graph.Tensor("mean", (8,), grid))))
        assert (found.min(), found.max()) == (grid.low, grid.high)


@pytest.mark.parametrize("kind", [graph.AveragePool, graph.MaxPool])
@pytest.mark.parametrize("grid", [SIGNED, UNSIGNED, graph.Grid(-4, 0, 15, -128), graph.Grid(0, -2, 1)], ids=str)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pools(kind, grid, padding):
    source = image(7, 6, 3, grid=grid)
    for size, strides in itertools.product([(1, 1), (2, 2), (3, 3), (2, 3), (6, 6)], [(1, 1), (2, 2), (3, 2)]):
        output = graph.Tensor("pool", (*places((7, 6), size, strides, padding), 3), grid)
        assert_exact(ending_with(source, kind(("image",), output, size, strides, padding)))


# Values in other places


def test_clips():
    for grid in GRIDS:
        source = image(
            3, 3, 8, grid=graph.Grid(grid.exponent, -128 - grid.zero_point, 127 - grid.zero_point, grid.zero_point)
        )
        found = assert_exact(ending_with(source, graph.Clip(("image",), graph.Tensor("clip", source.shape, grid))))
        assert (found.min(), found.max()) == (grid.low, grid.high)


def test_a_clip_may_have_nothing_to_do():
    source = image(3, 3, 8)
    assert_exact(ending_with(source, graph.Clip(("image",), graph.Tensor("clip", source.shape, source.grid))))


@pytest.mark.parametrize("factors", [(2, 2), (1, 3), (7, 1), (41, 47), (3, 63)])
def test_upsampling_repeats_every_value(factors):
    source = image(5, 3, 2)
    output = graph.Tensor("upsample", (5 * factors[0], 3 * factors[1], 2), source.grid)
    model = ending_with(source, graph.Upsample(("image",), output, factors))
    assert_exact(model, levels_of(model, 3))


@pytest.mark.parametrize("grid", [SIGNED, UNSIGNED], ids=["signed", "unsigned"])
def test_moved_values(grid):
    source = image(5, 4, 3, grid=grid)
    margins = ((1, 2), (0, 3))
    for operation in [
        graph.Reshape(("image",), graph.Tensor("moved", (60,), grid)),
        graph.Reshape(("image",), graph.Tensor("moved", (2, 10, 3), grid)),
        *(
            graph.Transpose(("image",), graph.Tensor("moved", tuple(source.shape[axis] for axis in order), grid), order)
            for order in itertools.permutations(range(3))
        ),
        graph.Pad(("image",), graph.Tensor("moved", (8, 7, 3), grid), margins),
        graph.Crop(("image",), graph.Tensor("moved", (2, 1, 3), grid), margins),
    ]:
        assert_exact(ending_with(source, operation))
