"""A quantized Keras model as an integer graph.

The walk follows the model's calls, into nested models too. A value on its way is one of

* `_Image`: what the model takes, until its first quantizer, which makes it the graph's input,
* `Tensor`: on a grid,
* `Unrounded`: what a layer computes of tensors, until the quantizer behind it makes it one,
* a Keras tensor of the float end, which is built anew on an input of its own.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from bompnas.errors import NotExportableError
from bompnas.export import keras_layers, qkeras_layers
from bompnas.export.graph import Clip, IntegerGraph, Operation, Tensor
from bompnas.export.qkeras_layers import Unrounded
from bompnas.networks.quantize import KEEPS_GRID

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
        layers: Tensor name -> name of the Keras layer whose output the tensor is, where there is one.
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
    if not _is_graph(model):
        raise NotExportableError(
            model.name, "it is no graph of layers; expected a functional or a built sequential model"
        )
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            name = tensors[1]._keras_history.operation.name
            raise NotExportableError(name, f"it is one of {len(tensors)} {kind}s of the model; expected one")
    walk = _Walk(float_head)
    (output,) = walk.follow(model, [_Image(model.inputs[0])])
    return walk.extracted(output)


@dataclasses.dataclass(frozen=True)
class _Image:
    """The model's input before its first quantizer: value x scale + offset, through layers that keep grids."""

    source: keras.KerasTensor
    centring: tuple[float, float] = (1.0, 0.0)
    layers: tuple[tuple[Any, tuple[int, ...]], ...] = ()  # with the shapes that they make

    @property
    def name(self) -> str:
        """Of the layer that it enters by."""
        return self.source._keras_history.operation.name


