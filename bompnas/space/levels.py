"""Level counts of symmetric weight grids: how large the largest integer of a weight is.

The full grid of b bits has 2^(b-1) - 1 levels on each side of 0. Nested grids share one maximum and lie in one another:
every value of the smallest width is one of all others. From s bits on, each doubling of the width b multiplies the
levels by 2^b + 1, so that 4, 8 and 16 bits have 7, 119 = 7 * 17 and 30583 = 119 * 257 instead of 7, 127 and 32767. The
factors are odd: no value of a wider grid lies halfway between two of a narrower one.
"""

LARGEST_BITS = 16


def full(bits: int) -> int:
    """Levels on each side of 0 where a width is used to the full [bits]."""
    return 2 ** (bits - 1) - 1


def nested(bits: int, smallest: int) -> int:
    """Levels on each side of 0 of a grid that holds the full grid of a smaller width.

    Args:
        bits: Its width, `smallest` times a power of 2 [bits].
        smallest: Width of the grid that all others hold [bits].

    Raises:
        ValueError: The grids of these widths do not lie in one another.
    """
    if not doubles(bits, smallest):
        raise ValueError(f"{bits} bits are not {smallest} bits times a power of 2")
    return full(smallest) * (2**bits - 1) // (2**smallest - 1)


def doubles(bits: int, smallest: int) -> bool:
    """Whether a width is a smaller one times a power of 2, and so has a grid that holds the smaller one's."""
    factor, rest = divmod(bits, smallest)
    return rest == 0 and factor > 0 and factor & (factor - 1) == 0


def finest(bits: int, levels: int) -> int:
    """Levels of the finest grid that holds a grid: its width doubled as often as 16 bits allow.

    Args:
        bits: Width of the grid [bits].
        levels: Its levels on each side of 0.
    """
    while 2 * bits <= LARGEST_BITS:
        levels *= 2**bits + 1
        bits *= 2
    return levels
