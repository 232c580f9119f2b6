"""Quantized models as integer graphs, and the files made of them: LiteRT and packed bits.

`to_tflite` and `to_packed` take any quantized Keras model; docs/export.md says which layers they know.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bompnas.whole_files import replacing

if TYPE_CHECKING:
    import keras

__all__ = ["to_packed", "to_tflite"]


def to_tflite(
    model: "keras.Model | str | Path",
    path: str | Path,
    *,
    io: Literal["int8", "float"] = "int8",
    int4: bool = False,
    float_head: bool = False,
    labels: Sequence[str] = (),
) -> None:
    """Writes a quantized model as a LiteRT file, whole or not at all.

    It computes exactly what the package's own quantized layers compute; stock QKeras layers with float biases, and
    their residual sums, are met as closely as integers can (docs/export.md has figures).

    Args:
        model: The model, or the path of its `.keras` file.
        path: The file to write; one that is there is replaced.
        io: What it takes and gives: raw `int8` values, or what the Keras model takes and gives in `float`.
        int4: Store weights of up to 4 bits as INT4: smaller, slower, and exact no longer.
        float_head: Leave layers at the end that integers cannot express in float.
        labels: Names of the outputs, kept in the file.

    Raises:
        NotExportableError: A layer cannot be expressed; nothing is written.
        InputError: The path holds no Keras model.
    """
    from bompnas.export import litert
    from bompnas.export.extract import extract

    extracted = extract(_loaded(model), float_head)
    content = litert.write(extracted.graph, io=io, int4=int4, tail=extracted.tail, labels=labels)
    with replacing(path) as draft:
        draft.write_bytes(content)


def to_packed(model: "keras.Model | str | Path", path: str | Path, *, float_head: bool = False) -> None:
    """Writes the integers of a quantized model at their true width, as docs/packed_format.md specifies.

    Args:
        model: The model, or the path of its `.keras` file.
        path: The file to write; one that is there is replaced.
        float_head: Leave out layers at the end that integers cannot express, instead of refusing the model.

    Raises:
        NotExportableError: A layer cannot be expressed in integers; nothing is written.
        InputError: The path holds no Keras model.
    """
    from bompnas.export import packed
    from bompnas.export.extract import extract

    packed.save(extract(_loaded(model), float_head).graph, path)


def _loaded(model: "keras.Model | str | Path") -> "keras.Model":
    if not isinstance(model, str | Path):
        return model
    from bompnas.export import models

    return models.load(model)
