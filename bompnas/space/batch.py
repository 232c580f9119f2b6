"""Many networks in columns: what costs are computed from, all at once."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from bompnas.space.network import Layer, Network

KINDS = ("absent", "conv", "depthwise", "dense", "float")
ABSENT, CONV, DEPTHWISE, DENSE, FLOAT = range(len(KINDS))
ACTIVATIONS = ("linear", "relu6")
FIELDS = (
    "kind",
    "kernel",
    "stride",
    "in_channels",
    "out_channels",
    "input_size",
    "output_size",
    "weight_bits",
    "activation_bits",
    "activation",
    "residual",
    "bias",
)


@dataclasses.dataclass(frozen=True)
class NetworkBatch:
    """n networks of at most L layers, each field of their layers an array of shape (n, L), int64.

    The fields are those of `bompnas.space.network.Layer`, names and groups left out: `kind` and `activation` as places
    in `KINDS` and `ACTIVATIONS`, `residual` as the place of the added layer among the present ones, from 1. A layer
    whose kind is `ABSENT` is not there, and all its fields are 0.

    Attributes:
        fields: The arrays in the order of `FIELDS`, shape (12, n, L).
    """

    fields: np.ndarray

    @classmethod
    def of(cls, networks: Sequence[Network]) -> "NetworkBatch":
        """Networks as columns."""
        fields = np.zeros(
            (len(FIELDS), len(networks), max((len(n.layers) for n in networks), default=0)), dtype=np.int64
        )
        for row, network in enumerate(networks):
            fields[:, row, : len(network.layers)] = columns(network.layers)
        return cls(fields)

    def __len__(self) -> int:
        return self.fields.shape[1]

    def __getitem__(self, places: np.ndarray) -> "NetworkBatch":
        return NetworkBatch(self.fields[:, places])

    @property
    def kind(self) -> np.ndarray:
        """Places in `KINDS`, shape (n, L)."""
        return self.fields[0]

    @property
    def out_channels(self) -> np.ndarray:
        """Output channels, shape (n, L)."""
        return self.fields[4]

    @property
    def weight_bits(self) -> np.ndarray:
        """Width of a weight [bits], shape (n, L)."""
        return self.fields[7]

    @property
    def bias(self) -> np.ndarray:
        """1 where the deployed layer adds a bias, shape (n, L)."""
        return self.fields[11]

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """Number of weights of each layer, biases not counted, shape (n, L)."""
        kind, kernel, _, in_channels, out_channels, *_ = self.fields
        return kernel**2 * out_channels * np.where(kind == DEPTHWISE, 1, in_channels)

    @functools.cached_property
    def macs(self) -> np.ndarray:
        """Multiply-accumulate operations of each layer for one image, shape (n, L)."""
        return np.where(self.kind == FLOAT, 0, self.weights * self.fields[6] ** 2)

    @functools.cached_property
    def keys(self) -> list[bytes]:
        """Equal for equal networks, whichever columns their layers stand in; comparable within one space."""
        present = self.kind != ABSENT
        first = np.argsort(~present, axis=1, kind="stable")
        small = self.fields.astype(np.int32)
        rows = small.transpose(1, 2, 0)[np.arange(len(self))[:, None], first]
        counts = present.sum(axis=1).tolist()
        return [row[:count].tobytes() for row, count in zip(np.ascontiguousarray(rows), counts, strict=True)]

    @property
    def summaries(self) -> Mapping[str, np.ndarray]:
        """Plain facts that bear on accuracy, each of shape (n,).

        Depth [layers]; mean weight width of the quantized layers [bits]; log2 of the channels that information passes
        through, those of linear convs: the fewest (one thin layer starves a network) and the geometric mean.
        """
        quantized = (self.kind != ABSENT) & (self.kind != FLOAT)
        depth = quantized.sum(axis=1)
        passages = (self.kind == CONV) & (self.fields[9] == ACTIVATIONS.index("linear"))
        channels = np.log2(np.maximum(self.out_channels, 1))
        many = channels.max(initial=0.0)
        return {
            "depth": depth,
            "mean_bits": (self.weight_bits * quantized).sum(axis=1) / np.maximum(depth, 1),
            "narrowest": np.where(passages, channels, many).min(axis=1, initial=many),
            "mean_channels": (channels * passages).sum(axis=1) / np.maximum(passages.sum(axis=1), 1),
        }


def columns(layers: Sequence[Layer]) -> np.ndarray:
    """The fields of one network's layers, shape (12, layers)."""
    place = {layer.name: number for number, layer in enumerate(layers, 1)}
    rows = [
        (
            KINDS.index(layer.kind),
            layer.kernel,
            layer.stride,
            layer.in_channels,
            layer.out_channels,
            layer.input_size,
            layer.output_size,
            layer.weight_bits,
            layer.activation_bits,
            ACTIVATIONS.index(layer.activation),
            0 if layer.residual is None else place[layer.residual],
            layer.bias,
        )
        for layer in layers
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(FIELDS)).T
