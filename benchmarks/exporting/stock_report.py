"""The section on stock QKeras models in the page of results."""

from collections.abc import Mapping, Sequence
from typing import Any

from exporting.markdown import percent, span, table

Row = Mapping[str, Any]


def lines(rows: Sequence[Row]) -> list[str]:
    """The section.

    Args:
        rows: Of `qkeras.compare`.
    """
    unequal = [row["name"] for row in rows if not row["litert_equal"]]
    verdict = "LiteRT equals the emulator everywhere" if not unequal else f"**LiteRT differs: {'; '.join(unequal)}**"
    return [
        "",
        "## Stock QKeras models",
        "",
        "Networks of QKeras' own layers, trained on digits for 8 epochs, with batch normalizations behind convolutions "
        "and float biases. The plain ones have four convolutions and a dense layer; the residual ones two inverted "
        "bottlenecks, whose sums are rounded to twice the scale of what they add, where ties are many, or (*one "
        "scale*) to the same scale, where there are none. Compared with Keras on all images of digits "
        "and as many shifted by a pixel, "
        f"{rows[0]['images']:,} images: share of images with the same class / "
        "share of equal outputs / outputs at most 1 LSB apart / largest difference in LSB. "
        f"{verdict}.",
        "",
        "*One unit*: biases are rounded to input scale x step. *Finer units*: as exported; a channel's integers may be "
        "multiples of QKeras', of a smaller step, where that gives every sum the level it has in Keras.",
        "",
        *table(
            ["model", "accuracy: Keras", "LiteRT", "one unit", "bits", "packed bytes"]
            + ["finer units, as exported", "bits", "packed bytes"],
            (
                [
                    row["name"],
                    *(f"{row['accuracy'][name]:.4f}" for name in ("Keras", "LiteRT")),
                    *_found(row["coarse"]),
                    *_found(row["fine"]),
                ]
                for row in rows
            ),
        ),
    ]


def _found(agreement: Row) -> list[str]:
    shares = (percent(agreement[key]) for key in ("argmax", "equal", "within_one"))
    return [
        " / ".join([*shares, str(agreement["max_lsb"])]),
        span(sorted(set(agreement["bits"]))),
        f"{agreement['packed_bytes']:,}",
    ]
