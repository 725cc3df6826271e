"""Laying one thumbnail upon another, and saying how well they agree: the verification of near duplicates.

A pair is aligned by inverse-compositional Gauss-Newton (Baker and Matthews 2004) over scale and shift along
each axis, with a gain and an offset of brightness (so crops, borders and stretched copies fit) and Cauchy
weights (so a caption or a border does not pull). Agreement is then measured where the two overlap, after
local contrast normalisation: each place counts by its structure, not by its contrast. A plain correlation
is high for any two guitars on white, because the outline outweighs all that is inside it; normalised
locally, every textured patch has one vote, and only a copy agrees in nearly all of them.

All functions take M pairs at once and hold about 100 KB a pair, so callers pass a few hundred.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import LUMA_SIDE, Candidates, chroma, luma, native_size, orient

Floats = NDArray[np.float32]

_RIM: Final = 1.0  # thumbnail pixels along the edge that a border may have tainted
_MIN_OVERLAP: Final = 0.45
_PROMISING: Final = 0.66  # agreement at 16x16 below which 0.1 % of true pairs were (and 85 % of the others)
_RADIUS: Final = 1.5  # of the local contrast, in thumbnail pixels
_FINE: Final = 0.06  # contrast (in standard deviations of the thumbnail) that counts as structure
_COARSE: Final = 0.15
_SOFT: Final = 0.6  # blur before the coarse measure, in thumbnail pixels: forgives JPEG and resampling
_EMPTY: Final = 0.02  # share of structure at which the number of details is halved
_WORTH_MORE: Final = 0.75  # agreement from which quiet places are looked at
_LOUD: Final = 0.65  # times the contrast of the loudest twentieth: what is quieter is judged for itself
_FLAT: Final = 0.5  # contrast, in levels, under which a place is empty
_QUIET_PLACES: Final = 20  # of 1,024
_COLOURFUL: Final = 7.0  # mean chroma, in levels, from which an image's colours are evidence
_COLOUR_KEPT: Final = 0.75  # share of the overlap whose colours are compared, the best agreeing part


class Agreement(NamedTuple):
    """How M pairs agree, float32 (M,) each.

    `structure` is a correlation, -1 to 1 (-1 also where the pair was given up early); `colour` is a cosine,
    -1 to 1 (1 where either has none). `evidence` weighs the structure by how much there was to agree about:
    Fisher's z times the square root of the number of independent details, so about normal for unrelated
    images of any size; 0 where given up. `quiet` is the correlation, -1 to 1, where both have structure of little
    contrast (1 where there is too little of it, or of the structure): what lies behind an outline agrees in a copy, and not where two
    outlines alike are drawn on two grounds. `filled` is the share of the overlap that has structure, 0 to 1. `at`,
    (M, 2, 2), is the map found, as `start` in `Candidates`.
    """

    structure: Floats
    colour: Floats
    evidence: Floats
    quiet: Floats
    filled: Floats
    at: Floats


def agreement(fingerprints: NDArray[np.uint8], pairs: Candidates) -> Agreement:
    """Align each pair and measure it. `fingerprints` (N, 1156); pairs of length M in all their fields."""
    right = orient(luma(fingerprints[pairs.right]), pairs.orientation).astype(np.float32)
    left = luma(fingerprints[pairs.left]).astype(np.float32)
    left, right = _at_one_resolution(left, right, fingerprints, pairs)
    levels = [x.std(axis=(1, 2), keepdims=True) for x in (left, right)]
    left, right = _standard(left), _standard(right)
    rough, go_on = _roughly(left, right, pairs.start)
    result = nothing_agrees(len(left))._replace(at=rough)
    if not len(go_on):
        return result
    left, right = left[go_on], right[go_on]
    at = _align(right, left, rough[go_on], 5)
    laid, seen = _lay(left, at, _RIM)
    seen = seen * _inside(LUMA_SIDE)
    fine = _normalised(right, laid, seen, _FINE, 0.0)
    coarse = _normalised(right, laid, seen, _COARSE, _SOFT)
    score = (_correlation(*fine) + _correlation(*coarse)) / 2
    score = np.where(seen.mean(axis=(1, 2)) >= _MIN_OVERLAP, score, -1)
    filled = _filled(*coarse, seen)
    result.structure[go_on] = score
    result.evidence[go_on] = np.arctanh(np.clip(score, 0, 0.999)) * np.sqrt(_details(*coarse, filled))
    result.colour[go_on] = _colour(fingerprints, pairs, go_on, at)
    good = np.flatnonzero(score >= _WORTH_MORE)
    rows = go_on[good]
    if len(rows):
        result.quiet[rows] = _quiet(laid[good] * levels[0][rows], right[good] * levels[1][rows], seen[good])
    result.filled[go_on] = filled
    result.at[go_on] = at
    return result


def nothing_agrees(count: int) -> Agreement:
    """The agreement of `count` pairs that were given up."""
    none, one = np.zeros(count, np.float32), np.ones(count, np.float32)
    return Agreement(-one, one, none, one.copy(), none.copy(), np.zeros((count, 2, 2), np.float32))


def _roughly(left: Floats, right: Floats, start: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Align at half the resolution; the maps found, and which pairs are worth going on with."""
    half = LUMA_SIDE // 2
    small, still = (_standard(x.reshape(-1, half, 2, half, 2).mean(axis=(2, 4))) for x in (left, right))
    at = _align(still, small, start, 2)
    laid, seen = _lay(small, at, _RIM)
    rough = _correlation(*_normalised(still, laid, seen, _COARSE, 0.0))
    return at, np.flatnonzero(rough >= _PROMISING)


