"""Images that are related though they differ much: strong copies, frames of one scene, parts of one image.

`feature_index` proposes pairs, `feature_alignment` lays each upon one another; here is the decision. A copy's features
lie within half a pixel of a smooth map, and its grey levels agree nearly everywhere, or nearly perfectly where nothing
was erased or laid over. Two photographs of one object have many like features too, but off by a pixel or two, and their
places agree only roughly: these are told as one scene, and never taken for copies. docs/near-duplicates.md has the
measurements behind every constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from comp.checks.duplicates.feature_alignment import FeatureAgreement, align
from comp.checks.duplicates.feature_index import FeaturePairs, feature_pairs
from comp.checks.duplicates.local_features import LONGEST, LocalFeatures

THOROUGH: Final = 2  # what another version of this search found is searched for again

COPY, SCENE, PART = 1, 2, 4  # of a pair, as bits

_AGREEING: Final = (8.0, 0.8, 0.6)  # evidence, share and crisp share of a copy that is whole
_EXACT: Final = (
    20.0,
    0.4,
    0.25,
    0.4,
)  # evidence, share, crisp share and most pixels from the map, where parts are hidden
_BENT: Final = (150.0, 0.6)  # evidence and share of a copy that was bent beyond a quadratic map
_CERTAIN: Final = (150.0, 0.45, 0.7)  # evidence, share and most pixels from the map
_SEEN_AGAIN: Final = (40.0, 0.45)  # evidence and share of one scene or object
_UNMOVED: Final = 4.0  # pixels that any corner of a still camera's frames may lie apart
_MOVING: Final = 0.97  # share of places under which something moved
# of an image: two that each show so much more than the other are parts, or shots of one scene
_MORE: Final = 0.05
_SAME_PIXELS: Final = 0.25  # pixels from the map, up to which such parts were cut out of one file


class RelatedPairs(NamedTuple):
    """M pairs of related images, each once.

    `pairs` int64 (M, 2): places in the list of images, left < right, sorted. `relation` uint8 (M,): `COPY`, `SCENE` and
    `PART` as bits. `score` float32 (M,): the share of places that agree, 0 to 1.
    """

    pairs: NDArray[np.int64]
    relation: NDArray[np.uint8]
    score: NDArray[np.float32]


def related_pairs(images: Sequence[LocalFeatures], *, workers: int = 2, seed: int = 0) -> RelatedPairs:
    """The related pairs among images, by their local features (see `local_features`).

    Deterministic for a given `seed`, whatever `workers` (threads of the verification) is.
    """
    with threadpool_limits(1):  # of BLAS: its threads and ours would wait for one another
        asked = feature_pairs(images, workers=workers, seed=seed)
        agreement = align(images, asked, workers)
    relation = relations(asked, agreement)
    kept = np.flatnonzero(relation)
    pair = asked.left[kept] * len(images) + asked.right[kept]
    order = np.lexsort((-agreement.share[kept], pair))
    kept, pair = kept[order], pair[order]
    first = np.flatnonzero(np.diff(pair, prepend=-1))
    joined = np.bitwise_or.reduceat(relation[kept], first) if len(first) else relation[:0]
    best = kept[first]
    pairs = np.stack([asked.left[best], asked.right[best]], axis=1)
    return RelatedPairs(pairs, joined.astype(np.uint8), agreement.share[best].astype(np.float32))


def relations(pairs: FeaturePairs, agreement: FeatureAgreement) -> NDArray[np.uint8]:
    """How each pair is related: uint8 (M,), 0 where it is not."""
    copy = _is_copy(agreement)
    partial = copy & (agreement.left_new >= _MORE) & (agreement.right_new >= _MORE)
    copy &= ~partial | (agreement.residual <= _SAME_PIXELS)
    plain = pairs.variant == 0
    again = (agreement.evidence >= _SEEN_AGAIN[0]) & (agreement.share >= _SEEN_AGAIN[1]) & plain & ~copy
    still = copy & plain & (agreement.share < _MOVING) & _is_still(agreement.at)
    result: NDArray[np.uint8] = (
        copy * COPY + (again | still | (partial & ~copy)) * SCENE + partial * PART
    ).astype(np.uint8)
    return result


def _is_copy(agreement: FeatureAgreement) -> NDArray[np.bool_]:
    evidence, share, crisp = _AGREEING
    whole = (agreement.evidence >= evidence) & (agreement.share >= share) & (agreement.crisp >= crisp)
    evidence, share, crisp, residual = _EXACT
    hidden = (agreement.evidence >= evidence) & (agreement.share >= share) & (agreement.crisp >= crisp)
    hidden &= agreement.residual <= residual
    bent = (agreement.evidence >= _BENT[0]) & (agreement.share >= _BENT[1])
    evidence, share, residual = _CERTAIN
    certain = (agreement.evidence >= evidence) & (agreement.share >= share) & (agreement.residual <= residual)
    result: NDArray[np.bool_] = whole | hidden | bent | certain
    return result


def _is_still(at: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether maps (M, 2, 6) move nothing: the camera stood still."""
    apart = at[:, :, :3] - np.array([[1.0, 0, 0], [0, 1.0, 0]])
    moved = np.abs(apart[:, :, :2]).sum(axis=2) * LONGEST + np.abs(apart[:, :, 2])
    result: NDArray[np.bool_] = moved.max(axis=1) <= _UNMOVED
    return result
