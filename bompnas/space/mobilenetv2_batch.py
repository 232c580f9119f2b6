"""The networks of many genotypes of the MobileNetV2 family at once, in columns.

What `MobileNetV2Space.decode` builds layer by layer is computed here slot by slot, all genotypes together; a test holds
both equal.
"""

from typing import TYPE_CHECKING

import numpy as np

from bompnas.space import batch
from bompnas.space.batch import NetworkBatch
from bompnas.space.network import strided

if TYPE_CHECKING:
    from bompnas.space.mobilenetv2 import MobileNetV2Space


def columns(space: "MobileNetV2Space", codes: np.ndarray) -> NetworkBatch:
    """`MobileNetV2Space._build` for many genotypes at once."""
    head = _head_columns(space)
    slots = [max(block.repetitions.values) for block in space.blocks]
    fields = np.zeros((len(batch.FIELDS), len(codes), 1 + 3 * sum(slots) + 1 + head.shape[2]), dtype=np.int64)

    def fill(start: int, stop: int, step: int, **values: np.ndarray | int) -> None:
        for field, value in values.items():
            fields[batch.FIELDS.index(field), :, start:stop:step] = value

    stem, channels = space.stem, np.full(len(codes), space.stem.filters)
    size = np.full(len(codes), strided(space.input_size, stem.stride))
    fill(
        0, 1, 1, kind=batch.CONV, kernel=stem.kernel, stride=stem.stride, in_channels=space.input_channels,
        out_channels=stem.filters, input_size=space.input_size, output_size=size[:, None],
        weight_bits=space.values(codes, "stem.bits")[:, None], activation=1,
    )  # fmt: skip
    stride, start = np.ones(len(codes), dtype=np.int64), 1
    for (group, block), most in zip(space.groups(), slots, strict=True):
        value = {name: space.values(codes, space.gene_name(group, name))[:, None] for name in _BLOCK_GENES}
        widths = sorted(block.width.values)
        table = np.array([space.channels(block, width) for width in widths])
        out = table[np.searchsorted(widths, value["width"])]
        first = np.arange(most) == 0
        stride = stride * block.stride
        strides = np.where(first, stride[:, None], 1)
        inputs = np.where(first, channels[:, None], out)
        reduced = strided(size, stride)
        sizes = np.where(first, size[:, None], reduced[:, None])
        present = np.arange(most) < value["repetitions"]
        expanded = present & (value["expansion"] > 1)
        inner = inputs * value["expansion"]
        # The layer before the slot, by its place: what a residual adds.
        before = (fields[0, :, :start] != batch.ABSENT).sum(axis=1)[:, None] + np.arange(most) * (2 + expanded)
        residual = np.where((strides == 1) & (inputs == out), before, 0)
        stop = start + 3 * most
        fill(
            start, stop, 3, kind=np.where(expanded, batch.CONV, 0), kernel=1, stride=1, in_channels=inputs,
            out_channels=inner, input_size=sizes, output_size=sizes, weight_bits=value["expand_bits"], activation=1,
        )  # fmt: skip
        fill(
            start + 1, stop, 3, kind=np.where(present, batch.DEPTHWISE, 0), kernel=value["kernel"], stride=strides,
            in_channels=inner, out_channels=inner, input_size=sizes, output_size=reduced[:, None],
            weight_bits=value["depthwise_bits"], activation=1,
        )  # fmt: skip
        fill(
            start + 2, stop, 3, kind=np.where(present, batch.CONV, 0), kernel=1, stride=1, in_channels=inner,
            out_channels=out, input_size=reduced[:, None], output_size=reduced[:, None],
            weight_bits=value["project_bits"], residual=residual,
        )  # fmt: skip
        there = value["repetitions"][:, 0] > 0
        channels = np.where(there, out[:, 0], channels)
        size = np.where(there, reduced, size)
        stride = np.where(there, 1, stride)  # an absent block leaves its stride to the next one
        start = stop
    filters = space.values(codes, "last_conv.filters")
    fill(
        start, start + 1, 1, kind=batch.CONV, kernel=1, stride=stride[:, None], in_channels=channels[:, None],
        out_channels=filters[:, None], input_size=size[:, None], output_size=strided(size, stride)[:, None],
        weight_bits=space.values(codes, "last_conv.bits")[:, None], activation=1,
    )  # fmt: skip
    fill(0, start + 1, 1, activation_bits=space.activation_bits, bias=1)
    fields[:, :, start + 1 :] = head[:, np.searchsorted(sorted(space.last_filters.values), filters)]
    quantized = (fields[0, :, start + 1 :] != batch.ABSENT) & (fields[0, :, start + 1 :] != batch.FLOAT)
    bits = space.values(codes, "dense.bits")[:, None]
    fill(start + 1, fields.shape[2], 1, weight_bits=np.where(quantized, bits, fields[7, :, start + 1 :]))
    return NetworkBatch(fields * (fields[0] != batch.ABSENT))


_BLOCK_GENES = (
    "kernel", "width", "expansion", "repetitions", "expand_bits", "depthwise_bits", "project_bits",
)  # fmt: skip


def _head_columns(space: "MobileNetV2Space") -> np.ndarray:
    """Fields of the head behind each number of last filters, ascending; shape (fields, filters, layers)."""
    heads = [batch.columns(space.head(filters)) for filters in sorted(space.last_filters.values)]
    fields = np.zeros((len(batch.FIELDS), len(heads), max(head.shape[1] for head in heads)), dtype=np.int64)
    for place, head in enumerate(heads):
        fields[:, place, : head.shape[1]] = head
    return fields