def _standard(images: Floats) -> Floats:
    images = images - images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(images / (images.std(axis=(1, 2), keepdims=True) + 1e-3), dtype=np.float32)


def _at_one_resolution(
    left: Floats, right: Floats, fingerprints: NDArray[np.uint8], pairs: Candidates
) -> tuple[Floats, Floats]:
    """Blur the finer of two images to what the coarser had, where that was under a thumbnail's side."""
    sizes = [native_size(fingerprints[rows]).min(axis=1) for rows in (pairs.left, pairs.right)]
    coarse = np.minimum(*sizes)
    for images, own in ((left, sizes[0]), (right, sizes[1])):
        for side in np.unique(coarse[(own > coarse) & (coarse < LUMA_SIDE)]):
            chosen = (own > coarse) & (coarse == side)
            through = _through(int(side))
            images[chosen] = np.matmul(np.matmul(through, images[chosen]), through.T)
    return left, right


@lru_cache(maxsize=LUMA_SIDE)
def _through(side: int) -> Floats:
    """The (32, 32) matrix that averages a line down to `side` pixels and stretches it back."""
    edge = np.arange(side + 1) / side * LUMA_SIDE
    pixel = np.arange(LUMA_SIDE)
    down = np.clip(np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel), 0, None)
    down *= side / LUMA_SIDE
    position = np.clip((pixel + 0.5) / LUMA_SIDE * side - 0.5, 0, side - 1)
    up = np.clip(1 - np.abs(position[:, None] - np.arange(side)), 0, None)
    return np.asarray(up @ down, dtype=np.float32)


def _lay(images: Floats, at: Floats, rim: float = 0.0) -> tuple[Floats, Floats]:
    """Resample images (M, S, S) by the maps `at` (M, 2, 2); also which pixels had a source, 0 or 1.

    The outermost `rim` pixels of the source count as none.
    """
    side = images.shape[1]
    grid = ((np.arange(side) + 0.5) / side).astype(np.float32)
    place = (at[:, :, :1] * grid + at[:, :, 1:]) * side - 0.5  # (M, axis, S)
    weight = np.maximum(0, 1 - np.abs(place[..., None] - np.arange(side, dtype=np.float32)))
    seen = ((place >= rim - 0.25) & (place <= side - 0.75 - rim)).astype(np.float32)
    laid = np.matmul(np.matmul(weight[:, 1], images), weight[:, 0].transpose(0, 2, 1))
    return laid, seen[:, 1, :, None] * seen[:, 0, None, :]


@lru_cache(maxsize=2)
def _inside(side: int) -> Floats:
    """0 along the edge, where a border would be: it pulls hard and says nothing. 1 elsewhere."""
    inside = np.zeros((side, side), np.float32)
    inside[1:-1, 1:-1] = 1
    return inside


