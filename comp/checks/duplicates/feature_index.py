"""Which images share local features: pairs worth laying upon one another, out of all pairs of a set.

Descriptors are quantised by the product of two small vocabularies (the inverted multi-index of Babenko and Lempitsky
2012), with 64 bits of each beside its cell (Hamming embedding, Jegou et al. 2008). Features of two images that meet vote
for a pair, for one of four variants (plain, mirrored, negative, both) and for a turn and a change of size; cells that
half the set shares say nothing and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.cells import centres_of, nearest_centres
from comp.checks.duplicates.local_features import VARIANTS, LocalFeatures

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_BITS: Final = 64  # of a signature; also the dimensions that are kept
_FILL: Final = 2.0  # features a cell, if they were spread evenly
_WORDS: Final = (16, 1536)  # of each half
_STOP: Final = 32  # features of a cell, above which it tells nothing
_NEAR: Final = 12  # bits that features of one place may differ by
_VOTES: Final = 3  # features that must meet, agreeing on turn and size
_TURN, _OCTAVE = 30.0, 0.75  # widths of the bins of turn (degrees) and of size (octaves)
_TURNS, _OCTAVES = 12, 13
_PARTNERS: Final = 12  # of one image, those with the most votes
_SAMPLE: Final = 50_000
_IMAGES: Final = 128  # asked at once


class FeaturePairs(NamedTuple):
    """M pairs of images that share features.

    `left` < `right` are places in the list of images, int64 (M,); `variant` uint8 (M,): 1 mirrored, 2 negative, 3 both;
    `votes` int64 (M,): features that met and agree on turn and size.
    """

    left: Ints
    right: Ints
    variant: NDArray[np.uint8]
    votes: Ints


class _Index(NamedTuple):
    """Features sorted by cell, and what quantises more of them."""

    mean: Floats
    axes: Floats
    words: tuple[Floats, Floats]
    middle: Floats
    start: Ints
    feature: Ints
    signature: NDArray[np.uint64]


def feature_pairs(images: Sequence[LocalFeatures], *, workers: int = 2, seed: int = 0) -> FeaturePairs:
    """The pairs of images that share features, the best twelve or so of each. Deterministic for a given seed."""
    counts = np.array([len(one.points) for one in images], np.int64)
    owner = np.repeat(np.arange(len(images)), counts)
    if len(owner) < 2 * _BITS:
        return _nothing()
    descriptors = np.concatenate([one.descriptors for one in images])
    points = np.concatenate([one.points for one in images])
    index = _built(descriptors, np.random.default_rng(seed))
    first = np.concatenate([[0], np.cumsum(counts)])

    def ask(block: tuple[int, int]) -> tuple[Ints, Ints, Ints, Ints]:
        image, variant = block
        asked = np.arange(first[image], first[min(image + _IMAGES, len(images))])
        return _votes(*_meeting(index, descriptors, asked, variant, owner), variant, points, owner)

    blocks = [
        (image, variant) for image in range(0, len(images), _IMAGES) for variant in range(len(VARIANTS))
    ]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        parts = list(pool.map(ask, blocks))
    left, right, turned, votes = (np.concatenate(column) for column in zip(*parts, strict=True))
    best = _best_of_each(left, right, votes)
    order = best[np.lexsort((turned[best], right[best], left[best]))]
    return FeaturePairs(left[order], right[order], turned[order].astype(np.uint8), votes[order])


def _nothing() -> FeaturePairs:
    none = np.empty(0, np.int64)
    return FeaturePairs(none, none, none.astype(np.uint8), none)


def _built(descriptors: NDArray[np.uint8], rng: np.random.Generator) -> _Index:
    count = len(descriptors)
    some = rng.choice(count, min(count, _SAMPLE), replace=False)
    sample = descriptors[np.sort(some)].astype(np.float32) / 255
    mean = sample.mean(axis=0)
    centred = sample - mean
    _, axes = np.linalg.eigh(centred.T @ centred / len(sample))
    # the largest variances are dealt to both halves in turn, and each half is turned at random, so that every bit of a
    # signature tells about as much
    axes = axes[:, ::-1][:, :_BITS].astype(np.float32)
    halves = []
    for half in (axes[:, 0::2], axes[:, 1::2]):
        turn, _ = np.linalg.qr(rng.normal(size=(half.shape[1], half.shape[1])))
        halves.append(half @ turn.astype(np.float32))
    axes = np.concatenate(halves, axis=1)
    placed = centred @ axes
    words = int(np.clip(np.sqrt(count / _FILL), *_WORDS))
    words = min(words, len(sample) // 4)
    split = _BITS // 2
    vocabulary = (
        centres_of(placed[:, :split], words, rng),
        centres_of(placed[:, split:], words, rng),
    )
    middle: Floats = np.median(placed, axis=0).astype(np.float32)
    bare = _Index(mean, axes, vocabulary, middle, *(np.empty(0, np.int64),) * 2, np.empty(0, np.uint64))
    cell, signature = np.empty(count, np.int64), np.empty(count, np.uint64)
    for s in range(0, count, _SAMPLE):
        at = _placed(bare, descriptors[s : s + _SAMPLE])
        one, two = (
            nearest_centres(part, np.arange(len(part)), own, 1)[:, 0] for part, own in _split(at, vocabulary)
        )
        cell[s : s + _SAMPLE] = one.astype(np.int64) * words + two
        signature[s : s + _SAMPLE] = _signatures(bare, at)
    order = np.argsort(cell, kind="stable")
    start = np.searchsorted(cell[order], np.arange(words * words + 1))
    return bare._replace(start=start, feature=order, signature=signature[order])


def _placed(index: _Index, descriptors: NDArray[np.uint8]) -> Floats:
    scaled = descriptors.astype(np.float32) / 255
    return np.asarray((scaled - index.mean) @ index.axes, dtype=np.float32)


def _split(at: Floats, vocabulary: tuple[Floats, Floats]) -> list[tuple[Floats, Floats]]:
    half = at.shape[1] // 2
    return [
        (np.ascontiguousarray(at[:, :half]), vocabulary[0]),
        (np.ascontiguousarray(at[:, half:]), vocabulary[1]),
    ]


def _signatures(index: _Index, at: Floats) -> NDArray[np.uint64]:
    bits: NDArray[np.uint64] = np.packbits(at > index.middle, axis=1).view(np.uint64)[:, 0]
    return bits


def _meeting(
    index: _Index, descriptors: NDArray[np.uint8], asked: Ints, variant: int, owner: Ints
) -> tuple[Ints, Ints]:
    """Pairs of features (asked, met) in one of the four nearest cells and alike in their bits, of a later image."""
    at = _placed(index, descriptors[asked][:, VARIANTS[variant]])
    signature = _signatures(index, at)
    words = len(index.words[0])
    near = [nearest_centres(part, np.arange(len(part)), own, 2) for part, own in _split(at, index.words)]
    asking, meeting = [], []
    for one in (0, 1):
        for two in (0, 1):
            cell = near[0][:, one].astype(np.int64) * words + near[1][:, two]
            size = index.start[cell + 1] - index.start[cell]
            size[size > _STOP] = 0
            who = np.repeat(np.arange(len(asked)), size)
            where = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            where += np.repeat(index.start[cell], size)
            apart = np.bitwise_count(signature[who] ^ index.signature[where])
            met = index.feature[where]
            alike = (apart <= _NEAR) & (owner[met] > owner[asked[who]])
            asking.append(asked[who[alike]])
            meeting.append(met[alike])
    return np.concatenate(asking), np.concatenate(meeting)


def _votes(
    asked: Ints, met: Ints, variant: int, points: Floats, owner: Ints
) -> tuple[Ints, Ints, Ints, Ints]:
    """(left, right, variant, votes) of the pairs of images with enough features that agree on turn and size."""
    total = int(owner[-1]) + 1
    pair = owner[asked] * total + owner[met]
    _, which, often = np.unique(pair, return_inverse=True, return_counts=True)
    enough = often[which] >= _VOTES
    asked, met, pair = asked[enough], met[enough], pair[enough]
    direction = points[asked, 3].astype(np.float64)
    if variant & 1:
        direction = -direction
    if variant & 2:
        direction = direction + 180
    turn = ((points[met, 3] - direction) % 360) / _TURN
    octave = (np.log2(points[met, 2] / points[asked, 2]) + 4) / _OCTAVE
    best: dict[int, int] = {}
    for half_turn in (0.0, 0.5):  # bins overlap by half, so that no edge parts what agrees
        for half_octave in (0.0, 0.5):
            bins = np.floor(turn - half_turn).astype(np.int64) % _TURNS * _OCTAVES
            bins += np.clip(np.floor(octave - half_octave), 0, _OCTAVES - 1).astype(np.int64)
            key = pair * (_TURNS * _OCTAVES) + bins
            votes = np.minimum(*(_distinct(key, feature) for feature in (asked, met)))
            for name, count in zip(
                (np.unique(key) // (_TURNS * _OCTAVES)).tolist(), votes.tolist(), strict=True
            ):
                if count >= _VOTES:
                    best[name] = max(best.get(name, 0), count)
    names = np.fromiter(best, np.int64, len(best))
    counts = np.fromiter(best.values(), np.int64, len(best))
    return names // total, names % total, np.full(len(names), variant, np.int64), counts


def _distinct(key: Ints, feature: Ints) -> Ints:
    """How many different features each key has, by key."""
    pairs = np.unique(np.stack([key, feature], axis=1), axis=0)
    _, counts = np.unique(pairs[:, 0], return_counts=True)
    return counts.astype(np.int64)


def _best_of_each(left: Ints, right: Ints, votes: Ints) -> Ints:
    """The places of the pairs that are among the best of either image."""
    keep = np.zeros(len(left), np.bool_)
    for ends in (left, right):
        order = np.lexsort((-votes, ends))
        sizes = np.bincount(ends, minlength=1)
        rank = np.arange(len(ends)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        keep[order[rank < _PARTNERS]] = True
    return np.flatnonzero(keep)