class _Walk:
    """Turns layers into operations, call by call, and remembers them."""

    def __init__(self, float_head: bool):
        self.float_head = float_head
        self.input: Tensor | None = None
        self.centring = (1.0, 0.0)
        self.operations: dict[str, Operation] = {}
        self.layers: dict[str, str] = {}
        self.called: set[str] = set()
        self.origins: dict[int, tuple] = {}
        self.boundary: tuple[Tensor, keras.KerasTensor] | None = None

    def follow(self, model: keras.Model, inputs: list) -> list:
        """What a graph of layers makes of values."""
        values = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for node in _calls(model):
            given = [values[id(tensor)] for tensor in node.input_tensors]
            made = self.follow(node.operation, given) if _is_graph(node.operation) else self._call(node, given)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(made), strict=True))
        return [values[id(tensor)] for tensor in model.outputs]

    def extracted(self, output: Any) -> Extracted:
        """The result, for the value that the model ends with."""
        if isinstance(output, Unrounded):
            if not self.float_head:
                raise self._helped(NotExportableError(output.name, qkeras_layers.UNROUNDED))
            output = self._in_float(*self.origins[id(output)][1:])
        if isinstance(output, _Image):
            raise NotExportableError(output.name, "no quantized layer follows it")
        last, tail = output, None
        if not isinstance(output, Tensor):
            last, given = self.boundary
            tail = keras.Model(given, output)
        if last.name not in self.operations:
            raise NotExportableError(last.name, "no layer in integers follows it")
        graph = IntegerGraph(self.input, tuple(self.operations.values()), last.name, self.centring).until(last.name)
        return Extracted(graph, tail, {name: self.layers[name] for name in graph.tensors if name in self.layers})

    def _call(self, node, given: list):
        if any(isinstance(value, keras.KerasTensor) for value in given):
            return self._in_float(node, given)
        try:
            made = self._in_integers(node, given)
            if isinstance(made, Unrounded):
                self.origins.setdefault(id(made), (made, node, given))
            return made
        except NotExportableError as error:
            if self.float_head:
                return self._in_float(node, given)
            raise self._helped(error) from None

    def _helped(self, error: NotExportableError) -> NotExportableError:
        """The error with advice, where a float end would help."""
        return NotExportableError(error.layer, f"{error.reason}; {FLOAT_HEAD}") if self.operations else error

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
        if isinstance(given[0], Unrounded):
            return self._behind(layer, given[0])
        for value in given:
            if isinstance(value, _Image):
                raise NotExportableError(layer.name, BEFORE_GRID)
            if isinstance(value, Unrounded):
                raise NotExportableError(value.name, qkeras_layers.UNROUNDED)
        value = qkeras_layers.unrounded(layer, given, shape)
        if value is not None:
            return self._activated(layer, value)
        if qkeras_layers.is_activation(layer):
            return self._quantized(layer, given[0])
        return self._named(self._read(layer, given, shape), layer)

    def _read(self, layer, given: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        """The output of a layer that goes from grid to grid by itself."""
        made = keras_layers.read(layer, given, shape)
        for operation in made:
            self.operations[operation.name] = operation
        return made[-1].output if made else given[0]

    def _named(self, tensor: Tensor, layer) -> Tensor:
        """The tensor, known to be a layer's output."""
        self.layers[tensor.name] = layer.name
        return tensor

    def _before_grid(self, layer, image: _Image, shape: tuple[int, ...]) -> _Image | Tensor:
        """What a layer between the model's input and its first quantizer makes."""
        if qkeras_layers.is_activation(layer):
            return self._begin(layer, image)
        if type(layer) is keras.layers.Rescaling and image == _Image(image.source):
            return dataclasses.replace(image, centring=_centring(layer))
        if type(layer) in MOVES_VALUES:
            return dataclasses.replace(image, layers=(*image.layers, (layer, shape)))
        raise NotExportableError(layer.name, BEFORE_GRID)

    def _begin(self, layer, image: _Image) -> Tensor:
        """The model's input on the grid of its first quantizer, and through the layers before that."""
        shape = tuple(image.source.shape[1:])
        if None in shape:
            raise NotExportableError(image.name, f"its shape {shape} is not fixed")
        tensor = Tensor(image.name, shape, qkeras_layers.grid(layer))
        if self.input is None:
            self.input, self.centring = tensor, image.centring
        if (tensor, image.centring) != (self.input, self.centring):
            raise NotExportableError(layer.name, "the model's input is quantized in another way by a layer before it")
        for moving, moved in image.layers:
            tensor = self._read(moving, [tensor], moved)
        return self._named(tensor, layer)

    def _quantized(self, layer, tensor: Tensor) -> Tensor:
        """What a quantizer makes of values on a grid: a part of them."""
        wanted, grid = qkeras_layers.grid(layer), tensor.grid
        if wanted.exponent != grid.exponent:
            raise NotExportableError(
                layer.name, f"it moves values from scale 2^{grid.exponent} to 2^{wanted.exponent} without computing"
            )
        grid = dataclasses.replace(grid, low=max(grid.low, wanted.low), high=min(grid.high, wanted.high))
        if grid == tensor.grid:
            return tensor
        return self._made(Clip((tensor.name,), Tensor(layer.name, tensor.shape, grid)), layer)

    def _activated(self, layer, value: Unrounded) -> Unrounded | Tensor:
        """What a layer that computes makes with the activation inside it."""
        if qkeras_layers.quantizer(layer) is not None:
            return self._made(value.rounded(qkeras_layers.grid(layer)), layer)
        inside = getattr(layer, "activation", None)
        return value if inside is None else value.then(keras.layers.Activation(inside))

    def _behind(self, layer, value: Unrounded) -> Unrounded | Tensor:
        """What a layer behind one that computes makes of its output."""
        if type(layer) is keras.layers.BatchNormalization:
            return qkeras_layers.normalized(value, layer)
        if not qkeras_layers.is_activation(layer):
            return value.then(layer)
        if value.name in self.operations:
            raise NotExportableError(value.name, f"its output is quantized twice; the second time by {layer.name!r}")
        return self._made(value.rounded(qkeras_layers.grid(layer)), layer)

    def _made(self, operation: Operation, layer) -> Tensor:
        self.operations[operation.name] = operation
        return self._named(operation.output, layer)

    def _in_float(self, node, given: list):
        """What a layer of the float end makes."""
        real = {id(tensor): self._real(node, value) for tensor, value in zip(node.input_tensors, given, strict=True)}
        positional, named = node.arguments.fill_in(real)
        return node.operation(*positional, **named)

    def _real(self, node, value) -> keras.KerasTensor:
        """A value for the float end."""
        if isinstance(value, keras.KerasTensor):
            return value
        if isinstance(value, Unrounded):
            return self._in_float(*self.origins[id(value)][1:])
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


def _is_graph(operation) -> bool:
    """Whether it is a functional model, or a sequential one that knows its input."""
    if isinstance(operation, keras.Sequential):
        return operation.built
    return isinstance(operation, keras.Model) and hasattr(operation, "_nodes_by_depth")


def _calls(model: keras.Model) -> Iterator:
    """The calls of a model's layers, in an order in which they can be carried out."""
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def _centring(layer) -> tuple[float, float]:
    """Scale and offset of a Rescaling."""
    if np.ndim(layer.scale) or np.ndim(layer.offset):
        raise NotExportableError(layer.name, "it rescales each channel differently; expected two numbers")
    return float(layer.scale), float(layer.offset)
