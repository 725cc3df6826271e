"""Near duplicates among fingerprints: candidate pairs, verified one by one, then doubted together.

`duplicate_candidates` finds the pairs worth comparing, `registration` aligns and measures each. What is left
here is the decision: how much agreement is enough for pictures of a given size, and when a crowd of pairs
means a set that looks alike (digits, scans, parts on white) rather than copies. docs/near-duplicates.md has
the measurements behind every constant.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from comp.images.duplicate_candidates import Candidates, candidates
from comp.images.perceptual import FINGERPRINT_BYTES, native_size
from comp.images.registration import agreement

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_ENOUGH: Final = 0.75  # structure that two large pictures must share
_PER_SIDE: Final = 1.75  # and how much more where they have few pixels: chance agreement goes with 1 / side
_MOST: Final = 0.97  # asked of the smallest
_SAME_COLOUR: Final = 0.5
_CHUNK: Final = 256
_CROWD: Final = 8  # clusters from this size on must hang together
_HANG_TOGETHER: Final = 0.3  # share of a crowd's possible pairs that were found
_SURE: Final = 0.95  # links of this strength need no such proof
_STAND_OUT: Final = 0.4  # how far (in Fisher's z) a cluster inside a crowd must rise above it
_KNOWN: Final = 32  # links a row can be expected to have at most, whatever the size of its cluster

TURNS: Final = ("copy", "mirrored", "flipped", "half turn", "transposed", "turned right", "turned left",
                "transposed the other way")


class NearDuplicates(NamedTuple):
    """M pairs of pictures that show the same, each once.

    `pairs` int64 (M, 2): rows of the fingerprints, left < right, sorted. `score` float32 (M,): agreement of
    structure after alignment, 0.75 to 1. `turn` uint8 (M,): index into `TURNS`, how the right one is turned
    against the left one.
    """

    pairs: Ints
    score: Floats
    turn: NDArray[np.uint8]


def near_duplicate_pairs(
    fingerprints: NDArray[np.uint8], *, workers: int = 2, seed: int = 0
) -> NearDuplicates:
    """Find all pairs that are one picture: re-encoded, resized, cropped, mirrored, turned, recoloured a little.

    `fingerprints` is uint8 (N, 1156), one row a picture as `perceptual` makes them. Identical fingerprints
    are reported too, each against the first of them. Pictures of nearly one colour (grey levels with a
    standard deviation under 2.5) are never reported, unless identical. Deterministic for a given `seed`,
    whatever `workers` (threads of the verification) is. Memory about 3 KB a picture above the input.

    Raises ValueError where the fingerprints have another shape or dtype.
    """
    if fingerprints.ndim != 2 or fingerprints.shape[1] != FINGERPRINT_BYTES or fingerprints.dtype != np.uint8:
        raise ValueError(
            f"fingerprints must be uint8 (N, {FINGERPRINT_BYTES}), got "
            f"{fingerprints.dtype} {fingerprints.shape}: make them with comp.images.perceptual.perceptual"
        )
    if len(fingerprints) < 2:
        return _none()
    first, same = _identical(fingerprints)
    distinct = np.ascontiguousarray(fingerprints[first])
    proposed = candidates(distinct, seed=seed)
    score = _scores(distinct, proposed, workers)
    enough = np.flatnonzero(score > 0)
    left, right, score = proposed.left[enough], proposed.right[enough], score[enough]
    believed = _believable(len(first), left, right, score)
    left, right, score = first[left[believed]], first[right[believed]], score[believed]
    turn = proposed.orientation[enough][believed]
    back = left > right
    turn[back] = _INVERSE[turn[back]]
    pairs = np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1)
    pairs = np.concatenate([pairs, same])
    score = np.concatenate([score, np.ones(len(same), np.float32)])
    turn = np.concatenate([turn, np.zeros(len(same), np.uint8)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return NearDuplicates(pairs[order], score[order], turn[order])


def clusters(count: int, pairs: Ints) -> list[list[int]]:
    """Join pairs (M, 2) of the rows 0..count-1 into clusters of two or more, each sorted, by first row."""
    if not len(pairs):
        return []
    ends = np.asarray(pairs)
    if ends.min() < 0 or ends.max() >= count:
        raise ValueError(f"pairs must name rows 0 to {count - 1}, got {ends.min()} to {ends.max()}")
    label = _components(count, ends[:, 0], ends[:, 1])
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    groups = [[int(row) for row in part] for part in np.split(order, starts[1:])]
    return sorted(group for group in groups if len(group) > 1)


_INVERSE: Final = np.array([0, 1, 2, 3, 4, 6, 5, 7], np.uint8)  # only the quarter turns have another inverse


def _none() -> NearDuplicates:
    return NearDuplicates(np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, np.uint8))


def _identical(fingerprints: NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """The first row of each distinct fingerprint, and the pairs (first, other) of those seen again."""
    whole = np.ascontiguousarray(fingerprints).view(f"V{FINGERPRINT_BYTES}").ravel()
    _, first, which = np.unique(whole, return_index=True, return_inverse=True)
    owner = first[which]
    again = np.flatnonzero(owner != np.arange(len(owner)))
    return np.sort(first), np.stack([owner[again], again], axis=1)


def _components(count: int, left: Ints, right: Ints) -> NDArray[np.int32]:
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    label: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return label


def _scores(fingerprints: NDArray[np.uint8], pairs: Candidates, workers: int) -> Floats:
    """Structure of each candidate, 0 where it is not enough for pictures of that size or colours differ."""
    chunks = [pairs.part(slice(s, s + _CHUNK)) for s in range(0, len(pairs.left), _CHUNK)]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = list(pool.map(lambda chunk: agreement(fingerprints, chunk), chunks))
    if not found:
        return np.empty(0, np.float32)
    structure = np.concatenate([a.structure for a in found])
    colour = np.concatenate([a.colour for a in found])
    side = np.minimum(*(native_size(fingerprints[rows]).min(axis=1) for rows in (pairs.left, pairs.right)))
    needed = np.minimum(_MOST, _ENOUGH + _PER_SIDE / np.maximum(side, 1))
    result: Floats = np.where((structure >= needed) & (colour >= _SAME_COLOUR), structure, 0).astype(np.float32)
    return result


def _believable(count: int, left: Ints, right: Ints, score: Floats) -> NDArray[np.bool_]:
    """Which pairs to keep, cluster by cluster.

    Copies of one picture hang together: most pairs of the cluster are found. Where everything looks alike,
    chance pairs chain into crowds that do not. A crowd is taken apart, weakest links first, until its parts
    hang together, and a part is kept only where it stands out from the crowd it came from.
    """
    keep = np.ones(len(left), bool)
    if not len(left):
        return keep
    label = _components(count, left, right)[left]
    order = np.argsort(label, kind="stable")
    for links in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if len(links) >= _CROWD - 1:
            keep[links] = _stand_out(left[links], right[links], score[links])
    return keep


def _stand_out(left: Ints, right: Ints, score: Floats) -> NDArray[np.bool_]:
    """Of one cluster's links, those inside parts that are believable."""
    keep = np.zeros(len(left), bool)
    rows, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    left, right = ends[: len(left)], ends[len(left) :]
    z = np.arctanh(np.minimum(score, 0.9999))
    waiting = [(np.arange(len(left)), -np.inf)]
    while waiting:
        links, floor = waiting.pop()
        size = len(np.unique(np.concatenate([left[links], right[links]])))
        weakest = float(z[links].min())
        together = len(links) >= _HANG_TOGETHER * size * min(size - 1, _KNOWN) / 2
        if (size < _CROWD or together or np.tanh(weakest) >= _SURE) and weakest - floor >= _STAND_OUT:
            keep[links] = True
            continue
        # raise the bar to the next level at which something falls off
        stronger = links[z[links] > weakest + 0.02]
        if not len(stronger):
            continue
        label = _components(len(rows), left[stronger], right[stronger])[left[stronger]]
        for part in np.unique(label):
            inside = stronger[label == part]
            split = len(inside) < len(stronger) or size > len(np.unique([left[inside], right[inside]]))
            waiting.append((inside, weakest if split else floor))
    return keep
