"""Probabilities (N, C) as arrays of a file: of many classes each row's own values, and the one that all its other classes have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
_BLOCK = 256  # rows looked at at once


def packed(probs: Floats) -> dict[str, NDArray[Any]]:
    """The arrays that hold probabilities (N, C) without any loss: ``own`` and ``places``, the values that stand out and
    their classes, row after row, ``counts`` (N,) of them and ``rest`` (N,), what all others are; ``probs`` alone where
    that is not twice as large.
    """
    rest = probs.min(axis=1) if probs.size else np.zeros(len(probs), probs.dtype)
    counts = np.zeros(len(probs), np.int64)
    for start in range(0, len(probs), _BLOCK):
        here = slice(start, start + _BLOCK)
        counts[here] = (probs[here] != rest[here, None]).sum(axis=1)
    size = probs.dtype.itemsize
    if counts.sum() * (size + 4) + len(probs) * (size + 8) > probs.size * size / 2:
        return {"probs": probs}
    own = np.empty(int(counts.sum()), probs.dtype)
    places, done = np.empty(len(own), np.int32), 0
    for start in range(0, len(probs), _BLOCK):
        some = probs[start : start + _BLOCK]
        row, column = np.nonzero(some != rest[start : start + _BLOCK, None])
        own[done : done + len(row)], places[done : done + len(row)] = some[row, column], column
        done += len(row)
    return {"own": own, "places": places, "counts": counts, "rest": rest}


def unpacked(stored: Mapping[str, NDArray[Any]], rows: int, classes: int) -> Floats:
    """The probabilities (N, C) of such arrays, of the kind of number that they have; KeyError where one is missing,
    ValueError where they do not fit.
    """
    own, places, counts, rest = (stored[name] for name in ("own", "places", "counts", "rest"))
    if not (own.dtype == rest.dtype and own.dtype in (np.float32, np.float64)):
        raise ValueError(f"probabilities of kind {own.dtype} and {rest.dtype}")
    if places.dtype != np.int32 or counts.dtype != np.int64:
        raise ValueError(f"places of kind {places.dtype}, and counts of {counts.dtype}")
    if counts.shape != (rows,) or rest.shape != (rows,) or own.shape != places.shape or own.ndim != 1:
        raise ValueError(f"{own.shape} values of {counts.shape} and {rest.shape} rows, for {rows}")
    if (counts < 0).any() or (counts > classes).any() or counts.sum() != len(own):
        raise ValueError(f"{len(own)} values do not fit {rows} rows of {classes} classes")
    row = np.repeat(np.arange(rows), counts)
    if len(own) and not (0 <= places.min() <= places.max() < classes and _rises(row * classes + places)):
        raise ValueError("the places of a row rise, within its classes")
    probs = np.empty((rows, classes), rest.dtype)
    probs[:] = rest[:, None]
    probs[row, places] = own
    return probs


def _rises(values: NDArray[np.int64]) -> bool:
    return bool((np.diff(values) > 0).all())
