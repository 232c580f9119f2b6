"""Layers in columns, as devices price them: each distinct one once."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from bompnas.space.batch import ABSENT, CONV, DENSE, DEPTHWISE, FIELDS, FLOAT, NetworkBatch

PIXEL_BITS = 8
POOLED_BITS = 8
REQUANTIZED_BITS = 8
"""What a quantized layer reads of a `float` layer, whose own output lies on no grid."""


@dataclasses.dataclass(frozen=True)
class LayerTable:
    """m layers in columns, int64 arrays of shape (m,); what they are follows `bompnas.space.network.Layer`.

    Attributes:
        kind: Places in `bompnas.space.batch.KINDS`, never `ABSENT`.
        kernel: Height and width of the kernel.
        stride: Stride in both directions; padding is SAME.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        input_size: Height and width of the input map.
        output_size: Height and width of the output map.
        weight_bits: Width of a weight [bits].
        input_bits: Width of a value that the layer reads [bits].
        output_bits: Width of a value that it writes [bits].
        bias: 1 where it adds a bias.
    """

    kind: np.ndarray
    kernel: np.ndarray
    stride: np.ndarray
    in_channels: np.ndarray
    out_channels: np.ndarray
    input_size: np.ndarray
    output_size: np.ndarray
    weight_bits: np.ndarray
    input_bits: np.ndarray
    output_bits: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, networks: NetworkBatch) -> "LayerTable":
        """The present layers of n networks, network by network in the order of execution.

        A layer reads what the one before it writes (a sum has the width of its last addend), and 8 bits of an image, of
        globally pooled features and of a `float` layer, as `bompnas.networks.quantize` lays them out.
        """
        column, first = present_columns(networks)
        return cls(
            **{name: column[name] for name in COLUMNS if name in column},
            input_bits=_input_bits(column, first),
            output_bits=column["activation_bits"],
        )

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, places: np.ndarray | slice) -> "LayerTable":
        """Some of the layers."""
        return LayerTable(*(values[places] for values in self.columns))

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """The arrays in the order of `COLUMNS`."""
        return tuple(getattr(self, name) for name in COLUMNS)

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """Number of weights of each layer, biases not counted, shape (m,)."""
        return self.kernel**2 * self.out_channels * np.where(self.kind == DEPTHWISE, 1, self.in_channels)

    @functools.cached_property
    def macs(self) -> np.ndarray:
        """Multiply-accumulate operations of each layer for one image, shape (m,); 0 for `float` layers."""
        return np.where(self.kind == FLOAT, 0, self.weights * self.output_size**2)


COLUMNS = tuple(field.name for field in dataclasses.fields(LayerTable))


def present_columns(networks: NetworkBatch) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All fields of the present layers of n networks, one network after the other.

    Returns:
        Name of a field of `NetworkBatch` -> shape (m,); and which layers are the first of their network, shape (m,).
    """
    present = networks.kind != ABSENT
    first = present & (present.cumsum(axis=1) == 1)
    return {name: values[present] for name, values in zip(FIELDS, networks.fields, strict=True)}, first[present]


def reads_pooled(column: dict[str, np.ndarray], first: np.ndarray) -> np.ndarray:
    """Which layers read globally pooled features, shape (m,); arguments as `present_columns` returns them.

    Dense layers behind a map, unless they have more inputs than the map has channels: those read it flattened.
    """
    kind, channels = np.roll(column["kind"], 1), np.roll(column["out_channels"], 1)
    behind_map = ~first & ((kind == CONV) | (kind == DEPTHWISE)) & (channels == column["in_channels"])
    return behind_map & (column["kind"] == DENSE) & (column["input_size"] == 1)


class PriceCache:
    """What distinct layers cost, each priced once.

    Attributes:
        most: Distinct layers that are remembered; above that all are forgotten.
    """

    def __init__(self, most: int = 1_000_000):
        self.most = most
        self._forget()

    def look_up(self, table: LayerTable, price: Callable[[LayerTable], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """What m layers cost.

        Args:
            table: Layers, each as often as it may occur.
            price: Costs of distinct layers by name, arrays of their number; a pure function, the same at every call.

        Returns:
            Costs by name, arrays of shape (m,).
        """
        examples, numbers = distinct(table.columns)
        layers = table[examples]
        keys = _keys(layers)
        new = [number for number, key in enumerate(keys) if key not in self._places]
        if len(self._places) + len(new) > self.most:
            self._forget()
            new = list(range(len(keys)))
        if new or not self._prices:
            self._remember([keys[number] for number in new], price(layers[np.array(new, dtype=np.intp)]))
        places = np.array([self._places[key] for key in keys], dtype=np.intp)[numbers]
        return {name: values[places] for name, values in self._prices.items()}

    def _remember(self, keys: list[bytes], prices: dict[str, np.ndarray]) -> None:
        start = len(self._places)
        known = self._prices or {name: values[:0] for name, values in prices.items()}
        self._prices = {name: np.concatenate([known[name], values]) for name, values in prices.items()}
        self._places.update(zip(keys, range(start, start + len(keys)), strict=True))

    def _forget(self) -> None:
        self._places: dict[bytes, int] = {}
        self._prices: dict[str, np.ndarray] = {}


def distinct(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of a table of integers.

    Args:
        columns: At least one, int64, shape (m,).

    Returns:
        Places of one example of each of d distinct rows, shape (d,), and for each row the number of its example, shape
        (m,).
    """
    code, count = np.zeros(len(columns[0]), dtype=np.int64), 1
    for values in columns:
        digits, base = _digits(values)
        if count * base > MOST_CODES:
            digits, base = _renumbered(digits)
            code, count = _renumbered(code)  # both at most the number of rows now, whose square fits
        code, count = code * base + digits, count * base
    _, examples, numbers = np.unique(code, return_index=True, return_inverse=True)
    return examples, numbers


MOST_CODES = 2**62


def _digits(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The values as digits from 0, and the base that holds them."""
    if not len(values):
        return values, 1
    low, high = int(values.min()), int(values.max())
    return (values - low, high - low + 1) if high - low < MOST_CODES else _renumbered(values)


def _renumbered(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The values replaced by their places among the distinct ones, and how many these are."""
    known, places = np.unique(values, return_inverse=True)
    return places, max(len(known), 1)


def _keys(layers: LayerTable) -> list[bytes]:
    """Each layer as bytes, equal for equal layers."""
    rows = np.stack(layers.columns, axis=1)
    return rows.view(f"V{rows.itemsize * rows.shape[1]}")[:, 0].tolist() if len(rows) else []


def _input_bits(column: dict[str, np.ndarray], first: np.ndarray) -> np.ndarray:
    """Width of what each layer reads [bits], shape (m,); arguments as `present_columns` returns them."""
    bits = np.where(reads_pooled(column, first), POOLED_BITS, np.roll(column["activation_bits"], 1))
    bits = np.where(np.roll(column["kind"], 1) == FLOAT, REQUANTIZED_BITS, bits)
    return np.where(first, PIXEL_BITS, bits)
