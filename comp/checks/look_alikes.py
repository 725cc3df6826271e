"""Pairs of rows in different folds, and of training and test rows, whose features are far nearer than chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Ints = NDArray[np.int64]

TEST = (
    -2
)  # the part of every test row; others have the number of their fold, or -1 for rows that only ever train
FOLDS, TRAIN_TEST = 0, 1  # kinds of pairs
LEAST_ROWS = 100  # fewer have no usual distance
MOST_ROWS = 60_000  # of more rows so many are compared, drawn at random
DIMENSIONS = 128  # of the space in which rows are compared, and at most a quarter of the rows
FITTED_ROWS = 4000  # that the space is worked out from
AROUND_ROWS, AROUND = 2048, 8  # the usual similarity of a row: the mean of its nearest among so many others,
SKIPPED = 2  # but for the nearest of all, which may be look-alikes
STANDS_OUT = 3.0  # spreads of a cosine by chance that a pair is above what is usual for both
ALIKE, ALIKE_SPREADS = (
    0.95,
    6,
)  # a similarity, and spreads, that count also where many others are as near: a film's frames
BLOCK = 512
CROWD = 64  # pairs a row that stand out within a block, above which not all are looked at


@dataclass(frozen=True)
class LookAlike:
    """A pair of rows, by their places: ``similarity`` is the cosine of their features once these are centred and
    half whitened, ``usual`` the mean similarity of the nearest neighbours of either row, the larger of the two.
    """

    first: int
    second: int
    similarity: float
    usual: float


@dataclass(frozen=True)
class LookAlikes:
    """Pairs that stand out, the most first; ``folds`` of rows in different folds, ``train_test`` of a training row and
    a test row, which comes second. ``compared`` of ``rows`` were looked at.
    """

    folds: tuple[LookAlike, ...]
    train_test: tuple[LookAlike, ...]
    rows: int
    compared: int


def look_alikes(features: Features, part: Ints, family: Ints, seed: int = 0) -> LookAlikes:
    """The pairs of rows of different parts that are far nearer than the rows around them.

    Pairs are of a row and the one that stands out most for it. A pair stands out where its similarity is above the usual
    one of both rows by ``STANDS_OUT`` spreads of a cosine by chance, or is ``ALIKE`` or more.
    Time O(N² · 128), memory O(N · 128) beside the features.

    Parameters
    ----------
    features : float32 array (N, D)
    part : int64 array (N,)
        The fold of a row, -1 where it only ever trains, ``TEST`` for test rows.
    family : int64 array (N,)
        Rows that are known to belong together share a number: no pair is made of them.
    seed : int
        Of what is drawn at random.
    """
    rows = len(features)
    if rows < LEAST_ROWS or not np.isfinite(features).all():
        return LookAlikes((), (), rows, 0)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(rows)[:MOST_ROWS])
    chosen = chosen[np.argsort(-part[chosen], kind="stable")]  # by part; test rows come last
    z, chance = whitened(features, chosen, rng)
    search = _Search(z, _usual(z, rng), part[chosen], family[chosen], chance)
    kinds = [
        tuple(
            _pair(int(chosen[i]), int(chosen[j]), similarity, usual, part)
            for i, j, similarity, usual in search.nearest(kind)
        )
        for kind in (FOLDS, TRAIN_TEST)
    ]
    return LookAlikes(kinds[0], kinds[1], rows, len(chosen))


def _pair(one: int, other: int, similarity: float, usual: float, part: Ints) -> LookAlike:
    """A pair by its places, a training row before a test row."""
    first, second = sorted((one, other), key=lambda n: (part[n] == TEST, n))
    return LookAlike(first, second, similarity, usual)


def whitened(features: Features, chosen: Ints, rng: np.random.Generator) -> tuple[Features, float]:
    """The ``chosen`` rows (n,) of features (N, D) in their first directions (n, M), as rows of length 1, and the spread of
    their cosines by chance.

    Directions are divided by the square root of their spread: as they are, a few would decide alone; with one spread
    for all, the noise of the last ones parts even photos of one object. They are those of a sample of the rows, by
    subspace iteration (Halko et al. 2011).
    """
    count = max(1, min(DIMENSIONS, len(chosen) // 4, features.shape[1]))
    sample = features[rng.permutation(chosen)[:FITTED_ROWS]].astype(np.float32)
    mean, spread = sample.mean(axis=0), sample.std(axis=0)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0).astype(np.float32)
    x = (sample - mean) * scale
    basis = rng.standard_normal((x.shape[1], min(count + 16, x.shape[1]))).astype(np.float32)
    for _ in range(3):
        basis = np.linalg.qr(x.T @ (x @ basis))[0]
    seen = x @ basis
    values, turn = np.linalg.eigh(seen.T @ seen)
    first = np.argsort(-values, kind="stable")[:count]
    spreads = np.sqrt(np.maximum(values[first], 0) / len(x))
    out = basis @ (turn[:, first] / np.where(spreads > 1e-6, np.sqrt(spreads), np.inf))
    parts = [
        ((features[chosen[at : at + BLOCK]] - mean) * scale) @ out for at in range(0, len(chosen), BLOCK)
    ]
    z = np.concatenate(parts)
    z = np.asarray(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12), dtype=np.float32)
    total = float(spreads.sum())
    return z, float(np.sqrt((spreads**2).sum())) / total if total > 1e-6 else np.inf


def _usual(z: Features, rng: np.random.Generator) -> Features:
    """The mean similarity (N,) of each row's ``AROUND`` nearest among a sample of the others, after the first ``SKIPPED``."""
    sample = rng.permutation(len(z))[:AROUND_ROWS]
    usual = np.empty(len(z), dtype=np.float32)
    for at in range(0, len(z), BLOCK):
        near = z[at : at + BLOCK] @ z[sample].T
        near[sample[None] == np.arange(at, at + len(near))[:, None]] = -1  # itself
        nearest = np.sort(np.partition(near, -AROUND - SKIPPED, axis=1)[:, -AROUND - SKIPPED :], axis=1)
        usual[at : at + len(near)] = nearest[:, :-SKIPPED].mean(axis=1)
    return usual


