"""Near-duplicates among fingerprints: candidate pairs, verified one by one, then doubted together.

`duplicate_candidates` finds the pairs worth comparing, `registration` aligns and measures each. What is left
here is the decision: how much agreement is enough for images of a given size, and when a crowd of pairs
means a set that looks alike (digits, scans, parts on white) rather than copies. docs/near-duplicates.md has
the measurements behind every constant.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.alignment import Agreement, agreement, nothing_agrees
from comp.checks.duplicates.candidates import (
    FINGERPRINT_BYTES,
    LUMA_SIDE,
    Candidates,
    Proposed,
    candidates,
    native_size,
)
from comp.checks.duplicates.small_images import SURE, are_small_copies, small_candidates
from comp.data.folds import components

_SPARSE: Final = 0.5  # share of structure under which an image is a drawing: a fifth of Caltech photos are
_STILL: Final = 0.012  # of a side, about a third of a thumbnail's pixel: nothing was moved
_SURE: Final = 0.95  # structure asked of such a pair
_APART: Final = 0.3  # of a side, that the frames of one image's copies may lie apart at one edge

# what `orient` does to points of the unit square, about its middle: rows are (across, down)
_ACROSS = np.diag([-1.0, 1.0])
_DOWN = np.diag([1.0, -1.0])
_SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])


def edges_moved(at: Floats) -> Floats:
    """By how much of a side the map `at` (M, 2, 2) moves the edge that it moves most: (M,)."""
    low, high = at[..., 1], at[..., 0] + at[..., 1] - 1
    result: Floats = np.maximum(np.abs(low), np.abs(high)).max(axis=1)
    return result


def consistent(pairs: Candidates, measured: Agreement, believed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the believed pairs (M,) that can be copies together: (M,)."""
    drawn = np.flatnonzero(believed & (measured.filled < _SPARSE))
    still = (edges_moved(measured.at[drawn]) <= _STILL) & (measured.structure[drawn] >= _SURE)
    if still.all():
        return believed
    left, right = pairs.left[drawn].tolist(), pairs.right[drawn].tolist()
    maps = _maps(measured.at[drawn], pairs.orientation[drawn])
    apart = _far_apart(left, right, maps)
    result = believed.copy()
    result[drawn] = still | ~apart
    return result


