"""Tables of operators timed with LiteRT on this machine: `python -m bompnas.export.operators SPACE --out FILE`.

Every operator is a LiteRT file of its own; what a file takes that computes nothing is taken off. Weights of 2 to 8 bits
are all held as INT8, so one measurement serves them all. The table is what the device model `lookup` reads.
"""

import argparse
import dataclasses
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from bompnas.errors import InputError
from bompnas.export import latency, litert
from bompnas.export.graph import (
    Convolution,
    Dense,
    DepthwiseConvolution,
    Grid,
    IntegerGraph,
    Reshape,
    Tensor,
)
from bompnas.hardware.layers import LayerTable, distinct
from bompnas.hardware.lookup import LookupTable
from bompnas.hardware.quantities import LATENCY
from bompnas.space import loader, sampling
from bompnas.space.batch import CONV, DENSE, DEPTHWISE, FLOAT, NetworkBatch
from bompnas.space.head import DenseHead

WIDTHS = tuple(range(2, 9))
_GRID = Grid(-4, 0, 255, -128)
_STEP = 2.0**-10  # keeps outputs of random weights from being all saturated


def timed(
    networks: NetworkBatch,
    threads: int = 1,
    warmup: int = 10,
    repetitions: int = 100,
    shown: Callable[[Sequence[int]], Sequence[int]] = lambda places: places,
) -> LookupTable:
    """Latencies of all layers of some networks, at weight widths of 2 to 8 bits [ms].

    Args:
        networks: Whose layers.
        threads: For LiteRT.
        warmup: Runs of each operator before the measured ones.
        repetitions: Measured runs of each operator, of which the median stands.
        shown: Shows progress over what it is given.

    Returns:
        A table with the cost `latency_ms`; 0 for operators that take no longer than an empty file.

    Raises:
        NotExportableError: LiteRT has no integer kernel for an operator.
    """
    layers = LayerTable.of(networks)
    layers = layers[layers.kind != FLOAT]
    shapes, numbers = distinct((layers.kind, layers.kernel, layers.stride, *_sizes(layers)))
    examples = layers[shapes]

    def median(graph: IntegerGraph) -> float:
        return latency.measure(litert.write(graph), threads, warmup, repetitions).median_ms

    empty = median(_empty())
    found = [max(0.0, median(_operator(examples, place)) - empty) for place in shown(range(len(examples)))]
    times = np.array(found)[numbers]
    every = [dataclasses.replace(layers, weight_bits=np.full(len(layers), bits)) for bits in WIDTHS]
    columns = (np.concatenate(parts) for parts in zip(*(table.columns for table in every), strict=True))
    source = f"LiteRT, {threads} thread(s), {repetitions} runs of each operator, on {platform.processor() or 'a CPU'}"
    return LookupTable.of_layers(LayerTable(*columns), {LATENCY.name: np.tile(times, len(WIDTHS))}, source)


def main(arguments: Sequence[str] | None = None) -> int:
    """Times the operators of random networks of a space and writes the table.

    Returns:
        The exit status: 0, or 2 when the input is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bompnas.export.operators",
        description="Time the operators of a search space with LiteRT on this machine, for the device model lookup.",
    )
    parser.add_argument("space", type=Path, metavar="SPACE", help="such as search_spaces/mobilenetv2_digits.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, a CSV file")
    parser.add_argument("--outputs", type=int, default=10, help="of the dense head (default: %(default)s)")
    parser.add_argument(
        "--networks", type=int, default=2000, help="random networks whose operators are timed (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random networks (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="for LiteRT (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=100, help="measured runs (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name in ("outputs", "networks", "threads", "repetitions"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected 1 or more, found {getattr(options, name)}")
    console = Console(stderr=True)
    try:
        space = loader.load(options.space, head=DenseHead(options.outputs))
        codes = sampling.uniform(space, np.random.default_rng(options.seed), options.networks)
        networks = space.batch(np.concatenate([space.defaults[None], codes]))
        found = timed(
            networks,
            options.threads,
            repetitions=options.repetitions,
            shown=lambda places: track(places, "operators", console=console),
        )
        found.write(options.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"--out: {options.out} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{options.out}: {len(found.layers)} operators of {len(networks)} networks")
    return 0


def _sizes(layers: LayerTable) -> tuple[np.ndarray, ...]:
    return layers.in_channels, layers.out_channels, layers.input_size, layers.output_size


def _empty() -> IntegerGraph:
    source = Tensor("input", (1, 1, 8), _GRID)
    return IntegerGraph(source, (Reshape(("input",), Tensor("nothing", (8,), _GRID)),), "nothing")


def _operator(layers: LayerTable, place: int) -> IntegerGraph:
    """A layer of a table, with random weights, as a graph."""
    kind, kernel, stride, inputs, outputs, before, after = (
        column[place].item() for column in (layers.kind, layers.kernel, layers.stride, *_sizes(layers))
    )
    shape = {CONV: (kernel, kernel, inputs, outputs), DEPTHWISE: (kernel, kernel, outputs), DENSE: (inputs, outputs)}
    weights = {
        "weights": np.random.default_rng(0).integers(-127, 128, shape[kind], np.int32),
        "bits": 8,
        "steps": np.full(outputs, _STEP, np.float32),
        "bias": np.zeros(outputs, np.int32),
    }
    flat = kind == DENSE and before == 1
    source = Tensor("input", (inputs,) if flat else (before, before, inputs), _GRID)
    output = Tensor("operator", (outputs,) if flat else (after, after, outputs), _GRID)
    if kind == DENSE:
        operation = Dense(("input",), output, **weights)
    else:
        made = Convolution if kind == CONV else DepthwiseConvolution
        operation = made(("input",), output, **weights, strides=(stride, stride))
    return IntegerGraph(source, (operation,), "operator")


if __name__ == "__main__":
    sys.exit(main())
