"""The emulator against sums that are written out one by one."""

import fractions
import math

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.export.emulator import emulate, trace
from bompnas.export.graph import (
    Add,
    AveragePool,
    Clip,
    Convolution,
    Crop,
    Dense,
    DepthwiseConvolution,
    Grid,
    IntegerGraph,
    MaxPool,
    Mean,
    Pad,
    Reshape,
    Tensor,
    Transpose,
    Upsample,
    factor,
)

SIGNED = Grid(-5, -128, 127)
UNSIGNED = Grid(-5, 0, 255, -128)
HALF = fractions.Fraction(1, 2)


def one(kind, source, grid, shape, *others, **attributes):
    """A graph of one operation."""
    operation = kind((source.name, *others), Tensor("made", shape, grid), **attributes)
    return IntegerGraph(source, (operation,), "made")


def rows(*values):
    return np.array(values, np.int32)


# One by one: no array arithmetic but the sum over one window.


def brute_force(graph, image):
    """Levels of every tensor for one image."""
    tensors, values = graph.tensors, {graph.input.name: image.astype(np.int64)}
    for operation in graph.operations:
        grids = [tensors[name].grid for name in operation.inputs]
        values[operation.name] = brute(operation, grids, [values[name] for name in operation.inputs])
    return values


def brute(operation, grids, sources):
    source, grid, made = sources[0], grids[0], operation.output.grid
    result = np.zeros(operation.output.shape, np.int64)
    match operation:
        case Convolution(weights=weights) | DepthwiseConvolution(weights=weights):
            factors = factor(operation, grid)
            for row, column, channel in np.ndindex(result.shape):
                total = 0 if operation.bias is None else int(operation.bias[channel])
                size = weights.shape[:2]
                for i, j, y, x in window(source.shape, size, operation, row, column, operation.dilation):
                    if weights.ndim == 4:
                        total += int(source[y, x] @ weights[i, j, :, channel])
                    else:
                        total += int(source[y, x, channel] * weights[i, j, channel])
                result[row, column, channel] = requantized(total, factors[channel], made)
        case Dense(weights=weights):
            factors = factor(operation, grid)
            for *place, unit in np.ndindex(result.shape):
                total = int(source[tuple(place)] @ weights[:, unit].astype(np.int64))
                total += 0 if operation.bias is None else int(operation.bias[unit])
                result[(*place, unit)] = requantized(total, factors[unit], made)
        case Add():
            for place in np.ndindex(result.shape):
                exact = sum(
                    int(level[place]) * fractions.Fraction(2) ** (g.exponent - made.exponent)
                    for level, g in zip(sources, grids, strict=True)
                )
                result[place] = clamped(math.floor(exact + HALF), made)
        case Mean():
            height, width, channels = source.shape
            scale = np.float32(2.0 ** (grid.exponent - made.exponent) / (height * width))
            means = [requantized(int(source[..., c].sum()), scale, made) for c in range(channels)]
            result = np.reshape(means, operation.output.shape)
        case AveragePool() | MaxPool():
            for row, column, channel in np.ndindex(result.shape):
                places = window(source.shape, operation.size, operation, row, column)
                seen = [int(source[y, x, channel]) for _, _, y, x in places]
                result[row, column, channel] = max(seen)
                if isinstance(operation, AveragePool):
                    mean = fractions.Fraction(sum(level + grid.zero_point for level in seen), len(seen))
                    result[row, column, channel] = half_away(mean) - grid.zero_point
        case Clip():
            for place in np.ndindex(result.shape):
                result[place] = clamped(int(source[place]), made)
        case Reshape():
            result.flat = source.flat
        case Transpose(permutation=axes):
            for place in np.ndindex(result.shape):
                origin = [0] * len(axes)
                for index, axis in zip(place, axes, strict=True):
                    origin[axis] = index
                result[place] = source[tuple(origin)]
        case Pad(margins=((top, _), (left, _))):
            for y, x, c in np.ndindex(source.shape):
                result[y + top, x + left, c] = source[y, x, c]
        case Crop(margins=((top, _), (left, _))):
            for y, x, c in np.ndindex(result.shape):
                result[y, x, c] = source[y + top, x + left, c]
        case Upsample(factors=(down, right)):
            for y, x, c in np.ndindex(result.shape):
                result[y, x, c] = source[y // down, x // right, c]
    return result


def window(shape, size, operation, row, column, dilation=(1, 1)):
    """(window row, window column, row, column) for what a window sees of a map at one of its places."""
    corner = []
    for axis, place in enumerate((row, column)):
        stride, reach, length = operation.strides[axis], (size[axis] - 1) * dilation[axis] + 1, shape[axis]
        missing = max((operation.output.shape[axis] - 1) * stride + reach - length, 0)
        corner.append(place * stride - (missing // 2 if operation.padding == "same" else 0))
    for i, j in np.ndindex(*size):
        y, x = corner[0] + i * dilation[0], corner[1] + j * dilation[1]
        if 0 <= y < shape[0] and 0 <= x < shape[1]:
            yield i, j, y, x


def requantized(total, scale, grid):
    wrapped = (total + 2**31) % 2**32 - 2**31
    return clamped(round(float(np.float32(wrapped) * np.float32(scale))), grid)  # Python rounds half to even


def half_away(value):
    return math.floor(value + HALF) if value > 0 else math.ceil(value - HALF)


def clamped(level, grid):
    return min(max(level, grid.low), grid.high)


@pytest.mark.parametrize("seed", range(60))
def test_every_tensor_of_random_graphs_is_the_written_out_sum(random_graph, random_levels, seed):
    graph = random_graph(seed, largest_bits=16 if seed % 4 == 0 else 8)
    levels = random_levels(graph, 2, seed)
    expected = [brute_force(graph, image) for image in levels]
    names = []
    for name, values in trace(graph, levels):
        assert values.dtype == np.int32
        np.testing.assert_array_equal(values, np.stack([tensors[name] for tensors in expected]), err_msg=name)
        names.append(name)
    assert names == list(graph.tensors)


def test_random_graphs_meet_every_operation_and_stay_alive(random_graph, random_levels):
    graphs = [random_graph(seed) for seed in range(60)]
    kinds = {type(operation).__name__ for graph in graphs for operation in graph.operations}
    assert kinds == {
        *("Convolution", "DepthwiseConvolution", "Dense", "Add", "Mean", "AveragePool", "MaxPool"),
        *("Clip", "Reshape", "Transpose", "Pad", "Crop", "Upsample"),
    }
    outputs = [emulate(graph, random_levels(graph, 8)) for graph in graphs]
    at_the_ends = np.mean([np.mean((levels == -128) | (levels == 127)) for levels in outputs])
    assert at_the_ends < 0.15
    assert min(np.ptp(levels) for levels in outputs) > 0


# The arithmetic's corners.


def test_sums_wrap_as_int32_does():
    source = Tensor("x", (400,), UNSIGNED)
    weights = np.full((400, 1), 2**15 - 1, np.int32)
    steps = np.array([2.0**-24], np.float32)
    graph = one(Dense, source, Grid(-5, -128, 127), (1,), weights=weights, bits=16, steps=steps, bias=None)
    total = 400 * 255 * (2**15 - 1)
    assert 2**31 < total < 2**32
    assert emulate(graph, np.full((1, 400), 255, np.int32)) == [[round((total - 2**32) / 2**24)]]


def test_a_bias_wraps_the_sum_as_well():
    bias, steps = np.array([2**31 - 1], np.int32), np.array([2.0**-25], np.float32)
    weights = np.array([[1]], np.int32)
    graph = one(Dense, Tensor("x", (1,), SIGNED), SIGNED, (1,), weights=weights, bits=2, steps=steps, bias=bias)
    np.testing.assert_array_equal(emulate(graph, rows([0], [1])), rows([64], [-64]))


def test_an_accumulator_is_rounded_to_float32_before_it_is_multiplied():
    weights, bias, steps = np.array([[1]], np.int32), np.array([2**24], np.int32), np.array([2.0**-25], np.float32)
    graph = one(Dense, Tensor("x", (1,), SIGNED), SIGNED, (1,), weights=weights, bits=2, steps=steps, bias=bias)
    # 2^24 + 1 is no float32: it becomes 2^24, whose half is a tie; the exact sum would give 1.
    assert emulate(graph, rows([0], [1], [2])).ravel().tolist() == [0, 0, 1]


def test_linear_layers_round_half_to_even():
    steps = np.array([0.5], np.float32)
    weights = np.array([[1]], np.int32)
    graph = one(Dense, Tensor("x", (1,), SIGNED), SIGNED, (1,), weights=weights, bits=2, steps=steps, bias=None)
    found = emulate(graph, rows([-3], [-1], [1], [3], [5]))
    assert found.ravel().tolist() == [-2, 0, 0, 2, 2]


def test_add_rounds_half_up():
    source = Tensor("x", (1,), SIGNED)
    graph = one(Add, source, Grid(-3, -128, 127), (1,), "x")
    found = emulate(graph, rows([-3], [-1], [1], [3], [5]))
    assert found.ravel().tolist() == [-1, 0, 1, 2, 3]


def test_average_pool_rounds_raw_values_half_away_from_zero():
    signed = one(
        AveragePool, Tensor("x", (1, 2, 1), SIGNED), SIGNED, (1, 1, 1), size=(1, 2), strides=(1, 1), padding="valid"
    )
    pairs = rows([-3, 0], [-1, 0], [1, 0], [3, 0]).reshape(-1, 1, 2, 1)
    assert emulate(signed, pairs).ravel().tolist() == [-2, -1, 1, 2]
    unsigned = one(
        AveragePool, Tensor("x", (1, 2, 1), UNSIGNED), UNSIGNED, (1, 1, 1), size=(1, 2), strides=(1, 1), padding="valid"
    )
    pairs = rows([1, 0], [127, 128], [128, 129], [254, 255]).reshape(-1, 1, 2, 1)
    assert emulate(unsigned, pairs).ravel().tolist() == [0, 127, 129, 255]


def test_pools_with_same_padding_see_the_map_alone():
    source = Tensor("x", (2, 2, 1), SIGNED)
    image = rows([-7, -9], [-5, -3]).reshape(1, 2, 2, 1)
    window = {"size": (3, 3), "strides": (2, 2), "padding": "same"}
    assert emulate(one(MaxPool, source, SIGNED, (1, 1, 1), **window), image).item() == -3
    assert emulate(one(AveragePool, source, SIGNED, (1, 1, 1), **window), image).item() == -6


# What a caller may rely on.


def test_many_images_are_computed_in_chunks(random_graph, random_levels):
    graph = random_graph(3)
    levels = random_levels(graph, 500)
    together = emulate(graph, levels)
    np.testing.assert_array_equal(together[[0, 250, 499]], emulate(graph, levels[[0, 250, 499]]))
    assert emulate(graph, levels[:0]).shape == (0, *together.shape[1:])


def test_an_output_may_lie_inside_the_graph(random_graph, random_levels):
    graph = random_graph(5)
    levels = random_levels(graph, 3)
    for name, values in trace(graph, levels):
        part = IntegerGraph(graph.input, graph.operations, name)
        np.testing.assert_array_equal(emulate(part, levels), values)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (np.zeros((2, 3), np.int32), r"shape \('n', 4\), found int32 of shape \(2, 3\)"),
        (np.zeros((2, 4), np.float32), "expected integers .* found float32"),
        (np.full((2, 4), 200), "expected -128 to 127, found 200 to 200"),
    ],
)
def test_levels_that_are_none_are_refused(levels, message):
    graph = one(Clip, Tensor("x", (4,), SIGNED), SIGNED, (4,))
    with pytest.raises(InputError, match=message):
        emulate(graph, levels)
    with pytest.raises(InputError, match=message):
        next(trace(graph, levels))
