"""Which pairs of images are worth comparing: descriptions of thumbnails, deaf to mirroring and turning, and the nearest of them.

Windows are looked up among windows by the cosine of their descriptions (`cells`), then the signs are compared, which
tells the orientation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.cells import BestHits, Found, Hits, Windows, nearest_windows, some_windows

LUMA_SIDE: Final = 32
CHROMA_SIDE: Final = 8
_LUMA: Final = LUMA_SIDE * LUMA_SIDE
_CHROMA: Final = CHROMA_SIDE * CHROMA_SIDE
FINGERPRINT_BYTES: Final = _LUMA + 2 * _CHROMA + 4

Fingerprint = NDArray[np.uint8]


def perceptual(image: NDArray[np.uint8]) -> Fingerprint:
    """Reduce one decoded image to its fingerprint.

    `image` is uint8 RGB, (H, W, 3) with H, W >= 1; it is not changed. Returns uint8 of shape (1156,):
    32x32 luma, 8x8 Cr and 8x8 Cb (row by row, BT.601), then H and W as little-endian uint16 (65535 where
    larger). Deterministic, and safe to call from several threads at once.

    Raises TypeError where the dtype is not uint8, ValueError where the shape is not (H, W, 3).
    """
    if image.dtype != np.uint8:
        raise TypeError(f"image must be uint8 RGB, got dtype {image.dtype}: convert it before fingerprinting")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must have shape (H, W, 3), got {image.shape}: decode it as RGB")
    height, width = image.shape[:2]
    ycc = cv2.cvtColor(_squash(image), cv2.COLOR_RGB2YCrCb)
    step = LUMA_SIDE // CHROMA_SIDE
    blocks = ycc[:, :, 1:].reshape(CHROMA_SIDE, step, CHROMA_SIDE, step, 2)
    chroma = (blocks.sum(axis=(1, 3), dtype=np.uint16) + step * step // 2) // (step * step)

    fingerprint = np.empty(FINGERPRINT_BYTES, np.uint8)
    fingerprint[:_LUMA] = ycc[:, :, 0].ravel()
    fingerprint[_LUMA:-4] = chroma.transpose(2, 0, 1).ravel()
    size = np.array([min(height, 65535), min(width, 65535)], "<u2")
    fingerprint[-4:] = size.view(np.uint8)
    return fingerprint


def luma(fingerprints: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma thumbnails of fingerprints (N, 1156): uint8 (N, 32, 32), a view where numpy can give one."""
    return fingerprints[:, :_LUMA].reshape(-1, LUMA_SIDE, LUMA_SIDE)


