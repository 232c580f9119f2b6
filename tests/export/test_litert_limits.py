import numpy as np
import pytest

from bompnas.errors import NotExportableError
from bompnas.export import graph, litert, litert_limits
from bompnas.export.emulator import emulate
from bompnas.export.interpreter import Interpreter, litert_levels

SOURCE = graph.Tensor("image", (4, 4, 2), graph.Grid(0, -128, 127))
SIGNED = graph.Grid(0, -128, 127)


def dense(factor, name="dense", bits=8, grid=SIGNED):
    """Levels times a factor, the channels exchanged."""
    steps = np.full(2, factor * grid.scale, np.float32)
    weights = np.array([[0, 1], [1, 0]], np.int32)
    return graph.Dense(("image",), graph.Tensor(name, SOURCE.shape, grid), weights, bits, steps, None)


def total(exponent):
    """The image, of which the halves are ties, and levels whose scale is 2^exponent times the sum's."""
    summand = dense(1, "summand", grid=graph.Grid(exponent + 1, -128, 127))
    output = graph.Tensor("sum", SOURCE.shape, graph.Grid(1, -128, 127))
    return summand, graph.Add(("summand", "image"), output)


def mean(exponent):
    return graph.Mean(("image",), graph.Tensor("mean", (2,), graph.Grid(exponent, -128, 127)))


def pad(low, high):
    source = graph.Tensor("clip", SOURCE.shape, graph.Grid(0, low, high))
    padded = graph.Tensor("pad", (6, 5, 2), source.grid)
    return graph.Clip(("image",), source), graph.Pad(("clip",), padded, ((1, 1), (0, 1)))


def model(*operations):
    return graph.IntegerGraph(SOURCE, operations, operations[-1].name)


LEVELS = np.random.default_rng(0).integers(-128, 128, (200, *SOURCE.shape), dtype=np.int32)
LEVELS[:100, ..., 0] = 0


@pytest.mark.parametrize(
    "operations",
    [(dense(255.99),), (dense(2.0**-60),), total(-10), total(7), (mean(-11),), pad(0, 5), pad(-5, 0)],
    ids=["factor", "tiny factor", "small ratio", "large ratio", "mean", "pad from 0", "pad to 0"],
)
def test_up_to_the_limits_files_are_exact(operations):
    exact = model(*operations)
    found = litert_levels(Interpreter(litert.write(exact)), exact, LEVELS)
    np.testing.assert_array_equal(found, emulate(exact, LEVELS))


@pytest.mark.parametrize(
    ("operations", "layer", "reason"),
    [
        ((dense(1, bits=9),), "dense", "weights of up to 8 bits, found 9"),
        ((dense(256),), "dense", "factors below 256, found 256"),
        ((mean(-12),), "mean", "factors below 256, found 256"),
        (total(-11), "sum", "2^-10 to 2^7 times the sum's, found 2^-11 for 'summand'"),
        (total(8), "sum", "found 2^8 for 'summand'"),
        (pad(1, 5), "pad", "zeros are not among its levels, 1 to 5"),
        (pad(-5, -1), "pad", "zeros are not among its levels, -5 to -1"),
    ],
    ids=["bits", "factor", "mean", "small ratio", "large ratio", "pad above 0", "pad below 0"],
)
def test_beyond_the_limits_the_layer_is_named(operations, layer, reason):
    with pytest.raises(NotExportableError) as refusal:
        litert.write(model(*operations))
    assert refusal.value.layer == layer
    assert reason in refusal.value.reason


@pytest.mark.parametrize("operations", [total(-11), total(8)], ids=["small ratio", "large ratio"])
def test_refused_sums_would_round_otherwise(operations, monkeypatch):
    monkeypatch.setattr(litert_limits, "check", lambda graph: None)
    refused = model(*operations)
    found = litert_levels(Interpreter(litert.write(refused)), refused, LEVELS)
    assert (found != emulate(refused, LEVELS)).any()
