"""Runs LiteRT files with the default kernels (XNNPACK)."""

import contextlib
import dataclasses
import functools
import os
from pathlib import Path

import numpy as np
from ai_edge_litert import interpreter as litert

from bompnas.errors import InputError
from bompnas.export import metadata
from bompnas.export.graph import IntegerGraph
from bompnas.export.litert_file import LiteRTFile


@dataclasses.dataclass(frozen=True)
class Port:
    """Where values go into a file or come out.

    Attributes:
        name: Of the tensor.
        shape: Without the batch axis.
        dtype: int8 or float32.
        scale: Distance of neighbouring values; 0 where the dtype is float32.
        zero_point: Raw value of 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int


class Interpreter:
    """A LiteRT file that can be called with batches.

    A damaged file of ours is always refused. Of files of others LiteRT checks the structure alone: damage that keeps it
    goes unnoticed, and 7 of 6,000 files with a few random bytes crashed or hung the process.

    Args:
        model: The file or its bytes.
        threads: Threads for one batch.
        batch: Largest number of inputs that are computed at once; it bounds the memory.

    Attributes:
        input: What goes in.
        output: What comes out.

    Raises:
        InputError: The file is no LiteRT file, is damaged or cut off, or does not take and return one tensor each.
    """

    def __init__(self, model: bytes | Path, threads: int = 1, batch: int = 64):
        data, place = metadata.contents(model)
        metadata.check(data, place)
        _silence_greeting()
        try:
            self._interpreter = litert.Interpreter(model_content=data, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{place}: expected a LiteRT file that can be run, found: {error}") from None
        ports = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if [len(side) for side in ports] != [1, 1]:
            raise InputError(
                f"{place}: expected one input and one output, found {len(ports[0])} inputs and {len(ports[1])} outputs"
            )
        (self._source,), (self._result,) = ([details["index"] for details in side] for side in ports)
        self.input, self.output = (_port(*side) for side in ports)
        self._batch = batch
        self._prepared = 1

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """What the file computes.

        Args:
            values: Of the input's dtype, shape (n, *input.shape).

        Returns:
            Of the output's dtype, shape (n, *output.shape): raw values where it is int8.

        Raises:
            InputError: `values` are of another dtype or shape.
        """
        if values.dtype != self.input.dtype or values.shape[1:] != self.input.shape:
            raise InputError(
                f"input {self.input.name!r}: expected {self.input.dtype} of shape (n, {_listed(self.input.shape)}), "
                f"found {values.dtype} of shape ({_listed(values.shape)})"
            )
        results = [np.empty((0, *self.output.shape), self.output.dtype)]
        for start in range(0, len(values), self._batch):
            results.append(self._run(values[start : start + self._batch]))
        return np.concatenate(results)

    def _run(self, values: np.ndarray) -> np.ndarray:
        if len(values) != self._prepared:
            self._interpreter.resize_tensor_input(self._source, values.shape)
            self._interpreter.allocate_tensors()
            self._prepared = len(values)
        self._interpreter.set_tensor(self._source, values)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._result)


def litert_levels(interpreter: Interpreter, graph: IntegerGraph, levels: np.ndarray) -> np.ndarray:
    """What a file without a tail computes of levels.

    Args:
        interpreter: Of a file that was written from `graph`.
        graph: The graph.
        levels: Of its input, integers of shape (n, *input shape).

    Returns:
        Levels of its output, int32, shape (n, *output shape).
    """
    source, result = graph.input.grid, graph.tensors[graph.output].grid
    if interpreter.input.dtype == np.int8:
        return interpreter((levels + source.zero_point).astype(np.int8)).astype(np.int32) - result.zero_point
    scale, offset = graph.centring
    values = (levels * source.scale - offset) / scale
    return np.round(interpreter(values.astype(np.float32)) / result.scale).astype(np.int32)


@functools.cache
def _silence_greeting():
    """XNNPACK announces itself on standard error, once in a process: let it do so for a file that nobody sees."""
    file = LiteRTFile()
    source, result = (file.activation(name, (1,)) for name in ("source", "result"))
    file.operator("ABS", 1, [source], result)
    standard_error = os.dup(2)
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
        stack.callback(os.close, standard_error)
        stack.callback(os.dup2, standard_error, 2)
        os.dup2(nowhere.fileno(), 2)
        litert.Interpreter(model_content=file.finish(source, result)).allocate_tensors()


def _port(details: dict) -> Port:
    scale, zero_point = details["quantization"]
    return Port(details["name"], tuple(map(int, details["shape"][1:])), np.dtype(details["dtype"]), scale, zero_point)


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
