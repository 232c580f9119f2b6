"""Writes an integer graph as a LiteRT (TensorFlow Lite) file.

The file is made through the schema's object API, not by TensorFlow's converter, which puts weights of 5 to 7 bits on
another grid. Weights are stored as INT8 tensors that hold our integers, with their steps as scales per channel, so the
default kernels (XNNPACK) compute what `emulator` computes, bit for bit, on x86-64.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bompnas.errors import InputError
from bompnas.export import litert_limits, metadata
from bompnas.export.graph import IntegerGraph
from bompnas.export.litert_file import LiteRTFile
from bompnas.export.litert_operators import GraphWriter, quantization
from bompnas.export.metadata import read_metadata

if TYPE_CHECKING:
    import keras

__all__ = ["read_metadata", "write"]


def write(
    graph: IntegerGraph,
    *,
    io: Literal["int8", "float"] = "int8",
    int4: bool = False,
    tail: "keras.Model | None" = None,
    labels: Sequence[str] = (),
) -> bytes:
    """The graph as a LiteRT file, for batches of any size; tensors are called as the graph's.

    Args:
        graph: What to write.
        io: `int8`: raw values go in and come out, see `read_metadata` for what they stand for. `float`: the file takes
            what the Keras model takes and returns real values.
        int4: Store weights of up to 4 bits as INT4, half the bytes. XNNPACK takes such a dense layer, if the number of
            its inputs is even, and computes it exactly; other layers it leaves to kernels that round twice: up to a
            quarter of a layer's outputs were off by one level, and what follows from them in later layers.
        tail: A float model from the graph's output on, appended as TensorFlow converts it; the output is then float.
        labels: Names of the outputs, kept in the metadata.

    Raises:
        InputError: `io` is neither.
        NotExportableError: LiteRT cannot hold a layer, or its kernels do not compute it exactly.
    """
    if io not in ("int8", "float"):
        raise InputError(f"io: expected 'int8' or 'float', found {io!r}")
    graph = graph.until(graph.output)
    litert_limits.check(graph)
    file = LiteRTFile()
    writer = GraphWriter(file, int4)
    if io == "float":
        first = file.activation(f"{graph.input.name}/real", graph.input.shape)
        source = _quantized(file, writer, graph, first)
    else:
        first = source = file.activation(graph.input.name, graph.input.shape, quantization(graph.input.grid))
    writer.begin(graph.input, source)
    writer.operations(graph.operations)
    last = writer.indices[graph.output]
    if io == "float" or tail is not None:
        real = file.activation(f"{graph.output}/real", graph.tensors[graph.output].shape)
        last = file.operator("DEQUANTIZE", 2, [last], real, schema.DequantizeOptionsT())
    if tail is not None:
        from bompnas.export.tail import convert  # imports TensorFlow

        last = file.merge(convert(tail), last)
    file.metadata(metadata.NAME, metadata.describe(graph, io, labels))
    return metadata.sign(file.finish(first, last))


def _quantized(file: LiteRTFile, writer: GraphWriter, graph: IntegerGraph, source: int) -> int:
    """Centres and quantizes real values."""
    tensor = graph.input
    scale, offset = graph.centring
    for code, value, neutral in (("MUL", scale, 1.0), ("ADD", offset, 0.0)):
        if value != neutral:
            constant = file.constant(f"{tensor.name}/{code.lower()}", np.array([value], np.float32))
            options = schema.MulOptionsT() if code == "MUL" else schema.AddOptionsT()
            result = file.activation(f"{tensor.name}/after_{code.lower()}", tensor.shape)
            source = file.operator(code, 1, [source, constant], result, options)
    return writer.clamped(tensor, "QUANTIZE", 1, [source], schema.QuantizeOptionsT())
