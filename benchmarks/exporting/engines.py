"""The engines that compute a quantized model, and how far their outputs agree."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from ai_edge_litert import interpreter as runtime

from bompnas.export import emulator, litert
from bompnas.export.extract import extract
from bompnas.export.graph import IntegerGraph
from bompnas.export.interpreter import Interpreter, litert_levels
from bompnas.training import loop
from exporting.subjects import Subject

BATCH = 64
BUILT_IN = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far two engines differ.

    Attributes:
        equal: Share of the outputs that are equal.
        argmax: Share of the images for which both choose the same class.
        max_lsb: Largest difference of two outputs [least significant bits].
    """

    equal: float
    argmax: float
    max_lsb: int

    @classmethod
    def of(cls, levels: np.ndarray, expected: np.ndarray) -> "Difference":
        """The difference of two engines' levels, shape (n, classes)."""
        return cls(
            float(np.mean(levels == expected)),
            float(np.mean(levels.argmax(axis=1) == expected.argmax(axis=1))),
            int(np.abs(levels - expected).max(initial=0)),
        )


def compare(subject: Subject) -> dict:
    """Runs all engines on a subject's images; see the keys."""
    model = subject.load()
    graph = extract(model).graph
    levels = graph.levels(subject.images)
    expected = emulator.emulate(graph, levels)
    file, narrow = litert.write(graph), litert.write(graph, int4=True)
    found = {
        "Keras": keras_levels(model, graph, subject.images),
        "LiteRT": litert_levels(Interpreter(file), graph, levels),
        "LiteRT, 2 threads": litert_levels(Interpreter(file, threads=2), graph, levels),
        "LiteRT, batches of 1": litert_levels(Interpreter(file, batch=1), graph, levels),
        "LiteRT, float ends": litert_levels(Interpreter(litert.write(graph, io="float")), graph, levels),
        "LiteRT, INT4 weights": litert_levels(Interpreter(narrow), graph, levels),
        "LiteRT, built-in kernels": built_in_levels(file, graph, levels),
    }
    tested = {"Keras": found["Keras"], "emulator": expected, "LiteRT": found["LiteRT"]}
    return {
        "name": subject.name,
        "layers": sum(1 for _ in graph.linear),
        "operations": len(graph.operations),
        "bits": sorted({operation.bits for operation in graph.linear}),
        "weights": sum(operation.weights.size for operation in graph.linear),
        "zero_channels": sum(zero_channels(operation.weights) for operation in graph.linear),
        "single_channel_layers": sum(operation.steps.size == 1 for operation in graph.linear),
        "images": len(levels),
        "outputs": expected.size,
        "test_images": len(subject.labels),
        "accuracy": {name: accuracy(outputs, subject.labels) for name, outputs in tested.items()},
        "differences": {name: dataclasses.asdict(Difference.of(outputs, expected)) for name, outputs in found.items()},
    }


def zero_channels(weights: np.ndarray) -> int:
    """Number of output channels without a weight other than zero."""
    return int(np.sum(~weights.any(axis=tuple(range(weights.ndim - 1)))))


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of the first images whose largest output is that of the label."""
    return float(np.mean(outputs[: len(labels)].argmax(axis=1) == labels))


def keras_levels(model: keras.Model, graph: IntegerGraph, images: np.ndarray) -> np.ndarray:
    """Levels of what Keras computes in inference.

    Raises:
        ValueError: An output is not on the output's grid.
    """
    levels = loop.predict(model, images, BATCH) / graph.tensors[graph.output].grid.scale
    if not np.array_equal(levels, np.round(levels)):
        raise ValueError(f"{graph.output}: Keras' outputs are not on the grid")
    return levels.astype(np.int32)


def built_in_levels(file: bytes, graph: IntegerGraph, levels: np.ndarray) -> np.ndarray:
    """Levels of what LiteRT computes without XNNPACK."""
    interpreter = runtime.Interpreter(model_content=file, experimental_op_resolver_type=BUILT_IN, num_threads=1)
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    raw = (levels + graph.input.grid.zero_point).astype(np.int8)
    found = []
    for batch in _batches(raw):
        interpreter.resize_tensor_input(source["index"], batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], batch)
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"]).astype(np.int32))
    return np.concatenate(found) - graph.tensors[graph.output].grid.zero_point


def _batches(values: np.ndarray) -> Sequence[np.ndarray]:
    return [values[start : start + BATCH] for start in range(0, len(values), BATCH)]
