r"""The single-path supernet of HQNAS: every network of the space in the weights of the largest one.

A bottleneck of kernel 5 and expansion 6 holds all its smaller ones (eqs. 4 and 5): the 3x3 core of its depthwise
kernel, the first half of its channels, nothing at all. Its weights hold their own low-precision forms (eq. 6). Which
network the supernet is follows from a vector of gates, an input beside the images.

How the equations are read:

* Eq. (5) prints w_{k,6\3} as the base term and conditions both gates on w_{k,3}. Implemented is what the text and
  Single-Path NAS say: w = skip * (w_{k,3} + e6 * w_{k,6\3}).
* Gates act behind batch normalization and activation, where a dropped channel must be 0: a masked kernel in front of
  them would leave relu(beta). Written here as zero rows of the projection, which is the same and also leaves the
  dropped weights out of its steps.
* Eq. (6) takes away residuals, w16 - g1 * ((w16 - w8) + g2 * (w8 - w4)), which is one of w16, w8, w4: the weights are
  quantized once, with the levels that the gates choose.
* Eqs. (7) and (8) scale to [0, 1] by minimum and maximum, have 2^b + 1 levels, more than b bits hold, and no exact 0.
  Implemented are symmetric grids of one common maximum per channel, with 7, 119 and 30583 levels on each side for 4, 8
  and 16 bits (`bompnas.space.levels`), which lie in one another and are those of the derived network; `literal` trains
  and samples with the printed ones.
* Weights are rounded straight through. Activations, stem, last convolution and head stay in float while searching.
* Batch normalization always takes the statistics of its batch, as architectures change from step to step.
"""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from bompnas.networks import float_model, heads
from bompnas.networks.fused import Conv2D, normalize
from bompnas.networks.heads import Head
from bompnas.networks.quantize import LayerBits
from bompnas.networks.quantizers import straight_through
from bompnas.space.network import Layer, Network
from bompnas.supernet.structure import Group, Structure

EPSILON = 1e-3
"""Of batch normalization, as in the derived networks."""


