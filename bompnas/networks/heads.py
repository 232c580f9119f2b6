"""Heads: what turns features into the task's output.

A head is given as `classification`, `regression`, or the user's own: an AutoKeras-style object with `build(hp,
inputs)`, `loss` and `metrics`, or a plain callable from Keras tensor to Keras tensor (a function, a layer, a model), by
import path (`my_package.heads:MyHead`) or as an object. Layers of a head that are Dense or Conv are quantized with the
policy's dense bits.

An import path runs the user's own code: name only modules that you trust.
"""

import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras

from bompnas.errors import InputError
from bompnas.networks import fold, graph
from bompnas.space.network import FLOAT_BITS, HEAD, Layer

CLASSIFICATION = "classification"
REGRESSION = "regression"


@dataclasses.dataclass(frozen=True)
class Head:
    """A head, ready to be applied.

    Attributes:
        apply: Keras tensor of features -> Keras tensor of outputs; makes new layers at every call, or layers that are
            copied before use.
        loss: A Keras loss or its name; None means the task's own.
        metrics: Keras metrics or their names, measured in addition to the task's own.
        task: `classification` or `regression`.
        features: What it takes: `pooled`, shape (batch, channels), or `map`, shape (batch, height, width, channels).
    """

    apply: Callable[[Any], Any]
    loss: Any = None
    metrics: tuple[Any, ...] = ()
    task: str = CLASSIFICATION
    features: str = "pooled"


@dataclasses.dataclass(frozen=True)
class HeadSource:
    """Where a head comes from: what an experiment says of it, plain enough to travel to a worker process.

    Attributes:
        given: `classification`, `regression`, an import path `package.module:Name`, or the user's object or callable.
        outputs: Outputs of the two built-in heads: classes or targets.
        arguments: Keyword arguments for a class named by an import path.
        features: `pooled` or `map`.
        loss: Name of a Keras loss that overrides the head's own.
    """

    given: Any
    outputs: int = 1
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    features: str = "pooled"
    loss: str | None = None

    def head(self) -> Head:
        """The head itself.

        Raises:
            InputError: It cannot be imported or made.
        """
        if self.loss is not None:
            _check_loss(self.loss)
        if self.given in (CLASSIFICATION, REGRESSION):
            if self.loss is not None and _task(self.loss) != self.given:
                raise InputError(f"head.loss: {self.loss} is no loss for a {self.given} head")
            return Head(self._dense, self.loss, task=self.given, features=self.features)
        if isinstance(self.given, str):
            given = _imported(self.given, self.arguments)
            return from_object(given, features=self.features, loss=self.loss)
        return from_object(self.given, features=self.features, loss=self.loss)

    def _dense(self, features):
        if len(features.shape) == 4:
            features = keras.layers.GlobalAveragePooling2D()(features)
        return keras.layers.Dense(self.outputs)(features)


def from_object(given: Any, *, features: str = "pooled", loss: Any = None) -> Head:
    """A head from the user's object or callable.

    Args:
        given: Object with `build(hp, inputs)`, or a callable.
        features: `pooled` or `map`.
        loss: Overrides the object's own loss.

    Raises:
        InputError: It is neither.
    """
    loss = loss if loss is not None else getattr(given, "loss", None)
    if isinstance(given, keras.layers.Layer):
        apply, loss, metrics = _afresh(given), None if callable(loss) else loss, ()
    elif hasattr(given, "build"):
        apply, metrics = _autokeras_style(given), getattr(given, "metrics", None) or ()
    elif callable(given):
        apply, metrics = given, getattr(given, "metrics", None) or ()
    else:
        raise InputError(
            f"head: found {type(given).__name__}, expected an object with build(hp, inputs) or a callable that takes "
            "and returns a Keras tensor"
        )
    return Head(apply, loss, tuple(metrics), _task(loss), features)


def attach(head: Head, inputs, features) -> keras.Model:
    """The model from `inputs` to the head's output on `features`.

    Args:
        head: The head; its layers are made or copied afresh, nested models are dissolved, and all get names
            `head_<kind>` that do not depend on how many layers the process has made before.
        inputs: Keras tensor that the backbone begins with.
        features: Keras tensor that the backbone ends with.

    Raises:
        InputError: The head fails on these features or does not return one Keras tensor.
    """
    backbone = {operation.name for operation in keras.Model(inputs, features).operations}
    try:
        model = graph.flatten(keras.Model(inputs, head.apply(features)))
        names = _names([operation for operation in model.operations if operation.name not in backbone])
        return graph.rewrite(
            model, clone=lambda operation: graph.changed(operation, name=names.get(operation.name, operation.name))
        )
    except Exception as error:
        raise InputError(
            f"head: building it on features of shape {tuple(features.shape)} failed ({type(error).__name__}: {error}); "
            "expected one Keras tensor computed from the features by Keras layers that can be copied from their "
            "configuration (no Lambda)"
        ) from error


