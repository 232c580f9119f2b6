"""Pareto fronts and hypervolumes, of points and of candidates.

A point dominates another when it is at least as good in every objective and better in one. The front is what no point
dominates; the hypervolume is the volume that a set dominates, bounded by a reference point (Zitzler and Thiele, 1999).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from bompnas.candidate import Candidate, State
from bompnas.objectives import Objective


def front(points: np.ndarray, maximize: Sequence[bool]) -> np.ndarray:
    """Indices of the points that no other point dominates.

    Of equal points only the first is kept. A point with a NaN is never part of the front.

    Args:
        points: Values of the objectives, (n, d).
        maximize: For every objective whether more is better, (d,).

    Returns:
        Indices in ascending order, (k,), int64.

    Raises:
        ValueError: The shapes do not fit.
    """
    gains = _gains(points, maximize)
    usable = np.flatnonzero(~np.isnan(gains).any(axis=1))
    # Best first by the first objective, ties by the next: only a point that came before can dominate the next one.
    order = usable[np.lexsort((usable, *(-gains[usable]).T[::-1]))]
    kept = np.empty_like(order)
    count = 0
    for index in order:
        # ">=" everywhere means dominated or equal, and of equal points the first comes first.
        if not (gains[kept[:count]] >= gains[index]).all(axis=1).any():
            kept[count] = index
            count += 1
    return np.sort(kept[:count])


def hypervolume(points: np.ndarray, reference: Sequence[float], maximize: Sequence[bool]) -> float:
    """Volume of the space between the reference and what the points dominate, exact in any number of dimensions.

    Points that are not better than the reference in every objective add nothing. The time grows with n^(d-1).

    Args:
        points: Values of the objectives, (n, d).
        reference: The worst value that counts, per objective, (d,).
        maximize: For every objective whether more is better, (d,).

    Returns:
        The volume, in the product of the objectives' units.

    Raises:
        ValueError: The shapes do not fit.
    """
    gains = _gains(points, maximize)
    gains = gains - _gains(np.asarray(reference, dtype=np.float64)[None], maximize)
    gains = gains[(gains > 0).all(axis=1)]
    return _volume(gains[front(gains, [True] * len(maximize))])


def front_of(candidates: Iterable[Candidate], objectives: Sequence[Objective]) -> list[Candidate]:
    """The completed candidates that no other dominates, smallest packed size first.

    Candidates that lack one of the objectives' values, as before their quantization in mode `none`, are left out.
    """
    measured = _measured(candidates, objectives)
    chosen = front(_values(measured, objectives), [objective.maximize for objective in objectives])
    found = [measured[index] for index in chosen]
    return sorted(found, key=lambda candidate: (candidate.cost["size_bits"], candidate.id))


def hypervolume_of(candidates: Iterable[Candidate], objectives: Sequence[Objective]) -> float:
    """Hypervolume of completed candidates in the space of eq. (1)'s terms, from the origin.

    Every term grows with quality, so nothing but the experiment's references sets the scale: runs with the same
    objectives can be compared. Zero when nothing was measured.
    """
    measured = _measured(candidates, objectives)
    values = _values(measured, objectives)
    terms = [[objective.term(value) for objective, value in zip(objectives, row, strict=True)] for row in values]
    shape = (len(measured), len(objectives))
    return hypervolume(np.reshape(terms, shape), [0.0] * len(objectives), [True] * len(objectives))


def _gains(points: np.ndarray, maximize: Sequence[bool]) -> np.ndarray:
    """The points as float64 with every objective turned so that more is better."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(maximize) or not len(maximize):
        raise ValueError(f"points have shape {points.shape}; expected (n, {len(maximize)}), one column per objective")
    return np.where(np.asarray(maximize, dtype=bool), points, -points)


def _volume(gains: np.ndarray) -> float:
    """Hypervolume of mutually non-dominated points above the origin, by slices along the last objective."""
    if not len(gains):
        return 0.0
    dimensions = gains.shape[1]
    if dimensions == 1:
        return float(gains.max())
    gains = gains[np.argsort(-gains[:, -1], kind="stable")]
    if dimensions == 2:
        # Highest first along the last objective, the front widens along the first: a staircase.
        widths = np.diff(gains[:, 0], prepend=0.0)
        return float(widths @ gains[:, 1])
    floors = np.append(gains[1:, -1], 0.0)
    total = 0.0
    for count, height in enumerate(gains[:, -1] - floors, start=1):
        if height > 0:
            above = gains[:count, :-1]
            total += height * _volume(above[front(above, [True] * (dimensions - 1))])
    return float(total)


def _measured(candidates: Iterable[Candidate], objectives: Sequence[Objective]) -> list[Candidate]:
    """The completed candidates with a finite value for every objective."""
    return [
        candidate
        for candidate in candidates
        if candidate.state is State.COMPLETED
        and all(math.isfinite(candidate.values.get(objective.key, math.nan)) for objective in objectives)
    ]


def _values(candidates: Sequence[Candidate], objectives: Sequence[Objective]) -> np.ndarray:
    """Values of the objectives, (n, d)."""
    rows = [[candidate.values[objective.key] for objective in objectives] for candidate in candidates]
    return np.reshape(np.asarray(rows, dtype=np.float64), (len(candidates), len(objectives)))
