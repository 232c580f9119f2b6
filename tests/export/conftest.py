import itertools
import math

import numpy as np
import pytest

from bompnas.export import emulator, graph

SMALLEST_STEP = np.float32(2.0**-40)
LARGEST_BIAS = 2**22


@pytest.fixture(scope="session")
def random_graph():
    """A function from a seed to a small graph; seeds in a row meet every operation.

    Its steps are such that tensors span their grids. `largest_bits` is the largest width of weights, at most 16.
    """

    def make(seed, largest_bits=8):
        attempts = (_Builder(seed, attempt, largest_bits) for attempt in itertools.count())
        # An output that hardly varies would say nothing of the layers before it.
        return next(attempt.graph for attempt in attempts if np.ptp(attempt.sample) > 8)

    return make


@pytest.fixture(scope="session")
def random_levels():
    """A function from a graph, a number of images and a seed to levels of the graph's input."""
    return _levels


def _levels(tensor_or_graph, images, seed=0):
    tensor = getattr(tensor_or_graph, "input", tensor_or_graph)
    generator = np.random.default_rng(seed)
    return generator.integers(tensor.grid.low, tensor.grid.high + 1, (images, *tensor.shape), dtype=np.int32)


class _Builder:
    """Adds random operations to a graph, and keeps samples of its tensors to choose the next steps by."""

    def __init__(self, seed, attempt, largest_bits):
        self.seed = seed
        self.largest_bits = largest_bits
        self.random = np.random.default_rng((seed, attempt))
        height, width = (int(length) for length in self.random.integers(4, 10, 2))
        shape = (height, width, self.one_of(1, 2, 3))
        self.input = self.current = graph.Tensor("image", shape, graph.Grid(-7, -128, 127))
        self.samples = {self.input.name: _levels(self.input, 4, seed)}
        self.operations = []
        self.fill()
        self.graph = graph.IntegerGraph(self.input, tuple(self.operations), self.current.name, (2.0**-7, -1.0))

    def fill(self):
        maps = [
            self.convolution,
            self.depthwise,
            self.dense,
            self.residual,
            self.average_pool,
            self.max_pool,
            self.clip,
            self.transpose,
            self.pad,
            self.crop,
            self.upsample,
            self.reshape,
        ]
        vectors = [self.mean, self.mean_with_axes, self.flatten, self.keep]
        if self.chance(0.8):
            self.convolution()
        maps[self.seed % len(maps)]()
        for _ in range(self.random.integers(1, 6)):
            self.one_of(self.convolution, self.depthwise, self.residual, *maps)()
        vectors[self.seed % len(vectors)]()
        self.dense(units=self.one_of(3, 10), grid=graph.Grid(int(self.random.integers(-6, 2)), -128, 127))

    # Linear layers

    def convolution(self, like=None):
        """With the shape of `like`, if given."""
        window = self.window() if like is None else {**self.window(), "strides": (1, 1), "padding": "same"}
        filters = self.one_of(1, 1, 2, 5, 8, 16) if like is None else like.shape[-1]
        weights, bits = self.weights((*window.pop("size"), self.current.shape[-1], filters))
        shape = (*self.places(weights.shape[:2], **window), filters)
        self.linear(graph.Convolution, shape, weights, bits, math.prod(weights.shape[:3]), **window)

    def depthwise(self):
        window = self.window()
        window["strides"] = (window["strides"][0],) * 2
        weights, bits = self.weights((*window.pop("size"), self.current.shape[-1]))
        shape = (*self.places(weights.shape[:2], **window), weights.shape[-1])
        fan_in = math.prod(weights.shape[:2])
        self.linear(graph.DepthwiseConvolution, shape, weights, bits, fan_in, **window)

    def dense(self, units=None, grid=None):
        features, units = self.current.shape[-1], units or self.one_of(1, 3, 10)
        weights, bits = self.weights((features, units))
        self.linear(graph.Dense, (*self.current.shape[:-1], units), weights, bits, features, grid)

    def weights(self, shape):
        bits = int(self.random.integers(2, self.largest_bits + 1))
        largest = 2 ** (bits - 1) - 1
        weights = self.random.integers(-largest, largest + 1, shape, dtype=np.int32)
        if shape[-1] > 1 and self.chance(0.3):
            weights[..., 0] = 0
        return weights, bits

    def linear(self, kind, shape, weights, bits, fan_in, grid=None, **window):
        grid = grid or self.grid()
        level, weight = (math.sqrt(np.mean(np.square(values, dtype=float))) for values in (self.sample, weights))
        typical = max(1.0, math.sqrt(fan_in) * level * weight)  # an accumulator
        channels = shape[-1]
        factors = grid.high / typical * self.random.uniform(0.1, 0.6, channels)
        bias = np.round(typical * self.random.normal(0, 0.5, channels)).astype(np.int32)
        dead = ~weights.any(axis=tuple(range(weights.ndim - 1)))
        large = dead & self.chance(0.5)  # no weights, but a bias: its unit is chosen by the bias alone
        bias[dead] = 0
        bias[large] = LARGEST_BIAS * self.random.choice([-1, 1])
        factors[large] = grid.high / LARGEST_BIAS / 2
        steps = (factors * 2.0 ** (grid.exponent - self.current.grid.exponent)).astype(np.float32)
        steps[dead & ~large] = SMALLEST_STEP
        bias = None if self.chance(0.2) else bias
        self.add(kind, shape, grid, weights=weights, bits=bits, steps=steps, bias=bias, **window)

    # Other operations

    def residual(self):
        source = self.current
        self.convolution(like=source)
        left, right = source.grid.exponent, self.current.grid.exponent
        exponent = min(max(left, right) + int(self.random.integers(-1, 2)), min(left, right) + 6)
        self.add(graph.Add, source.shape, self.grid(exponent), inputs=(source.name, self.current.name))

    def mean(self):
        self.average((self.current.shape[-1],))

    def mean_with_axes(self):
        self.average((1, 1, self.current.shape[-1]))

    def average(self, shape):
        self.add(graph.Mean, shape, self.grid(self.current.grid.exponent - int(self.random.integers(0, 3))))

    def average_pool(self):
        self.pool(graph.AveragePool)

    def max_pool(self):
        self.pool(graph.MaxPool)

    def pool(self, kind):
        window = {**self.window(), "size": self.one_of((1, 2), (2, 2), (3, 3), (2, 3))}
        if self.current.shape[0] < 3 or self.current.shape[1] < 3:
            window["padding"] = "same"
        del window["dilation"]
        self.add(kind, (*self.places(**window), self.current.shape[-1]), **window)

    def clip(self):
        grid = self.current.grid
        low, high = sorted(int(level) for level in self.random.integers(grid.low, grid.high + 1, 2))
        low, high = (min(low, 0), max(high, 1)) if self.chance(0.5) else (max(grid.low, 0), grid.high)
        self.add(graph.Clip, self.current.shape, graph.Grid(grid.exponent, low, high, grid.zero_point))

    def transpose(self):
        permutation = tuple(int(axis) for axis in self.random.permutation(3))
        self.add(graph.Transpose, tuple(self.current.shape[axis] for axis in permutation), permutation=permutation)

    def pad(self):
        (top, bottom), (left, right) = margins = self.margins()
        height, width, channels = self.current.shape
        self.add(graph.Pad, (height + top + bottom, width + left + right, channels), margins=margins)

    def crop(self):
        height, width, channels = self.current.shape
        margins = tuple(
            (first, min(last, length - first - 1))
            for length, (first, last) in zip((height, width), self.margins(), strict=True)
            if first < length
        )
        if len(margins) == 2:
            (top, bottom), (left, right) = margins
            self.add(graph.Crop, (height - top - bottom, width - left - right, channels), margins=margins)

    def upsample(self):
        height, width, channels = self.current.shape
        rows, columns = factors = self.one_of((1, 2), (2, 1), (2, 2))
        if height * width <= 100:
            self.add(graph.Upsample, (height * rows, width * columns, channels), factors=factors)

    def reshape(self):
        height, width, channels = self.current.shape
        self.add(graph.Reshape, (width, channels, height))

    def flatten(self):
        self.add(graph.Reshape, (math.prod(self.current.shape),))

    def keep(self):
        """Dense layers take maps as well."""

    # What they have in common

    @property
    def sample(self):
        return self.samples[self.current.name]

    def add(self, kind, shape, grid=None, inputs=None, **attributes):
        output = graph.Tensor(f"{kind.__name__}_{len(self.operations)}", shape, grid or self.current.grid)
        operation = kind(inputs or (self.current.name,), output, **attributes)
        self.operations.append(operation)
        part = graph.IntegerGraph(self.input, tuple(self.operations), output.name)
        self.samples[output.name] = emulator.emulate(part, self.samples[self.input.name])
        self.current = output

    def grid(self, exponent=None):
        exponent = self.current.grid.exponent + int(self.random.integers(-5, 6)) if exponent is None else exponent
        exponent = min(max(exponent, -12), 4)
        bits = self.one_of(8, 8, 8, int(self.random.integers(2, 8)))
        if self.chance(0.5):
            return graph.Grid(exponent, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        six = 6 * 2 ** max(-exponent, 0)
        high = min(2**bits - 1, six) if self.chance(0.6) else 2**bits - 1
        return graph.Grid(exponent, 0, high, -128)

    def window(self):
        height, width, _ = self.current.shape
        size = tuple(int(length) for length in self.random.integers(1, 6, 2)) if self.chance(0.3) else None
        size = size or (self.one_of(1, 2, 3, 4, 5, 6),) * 2
        strides = self.one_of((1, 1), (1, 1), (2, 2), (1, 2), (3, 3))
        dilation = self.one_of((1, 1), (1, 1), (2, 2), (1, 2)) if strides == (1, 1) else (1, 1)
        reach = [(length - 1) * gap + 1 for length, gap in zip(size, dilation, strict=True)]
        fits = reach[0] <= height and reach[1] <= width
        padding = "valid" if fits and self.chance(0.4) else "same"
        return {"size": size, "strides": strides, "padding": padding, "dilation": dilation}

    def places(self, size, strides, padding, dilation=(1, 1)):
        lengths = self.current.shape[:2]
        if padding == "valid":
            lengths = [length - (window - 1) * gap for length, window, gap in zip(lengths, size, dilation, strict=True)]
        return tuple(-(-length // stride) for length, stride in zip(lengths, strides, strict=True))

    def margins(self):
        top, bottom, left, right = (int(margin) for margin in self.random.integers(0, 3, 4))
        return (top, bottom), (left, right)

    def one_of(self, *choices):
        return choices[self.random.integers(len(choices))]

    def chance(self, probability):
        return self.random.random() < probability
