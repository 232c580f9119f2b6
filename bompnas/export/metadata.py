"""What a LiteRT file says about itself: a JSON text beside the operators, and a checksum over the whole file."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from bompnas.errors import InputError
from bompnas.export.graph import Grid, IntegerGraph
from bompnas.export.litert_file import IDENTIFIER

FORMAT = 1
NAME = "bompnas"

_UNSIGNED = "0" * 64
_CHECKSUM = re.compile(rb'("bompnas_sha256": ")([0-9a-f]{64})"')


def describe(graph: IntegerGraph, io: str, labels: Sequence[str]) -> bytes:
    """The metadata of a file, see `read_metadata`; `sign` fills in the checksum."""
    scale, offset = graph.centring
    output = graph.tensors[graph.output]
    content = {
        "format": FORMAT,
        "io": io,
        "input": {**_grid(graph.input.grid), "centring": {"scale": scale, "offset": offset}},
        "output": _grid(output.grid),
        "labels": list(labels),
        "weight_bits": {operation.name: operation.bits for operation in graph.linear},
        "activations": {name: _grid(tensor.grid) for name, tensor in graph.tensors.items()},
        "bompnas_sha256": _UNSIGNED,
    }
    return json.dumps(content).encode()


def read_metadata(model: bytes | Path) -> dict[str, Any]:
    """What a file that `write` made says about itself.

    A raw INT8 input q stands for the value v that the float model takes (a pixel, 0 to 255, for our networks):
    (q - input.zero_point) x input.scale = v x input.centring.scale + input.centring.offset. A raw INT8 output q stands
    for (q - output.zero_point) x output.scale.

    Args:
        model: The file or its bytes.

    Returns:
        `format` (of this dictionary), `io`, `input`, `output`, `labels`, `weight_bits` by layer, and `activations`: by
        tensor, `scale`, `zero_point`, `low` and `high` of its grid. `output` is the integer graph's, before a float
        tail.

    Raises:
        InputError: The file is damaged, or not ours.
    """
    data, place = contents(model)
    if not check(data, place):
        raise InputError(f"{place}: expected a LiteRT file of bompnas, found one without its metadata")
    file = schema.Model.GetRootAs(data)
    entries = (file.Metadata(index) for index in range(file.MetadataLength()))
    entry = next(entry for entry in entries if entry.Name() == NAME.encode())
    content = json.loads(file.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    if content["format"] != FORMAT:
        raise InputError(f"{place}: expected metadata of format {FORMAT}, found {content['format']!r}")
    return content


def contents(model: bytes | Path) -> tuple[bytes, str]:
    """The bytes of a file, and what errors call it."""
    if isinstance(model, bytes):
        return model, "LiteRT model"
    try:
        return Path(model).read_bytes(), str(model)
    except OSError as error:
        raise InputError(f"{model}: expected a LiteRT file, found {error.strerror}") from None


def sign(data: bytes) -> bytes:
    """The file with the checksum of its present bytes; it holds a description."""
    return _with_checksum(data, _checksum(data))


def check(data: bytes, place: str) -> bool:
    """Refuses what is no LiteRT file, and files of ours of which any byte has changed.

    Args:
        data: A file.
        place: What errors call it.

    Returns:
        Whether the file is ours and whole. Of a file without our checksum nothing is known but its identifier.

    Raises:
        InputError: It is foreign, or ours and damaged.
    """
    if data[4:8] != IDENTIFIER:
        raise InputError(f"{place}: expected a LiteRT file, found {len(data)} bytes that begin with {data[:8]!r}")
    found = _CHECKSUM.search(data)
    if found is None:
        return False
    if found[2] != _checksum(data):
        raise InputError(f"{place}: expected the bytes that were written, found a damaged or cut off file")
    return True


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(_with_checksum(data, _UNSIGNED.encode())).hexdigest().encode()


def _with_checksum(data: bytes, checksum: bytes) -> bytes:
    return _CHECKSUM.sub(rb"\g<1>" + checksum + b'"', data, count=1)


def _grid(grid: Grid) -> dict[str, float]:
    return {"scale": grid.scale, "zero_point": grid.zero_point, "low": grid.low, "high": grid.high}