class BatchNormalization(keras.layers.Layer):
    """Normalizes by the statistics of the batch, always.

    Args:
        channels: Of the input.
        name: Of the layer.
    """

    def __init__(self, channels: int, name: str):
        super().__init__(name=name)
        self.gamma = self.add_weight(shape=(channels,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(channels,), initializer="zeros", name="beta")

    def call(self, inputs):
        """The normalized tensor."""
        return normalize(inputs, self.gamma, self.beta, EPSILON)[0]


class Bottleneck(keras.layers.Layer):
    """A group: expansion, depthwise convolution and projection with all their subsets and precisions.

    Args:
        group: Its choices.
        starts: The place of each gene's first gate in the vector of gates.
        literal: Quantize by eqs. (7) and (8) as printed.

    Attributes:
        weighted: Kernel and normalization of each of the three convolutions.
    """

    def __init__(self, group: Group, starts: Mapping[str, int], literal: bool = False):
        super().__init__(name=group.name)
        self._group = group
        self._starts = starts
        self._quantize = literal_grid if literal else nested_grid
        self.weighted = [
            (
                self.add_weight(shape=_kernel_shape(layer), initializer=keras.initializers.HeNormal(), name=layer.name),
                BatchNormalization(layer.out_channels, f"{layer.name}_normalization"),
            )
            for layer in (group.expand, group.depthwise, group.project)
        ]

    def call(self, inputs, gates):
        """The group's output, shape of its projection's.

        Args:
            inputs: Shape (batch, height, width, channels).
            gates: All gates of the supernet, shape (gates,), each 0 or 1.
        """
        group = self._group
        expand, depthwise, project = self.kernels(gates)
        normalize_expand, normalize_depthwise, normalize_project = (each for _, each in self.weighted)
        values = ops.relu6(normalize_expand(ops.matmul(inputs, expand[0, 0])))
        values = ops.depthwise_conv(values, depthwise, strides=group.depthwise.stride, padding="same")
        values = ops.relu6(normalize_depthwise(values))
        values = normalize_project(ops.matmul(values, project[0, 0]))
        if group.project.residual is None:
            return values
        return inputs + (self._opened("repetitions", 1, gates)[0] * values if group.skippable else values)

    def kernels(self, gates):
        """The chosen parts of the three kernels in the chosen precision, the rest of them 0."""
        group = self._group
        rings = self._opened("kernel", len(group.kernels) - 1, gates)
        halves = self._opened("expansion", len(group.expansions) - 1, gates)
        removed = self._opened("bits", len(group.bits) - 1, gates)
        square, channels = ring_masks(group.kernels), channel_masks(group.expansions, group.expand.in_channels)
        kernel_mask = _chosen(square, rings)[:, :, None, None]
        row_mask = _chosen(channels, halves)[None, None, :, None]
        return tuple(
            self._quantize(kernel, mask, group, removed, axis)
            for (kernel, _), mask, axis in zip(self.weighted, (None, kernel_mask, row_mask), (-1, 2, -1), strict=True)
        )

    def _opened(self, gene: str, count: int, gates) -> list:
        """Whether each value of a chain after the first is reached: products of its gates."""
        if not count:
            return []
        start = self._starts[f"{self._group.name}.{gene}"]
        opened = [gates[start]]
        for gate in range(start + 1, start + count):
            opened.append(opened[-1] * gates[gate])
        return opened


class Supernet(keras.Model):
    """All networks of a space; called with images and gates, it is one of them.

    Weights are drawn from Keras' global generator.

    Args:
        structure: Of the space.
        head: What follows the features.
        literal: Quantize by eqs. (7) and (8) as printed.

    Attributes:
        head: The head as a model from features.
    """

    def __init__(self, structure: Structure, head: Head, literal: bool = False):
        super().__init__(name="supernet")
        self._features = head.features
        self._stem, self._last_conv = _convolution(structure.stem), _convolution(structure.last_conv)
        self._stem_normalization, self._last_normalization = (
            BatchNormalization(layer.out_channels, f"{layer.name}_normalization")
            for layer in (structure.stem, structure.last_conv)
        )
        starts = structure.chains.starts
        self._bottlenecks = [Bottleneck(group, starts, literal) for group in structure.groups]
        self.head = heads.alone(head, float_model.feature_shape(structure.network, head))
        self.build()

    def build(self, input_shape=None):
        """Nothing is left to make."""

    def call(self, inputs, training=None):
        """Outputs for `(images, gates)`: images of values 0..255, gates of shape (gates,)."""
        images, gates = inputs
        values = images * float_model.PIXEL_SCALE + float_model.PIXEL_OFFSET
        values = ops.relu6(self._stem_normalization(self._stem(values)))
        for bottleneck in self._bottlenecks:
            values = bottleneck(values, gates)
        values = ops.relu6(self._last_normalization(self._last_conv(values)))
        if self._features == "pooled":
            values = ops.mean(values, axis=(1, 2))
        return self.head(values, training=training)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All weights by name, those of its largest network's float model (`block1_1_depthwise/kernel`)."""
        return {name: ops.convert_to_numpy(variable) for name, variable in self._named().items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of `arrays`."""
        return {name: tuple(variable.shape) for name, variable in self._named().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the weights that `arrays` gave."""
        for name, variable in self._named().items():
            variable.assign(arrays[name])

    def _named(self) -> dict[str, keras.Variable]:
        kernels = [(layer.name, layer.kernel) for layer in (self._stem, self._last_conv)]
        normalizations = [self._stem_normalization, self._last_normalization]
        for bottleneck in self._bottlenecks:
            kernels += [(kernel.name, kernel) for kernel, _ in bottleneck.weighted]
            normalizations += [normalization for _, normalization in bottleneck.weighted]
        named = {f"{name}/kernel": kernel for name, kernel in kernels}
        for layer in (*normalizations, *self.head.layers):
            named |= {f"{layer.name}/{variable.name}": variable for variable in layer.variables}
        return named


def derived_weights(arrays: Mapping[str, np.ndarray], network: Network) -> dict[str, np.ndarray]:
    """Weights of a network of the space: its parts of the supernet's, in float.

    Args:
        arrays: The supernet's weights, as `Supernet.arrays` gives them.
        network: Of the same space.

    Returns:
        `<layer>/<weight>` -> array, for the float model of the network (`bompnas.networks.float_model`); statistics of
        batch normalization, which a supernet does not have, are left out.
    """
    found = {name: array for name, array in arrays.items() if name.startswith("head")}
    for layer in network.backbone:
        found[f"{layer.name}/kernel"] = _sliced(arrays[f"{layer.name}/kernel"], layer)
        for weight in ("gamma", "beta"):
            name = f"{layer.name}_normalization/{weight}"
            found[name] = arrays[name][: layer.out_channels]
    return found


def nested_grid(kernel, mask, group: Group, removed, axis: int):
    """A masked kernel on the symmetric grid that the gates choose, straight through."""
    kernel = kernel if mask is None else kernel * mask
    quantizer = LayerBits(group.bits[0], 8, group.expand.weight_levels).quantizer(axis)
    finest = quantizer.finest
    numbers = [quantizer.number] if finest is None else [float(finest // levels) for levels in group.levels]
    number = _chosen(numbers, removed)
    return quantizer(kernel, quantizer.step(kernel, number), number)


def literal_grid(kernel, mask, group: Group, removed, axis: int):
    """A kernel on the min-max grid of eqs. (7) and (8) as printed, one for the tensor, then masked; straight through.

    The rounding factor is 1 above one half: ties go down. Index 2^b is possible.
    """
    low, high = ops.min(kernel), ops.max(kernel)
    count = _chosen([2.0**bits for bits in group.bits], removed)
    scaled = (kernel - low) / (high - low) * count
    index = ops.ceil(scaled - 0.5)
    quantized = straight_through(kernel, index / count * (high - low) + low)
    return quantized if mask is None else quantized * mask


def ring_masks(kernels: tuple[int, ...]) -> list[np.ndarray]:
    """Which pixels of the largest kernel each choice has, float32, shape (largest, largest)."""
    largest = kernels[-1]
    masks = []
    for kernel in kernels:
        margin = (largest - kernel) // 2
        masks.append(np.pad(np.ones((kernel, kernel), np.float32), margin))
    return masks


def channel_masks(expansions: tuple[int, ...], in_channels: int) -> list[np.ndarray]:
    """Which of the expanded channels each choice has, the first ones, float32, shape (channels,)."""
    places = np.arange(expansions[-1] * in_channels)
    return [(places < expansion * in_channels).astype(np.float32) for expansion in expansions]


def _chosen(choices, opened):
    """The choice of a chain; exact, as all but one are multiplied by 0."""
    reached = [1.0, *opened, 0.0]
    terms = [(reached[place] - reached[place + 1]) * choice for place, choice in enumerate(choices)]
    return sum(terms[1:], start=terms[0])


def _sliced(kernel: np.ndarray, layer: Layer) -> np.ndarray:
    """The part of a super-kernel that is a layer's."""
    margin = (kernel.shape[0] - layer.kernel) // 2
    core = kernel[margin : margin + layer.kernel, margin : margin + layer.kernel]
    if layer.kind == "depthwise":
        return core[:, :, : layer.out_channels]
    return core[:, :, : layer.in_channels, : layer.out_channels]


def _kernel_shape(layer: Layer) -> tuple[int, ...]:
    if layer.kind == "depthwise":
        return (layer.kernel, layer.kernel, layer.out_channels, 1)
    return (layer.kernel, layer.kernel, layer.in_channels, layer.out_channels)


def _convolution(layer: Layer) -> Conv2D:
    made = Conv2D(
        layer.out_channels,
        layer.kernel,
        strides=layer.stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=layer.name,
    )
    made.build((None, layer.input_size, layer.input_size, layer.in_channels))
    return made