def _align(fixed: Floats, moving: Floats, start: Floats, steps: int) -> Floats:
    """Refine `start` so that `moving` resampled by it equals `fixed` up to gain and offset: (M, 2, 2)."""
    count, side = fixed.shape[:2]
    centred = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    across, down = _slopes(fixed)
    basis = np.stack(
        [across * centred, across, down * centred[:, None], down, np.ones_like(fixed) / side, fixed / side],
        axis=1,
    ).reshape(count, 6, -1)
    basis[:, :4] *= side
    rim = _inside(side)
    damping = np.eye(6, dtype=np.float32) * (0.1 * (side / LUMA_SIDE) ** 2)
    damping[4:, 4:] *= 1e-3
    at = start.copy()
    for step in range(steps):
        laid, seen = _lay(moving, at, _RIM)
        weight = (seen * rim).reshape(count, -1)
        error = _levelled(laid.reshape(count, -1), fixed.reshape(count, -1), weight) - fixed.reshape(
            count, -1
        )
        if step:
            spread = 4 * np.abs(error).mean(axis=1, keepdims=True) + 0.1
            weight = weight / (1 + (error / spread) ** 2)
        weighted = basis * weight[:, None]
        normal = np.matmul(weighted, basis.transpose(0, 2, 1)) + damping
        change = np.linalg.solve(normal, np.matmul(weighted, error[..., None]))[:, :4, 0].reshape(count, 2, 2)
        scale = 1 / (1 + np.clip(change[..., 0], -0.08, 0.08))
        shift = -(np.clip(change[..., 1], -0.06, 0.06) - 0.5 * (1 / scale - 1)) * scale
        at = np.stack([at[..., 0] * scale, at[..., 0] * shift + at[..., 1]], axis=-1)
    return at


def _levelled(one: Floats, two: Floats, weight: Floats) -> Floats:
    """`one` with the mean and standard deviation that `two` has under `weight`; all (M, pixels)."""
    total = weight.sum(axis=1, keepdims=True) + 1e-6
    means = [(x * weight).sum(axis=1, keepdims=True) / total for x in (one, two)]
    spreads = [
        ((x - m) ** 2 * weight).sum(axis=1, keepdims=True) for x, m in zip((one, two), means, strict=True)
    ]
    gain = np.sqrt((spreads[1] + 1e-3) / (spreads[0] + 1e-3))
    result: Floats = (one - means[0]) * gain + means[1]
    return result


def _slopes(images: Floats) -> tuple[Floats, Floats]:
    """Central differences across and down, one-sided at the rim."""
    return tuple(np.gradient(images, axis=axis) for axis in (2, 1))  # type: ignore[return-value]


@lru_cache(maxsize=8)
def _gauss(side: int, radius: float) -> Floats:
    apart = np.arange(side)[:, None] - np.arange(side)
    return np.exp(-(apart**2) / (2 * radius**2)).astype(np.float32)


def _normalised(
    one: Floats, two: Floats, seen: Floats, contrast: float, soft: float
) -> tuple[Floats, Floats]:
    """Both after local contrast normalisation where `seen` is 1, and 0 elsewhere."""
    side = one.shape[1]
    if soft:
        blur = _gauss(side, soft)
        blur = blur / blur.sum(axis=1, keepdims=True)
        one, two = (np.matmul(np.matmul(blur, x), blur.T) for x in (one, two))
    window = _gauss(side, _RADIUS)
    share = np.matmul(np.matmul(window, seen), window) + 1e-6

    def around(images: Floats) -> Floats:
        return np.asarray(np.matmul(np.matmul(window, images * seen), window) / share, dtype=np.float32)

    normal = []
    for images in (one, two):
        detail = images - around(images)
        normal.append(detail / np.sqrt(around(detail * detail) + contrast**2) * seen)
    return normal[0], normal[1]


def _correlation(one: Floats, two: Floats) -> Floats:
    together, first, second = ((x * y).sum(axis=(1, 2)) for x, y in ((one, two), (one, one), (two, two)))
    result: Floats = together / np.sqrt(first * second + 1e-6)
    return result


