"""The classifier that judges labels where there are features: kernel ridge regression, nested per fold.

A row of fold k is judged by a classifier of the other folds, whose own doubtful labels count less. How doubtful they are
is said by classifiers that saw neither their fold nor fold k, so that nothing of fold k's labels judges fold k.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Probs = NDArray[np.float64]
Rows = NDArray[np.bool_]
Classes = NDArray[np.int64]

LANDMARKS = 2000  # rows that the kernel is approximated by (Nyström)
WIDTH = 1.5  # of the kernel: times the squared distance, in parts of its median
PENALTY = 1.0
MOST_PARTS = 5  # more folds are judged in parts of several
SCALES = np.geomspace(1.0, 60.0, 25)  # that turn what a classifier gives into probabilities


@dataclass(frozen=True, eq=False)
class Judged:
    """The rows (N,) of a part of the folds, their probabilities (n, C) by a classifier of the others, and ``inner``
    (N - n, C): the probabilities of those others by classifiers that saw neither their part nor this one.
    """

    held_out: Rows
    probs: Probs
    inner: Probs


@dataclass(frozen=True, eq=False)
class _Sums:
    """What ridge regression needs of some rows: weights, weighted targets, and products with the features."""

    gram: Probs
    cross: Probs
    features: Probs
    targets: Probs
    weight: float

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.gram + other.gram,
            self.cross + other.cross,
            self.features + other.features,
            self.targets + other.targets,
            self.weight + other.weight,
        )


def nested_probs(features: Features, labels: Classes, folds: Classes, classes: int) -> Iterator[Judged]:
    """The rows of each part of the folds, judged by the others (see ``Judged``).

    Parameters
    ----------
    features : float32 array (N, D)
    labels : int64 array (N,)
    folds : int64 array (N,)
        Two folds or more; of two the labels that judge all count alike.
    classes : int
        C
    """
    numbered = np.unique(folds, return_inverse=True)[1]
    part = numbered % MOST_PARTS
    parts = int(part.max()) + 1
    x, y = kernel_features(features), np.eye(classes, dtype=np.float32)[labels]
    sums = [_sums(x, y, part == n) for n in range(parts)]
    inner = _inner_values(x, part, sums) if parts > 2 else {}
    for k in range(parts):
        held_out = part == k
        others = [n for n in range(parts) if n != k]
        weights = np.ones(len(x), dtype=np.float32)
        if inner:
            values = np.concatenate([inner[k, n] for n in others])
            order = np.concatenate([np.flatnonzero(part == n) for n in others])
            values = values[np.argsort(order)]
        else:
            values = _values(x[~held_out], sums[others[0]])  # there is no third part: its own rows
        scale = _scale(values, labels[~held_out])
        seen = _softmax(scale * values)
        if inner:
            weights[~held_out] = _weights(seen, labels[~held_out])
        judge = _total([_sums(x, y, part == n, weights) for n in others])
        yield Judged(held_out, _softmax(scale * _values(x[held_out], judge)), seen)


def kernel_features(features: Features) -> Features:
    """Features (N, M) whose products are a Gaussian kernel of ``features`` (N, D), M at most ``LANDMARKS``."""
    x = features - features.mean(axis=0)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(x))[:LANDMARKS])
    landmarks = x[chosen]
    squares = _squared_distances(landmarks, landmarks)
    typical = float(np.median(squares[~np.eye(len(chosen), dtype=bool)])) if len(chosen) > 1 else 1.0
    near = np.exp(-WIDTH / max(typical, 1e-12) * squares)
    root = np.linalg.cholesky(
        near + 1e-6 * np.eye(len(chosen))
    )  # of positive numbers by its shape, but for rounding
    whitened = np.linalg.inv(root).T
    parts = [
        np.exp(-WIDTH / max(typical, 1e-12) * _squared_distances(x[start : start + 4096], landmarks))
        @ whitened
        for start in range(0, len(x), 4096)
    ]
    return np.concatenate(parts).astype(np.float32)


def _squared_distances(a: Features, b: Features) -> Probs:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0), dtype=np.float64)


def _sums(x: Features, y: Features, rows: Rows, weights: Features | None = None) -> _Sums:
    weight = np.ones(int(rows.sum()), dtype=np.float32) if weights is None else weights[rows]
    chosen, wanted = x[rows], y[rows]
    weighted = chosen * weight[:, None]
    return _Sums(
        (weighted.T @ chosen).astype(np.float64),
        (weighted.T @ wanted).astype(np.float64),
        weighted.sum(axis=0, dtype=np.float64),
        (wanted * weight[:, None]).sum(axis=0, dtype=np.float64),
        float(weight.sum(dtype=np.float64)),
    )


def _total(sums: list[_Sums]) -> _Sums:
    total = sums[0]
    for one in sums[1:]:
        total = total + one
    return total


def _values(x: Features, sums: _Sums) -> Probs:
    """What ridge regression on the rows of ``sums`` gives for others, (n, C): about 1 for their class."""
    mean = sums.targets / max(sums.weight, 1e-12)
    cross = sums.cross - np.outer(sums.features, mean)
    solved = np.linalg.solve(sums.gram + PENALTY * np.eye(len(sums.gram)), cross)
    return np.asarray(x.astype(np.float64) @ solved + mean)


def _inner_values(x: Features, part: Classes, sums: list[_Sums]) -> dict[tuple[int, int], Probs]:
    """By k and n what a classifier that saw neither part gives for the rows of n."""
    found = {}
    for k, n in combinations(range(len(sums)), 2):
        rest = _total([one for m, one in enumerate(sums) if m not in (k, n)])
        both = np.flatnonzero((part == k) | (part == n))
        values = _values(x[both], rest)
        found[k, n], found[n, k] = values[part[both] == n], values[part[both] == k]
    return found


def _scale(values: Probs, labels: Classes) -> float:
    """The factor of ``SCALES`` by which the labels are likeliest."""
    rows = np.arange(len(labels))
    losses = [-np.log(np.maximum(_softmax(scale * values)[rows, labels], 1e-12)).mean() for scale in SCALES]
    return float(SCALES[int(np.argmin(losses))])


def _weights(probs: Probs, labels: Classes) -> NDArray[np.float32]:
    """How much each label counts: less where another class is likelier."""
    own = probs[np.arange(len(labels)), labels]
    return np.asarray(np.sqrt(own / probs.max(axis=1)), dtype=np.float32)


def _softmax(values: Probs) -> Probs:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