def _maps(at: Floats, orientation: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The maps (M, 3, 3) that lay points of the right image upon the left one, about the middle of a side of 1."""
    maps = np.zeros((len(at), 3, 3))
    for n, (scale_and_shift, turn) in enumerate(
        zip(at.astype(np.float64), orientation.tolist(), strict=True)
    ):
        turned = np.eye(2)
        for bit, step in ((4, _SWAP), (2, _DOWN), (1, _ACROSS)):
            if turn & bit:
                turned = step @ turned
        scale, shift = scale_and_shift[:, 0], scale_and_shift[:, 1]
        maps[n, :2, :2] = scale[:, None] * turned
        maps[n, :2, 2] = scale / 2 + shift - 0.5
        maps[n, 2, 2] = 1
    return maps


def _far_apart(left: list[int], right: list[int], maps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pairs (M,) belong to a family whose frames, laid into the first one's, do not agree."""
    across: dict[int, list[tuple[int, int, bool]]] = {}
    for n, (one, other) in enumerate(zip(left, right, strict=True)):
        across.setdefault(one, []).append((other, n, True))
        across.setdefault(other, []).append((one, n, False))
    apart = np.zeros(len(left), dtype=np.bool_)
    seen: set[int] = set()
    for root in across:
        if root in seen:
            continue
        seen.add(root)
        frames, waiting, inside = [np.eye(3)], [(root, np.eye(3))], []
        while waiting:
            row, here = waiting.pop()
            for other, n, is_right in across[row]:
                inside.append(n)
                if other not in seen:
                    seen.add(other)
                    there = here @ (maps[n] if is_right else np.linalg.inv(maps[n]))
                    frames.append(there)
                    waiting.append((other, there))
        apart[inside] = _spread(np.stack(frames)) > _APART
    return apart


def _spread(frames: NDArray[np.float64]) -> float:
    """How far apart the frames (F, 3, 3) lie at the edge where they differ most, in sides of the first."""
    half = np.abs(frames[:, :2, :2]).sum(axis=2) / 2
    edges = np.concatenate([frames[:, :2, 2] - half, frames[:, :2, 2] + half], axis=1)
    return float(np.ptp(edges, axis=0).max())


Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

SEARCH: Final = 4  # pairs that another search found are searched for again

_STRUCTURE: Final = 0.80  # agreement that a copy keeps; chance pairs of photos rarely have it
_PER_SIDE: Final = 1.8  # more is asked of images under 32 pixels, by this over their shorter side
_EVIDENCE: Final = 8.5  # significance asked on a set of unlike images
_MOST_EVIDENCE: Final = 14.0  # and at most, on a set that looks alike
_STEP: Final = 0.25
_BAND: Final = 1.0  # width of the band below the bar in which chance pairs are counted
_TOLERATED: Final = 0.004  # chance pairs a row in that band
_ALIKE: Final = (3.0, 0.5)  # so many pairs a row, so far below the bar, and the set certainly looks alike
_SAME_COLOUR: Final = 0.5
# agreement asked of quiet places, of a pair at rest and of a moved one: next to no copy has less, and 98 of 100
# outlines alike that are drawn on two grounds
_QUIET: Final = (0.4, 0.5)
_AT_REST: Final = 0.03  # of a side
_MOST_MOVED: Final = 0.27  # of a side: what an edge is moved by a crop of 20 % at one side
_CHUNK: Final = 256  # pairs measured at once
_AT_ONCE: Final = 8192  # fingerprints

TURNS: Final = (
    "copy",
    "mirrored",
    "flipped",
    "half turn",
    "transposed",
    "turned right",
    "turned left",
    "transposed the other way",
)


class NearDuplicates(NamedTuple):
    """M pairs of images that show the same, each once.

    `pairs` int64 (M, 2): rows of the fingerprints, left < right, sorted. `score` float32 (M,): agreement of
    structure after alignment, 0.8 to 1. `turn` uint8 (M,): index into `TURNS`, how the right one is turned
    against the left one.
    """

    pairs: Ints
    score: Floats
    turn: NDArray[np.uint8]


def near_duplicate_pairs(
    fingerprints: NDArray[np.uint8], *, workers: int = 2, seed: int = 0
) -> NearDuplicates:
    """Find all pairs that are one image: re-encoded, resized, cropped, mirrored, turned, recoloured a little.

    `fingerprints` is uint8 (N, 1156), one row an image as `perceptual` makes them. Identical fingerprints
    are reported too, each against the first of them. Images of nearly one colour (grey levels with a
    standard deviation under 2.5) are never reported, unless identical. Deterministic for a given `seed`,
    whatever `workers` (threads of the verification) is. Memory about 1 KB an image above the input, which may be
    memory-mapped; from 80,000 images on 4 KB an image lie in the folder of caches meanwhile.

    Raises ValueError where the fingerprints have another shape or dtype, InputError where that folder cannot be
    written to.
    """
    if fingerprints.ndim != 2 or fingerprints.shape[1] != FINGERPRINT_BYTES or fingerprints.dtype != np.uint8:
        raise ValueError(
            f"fingerprints must be uint8 (N, {FINGERPRINT_BYTES}), got "
            f"{fingerprints.dtype} {fingerprints.shape}: make them with comp.checks.duplicates.candidates.perceptual"
        )
    if len(fingerprints) < 2:
        return _none()
    fingerprints = np.asarray(fingerprints)  # of a memory-mapped file a plain view, which is quicker
    first, same = _identical(fingerprints)
    proven = [_usual(fingerprints, first, workers, seed), _small(fingerprints, first, workers, seed)]
    left, right, score, turn = (np.concatenate(column) for column in zip(*proven, strict=True))
    pair = np.minimum(left, right) * len(fingerprints) + np.maximum(left, right)
    _, once = np.unique(pair, return_index=True)
    left, right, score, turn = left[once], right[once], score[once], turn[once]
    back = left > right
    turn[back] = _INVERSE[turn[back]]
    pairs = np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1)
    pairs = np.concatenate([pairs, same])
    score = np.concatenate([score, np.ones(len(same), np.float32)])
    turn = np.concatenate([turn, np.zeros(len(same), np.uint8)])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return NearDuplicates(pairs[order], score[order], turn[order])


