"""Parity: whether a Keras model, the integer emulator and a LiteRT file compute the same.

They are compared at the end of their integer part, in levels: what INT8 storage holds is exact, so the limit is
equality. They are also compared by what they give in the end, which is the same thing unless layers stay in float.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from bompnas.errors import InputError
from bompnas.export import emulator
from bompnas.export.extract import Extracted
from bompnas.export.graph import IntegerGraph, Operation
from bompnas.export.interpreter import Interpreter
from bompnas.training import loop

KERAS, EMULATOR, LITERT = "Keras", "emulator", "LiteRT"
_BATCH, _CHUNK = 64, 1024  # images
_CHUNK_VALUES = 2**24  # of a chunk of large images
_TRACED_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far two engines agree, or how far they have to.

    Attributes:
        argmax: Share of images for which both choose one class; where outputs are no classes, share of equal outputs.
        max_lsb: Largest difference of the integer outputs [least significant bits].
    """

    argmax: float
    max_lsb: int

    def within(self, limits: "Agreement") -> bool:
        """Whether it is at least as good as the limits."""
        return self.argmax >= limits.argmax and self.max_lsb <= limits.max_lsb

    def __str__(self) -> str:
        return f"{self.argmax:.2%} agree, differences up to {self.max_lsb} LSB"


EXACT = Agreement(1.0, 0)  # what 8-bit storage reaches
INT4 = Agreement(0.9, 16)  # kernels for INT4 weights round twice; 0.946 and 5 was the worst of trained networks
FLOAT_HEAD = Agreement(0.995, 0)  # the integer part is exact, floats are summed in another order


@dataclasses.dataclass(frozen=True)
class Parity:
    """What was compared, and how it went.

    Attributes:
        images: Number of images.
        agreements: With Keras: of the emulator, and of LiteRT where there is a file.
        metrics: By engine, what was measured on its outputs.
        limits: The worst that is accepted of LiteRT; the emulator has to be equal.
        deviation: Where an agreement is worse: which, and the first layer that differs; None otherwise.
    """

    images: int
    agreements: Mapping[str, Agreement]
    metrics: Mapping[str, Mapping[str, float]]
    limits: Agreement
    deviation: str | None

    @property
    def worst(self) -> Agreement:
        """Smallest share and largest difference over the engines."""
        every = self.agreements.values()
        return Agreement(min(one.argmax for one in every), max(one.max_lsb for one in every))


def check(
    model: keras.Model,
    extracted: Extracted,
    graph: IntegerGraph,
    file: bytes | Path | None,
    images: np.ndarray,
    *,
    limits: Agreement = EXACT,
    classes: bool = True,
    measure: Callable[[np.ndarray], Mapping[str, float]] = lambda outputs: {},
) -> Parity:
    """Compares the engines on images.

    Args:
        model: The quantized Keras model, without models inside.
        extracted: What it was taken apart into.
        graph: Its integer part as it was packed; names do not count.
        file: The LiteRT file; None compares Keras and the emulator alone.
        images: What the model takes, shape (n, ...), at least one.
        limits: The worst that is accepted of LiteRT; the emulator has to be equal.
        classes: Whether the largest output is a class.
        measure: Takes an engine's outputs for all images; gives its metrics.

    Raises:
        InputError: The graph or the file is damaged, or another network's.
    """
    graph = _named(graph, extracted.graph)
    engines = {KERAS: _keras(model, extracted, images), EMULATOR: _emulator(graph, extracted.tail, images)}
    if file is not None:
        engines[LITERT] = _litert(file, graph, extracted.tail, images)
    classes = classes and engines[KERAS].values.shape[-1] > 1
    agreements = {
        name: Agreement(
            _share(engines[KERAS].values, outputs.values, classes, exact=extracted.tail is None),
            math.ceil(np.abs(engines[KERAS].levels - outputs.levels).max()),
        )
        for name, outputs in engines.items()
        if name != KERAS
    }
    accepted = {EMULATOR: EXACT, LITERT: limits}
    wrong = [
        f"{name} and {KERAS}: {found} (accepted: {accepted[name]})"
        for name, found in agreements.items()
        if not found.within(accepted[name])
    ]
    deviation = None
    if wrong:
        differing = np.any([_differing(engines[KERAS], outputs) for outputs in engines.values()], axis=0)
        place = first_difference(model, extracted, graph, file, images[np.flatnonzero(differing)[:_TRACED_IMAGES]])
        deviation = "; ".join([*wrong, place])
    metrics = {name: measure(outputs.values) for name, outputs in engines.items()}
    return Parity(len(images), agreements, metrics, limits, deviation)


