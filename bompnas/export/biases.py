"""Float biases as integers, in units so fine that rounding them changes nothing.

A sum of integers gets another level where it passes the middle between two levels. A bias moves all middles of its
channel by one distance; as long as none of them is moved across an integer, every sum gets the level that it has with
the exact bias. What lies so close to a middle that float32 cannot tell is left to chance, as it is in Keras.
"""

import numpy as np

LARGEST_MULTIPLE = 127
_NOISE = 2.0**-22  # of a bias: what float32 does to it and to the sums that it is added to


def rounded(
    bias: np.ndarray, middles: np.ndarray, reach: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rounds biases to the coarsest fraction of their unit that gives every sum the level of the exact bias.

    Where no fraction within the limit does, the nearest to the bias is taken.

    Args:
        bias: In units of the sums, float64, shape (channels,).
        middles: What sums with bias are in the middle between two levels, float64, shape (levels - 1, channels).
        reach: Largest magnitude of a sum without bias, shape (channels,).
        limits: Largest denominator of a fraction, 1 to `LARGEST_MULTIPLE`, shape (channels,).

    Returns:
        Denominators and numerators of the rounded biases, int32, shape (channels,).
    """
    centre, tolerance = _allowed(bias, middles, reach)
    multiples = np.arange(1, LARGEST_MULTIPLE + 1)[:, None]
    within = multiples <= limits
    exact = within & (np.abs(np.round(centre * multiples) / multiples - centre) <= tolerance)
    found = exact.any(axis=0)
    errors = np.where(within, np.abs(np.round(bias * multiples) / multiples - bias), np.inf)
    chosen = 1 + np.where(found, exact.argmax(axis=0), errors.argmin(axis=0))
    numerators = np.round(np.where(found, centre, bias) * chosen)
    return chosen.astype(np.int32), numerators.astype(np.int32)


def _allowed(bias: np.ndarray, middles: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half width of the interval of biases that give every sum the level of the exact bias.

    Where a sum lies on a middle, and half to even decides, it is the bias itself.
    """
    sums = middles - bias
    met = np.abs(sums) <= reach + 1
    gaps = np.ceil(sums) - sums
    up = np.min(gaps, axis=0, where=met, initial=1.0)  # how far middles may move: the bias may shrink by as much
    down = np.min(1.0 - gaps, axis=0, where=met, initial=1.0)  # and grow by this
    noise = (1.0 + np.abs(bias)) * _NOISE
    tied = np.minimum(up, down) <= noise
    return np.where(tied, bias, bias + (down - up) / 2), np.where(
        tied, noise, np.maximum((down + up) / 2 - noise, noise)
    )