Proven = tuple[Ints, Ints, Floats, NDArray[np.uint8]]  # left, right, score, turn


def _usual(fingerprints: NDArray[np.uint8], rows: Ints, workers: int, seed: int) -> Proven:
    """The pairs of images of any size, among some rows, that are proven by their structure."""
    proposed = candidates(fingerprints, rows, seed=seed, workers=workers)
    # what has less evidence is neither believed nor counted
    pairs, measured = _measure(
        fingerprints, proposed, workers, lambda _, measured: measured.evidence >= _EVIDENCE - _ALIKE[0]
    )
    measured = _laid_straight(fingerprints, pairs, measured, workers)
    return _chosen(pairs, measured, _believable(fingerprints, pairs, measured, len(rows)))


def _small(fingerprints: NDArray[np.uint8], rows: Ints, workers: int, seed: int) -> Proven:
    """The pairs of small coloured images, among some rows, that are proven by their look too."""
    proposed = small_candidates(fingerprints, np.random.default_rng(seed), rows, workers)
    pairs, measured = _measure(
        fingerprints,
        proposed,
        workers,
        lambda pairs, measured: are_small_copies(pairs, measured, edges_moved(measured.at), _MOST_MOVED),
    )
    # colours alike all over are no outline that many share, however its copies lie
    sure = pairs.cosine >= SURE
    return _chosen(pairs, measured, sure | consistent(pairs, measured, np.ones(len(sure), np.bool_)))


def _chosen(pairs: Candidates, measured: Agreement, believed: NDArray[np.bool_]) -> Proven:
    rows = np.flatnonzero(believed)
    return pairs.left[rows], pairs.right[rows], measured.structure[rows], pairs.orientation[rows]


def clusters(count: int, pairs: Ints) -> list[list[int]]:
    """Join pairs (M, 2) of the rows 0..count-1 into clusters of two or more, each sorted, by first row."""
    if not len(pairs):
        return []
    ends = np.asarray(pairs)
    if ends.min() < 0 or ends.max() >= count:
        raise ValueError(f"pairs must name rows 0 to {count - 1}, got {ends.min()} to {ends.max()}")
    label = components(count, ends)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    groups = [[int(row) for row in part] for part in np.split(order, starts[1:])]
    return sorted(group for group in groups if len(group) > 1)


_INVERSE: Final = np.array([0, 1, 2, 3, 4, 6, 5, 7], np.uint8)  # only the quarter turns have another inverse


def _none() -> NearDuplicates:
    return NearDuplicates(np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, np.uint8))