@dataclass(eq=False)
class _Search:
    """The nearest row of each among those that stand out, by how far a pair is above the usual similarity of both; rows lie
    part by part.
    """

    z: Features
    usual: Features
    part: Ints
    family: Ints
    chance: float  # the spread of a cosine
    gap: Features = field(init=False)  # (2, N): the largest of each kind of pair
    mate: Ints = field(init=False)  # (2, N), -1 where there is none

    def __post_init__(self) -> None:
        self.gap = np.full((2, len(self.z)), -np.inf, dtype=np.float32)
        self.mate = np.full((2, len(self.z)), -1, dtype=np.int64)
        alike = max(ALIKE, ALIKE_SPREADS * self.chance)
        least = np.minimum(self.usual + STANDS_OUT * self.chance, alike, dtype=np.float32)
        for kind, rows, others in self._blocks():
            near = self.z[rows] @ self.z[others].T
            hits = np.flatnonzero(near >= least[rows][:, None])
            if len(hits) > CROWD * len(near):  # all are alike: the nearest of each will do
                nearest = near.argmax(axis=1) + near.shape[1] * np.arange(len(near))
                hits = np.union1d(nearest, near.argmax(axis=0) * near.shape[1] + np.arange(near.shape[1]))
            i, j = np.divmod(hits, near.shape[1])
            i, j, similarity = i + rows.start, j + others.start, near.ravel()[hits]
            wanted = (similarity >= np.maximum(least[i], least[j])) & (self.family[i] != self.family[j])
            i, j = i[wanted], j[wanted]
            gap = similarity[wanted] - np.maximum(self.usual[i], self.usual[j])
            self._keep(kind, i, j, gap)
            self._keep(kind, j, i, gap)

    def _blocks(self) -> Iterator[tuple[int, slice, slice]]:
        """Each pair of parts once, in blocks of rows by blocks of others."""
        edges = [0, *(np.flatnonzero(np.diff(self.part)) + 1).tolist(), len(self.part)]
        spans = list(pairwise(edges))
        for n, (start, stop) in enumerate(spans):
            for low, high in spans[n + 1 :]:
                kind = TRAIN_TEST if self.part[low] == TEST else FOLDS
                for row in range(start, stop, BLOCK):
                    for other in range(low, high, BLOCK):
                        yield kind, slice(row, min(row + BLOCK, stop)), slice(other, min(other + BLOCK, high))

    def _keep(self, kind: int, rows: Ints, mates: Ints, gaps: Features) -> None:
        better = gaps > self.gap[kind, rows]
        rows, mates, gaps = rows[better], mates[better], gaps[better]
        order = np.argsort(gaps, kind="stable")  # of several for a row the last, the largest, stays
        self.gap[kind, rows[order]] = gaps[order]
        self.mate[kind, rows[order]] = mates[order]

    def nearest(self, kind: int) -> list[tuple[int, int, float, float]]:
        """Each row that has a nearest, with it, a pair once: (place, place, similarity, usual), the largest gap first."""
        places = np.flatnonzero(self.mate[kind] >= 0)
        pairs = np.unique(np.sort(np.stack([places, self.mate[kind, places]], axis=1), axis=1), axis=0)
        if not len(pairs):
            return []
        i, j = pairs.T
        similarity = np.einsum("nd,nd->n", self.z[i], self.z[j])
        usual = np.maximum(self.usual[i], self.usual[j])
        order = np.argsort(usual - similarity, kind="stable")
        return [(int(i[n]), int(j[n]), float(similarity[n]), float(usual[n])) for n in order]
