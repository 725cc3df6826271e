"""Laying one image upon another by their local features, and saying how well they then agree.

Each pair of like features proposes a whole map (position, size, direction and variant); the map that most others
agree with is refined to an affine one. `evidence` asks how probable so many agreeing features were by chance (the
a-contrario test of Moisan and Stival 2004). Features alone also meet where two photographs show one object, so the
grey levels are compared place by place where the images overlap: a copy agrees nearly everywhere, or, where parts
were erased or laid over, nearly perfectly in what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.feature_index import FeaturePairs
from comp.checks.duplicates.local_features import VARIANTS, LocalFeatures

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LIKE: Final = 0.8  # cosine of two features' descriptors
_NEAR: Final = 0.04  # of the longer side, that a feature may lie from where the map puts it
_LOOSE: Final = 1.5  # times as far, before the map is refined
_OCTAVES, _DEGREES = 0.6, 35.0  # by which a feature's size and direction may differ from the map's
_BY_CHANCE: Final = np.pi * _NEAR**2 * 1.3 * 0.2 * 0.4  # place, and both of size and direction
# how firmly the terms of a map are held to the first guess, against one feature
_AFFINE: Final = (60.0, 60.0, 0.003, 1e12, 1e12, 1e12)
_BENT: Final = (60.0, 60.0, 0.003, 3e5, 3e5, 3e5)
_MANY: Final = 12  # agreeing features, from which a map may bend
_ONE_PLACE: Final = 6.0  # pixels: features nearer than that count once
_LEAST: Final = 4  # agreeing features
_MOST: Final = 999.0  # evidence
_PROMISING: Final = 5.0  # evidence from which grey levels are compared
_SIDE: Final = 64  # pixels of the comparison
_AROUND: Final = 2.5  # pixels of it, the radius of a place
_NOISE: Final = 6.0  # variance of grey levels that is no structure
_TEXTURE: Final = 0.15
_RIM: Final = 9  # pixels of the comparison
_BLANK: Final = 1.0  # variance of grey levels under which a place was erased, or never filled
_MIDDLE: Final = 128


class FeatureAgreement(NamedTuple):
    """How M pairs lie upon one another; float64 (M,) where nothing else is said.

    `evidence` is -log10 of the probability that unrelated images have so many agreeing features (0: none). `residual`
    is the median distance of these from the map, in pixels of the right one's `grey`. `share`
    is the share of the places with structure where both agree (local correlation over 0.5), `crisp` that where they
    agree nearly perfectly (over 0.8), both 0 to 1; `left_new` and `right_new` are the shares of the two images that have
    structure and that the other one does not show. `at` (M, 2, 6) maps pixels of the left one's `grey` to the right one's,
    by x, y, 1, x², xy and y².
    """

    evidence: Floats
    residual: Floats
    share: Floats
    crisp: Floats
    left_new: Floats
    right_new: Floats
    at: Floats


def align(images: Sequence[LocalFeatures], pairs: FeaturePairs, workers: int = 2) -> FeatureAgreement:
    """Lays the images of each pair upon one another and measures how they agree."""
    from scipy.stats import binom

    def one(n: int) -> tuple[int, int, float, Floats]:
        left, right = images[pairs.left[n]], images[pairs.right[n]]
        return _mapped(left, right, int(pairs.variant[n]))

    count = len(pairs.left)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        found = list(pool.map(one, range(count)))
    agreeing, like, residual, maps = (
        (np.array(column) for column in zip(*found, strict=True)) if count else _NOTHING
    )
    tail = binom.logsf(np.maximum(agreeing - 2, -1), np.maximum(like - 1, 1), _BY_CHANCE) / np.log(10)
    evidence = np.where(agreeing >= _LEAST, np.clip(-tail - np.log10(np.maximum(like, 1)), 0, _MOST), 0.0)
    seen = np.zeros((count, 4))
    promising = np.flatnonzero(evidence >= _PROMISING)

    def two(n: int) -> Floats:
        left, right = images[pairs.left[n]], images[pairs.right[n]]
        return _compared(left.grey, right.grey, maps[n], bool(pairs.variant[n] & 2))

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for n, values in zip(promising.tolist(), pool.map(two, promising.tolist()), strict=True):
            seen[n] = values
    share, crisp, left, right = seen.T
    return FeatureAgreement(evidence, residual, share, crisp, left, right, maps.reshape(-1, 2, 6))


_NOTHING: Final = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty((0, 2, 6)))


def _mapped(left: LocalFeatures, right: LocalFeatures, variant: int) -> tuple[int, int, float, Floats]:
    """(agreeing features, like features, how far they lie from the map, map) of the best map of the left image upon the right one."""
    like = left.descriptors[:, VARIANTS[variant]].astype(np.float32) @ right.descriptors.T.astype(np.float32)
    if not like.size:
        return 0, 0, 0.0, np.zeros((2, 6))
    nearest, back = like.argmax(axis=1), like.argmax(axis=0)
    own = np.arange(len(nearest))
    mutual = np.flatnonzero((like[own, nearest] >= _LIKE * 255**2) & (back[nearest] == own))
    if len(mutual) < _LEAST:
        return 0, len(mutual), 0.0, np.zeros((2, 6))
    here = left.points[mutual].astype(np.float64)
    there = right.points[nearest[mutual]].astype(np.float64)
    turn = _frames(there, 0) @ np.linalg.inv(_frames(here, variant))
    shift = there[:, :2] - np.einsum("nij,nj->ni", turn, here[:, :2])
    octave = np.log2(np.abs(np.linalg.det(turn))) / 2
    angle = np.degrees(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]))
    alike = (np.abs(octave[:, None] - octave) < _OCTAVES) & (
        np.abs((angle[:, None] - angle + 180) % 360 - 180) < _DEGREES
    )
    reach = _NEAR * max(right.grey.shape)
    laid = np.einsum("hij,nj->hni", turn, here[:, :2]) + shift[:, None]
    agree = alike & (((laid - there[:, :2]) ** 2).sum(axis=-1) < (_LOOSE * reach) ** 2)
    best = int(agree.sum(axis=1).argmax())
    first = np.hstack([turn[best], shift[best][:, None]])
    at, inside = _refined(first, here[:, :2], there[:, :2], alike[best], agree[best], reach)
    off = np.sqrt(((_terms(here[inside, :2]) @ at.T - there[inside, :2]) ** 2).sum(axis=1))
    return _places(here[inside], there[inside]), len(mutual), float(np.median(off)), at


def _frames(points: Floats, variant: int) -> Floats:
    """The linear maps (n, 2, 2) of a feature's own frame to pixels: its size, direction, and whether it is mirrored."""
    angle = np.radians(points[:, 3] + (180 if variant & 2 else 0))
    along, up = np.cos(angle) * points[:, 2], np.sin(angle) * points[:, 2]
    side = -1.0 if variant & 1 else 1.0
    return np.stack([np.stack([along, -up * side], -1), np.stack([up, along * side], -1)], -2)