def _identical(fingerprints: NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """The first row of each distinct fingerprint, and the pairs (first, other) of those seen again.

    By a digest of each, as sorting whole fingerprints takes copies of them all.
    """
    digests = []
    for s in range(0, len(fingerprints), _AT_ONCE):
        rows = fingerprints[s : s + _AT_ONCE].tobytes()
        starts = range(0, len(rows), FINGERPRINT_BYTES)
        digests += [blake2b(rows[n : n + FINGERPRINT_BYTES], digest_size=16).digest() for n in starts]
    whole = np.frombuffer(b"".join(digests), "V16")
    _, first, which = np.unique(whole, return_index=True, return_inverse=True)
    owner = first[which]
    again = np.flatnonzero(owner != np.arange(len(owner)))
    return np.sort(first), np.stack([owner[again], again], axis=1)


def _measure(
    fingerprints: NDArray[np.uint8],
    pairs: Candidates | Proposed,
    workers: int,
    worth: Callable[[Candidates, Agreement], NDArray[np.bool_]],
) -> tuple[Candidates, Agreement]:
    """Those of the pairs that are `worth` going on with, and their agreement."""

    def measured(start: int) -> tuple[Candidates, Agreement]:
        chunk = pairs.part(slice(start, start + _CHUNK))
        found = agreement(fingerprints, chunk)
        keep = np.flatnonzero(worth(chunk, found))
        return chunk.part(keep), Agreement(*(values[keep] for values in found))

    if not pairs.total:
        return pairs.part(slice(0)), nothing_agrees(0)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        kept = list(pool.map(measured, range(0, pairs.total, _CHUNK)))
    columns = [
        [np.concatenate(column) for column in zip(*parts, strict=True)] for parts in zip(*kept, strict=True)
    ]
    return Candidates(*columns[0]), Agreement(*columns[1])


def _laid_straight(
    fingerprints: NDArray[np.uint8], pairs: Candidates, measured: Agreement, workers: int
) -> Agreement:
    """The agreement of all pairs, with those unturned whose outlines agree turned, but not what lies behind them.

    A ring, a plate, a flag look alike turned any way: which way they lie is only seen in what contrasts little. Other
    turns are not tried, as each is a chance more for images that are no copies.
    """
    doubtful = (measured.structure >= _STRUCTURE) & (measured.quiet < _QUIET[1]) & (pairs.orientation > 0)
    rows = np.flatnonzero(doubtful & (measured.evidence >= _EVIDENCE))
    straight = pairs.part(rows)
    straight.orientation[:] = 0
    _, tried = _measure(fingerprints, straight, workers, lambda pairs, _: np.ones(len(pairs.left), np.bool_))
    good = np.flatnonzero((tried.structure >= _STRUCTURE) & (tried.quiet >= _QUIET[1]) & (tried.quiet < 1))
    pairs.orientation[rows[good]] = 0
    for values, other in zip(measured, tried, strict=True):
        values[rows[good]] = other[good]
    return measured


def _believable(
    fingerprints: NDArray[np.uint8], pairs: Candidates, measured: Agreement, count: int
) -> NDArray[np.bool_]:
    """Which candidates are near duplicates: enough structure for their size, enough evidence for the set of `count`."""
    side = np.minimum(*(native_size(fingerprints[rows]).min(axis=1) for rows in (pairs.left, pairs.right)))
    small = np.maximum(0, 1 / np.maximum(side, 1) - 1 / LUMA_SIDE)
    alike = (measured.structure >= _STRUCTURE + _PER_SIDE * small) & (measured.colour >= _SAME_COLOUR)
    moved = edges_moved(measured.at)
    alike &= (moved <= _MOST_MOVED) & (measured.quiet >= np.where(moved <= _AT_REST, *_QUIET))
    alike &= measured.evidence >= _bar(measured.evidence, count)
    result: NDArray[np.bool_] = consistent(pairs, measured, alike)
    return result


def _bar(evidence: Floats, count: int) -> float:
    """The evidence to ask for on this set of `count` images.

    The evidence of chance pairs falls off steeply, that of copies rises until about 18. So where the pairs
    just below the bar are many and get fewer upwards, they are chance, and the bar is raised past them. On a
    set with so many of them that it certainly looks alike, it is raised even where they do not get fewer.
    """

    def between(low: float, high: float) -> float:
        return np.count_nonzero((evidence >= low) & (evidence < high)) / count

    depth, many = _ALIKE
    certain = between(_EVIDENCE - depth, _EVIDENCE) > many
    bar = _EVIDENCE
    while bar < _MOST_EVIDENCE:
        below = between(bar - _BAND, bar)
        if below <= _TOLERATED or not (certain or between(bar, bar + _BAND) < below):
            break
        bar += _STEP
    return bar
