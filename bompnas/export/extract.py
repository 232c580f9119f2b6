"""A quantized Keras model as an integer graph.

The walk follows the model's calls, into nested models too. A value on its way is one of

* `_Image`: what the model takes, until its first quantizer, which makes it the graph's input,
* `Tensor`: on a grid,
* a Keras tensor of the float end, which is built anew on an input of its own.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import qkeras

from bompnas.errors import NotExportableError
from bompnas.export import keras_layers
from bompnas.export.graph import Clip, Grid, IntegerGraph, Operation, Tensor
from bompnas.networks.quantize import KEEPS_GRID
from bompnas.networks.quantizers import ActivationQuantizer

FLOAT_HEAD = "export.float_head: true leaves it, and all that follows, in float"
BEFORE_GRID = (
    "it comes before the model's first quantizer, where only one Rescaling by two numbers and layers that move values "
    "without changing them may: put a QActivation behind the input"
)
MOVES_VALUES = (*KEEPS_GRID, keras.layers.UpSampling2D)


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What became of a Keras model.

    Attributes:
        graph: Its integer part.
        tail: Its float end, from the real values of the graph's output to the model's output, sharing the model's
            layers; None if the model is all integer.
        layers: Tensor name -> name of the Keras layer whose output the tensor is; without tensors inside a layer.
    """

    graph: IntegerGraph
    tail: keras.Model | None
    layers: Mapping[str, str]


def extract(model: keras.Model, float_head: bool = False) -> Extracted:
    """The integer graph of a quantized model.

    Args:
        model: A functional or sequential model, nested ones included, of our quantized layers or of QKeras' own, with
            activations on power-of-two grids.
        float_head: Leave the first layer that integers cannot express, and everything behind it, in float; one tensor
            may connect the two parts.

    Raises:
        NotExportableError: A layer cannot be expressed in integers; the message says what helps.
    """
    walk = _Walk(float_head)
    return walk.extracted(walk.follow(model, [_Image(_functional(model).inputs[0])]))


@dataclasses.dataclass(frozen=True)
class _Image:
    """The model's input before its first quantizer: value x scale + offset, through layers that keep grids."""

    source: keras.KerasTensor
    centring: tuple[float, float] = (1.0, 0.0)
    layers: tuple[tuple[Any, tuple[int, ...]], ...] = ()  # with the shapes that they make


