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


def measure(subject: Subject) -> dict:
    """Makes all files of a network and measures them; see the keys."""
    graph = extract(subject.load()).graph
    trained = None if subject.float_model is None else keras.models.load_model(subject.float_model)
    made = {
        files.PACKED: packed.pack(graph),
        files.OURS: litert.write(graph),
        files.OURS_INT4: litert.write(graph, int4=True),
        files.PTQ: None if trained is None else converter.post_training(trained, subject.train_images),
        files.QAT: converter.quantization_aware(graph),
        files.QAT_WIDE: converter.quantization_aware(graph, wide=True),
    }
    made = {name: file for name, file in made.items() if file is not None}
    levels = graph.levels(subject.test_images)
    expected = emulator.emulate(graph, levels)
    outputs = {name: _outputs(file, name, graph, levels) for name, file in made.items()}
    return {
        "name": subject.name,
        "bits": [operation.bits for operation in graph.linear],
        "weights": sum(operation.weights.size for operation in graph.linear),
        "channels": sum(operation.steps.size for operation in graph.linear),
        "size_bits": graph.size_bits,
        "header_bytes": packed.header_bytes(graph),
        "test_images": len(subject.labels),
        "float_accuracy": None if trained is None else _float_accuracy(trained, subject),
        "files": {
            name: {
                "bytes": len(file),
                "text_bytes": 0 if name == files.PACKED else files.text_bytes(file),
                "gzip_bytes": len(gzip.compress(file, 9, mtime=0)),
                "accuracy": engines.accuracy(outputs[name], subject.labels),
                "argmax": engines.Difference.of(outputs[name], expected).argmax,
                "deviations": None if name == files.PACKED else files.deviations(file, graph),
            }
            for name, file in made.items()
        },
    }


def _float_accuracy(trained: keras.Model, subject: Subject) -> float:
    return engines.accuracy(loop.predict(trained, subject.test_images, engines.BATCH), subject.labels)


def _outputs(file: bytes, name: str, graph: IntegerGraph, levels: np.ndarray) -> np.ndarray:
    """Raw outputs of a file, or levels of the packed form's emulation."""
    if name == files.PACKED:
        return emulator.emulate(packed.unpack(file), levels)
    interpreter = Interpreter(file)
    port = interpreter.input
    raw = np.round(levels * (graph.input.grid.scale / port.scale)) + port.zero_point
    return interpreter(np.clip(raw, -128, 127).astype(np.int8)).astype(np.int32)