def run(file: bytes | Path, graph: IntegerGraph, images: np.ndarray) -> np.ndarray:
    """Real outputs of a LiteRT file, of integer or float ends, for what the Keras model takes.

    Raises:
        InputError: The file is not LiteRT's, or another network's.
    """
    raw, grid = _run(Interpreter(file), graph, images), graph.tensors[graph.output].grid
    return (raw.astype(np.float32) - grid.zero_point) * np.float32(grid.scale) if raw.dtype == np.int8 else raw


def first_difference(
    model: keras.Model, extracted: Extracted, graph: IntegerGraph, file: bytes | Path | None, images: np.ndarray
) -> str:
    """Says, in part of a sentence, at which layer two engines begin to differ on some images.

    The LiteRT file itself is run, up to one layer after the other; see `check` for the arguments.
    """
    if not len(images):
        return "no layer of the integer part differs"
    with_keras = _keras_layers(model, extracted, images)
    for name, emulated in emulator.trace(graph, graph.levels(images)):
        found = {}
        if name in with_keras:
            found[f"{KERAS} and the {EMULATOR}"] = with_keras[name]
        if file is not None and name != graph.input.name:
            found[f"the {EMULATOR} and {LITERT}"] = _levels(_ending_at(file, name), graph, name, images)
        for engines, values in found.items():
            wrong = values != emulated
            if wrong.any():
                return (
                    f"the first layer that differs is {name!r} ({engines}: {wrong.sum():,} of {wrong.size:,} values, "
                    f"by up to {np.abs(values - emulated).max():g} LSB)"
                )
    return "no layer of the integer part differs"


@dataclasses.dataclass(frozen=True, eq=False)
class _Outputs:
    """What an engine gives for all images.

    Attributes:
        levels: At the end of the integer part.
        values: At the end of the model.
    """

    levels: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, levels: np.ndarray, graph: IntegerGraph, tail: keras.Model | None) -> "_Outputs":
        """The values follow from the levels."""
        values = levels.astype(np.float32) * np.float32(graph.tensors[graph.output].grid.scale)
        return cls(levels, values if tail is None else loop.predict(tail, values, _BATCH))


def _keras(model: keras.Model, extracted: Extracted, images: np.ndarray) -> _Outputs:
    graph = extracted.graph
    end = _outputs(model)[extracted.layers[graph.output]]
    values = loop.predict(keras.Model(model.input, end), images, _BATCH)
    return _Outputs.of(values / np.float32(graph.tensors[graph.output].grid.scale), graph, extracted.tail)


def _keras_layers(model: keras.Model, extracted: Extracted, images: np.ndarray) -> dict[str, np.ndarray]:
    """Levels by tensor; whatever is no integer there differs from every level."""
    tensors, found = extracted.graph.tensors, _outputs(model)
    outputs = {name: found[layer] for name, layer in extracted.layers.items()}
    values = keras.Model(model.input, outputs)(images.astype(np.float32), training=False)
    return {name: np.asarray(value) / np.float32(tensors[name].grid.scale) for name, value in values.items()}


def _outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """By layer, operations that are no layers included."""
    return {operation.name: operation.output for operation in model.operations}


def _emulator(graph: IntegerGraph, tail: keras.Model | None, images: np.ndarray) -> _Outputs:
    return _Outputs.of(_in_chunks(lambda chunk: emulator.emulate(graph, graph.levels(chunk)), images), graph, tail)


def _litert(file: bytes | Path, graph: IntegerGraph, tail: keras.Model | None, images: np.ndarray) -> _Outputs:
    if tail is None:
        return _Outputs.of(_levels(file, graph, graph.output, images), graph, None)
    levels = _levels(_ending_at(file, graph.output), graph, graph.output, images)
    return _Outputs(levels, run(file, graph, images))


