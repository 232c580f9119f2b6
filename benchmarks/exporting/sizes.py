"""Bytes and accuracy of a network's files: ours, and what TensorFlow's converter makes of it."""

import gzip

import keras
import numpy as np

from bompnas.export import emulator, litert, packed
from bompnas.export.extract import extract
from bompnas.export.graph import IntegerGraph
from bompnas.export.interpreter import Interpreter
from bompnas.training import loop
from exporting import converter, engines, files
from exporting.subjects import Subject

PACKED = "packed"
OURS, OURS_INT4 = "LiteRT, INT8", "LiteRT, INT4 where it fits"
PTQ, QAT, QAT_WIDE = "converter, PTQ", "converter, QAT", "converter, QAT at 8 bits"
OFF_GRID = 1e-3  # steps; the float32 scales of equal grids differ by some 1e-7


def measure(subject: Subject) -> dict:
    """Makes all files of a network and measures them; see the keys."""
    graph = extract(subject.load()).graph
    trained = keras.models.load_model(subject.float_model)
    made = {
        PACKED: packed.pack(graph),
        OURS: litert.write(graph),
        OURS_INT4: litert.write(graph, int4=True),
        PTQ: converter.post_training(trained, subject.train_images),
        QAT: converter.quantization_aware(graph),
        QAT_WIDE: converter.quantization_aware(graph, wide=True),
    }
    levels = graph.levels(subject.test_images)
    expected = emulator.emulate(graph, levels)
    outputs = {name: _outputs(file, name, graph, levels) for name, file in made.items()}
    floats = loop.predict(trained, subject.test_images, engines.BATCH)
    return {
        "name": subject.name,
        "bits": [operation.bits for operation in graph.linear],
        "weights": sum(operation.weights.size for operation in graph.linear),
        "channels": sum(operation.steps.size for operation in graph.linear),
        "size_bits": graph.size_bits,
        "header_bytes": packed.header_bytes(graph),
        "test_images": len(subject.labels),
        "float_accuracy": engines.accuracy(floats, subject.labels),
        "files": {
            name: {
                "bytes": len(file),
                "gzip_bytes": len(gzip.compress(file, 9, mtime=0)),
                "accuracy": engines.accuracy(outputs[name], subject.labels),
                "argmax": engines.Difference.of(outputs[name], expected).argmax,
                "deviations": None if name == PACKED else files.deviations(file, graph),
            }
            for name, file in made.items()
        },
    }


def off_grid(deviations: list[float]) -> int:
    """Number of layers whose weights are not ours."""
    return sum(deviation > OFF_GRID for deviation in deviations)


def _outputs(file: bytes, name: str, graph: IntegerGraph, levels: np.ndarray) -> np.ndarray:
    """Raw outputs of a file, or levels of the packed form's emulation."""
    if name == PACKED:
        return emulator.emulate(packed.unpack(file), levels)
    interpreter = Interpreter(file)
    port = interpreter.input
    raw = np.round(levels * (graph.input.grid.scale / port.scale)) + port.zero_point
    return interpreter(np.clip(raw, -128, 127).astype(np.int8)).astype(np.int32)
