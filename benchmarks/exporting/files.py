"""The files of a network, and the weights that a LiteRT file holds, whoever wrote it."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bompnas.export.graph import IntegerGraph, Linear

PACKED = "packed"
OURS, OURS_INT4 = "LiteRT, INT8", "LiteRT, INT4 where it fits"
PTQ, QAT, QAT_WIDE = "converter, PTQ", "converter, QAT", "converter, QAT at 8 bits"
NAMES = (PACKED, OURS, OURS_INT4, PTQ, QAT, QAT_WIDE)
"""What results call them."""

OFF_GRID = 1e-3  # steps; the float32 scales of equal grids differ by some 1e-7
_OPERATORS = {
    schema.BuiltinOperator.CONV_2D: "CONV_2D",
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: "DEPTHWISE_CONV_2D",
    schema.BuiltinOperator.FULLY_CONNECTED: "FULLY_CONNECTED",
}


@dataclasses.dataclass(frozen=True, eq=False)
class StoredWeights:
    """Weights of one operator.

    Attributes:
        kind: The operator's name.
        integers: As they are stored, int32, in the operator's layout.
        steps: Their scales by output channel, shape (out_channels,).
        axis: Of the output channels.
        bits: Of the storage: 4 or 8.
        bias: int32.
    """

    kind: str
    integers: np.ndarray
    steps: np.ndarray
    axis: int
    bits: int
    bias: np.ndarray

    def channels_last(self) -> np.ndarray:
        """The integers with the axes in Keras' order, shape (..., out_channels), and none of length 1 at the front."""
        if self.kind == "DEPTHWISE_CONV_2D":
            return self.integers[0]
        return np.moveaxis(self.integers, self.axis, -1)


def stored_weights(file: bytes) -> Iterator[StoredWeights]:
    """The layers of a file in the order in which they are carried out."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    (graph,) = model.subgraphs
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = _OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode))
        if kind is not None:
            weights, bias = (graph.tensors[index] for index in operator.inputs[1:3])
            yield StoredWeights(
                kind,
                _integers(weights, model.buffers[weights.buffer].data),
                np.asarray(weights.quantization.scale, np.float32),
                weights.quantization.quantizedDimension,
                4 if weights.type == schema.TensorType.INT4 else 8,
                np.asarray(model.buffers[bias.buffer].data, np.uint8).view(np.int32),
            )


def text_bytes(file: bytes) -> int:
    """Bytes of a file that are names of tensors, or metadata: what inference does not need."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    names = sum(len(tensor.name) for tensor in model.subgraphs[0].tensors)
    return names + sum(len(model.buffers[entry.buffer].data) for entry in model.metadata or ())


def same_weights(file: bytes, graph: IntegerGraph) -> bool:
    """Whether a file holds exactly the weights, steps and biases of a graph."""
    return all(
        np.array_equal(stored.channels_last(), operation.weights)
        and np.array_equal(stored.steps, operation.steps)
        and np.array_equal(stored.bias, operation.bias)
        for stored, operation in zip(stored_weights(file), graph.linear, strict=True)
    )


def deviations(file: bytes, graph: IntegerGraph) -> list[float]:
    """By layer, how far the weights that a file's integers stand for are from a graph's, at most [steps of the graph].

    Raises:
        ValueError: The file's layers have other shapes.
    """
    result = []
    for stored, operation in zip(stored_weights(file), graph.linear, strict=True):
        theirs = stored.channels_last() * stored.steps.astype(np.float64)
        result.append(_deviation(theirs.reshape(-1, theirs.shape[-1]), operation))
    return result


def off_grid(deviations: list[float]) -> int:
    """Number of layers whose weights are not ours."""
    return sum(deviation > OFF_GRID for deviation in deviations)


def _deviation(theirs: np.ndarray, operation: Linear) -> float:
    ours = operation.weights.reshape(-1, operation.weights.shape[-1])
    if theirs.shape != ours.shape:
        raise ValueError(f"{operation.name}: weights of shape {ours.shape} expected, {theirs.shape} found")
    return float(np.abs(theirs / operation.steps - ours).max())


def _integers(tensor, data: np.ndarray) -> np.ndarray:
    values = np.asarray(data, np.uint8)
    if tensor.type == schema.TensorType.INT4:
        halves = np.stack([values & 15, values >> 4], axis=-1).reshape(-1).astype(np.int32)
        values = np.where(halves > 7, halves - 16, halves)[: int(np.prod(tensor.shape))]
    else:
        values = values.view(np.int8).astype(np.int32)
    return values.reshape(tensor.shape)
