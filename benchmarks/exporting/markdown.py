"""Markdown of the page of results."""

from collections.abc import Iterable, Sequence

import numpy as np


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table."""
    return [
        "| " + " | ".join(map(str, header)) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
    ]


def span(values: Sequence[int]) -> str:
    """The first and the last of sorted values."""
    return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"


def percent(share: float) -> str:
    """Rounded down, so that 100 % means all."""
    return "100 %" if share == 1 else f"{np.floor(share * 10_000) / 100:.2f} %"
