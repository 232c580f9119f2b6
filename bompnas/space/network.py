"""A network as plain data: every layer resolved, nothing left to choose, no Keras.

A `Network` is what a genotype decodes to, what a cost model prices, what `bompnas.networks` builds in Keras and what
the record stores. It is a flat list of the layers that hold weights; what stands between them follows from their
fields:

* after every conv and depthwise layer comes batch normalization, then `activation`;
* a layer with a `residual` has the output of the named layer added to its own;
* between the last backbone layer and the head (`group == "head"`) stands a global average pool.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bompnas.space.levels import full

FORMAT = 2  # written where a layer has levels of its own; all other networks are of format 1
HEAD = "head"
FLOAT_BITS = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One layer with weights.

    Attributes:
        name: Unique within its network; the Keras layer has the same name.
        kind: `conv`, `depthwise`, `dense`, or `float` for the parameters of a head's other layers, which are never
            quantized (`in_channels * out_channels` counts them and they have no bias).
        kernel: Height and width of the kernel (1 for dense).
        stride: Stride in both directions; padding is SAME.
        in_channels: Channels of the input (features for dense).
        out_channels: Channels of the output (units for dense).
        input_size: Height and width of the input map (1 for dense).
        output_size: Height and width of the output map (1 for dense).
        weight_bits: Width of a weight [bits].
        activation_bits: Width of an output value [bits].
        activation: `relu6` or `linear`.
        group: The part it belongs to: `stem`, `block1` ..., `last_conv`, `head`.
        repetition: Place within a repeated block, from 1; 0 outside blocks.
        residual: Name of the layer whose output is added to this one's, or None.
        bias: Whether the deployed layer adds a bias (true once batch normalization is folded).
        weight_levels: Largest integer of a weight where its grid is nested in finer ones (`bompnas.space.levels`); None
            for the full grid of its bits.
    """

    name: str
    kind: str
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    input_size: int
    output_size: int
    weight_bits: int
    activation_bits: int
    activation: str
    group: str
    repetition: int = 0
    residual: str | None = None
    bias: bool = True
    weight_levels: int | None = None

    def __post_init__(self):
        if self.weight_levels is not None and not 1 <= self.weight_levels <= full(self.weight_bits):
            most = full(self.weight_bits)
            raise ValueError(
                f"{self.name}: {self.weight_levels} levels found, expected 1 to {most} of {self.weight_bits} bits"
            )

    @property
    def levels(self) -> int:
        """Largest integer of a weight."""
        return full(self.weight_bits) if self.weight_levels is None else self.weight_levels

    @property
    def weights(self) -> int:
        """Number of weights, biases not counted."""
        if self.kind == "depthwise":
            return self.kernel**2 * self.out_channels
        return self.kernel**2 * self.in_channels * self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image."""
        return 0 if self.kind == "float" else self.weights * self.output_size**2


@dataclasses.dataclass(frozen=True)
class Network:
    """A resolved network: input shape and layers in the order of their execution.

    Attributes:
        input_size: Height and width of the input image.
        input_channels: Channels of the input image.
        layers: All layers with weights; those of the head come last.
    """

    input_size: int
    input_channels: int
    layers: tuple[Layer, ...]

    @property
    def backbone(self) -> tuple[Layer, ...]:
        """The layers before the head."""
        return tuple(layer for layer in self.layers if layer.group != HEAD)

    @property
    def head(self) -> tuple[Layer, ...]:
        """The head's layers."""
        return tuple(layer for layer in self.layers if layer.group == HEAD)

    @functools.cached_property
    def key(self) -> str:
        """Canonical key of what the network computes: equal for genotypes that decode to the same network."""
        return self._digest(with_bits=True)

    @functools.cached_property
    def architecture_key(self) -> str:
        """Canonical key without the bit-widths: equal for networks that can share one float training."""
        return self._digest(with_bits=False)

    def with_bits(self, weight_bits: int) -> "Network":
        """The same architecture with all quantized layers at one weight width, on its full grid."""
        return dataclasses.replace(
            self,
            layers=tuple(
                layer
                if layer.kind == "float"
                else dataclasses.replace(layer, weight_bits=weight_bits, weight_levels=None)
                for layer in self.layers
            ),
        )

    def to_json(self) -> str:
        """Versioned JSON that `from_json` reads back."""
        return json.dumps(
            {
                "format": 1 if all(layer.weight_levels is None for layer in self.layers) else FORMAT,
                "input_size": self.input_size,
                "input_channels": self.input_channels,
                "layers": [_fields(layer) for layer in self.layers],
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> "Network":
        """Reads `to_json`'s text.

        Raises:
            ValueError: The text was written by a newer version.
        """
        data: Mapping[str, Any] = json.loads(text)
        if data["format"] > FORMAT:
            raise ValueError(f"network format {data['format']} is newer than this version's {FORMAT}; upgrade bompnas")
        layers = tuple(Layer(**layer) for layer in data["layers"])
        return cls(data["input_size"], data["input_channels"], layers)

    def _digest(self, with_bits: bool) -> str:
        position = {layer.name: index for index, layer in enumerate(self.layers)}
        rows = [
            (
                layer.kind,
                layer.kernel,
                layer.stride,
                layer.in_channels,
                layer.out_channels,
                layer.input_size,
                layer.activation,
                None if layer.residual is None else position[layer.residual],
                layer.bias,
                _widths(layer) if with_bits else None,
            )
            for layer in self.layers
        ]
        text = repr((self.input_size, self.input_channels, rows))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def strided(size, stride):
    """Height and width behind a stride with SAME padding, of numbers or of arrays."""
    return -(-size // stride)


def _fields(layer: Layer) -> dict[str, Any]:
    """What is written of a layer: no levels where they follow from its bits, as before there were others."""
    fields = dataclasses.asdict(layer)
    if layer.weight_levels is None:
        del fields["weight_levels"]
    return fields


def _widths(layer: Layer) -> tuple[int, ...]:
    levels = () if layer.weight_levels is None else (layer.weight_levels,)
    return (layer.weight_bits, layer.activation_bits, *levels)