def alone(head: Head, shape: tuple[int, ...]) -> keras.Model:
    """The head as a model of its own, from features of a shape (without the batch axis)."""
    features = keras.Input(shape, name="features")
    return attach(head, features, features)


def output_shape(head: Head, shape: tuple[int, ...]) -> tuple[int | None, ...]:
    """Shape of the head's output for features of a shape (both without the batch axis)."""
    return tuple(alone(head, shape).output.shape[1:])


def layers(head: Head, shape: tuple[int, ...]) -> tuple[Layer, ...]:
    """The head's layers with weights as they stand in a `Network`, for features of a shape (without the batch axis).

    Raises:
        InputError: A convolution that a `Network` cannot describe (not square, grouped or with a depth multiplier).
    """
    model = alone(head, shape)
    folded = fold.foldable(model)
    return tuple(
        _describe(layer, bias=layer.name in folded or getattr(layer, "use_bias", False))
        for layer in model.layers
        if layer.weights and layer.name not in folded.values()
    )


def _imported(path: str, arguments: Mapping[str, Any]) -> Any:
    """What an import path names; a class is created with the arguments."""
    module_name, _, name = path.partition(":")
    try:
        given = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise InputError(
            f"head.class: cannot import {path!r} ({type(error).__name__}: {error}); expected 'classification', "
            "'regression' or an import path like 'my_package.heads:MyHead' that Python finds from the working directory"
        ) from error
    if isinstance(given, type):
        try:
            return given(**arguments)
        except Exception as error:
            raise InputError(f"head.arguments: {path} rejects {dict(arguments)} ({error})") from error
    if arguments:
        raise InputError(f"head.arguments: found {dict(arguments)}, but {path} is no class and takes none")
    return given


def _afresh(given: keras.layers.Layer) -> Callable[[Any], Any]:
    """Applies a new copy at every call: a layer is bound to the number of features that it was built on."""

    def copy(layer):
        if isinstance(layer, keras.Sequential):
            return keras.Sequential([copy(inner) for inner in layer.layers])
        return graph.changed(layer)

    return lambda features: copy(given)(features)


def _autokeras_style(given) -> Callable[[Any], Any]:
    def apply(features):
        import keras_tuner  # only such heads need it

        output = given.build(keras_tuner.HyperParameters(), features)
        return keras.tree.flatten(output)[0]

    return apply


def _check_loss(name: str) -> None:
    try:
        keras.losses.get(name)
    except ValueError:
        raise InputError(
            f"head.loss: Keras has no loss {name!r}; expected a name such as sparse_categorical_crossentropy, "
            "mean_squared_error or huber"
        ) from None


def _task(loss: Any) -> str:
    if loss is None:
        return CLASSIFICATION
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    return CLASSIFICATION if "crossentropy" in name.replace("_", "").lower() else REGRESSION


def _names(operations: list) -> dict[str, str]:
    counts: dict[str, int] = {}
    names = {}
    for operation in operations:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(operation).__name__).lower()
        counts[kind] = counts.get(kind, 0) + 1
        names[operation.name] = f"head_{kind}" + (f"_{counts[kind]}" if counts[kind] > 1 else "")
    return names


def _describe(layer: keras.layers.Layer, bias: bool) -> Layer:
    common = {
        "name": layer.name,
        "weight_bits": FLOAT_BITS,
        "activation_bits": 8,
        "activation": "linear",
        "group": HEAD,
    }
    if type(layer) is keras.layers.Dense:
        positions = math.prod(layer.output.shape[1:-1])
        size = math.isqrt(positions)
        if size**2 != positions:
            raise InputError(
                f"head: layer {layer.name!r} is applied at {positions} positions; a Dense layer is counted on features "
                "or on a square number of positions: flatten its input, or use a Conv2D"
            )
        channels = {"in_channels": layer.kernel.shape[0], "out_channels": layer.units}
        place = {"kernel": 1, "stride": 1, "input_size": size, "output_size": size}
        return Layer(kind="dense", bias=bias, **channels, **place, **common)
    if graph.is_quantizable(layer):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        height, width = layer.kernel_size
        if height != width or getattr(layer, "groups", 1) != 1 or getattr(layer, "depth_multiplier", 1) != 1:
            raise InputError(
                f"head: layer {layer.name!r} has kernel {layer.kernel_size}, groups {getattr(layer, 'groups', 1)}; "
                "a head's convolutions need square kernels, groups=1 and depth_multiplier=1"
            )
        return Layer(
            kind="depthwise" if depthwise else "conv",
            kernel=height,
            stride=layer.strides[0],
            in_channels=layer.input.shape[-1],
            out_channels=layer.output.shape[-1],
            input_size=layer.input.shape[1],
            output_size=layer.output.shape[1],
            bias=bias,
            **common,
        )
    place = {"kernel": 1, "stride": 1, "input_size": 1, "output_size": 1}
    return Layer(kind="float", in_channels=layer.count_params(), out_channels=1, bias=False, **place, **common)