def _levels(file: bytes | Path, graph: IntegerGraph, name: str, images: np.ndarray) -> np.ndarray:
    """What a file ends with, as levels of the graph's tensor of that name."""
    interpreter, tensor = Interpreter(file), graph.tensors[name]
    for found, expected in ((interpreter.input, graph.input), (interpreter.output, tensor)):
        if found.shape != expected.shape:
            raise InputError(
                f"{_called(file)}: expected {expected.name!r} of shape {expected.shape}, found shape {found.shape}; it "
                "is another network's"
            )
    raw = _run(interpreter, graph, images)
    return raw.astype(np.int32) - tensor.grid.zero_point if raw.dtype == np.int8 else raw / tensor.grid.scale


def _run(interpreter: Interpreter, graph: IntegerGraph, images: np.ndarray) -> np.ndarray:
    """Raw or real outputs, as the file gives them."""
    if interpreter.input.dtype == np.int8:
        zero_point = graph.input.grid.zero_point
        return _in_chunks(lambda chunk: interpreter((graph.levels(chunk) + zero_point).astype(np.int8)), images)
    return _in_chunks(lambda chunk: interpreter(chunk.astype(np.float32)), images)


def _in_chunks(compute: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """What is computed of images, without a wide copy of all of them."""
    size = max(1, min(_CHUNK, _CHUNK_VALUES // math.prod(images.shape[1:])))
    return np.concatenate([compute(images[start : start + size]) for start in range(0, len(images), size)])


def _ending_at(file: bytes | Path, name: str) -> bytes:
    """The file with another of its tensors as output: all else in it, the partition for XNNPACK too, stays."""
    data = bytearray(file if isinstance(file, bytes) else Path(file).read_bytes())
    graph = schema.Model.GetRootAs(data).Subgraphs(0)
    names = [graph.Tensors(index).Name().decode() for index in range(graph.TensorsLength())]
    if name not in names:
        raise InputError(f"{_called(file)}: expected a layer {name!r}, found none; it is another network's")
    graph.OutputsAsNumpy()[0] = names.index(name)  # a view of the data
    return bytes(data).replace(b'"bompnas_sha256"', b'"whole_file_sha"')  # which holds no longer


def _share(one: np.ndarray, other: np.ndarray, classes: bool, exact: bool) -> float:
    """Share of images with one class, or of outputs that are equal: up to the order of float sums unless exact."""
    if classes:
        return float(np.mean(one.argmax(axis=-1) == other.argmax(axis=-1)))
    return float(np.mean(one == other if exact else np.isclose(one, other, rtol=1e-4, atol=1e-5)))


def _differing(one: _Outputs, other: _Outputs) -> np.ndarray:
    """Which images have other levels, shape (n,)."""
    return (one.levels != other.levels).reshape(len(one.levels), -1).any(axis=1)


def _named(graph: IntegerGraph, model: IntegerGraph) -> IntegerGraph:
    """A graph without names of its own, with those of the graph that it is compared with.

    Raises:
        InputError: Its operations are others.
    """
    names = dict(zip(graph.tensors, model.tensors, strict=False))
    operations = tuple(
        dataclasses.replace(
            operation,
            inputs=tuple(names.get(name, name) for name in operation.inputs),
            output=dataclasses.replace(operation.output, name=names.get(operation.name, operation.name)),
        )
        for operation in graph.operations
    )
    if [*map(_kind, operations)] != [*map(_kind, model.operations)] or graph.input.shape != model.input.shape:
        raise InputError("the packed file is another network's: its operations are not those of the Keras model")
    source = dataclasses.replace(graph.input, name=model.input.name)
    return dataclasses.replace(graph, input=source, operations=operations, output=names[graph.output])


def _kind(operation: Operation) -> tuple:
    return type(operation), operation.inputs, operation.output.name, operation.output.shape


def _called(file: bytes | Path) -> str:
    return "LiteRT model" if isinstance(file, bytes) else str(file)