def _quiet(one: Floats, two: Floats, seen: Floats) -> Floats:
    """Correlation of details, in levels, away from what contrasts most; 1 where there are few such places.

    What contrasts most is left out of the surroundings too, or its halo would agree for it.
    """
    contrast = np.maximum(*(_detail(images, seen)[1] for images in (one, two)))
    loudest = np.quantile(contrast * seen, 0.95, axis=(1, 2), keepdims=True)
    rest = seen * (contrast < _LOUD * loudest)
    first, second = (_detail(images, rest) for images in (one, two))
    places = rest * (np.minimum(first[1], second[1]) > _FLAT)
    normal = (detail / np.sqrt(own * own + _FLAT**2) * places for detail, own in (first, second))
    enough = places.sum(axis=(1, 2)) >= _QUIET_PLACES
    return np.where(enough, _correlation(*normal), 1).astype(np.float32)


def _detail(images: Floats, seen: Floats) -> tuple[Floats, Floats]:
    """What remains of images (M, S, S) without their surroundings, and its standard deviation around each place."""
    window = _gauss(images.shape[1], _RADIUS)
    share = np.matmul(np.matmul(window, seen), window) + 1e-6
    detail = images - np.matmul(np.matmul(window, images * seen), window) / share
    around = np.matmul(np.matmul(window, detail * detail * seen), window) / share
    return detail, np.sqrt(around)


def _filled(one: Floats, two: Floats, seen: Floats) -> Floats:
    """The share of the overlap that has structure, of the emptier one of two normalised images."""
    area = seen.sum(axis=(1, 2)) + 1e-6
    result: Floats = np.minimum(*((x * x).sum(axis=(1, 2)) / area for x in (one, two)))
    return result


def _details(one: Floats, two: Floats, filled: Floats) -> Floats:
    """How many independent details two normalised images have, by Bartlett's formula, as spectra.

    Fewer where little of the overlap has structure: two clear skies have nothing to agree about.
    """
    power = [np.square(np.abs(np.fft.rfft2(x))) for x in (one, two)]
    ends = np.full(power[0].shape[2], 2, np.float32)  # rfft leaves out the mirrored half
    ends[[0, -1]] = 1
    sums = [(x * ends).sum(axis=(1, 2)) for x in (*power, power[0] * power[1])]
    count: Floats = (sums[0] * sums[1] / (sums[2] + 1e-6) * filled / (filled + _EMPTY)).astype(np.float32)
    return count


def _colour(
    fingerprints: NDArray[np.uint8], pairs: Candidates, rows: NDArray[np.int64], at: Floats
) -> Floats:
    """Cosine of the chroma of the two over the part of the overlap that agrees best: float32 (len(rows),)."""
    count = len(rows)
    turn = pairs.orientation[rows]
    colours = chroma(fingerprints[pairs.right[rows]]).astype(np.float32) - 128
    right = np.stack([orient(colours[:, c], turn) for c in (0, 1)], axis=1)
    colours = chroma(fingerprints[pairs.left[rows]]).astype(np.float32) - 128
    laid = [_lay(np.ascontiguousarray(colours[:, c]), at) for c in (0, 1)]
    left = np.stack([x[0] for x in laid], axis=1)
    seen = laid[0][1].reshape(count, -1)
    left, right = left.reshape(count, 2, -1), right.reshape(count, 2, -1)

    dot = (left * right).sum(axis=1)
    size = [np.sqrt((x * x).sum(axis=1)) for x in (left, right)]
    wrong = np.where(seen > 0, size[0] * size[1] - dot, np.inf)
    keep = (_COLOUR_KEPT * seen.sum(axis=1)).astype(np.int64)
    rank = wrong.argsort(axis=1).argsort(axis=1)
    part = (rank < keep[:, None]) & (seen > 0)
    amounts = [np.sqrt((s * s * part).sum(axis=1)) for s in size]
    cosine = (dot * part).sum(axis=1) / (amounts[0] * amounts[1] + 1e-6)
    strength = np.minimum(*amounts) / np.sqrt(np.maximum(part.sum(axis=1), 1))
    result: Floats = np.where(strength >= _COLOURFUL, cosine, 1).astype(np.float32)
    return result
