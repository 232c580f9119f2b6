"""Milliseconds of a network's files, and seconds of the export itself."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from bompnas.export import latency, litert, packed, parity
from bompnas.export.extract import extract
from exporting import converter, files
from exporting.subjects import Subject

THREADS = 1, 2
PARITY_IMAGES = 500


def measure(subject: Subject) -> dict:
    """Times every step once, and files by the median over repetitions of a batch of one; see the keys."""
    seconds: dict[str, float] = {}

    def timed(step: str, compute: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        result = compute(*arguments)
        seconds[step] = time.perf_counter() - start
        return result

    model = subject.load()
    extracted = timed("extract", extract, model)
    graph = extracted.graph
    file = timed("write", litert.write, graph)
    timed("pack", packed.pack, graph)
    images = subject.images[:PARITY_IMAGES]
    found = timed("parity", parity.check, model, extracted, graph, file, images)
    made = {
        files.OURS: file,
        files.OURS_INT4: litert.write(graph, int4=True),
        files.QAT: converter.quantization_aware(graph),
    }
    return {
        "name": subject.name,
        "layers": sum(1 for _ in graph.linear),
        "macs": sum(layer.macs for layer in subject.network.layers),
        "seconds": seconds,
        "parity_images": len(images),
        "parity": str(found.worst),
        "latency": {
            name: [dataclasses.asdict(latency.measure(data, threads)) for threads in THREADS]
            for name, data in made.items()
        },
    }
