"""The two networks that papers on bit-widths report costs of, at 224x224 with 1,000 classes."""

import itertools

from bompnas.space.network import Layer, Network

END_BITS = 8
"""Widths of what both ends of a network have fixed: the weights of the first and the last layer."""

V1_STAGES = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Output channels and stride of each separable convolution [Howard et al. 2017, table 1]."""

V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, output channels, repetitions and first stride of the bottlenecks [Sandler et al. 2018, table 2]."""


def mobilenet_v1(weight_bits: int = 8, activation_bits: int = 8) -> Network:
    """MobileNetV1 of width 1: 28 layers; first and last layer have weights of 8 bits."""
    layers = _Layers(weight_bits, activation_bits)
    layers.add("conv", 3, 2, 32)
    for channels, stride in V1_STAGES:
        layers.add("depthwise", 3, stride, layers.channels)
        layers.add("conv", 1, 1, channels)
    return layers.classified()


def mobilenet_v2(weight_bits: int = 8, activation_bits: int = 8) -> Network:
    """MobileNetV2 of width 1: 53 layers; first and last layer have weights of 8 bits."""
    layers = _Layers(weight_bits, activation_bits)
    layers.add("conv", 3, 2, 32)
    for expansion, channels, repetitions, first_stride in V2_STAGES:
        for stride in itertools.chain([first_stride], itertools.repeat(1, repetitions - 1)):
            entrance, start = layers.channels, layers.last
            if expansion > 1:
                layers.add("conv", 1, 1, entrance * expansion)
            layers.add("depthwise", 3, stride, layers.channels)
            residual = start if stride == 1 and entrance == channels else None
            layers.add("conv", 1, 1, channels, "linear", residual)
    layers.add("conv", 1, 1, 1280)
    return layers.classified()


class _Layers:
    """A network under construction."""

    def __init__(self, weight_bits: int, activation_bits: int):
        self.bits = weight_bits, activation_bits
        self.layers: list[Layer] = []
        self.channels, self.size = 3, 224

    @property
    def last(self) -> str:
        """Name of the last layer."""
        return self.layers[-1].name

    def add(
        self,
        kind: str,
        kernel: int,
        stride: int,
        channels: int,
        activation: str = "relu6",
        residual: str | None = None,
    ) -> None:
        """Adds a convolution."""
        size = -(-self.size // stride)
        weight_bits, activation_bits = self.bits if self.layers else (END_BITS, self.bits[1])
        self.layers.append(
            Layer(
                name=f"layer{len(self.layers)}",
                kind=kind,
                kernel=kernel,
                stride=stride,
                in_channels=self.channels,
                out_channels=channels,
                input_size=self.size,
                output_size=size,
                weight_bits=weight_bits,
                activation_bits=activation_bits,
                activation=activation,
                group="backbone",
                residual=residual,
            )
        )
        self.channels, self.size = channels, size

    def classified(self) -> Network:
        """The network with its classifier."""
        head = Layer(
            name="classifier",
            kind="dense",
            kernel=1,
            stride=1,
            in_channels=self.channels,
            out_channels=1000,
            input_size=1,
            output_size=1,
            weight_bits=END_BITS,
            activation_bits=END_BITS,
            activation="linear",
            group="head",
        )
        return Network(224, 3, (*self.layers, head))