def _refined(
    first: Floats, here: Floats, there: Floats, alike: Mask, inside: Mask, reach: float
) -> tuple[Floats, Mask]:
    """The quadratic map (2, 6) that fits the agreeing features best, and which then agree.

    It is affine, and where there are many features bent a little: perspective, lenses and grids bend.
    """
    at = np.hstack([first, np.zeros((2, 3))])
    start = at.copy()
    terms = _terms(here)
    for stiff in (_AFFINE, _AFFINE, _BENT, _BENT):
        if stiff is _BENT and inside.sum() < _MANY:
            break
        x, firm = terms[inside], np.diag(stiff)
        at = np.linalg.solve(x.T @ x + firm, x.T @ there[inside] + firm @ start.T).T
        near = alike & (((terms @ at.T - there) ** 2).sum(axis=1) < reach**2)
        if near.sum() < 3:
            break
        inside = near
    return at, inside


def _terms(points: Floats) -> Floats:
    """What a quadratic map of points (n, 2) is linear in: (n, 6)."""
    x, y = points[:, 0], points[:, 1]
    return np.stack([x, y, np.ones_like(x), x * x, x * y, y * y], axis=1)


def _places(here: Floats, there: Floats) -> int:
    """How many different places agreeing features lie at, in the image where they are fewer."""
    return min(len(np.unique((side[:, :2] // _ONE_PLACE), axis=0)) for side in (here, there))


def _compared(left: NDArray[np.uint8], right: NDArray[np.uint8], at: Floats, negative: bool) -> Floats:
    """(share, crisp, left new, right new) of the right image laid upon the left one by `at`."""
    height, width = left.shape
    small = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(width * small)), max(8, round(height * small)))
    scale = _scale_at(at, width / 2, height / 2)
    step = scale / small  # pixels of the right image for one of the comparison
    if not 0.05 < step < 100:
        return np.zeros(4)
    one, two = _float(cv2.resize(left, size, interpolation=cv2.INTER_AREA)), _float(right)
    if step > 1.5:
        two = _float(cv2.GaussianBlur(two, (0, 0), 0.4 * step))
    elif step < 0.7:
        one = _float(cv2.GaussianBlur(one, (0, 0), 0.5 / step))
    across, down = (np.arange(n) + 0.5 for n in size)
    grid = np.stack(np.meshgrid(across / small - 0.5, down / small - 0.5), axis=-1).reshape(-1, 2)
    source = (_terms(grid) @ at.T).reshape(size[1], size[0], 2).astype(np.float32)
    laid = _float(cv2.remap(two, source[..., 0], source[..., 1], cv2.INTER_LINEAR))
    inside = (source > -0.5) & (source < np.array(right.shape[::-1]) - 0.5)
    seen = _float(inside.all(axis=-1))
    local, textured = _local_correlation(one, -laid if negative else laid, seen)
    new = [_new(one, seen), _new(right, _shown(left.shape, right.shape, at))]
    if textured.sum() < 20:
        return np.array([0, 0, *new])
    bright = ((side >= _MIDDLE)[textured] for side in (one, laid))
    places = local[textured]
    # a solarised copy is negative where it was bright
    places = max(
        places, *(np.where(part, -places, places) for part in bright), key=lambda x: (x > 0.5).mean()
    )
    return np.array([(places > 0.5).mean(), (places > 0.8).mean(), *new])


def _new(image: NDArray[np.generic], seen: NDArray[np.float32]) -> float:
    """The share of an image that has structure and is not seen in the other one."""
    grey = _float(cv2.resize(_float(image), seen.shape[::-1], interpolation=cv2.INTER_AREA))
    mean = cv2.GaussianBlur(grey, (0, 0), _AROUND)
    level = cv2.GaussianBlur(grey * grey, (0, 0), _AROUND) - mean * mean
    near = cv2.dilate(
        seen, np.ones((_RIM, _RIM), np.uint8)
    )  # the rim of what is seen is an edge, and nothing new
    return float(((level > _BLANK) & (near == 0)).mean())


def _shown(left: tuple[int, ...], right: tuple[int, ...], at: Floats) -> NDArray[np.float32]:
    """Which places of the right image the left one shows, 0 or 1, at the resolution of the comparison."""
    height, width = left
    along = np.linspace(0, 1, 9)[:-1]
    none, full = np.zeros_like(along), np.ones_like(along)
    edge = np.stack(
        [
            np.concatenate([along, full, 1 - along, none]) * width,
            np.concatenate([none, along, full, 1 - along]) * height,
        ],
        1,
    )
    small = min(1.0, _SIDE / max(right))
    size = (max(8, round(right[1] * small)), max(8, round(right[0] * small)))
    mask = np.zeros(size[::-1], np.uint8)
    corners = np.clip((_terms(edge) @ at.T) * small, -9999, 9999)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return _float(mask)


def _float(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)


def _scale_at(at: Floats, x: float, y: float) -> float:
    """Pixels of the right image for one of the left image, at a point of it."""
    slopes = np.stack(
        [at[:, 0] + 2 * at[:, 3] * x + at[:, 4] * y, at[:, 1] + at[:, 4] * x + 2 * at[:, 5] * y], 1
    )
    return float(np.sqrt(abs(np.linalg.det(slopes))))


def _local_correlation(
    one: NDArray[np.float32], two: NDArray[np.float32], seen: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Mask]:
    """How two images correlate around each place after local contrast normalisation, and which have structure."""

    def around(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values * seen, (0, 0), _AROUND) / share, dtype=np.float32)

    share = cv2.GaussianBlur(seen, (0, 0), _AROUND) + 1e-6
    details = [one - around(one), two - around(two)]
    spread = [around(detail * detail) for detail in details]
    first, second = (
        detail / np.sqrt(level + _NOISE) * seen for detail, level in zip(details, spread, strict=True)
    )
    power = [around(x * x) for x in (first, second)]
    local = around(first * second) / np.sqrt(power[0] * power[1] + 0.01)
    return local, (np.maximum(*power) > _TEXTURE) & (np.minimum(*spread) > _BLANK) & (seen > 0)