def chroma(fingerprints: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The chroma thumbnails of fingerprints (N, 1156): uint8 (N, 2, 8, 8), Cr then Cb, 128 = no colour."""
    return fingerprints[:, _LUMA:-4].reshape(-1, 2, CHROMA_SIDE, CHROMA_SIDE)


def native_size(fingerprints: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Height and width before the squash, of fingerprints (N, 1156): uint16 (N, 2), in pixels."""
    return np.ascontiguousarray(fingerprints[:, -4:]).view("<u2").astype(np.uint16, copy=False)


def _squash(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (32, 32, 3): area averages along a side that shrinks, linear along one that grows."""
    height, width = image.shape[:2]
    small = (min(width, LUMA_SIDE), min(height, LUMA_SIDE))
    if small != (width, height):
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    if small != (LUMA_SIDE, LUMA_SIDE):
        whole = (LUMA_SIDE, LUMA_SIDE)
        image = np.asarray(cv2.resize(image, whole, interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


FREQUENCIES: Final = 8
_SPANS: Final = ((0.0, 1.0), (0.1, 0.9), (0.0, 0.93), (0.035, 0.965), (0.07, 1.0))
# A window is a pair of spans (across, down). The first two are also what is asked for.
_WINDOWS: Final = ((0, 0), (1, 1), *((x, y) for x in (2, 3, 4) for y in (2, 3, 4)))
WINDOWS: Final = len(_WINDOWS)
ASKED: Final = 2


def orient(images: NDArray[np.generic], orientation: NDArray[np.uint8]) -> NDArray[np.generic]:
    """Turn square images (M, S, S): +4 transposes, then +2 flips rows, then +1 flips columns. A copy."""
    turned = images.copy()
    for bit, view in ((4, (0, 2, 1)), (2, None), (1, None)):
        chosen = (orientation & bit) > 0
        if view is not None:
            turned[chosen] = turned[chosen].transpose(view)
        else:
            turned[chosen] = turned[chosen][:, ::-1] if bit == 2 else turned[chosen][:, :, ::-1]
    return turned


def _cosines() -> Floats:
    """The 8 lowest cosines over each span of a thumbnail's side, one under the other: (5 * 8, 32)."""
    edge = np.arange(LUMA_SIDE + 1) / LUMA_SIDE
    centre = (edge[1:] + edge[:-1]) / 2
    wave = np.arange(FREQUENCIES)[:, None]
    parts = []
    for low, high in _SPANS:
        covered = np.clip(edge[1:], low, high) - np.clip(edge[:-1], low, high)
        phase = np.clip((centre - low) / (high - low), 0, 1)
        parts.append(np.cos(np.pi * wave * phase) * covered / (high - low))
    return np.concatenate(parts).astype(np.float32)


def describe(fingerprints: NDArray[np.uint8], rows: Ints) -> NDArray[np.float16]:
    """Weighted DCT coefficients of each window, of length 1: (R, 11, 8, 8), [down, across]."""
    cosines = _cosines()
    u = np.arange(FREQUENCIES, dtype=np.float32)
    radius = np.hypot(u[:, None], u[None])
    # sqrt(frequency) evens out the fall of natural spectra without trusting what a crop shifts most
    weight = np.where(radius > 0, np.sqrt(np.maximum(radius, 1)), 0).astype(np.float32)
    out = np.empty((len(rows), WINDOWS, FREQUENCIES, FREQUENCIES), np.float16)
    for s in range(0, len(rows), 2048):
        thumbs = luma(fingerprints[rows[s : s + 2048]]).astype(np.float32)
        both = np.matmul(cosines, np.matmul(thumbs, cosines.T))  # (m, 40 down, 40 across)
        both = both.reshape(-1, len(_SPANS), FREQUENCIES, len(_SPANS), FREQUENCIES)
        for w, (across, down) in enumerate(_WINDOWS):
            part = both[:, down, :, across, :] * weight
            norm = np.sqrt((part * part).sum(axis=(1, 2), keepdims=True))
            out[s : s + 2048, w] = part / (norm + 1e-3)
    return out


def invariant_of(coefficients: NDArray[np.float16]) -> NDArray[np.float16]:
    """What all eight orientations of a description share: (n, 8, 8) to (n, 63), of length 1."""
    over = np.triu_indices(FREQUENCIES, 1)
    diagonal = np.arange(1, FREQUENCIES)
    half = len(over[0])
    out = np.empty((len(coefficients), 2 * half + len(diagonal)), np.float16)
    for s in range(0, len(coefficients), 16384):
        size = np.abs(coefficients[s : s + 16384])
        upper, lower = size[:, over[0], over[1]], size[:, over[1], over[0]]
        out[s : s + 16384, :half] = np.maximum(upper, lower)
        out[s : s + 16384, half : 2 * half] = np.minimum(upper, lower)
        out[s : s + 16384, 2 * half :] = size[:, diagonal, diagonal]
    return out


def signed_cosines(still: NDArray[np.float16], turned: NDArray[np.float16]) -> Floats:
    """Cosines of `still` with the eight orientations of `turned`, both (m, 8, 8): float32 (m, 8)."""
    still = still.astype(np.float32)
    odd = (np.arange(FREQUENCIES) % 2).astype(np.float32)
    split = np.stack([1 - odd, odd])  # (2, 8): even waves keep their sign in a flip, odd ones lose it
    out = []
    for view in (turned.astype(np.float32), turned.astype(np.float32).transpose(0, 2, 1)):
        sums = np.matmul(np.matmul(split, still * view), split.T)  # (m, parity down, parity across)
        plain, across, down, both = sums[:, 0, 0], sums[:, 0, 1], sums[:, 1, 0], sums[:, 1, 1]
        for flip_rows in (1, -1):
            for flip_columns in (1, -1):
                out.append(plain + flip_columns * across + flip_rows * (down + flip_columns * both))
    return np.stack(out, axis=1)


def window_map(asked: Ints, found: Ints) -> Floats:
    """The map of points that lays window `asked` upon window `found`: (m, 2, 2), [axis, scale and shift].

    The asked windows are centred, so that turning does not move them.
    """
    spans = np.array(_SPANS, np.float32)[np.array(_WINDOWS)]  # (11, axis, low and high)
    here, there = spans[asked], spans[found]
    scale = (there[..., 1] - there[..., 0]) / (here[..., 1] - here[..., 0])
    return np.stack([scale, there[..., 0] - here[..., 0] * scale], axis=-1)


Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_MIN_CONTRAST: Final = 2.5  # standard deviation in grey levels; flatter images have nothing to match
_PROBES: Final = 4
_LOOSEST: Final = 0.88  # cosine of invariant descriptions: 0.92 is the 1 % quantile of true 10 % crops
_HITS: Final = 32.0  # mean number of windows found per question; sets the cosine on crowded sets
_SIGNED: Final = (0.78, 0.86)  # cosine with signs: 0.85 is the 1 % quantile of true 10 % crops
_NEARLY: Final = 0.01  # by which a cosine with signs may be wrong before it is taken exactly
_A_IMAGE: Final = 1.0  # pairs an image to pass on before the signed cosine is raised
_PARTNERS: Final = 6
_SAMPLE: Final = 65536  # windows that say what cosine is needed
_CHUNK: Final = 8192


class Candidates(NamedTuple):
    """M pairs that may be near duplicates: `left` and `right` are rows of the fingerprints, int64 (M,).

    Turning image `right` by `orientation` (0-7, see `orient`) makes it look like `left`; a point x of it
    (0..1 across, then down) then lies near `start[m, axis, 0] * x + start[m, axis, 1]` of `left`,
    `start` float32 (M, 2, 2).
    """

    left: Ints
    right: Ints
    orientation: NDArray[np.uint8]
    start: Floats
    cosine: Floats

    def part(self, chosen: slice | Ints) -> Candidates:
        """Some of the pairs."""
        return Candidates(
            self.left[chosen],
            self.right[chosen],
            self.orientation[chosen],
            self.start[chosen],
            self.cosine[chosen],
        )

    @property
    def total(self) -> int:
        """How many pairs."""
        return len(self.left)


class Proposed(NamedTuple):
    """Pairs that may be near duplicates, as hits; `laid` makes candidates of some of them, which take twice the memory."""

    hits: Hits
    laid: Callable[[Hits], Candidates]

    @property
    def total(self) -> int:
        """How many pairs."""
        return len(self.hits.pair)

    def part(self, chosen: slice | Ints) -> Candidates:
        """Some of the pairs."""
        return self.laid(self.hits.part(chosen))


def candidates(
    fingerprints: NDArray[np.uint8], rows: Ints | None = None, *, seed: int = 0, workers: int = 2
) -> Proposed:
    """Find the pairs worth comparing among fingerprints (N, 1156), as `perceptual` makes them, or some `rows` of them.

    Exact up to about 1,450 images, by cells above; deterministic for a given seed, whatever `workers` (threads) is. Images of nearly one colour take no
    part. Memory is about 0.5 KB an image and 3.3 KB on disk (in memory up to 80,000 images), time about linear.

    Raises InputError where the folder of caches is needed and cannot be written to.
    """
    rows = np.arange(len(fingerprints)) if rows is None else rows
    rows = rows[_contrast(fingerprints, rows) >= _MIN_CONTRAST]
    images = Windows(
        len(rows),
        WINDOWS,
        tuple(range(ASKED)),
        _DIMS,
        lambda some: _with_invariants(describe(fingerprints, rows[some])),
        _PROBES,
    )
    hits = BestHits(images, _PARTNERS, partial(_loosest, len(rows)))
    rng = np.random.default_rng(seed)
    for found in nearest_windows(images, _cosine_needed(images, rng), rng, workers):
        _add_with_signs(hits, found)

    def laid(some: Hits) -> Candidates:
        asker, window, answer, place = hits.ends(some)
        return Candidates(rows[answer], rows[asker], some.turn, window_map(window, place), some.value)

    return Proposed(hits.best(), laid)


def _contrast(fingerprints: NDArray[np.uint8], rows: Ints) -> Floats:
    parts = [
        luma(fingerprints[rows[s : s + _CHUNK]]).std(axis=(1, 2), dtype=np.float32)
        for s in range(0, len(rows), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


_DIMS: Final = FREQUENCIES * FREQUENCIES - 1


def _with_invariants(coefficients: NDArray[np.float16]) -> NDArray[np.float16]:
    """What is compared of each window, then its coefficients: (n, 11, 8, 8) to (n, 11, 127)."""
    flat = coefficients.reshape(-1, FREQUENCIES, FREQUENCIES)
    both = np.concatenate([invariant_of(flat), flat.reshape(len(flat), -1)], axis=1)
    return both.reshape(len(coefficients), WINDOWS, -1)


def _cosine_needed(images: Windows, rng: np.random.Generator) -> float:
    """The cosine above which a question has about `_HITS` answers, and never less than `_LOOSEST`.

    On a set where everything looks alike a fixed cosine would pass a share of all N^2 pairs.
    """
    if images.images < 2:
        return _LOOSEST
    total = images.images * images.windows
    questions = images.images * len(images.asked)
    image, one = np.divmod(rng.choice(questions, min(questions, 256), replace=False), len(images.asked))
    some = image * images.windows + np.array(images.asked)[one]
    others = rng.choice(total, min(total, _SAMPLE), replace=False)
    found = (some_windows(images, some) @ some_windows(images, others).T).ravel()
    share = _HITS / total + images.windows / total  # an image's own windows are always among them
    keep = max(1, int(share * len(found)))
    if keep >= len(found):
        return _LOOSEST
    return max(_LOOSEST, float(np.partition(found, -keep)[-keep]))


def _add_with_signs(hits: BestHits, found: Found) -> None:
    """Add the hits of a cell with the cosine that they have in the orientation that agrees best."""
    if not hits.thinned:
        found = hits.best_in(found)
    asking, answering = found.asking[:, _DIMS:], found.answering[:, _DIMS:]
    value = _roughly_signed(answering, asking, found.column, found.row)
    near = np.flatnonzero(value >= _SIGNED[0] - _NEARLY)
    square = (-1, FREQUENCIES, FREQUENCIES)
    signed = signed_cosines(
        answering[found.column[near]].reshape(square), asking[found.row[near]].reshape(square)
    )
    turn = np.zeros(len(value), np.uint8)
    value[near], turn[near] = signed.max(axis=1), signed.argmax(axis=1)
    hits.add(found, value, turn)


def _roughly_signed(
    still: NDArray[np.float16], turned: NDArray[np.float16], one: Ints, other: Ints
) -> Floats:
    """The highest of `signed_cosines` of rows `one` of `still` (n, 64) and rows `other` of `turned`: (m,)."""
    odd = np.arange(FREQUENCIES) % 2
    flips = [(1 - 2 * down * odd)[:, None] * (1 - 2 * across * odd) for down in (0, 1) for across in (0, 1)]
    signs = np.stack(flips).reshape(4, -1).T.astype(np.float32)
    first, second = still.astype(np.float32), turned.astype(np.float32)
    swapped = np.ascontiguousarray(second.reshape(-1, FREQUENCIES, FREQUENCIES).transpose(0, 2, 1)).reshape(
        len(second), -1
    )
    out = np.empty(len(one), np.float32)
    for s in range(0, len(one), _CHUNK):
        fixed = first[one[s : s + _CHUNK]]
        both = [((fixed * view[other[s : s + _CHUNK]]) @ signs).max(axis=1) for view in (second, swapped)]
        out[s : s + _CHUNK] = np.maximum(*both)
    return out


def _loosest(count: int, value: Floats) -> float:
    """The cosine with signs to ask for among `count` images: it passes about `_A_IMAGE` pairs an image, and all close ones."""
    loosest, strictest = _SIGNED
    crowded = value[value >= loosest]
    most = max(1, int(_A_IMAGE * count))
    if len(crowded) > most:
        loosest = min(strictest, float(np.partition(crowded, -most)[-most]))
    return loosest