class _Walk:
    """Turns layers into operations, call by call, and remembers them."""

    def __init__(self, float_head: bool):
        self.float_head = float_head
        self.input: Tensor | None = None
        self.centring = (1.0, 0.0)
        self.operations: dict[str, Operation] = {}
        self.layers: dict[str, str] = {}
        self.called: set[str] = set()
        self.boundary: tuple[Tensor, keras.KerasTensor] | None = None

    def follow(self, model: keras.Model, inputs: list) -> Any:
        """What a model makes of values."""
        model = _functional(model)
        values = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for node in _calls(model):
            given = [values[id(tensor)] for tensor in node.input_tensors]
            if isinstance(node.operation, keras.Model):
                made = self.follow(node.operation, given)
            else:
                made = self._call(node, given)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(made), strict=True))
        return values[id(model.outputs[0])]

    def extracted(self, output: Any) -> Extracted:
        """The result, for the value that the model ends with."""
        if isinstance(output, Tensor):
            last, tail = output, None
        elif self.boundary is not None:
            last, given = self.boundary
            tail = keras.Model(given, output)
        else:
            last, tail = None, None
        if last is None or last.name not in self.operations:
            name = output.source.name if isinstance(output, _Image) else self.input.name
            raise NotExportableError(name, "no quantized layer follows it")
        graph = IntegerGraph(self.input, tuple(self.operations.values()), last.name, self.centring).until(last.name)
        return Extracted(graph, tail, {name: self.layers[name] for name in graph.tensors if name in self.layers})

    def _call(self, node, given: list):
        if any(isinstance(value, keras.KerasTensor) for value in given):
            return self._in_float(node, given)
        try:
            return self._in_integers(node, given)
        except NotExportableError as error:
            if self.float_head:
                return self._in_float(node, given)
            if not self.operations:
                raise
            raise NotExportableError(error.layer, f"{error.reason}; {FLOAT_HEAD}") from None

    def _in_integers(self, node, given: list):
        layer = node.operation
        if layer.name in self.called:
            raise NotExportableError(layer.name, "it is called twice, or two layers have its name")
        self.called.add(layer.name)
        if len(node.outputs) != 1:
            raise NotExportableError(layer.name, f"it has {len(node.outputs)} outputs")
        shape = node.outputs[0].shape[1:]
        if isinstance(given[0], _Image):
            return self._before_grid(layer, given[0], shape)
        if isinstance(layer, qkeras.QActivation):
            return self._quantized(layer, given[0])
        return self._read(layer, given, shape)

    def _read(self, layer, given: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """The output of a layer on tensors."""
        made = keras_layers.read(layer, given, shape)
        for operation in made:
            self.operations[operation.name] = operation
        output = made[-1].output if made else given[0]
        self.layers[output.name] = layer.name
        return output

    def _before_grid(self, layer, image: _Image, shape: tuple[int, ...]) -> _Image | Tensor:
        """What a layer between the model's input and its first quantizer makes."""
        if isinstance(layer, qkeras.QActivation):
            return self._begin(layer, image)
        if type(layer) is keras.layers.Rescaling and image == _Image(image.source):
            return dataclasses.replace(image, centring=_centring(layer))
        if type(layer) in MOVES_VALUES:
            return dataclasses.replace(image, layers=(*image.layers, (layer, shape)))
        raise NotExportableError(layer.name, BEFORE_GRID)

    def _begin(self, layer, image: _Image) -> Tensor:
        """The model's input on the grid of its first quantizer, and through the layers before that."""
        source = image.source._keras_history.operation.name
        shape = tuple(image.source.shape[1:])
        if None in shape:
            raise NotExportableError(source, f"its shape {shape} is not fixed")
        tensor = Tensor(source, shape, _grid(layer))
        if self.input is None:
            self.input, self.centring = tensor, image.centring
        if (tensor, image.centring) != (self.input, self.centring):
            raise NotExportableError(layer.name, "the model's input is quantized in another way by a layer before it")
        for moving, moved in image.layers:
            tensor = self._read(moving, [tensor], moved)
        self.layers[tensor.name] = layer.name
        return tensor

    def _quantized(self, layer, tensor: Tensor) -> Tensor:
        """What a quantizer makes of values on a grid: a part of them."""
        wanted, grid = _grid(layer), tensor.grid
        if wanted.exponent != grid.exponent:
            raise NotExportableError(
                layer.name, f"it moves values from scale 2^{grid.exponent} to 2^{wanted.exponent} without computing"
            )
        grid = dataclasses.replace(grid, low=max(grid.low, wanted.low), high=min(grid.high, wanted.high))
        if grid == tensor.grid:
            return tensor
        output = Tensor(layer.name, tensor.shape, grid)
        self.operations[output.name] = Clip((tensor.name,), output)
        self.layers[output.name] = layer.name
        return output

    def _in_float(self, node, given: list):
        """What a layer of the float end makes."""
        real = {id(tensor): self._real(node, value) for tensor, value in zip(node.input_tensors, given, strict=True)}
        positional, named = node.arguments.fill_in(real)
        return node.operation(*positional, **named)

    def _real(self, node, value) -> keras.KerasTensor:
        """A value for the float end."""
        if isinstance(value, keras.KerasTensor):
            return value
        if isinstance(value, _Image):
            raise NotExportableError(node.operation.name, BEFORE_GRID)
        if self.boundary is None:
            self.boundary = value, keras.Input(value.shape, name=value.name)
        if self.boundary[0] != value:
            raise NotExportableError(
                node.operation.name,
                f"the float end begins with it and takes {value.name!r} besides {self.boundary[0].name!r}; "
                "one tensor may connect integers and floats",
            )
        return self.boundary[1]


def _functional(model: keras.Model) -> keras.Model:
    """The model, if it is a graph from one input to one output."""
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs)
    if not hasattr(model, "_nodes_by_depth"):
        raise NotExportableError(
            model.name, "it is no graph of layers; expected a functional or a built sequential model"
        )
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            name = tensors[1]._keras_history.operation.name
            raise NotExportableError(name, f"it is one of {len(tensors)} {kind}s of the model; expected one")
    return model


def _calls(model: keras.Model) -> Iterator:
    """The calls of a functional model's layers, in an order in which they can be carried out."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def _centring(layer) -> tuple[float, float]:
    """Scale and offset of a Rescaling."""
    if np.ndim(layer.scale) or np.ndim(layer.offset):
        raise NotExportableError(layer.name, "it rescales each channel differently; expected two numbers")
    return float(layer.scale), float(layer.offset)


def _grid(layer) -> Grid:
    if not isinstance(layer.activation, ActivationQuantizer):
        raise NotExportableError(layer.name, f"its quantizer {layer.activation} has no power-of-two grid")
    return keras_layers.grid(layer.activation)
