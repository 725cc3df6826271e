"""Which pairs of images are worth comparing: descriptions of thumbnails, deaf to mirroring and turning, and the nearest of them.

Windows are looked up among windows by the cosine of their descriptions (see `duplicate_windows`), in cells
around k-means centres with several probes, the inverted index of Jegou et al. (2011). Whole cells are
compared with one matrix product, which does several times more a second than one lookup per question, and
needs numpy only.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

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
_LEAF: Final = 2000  # windows compared with one matrix product; also the mean size of a cell
_MAX_CELLS: Final = 2048
_PROBES: Final = 4
_LOOSEST: Final = 0.88  # cosine of invariant descriptions: 0.92 is the 1 % quantile of true 10 % crops
_HITS: Final = 32.0  # mean number of windows found per question; sets the cosine on crowded sets
_SIGNED: Final = (0.78, 0.86)  # cosine with signs: 0.85 is the 1 % quantile of true 10 % crops
_A_IMAGE: Final = 1.0  # pairs an image to pass on before the signed cosine is raised
_PARTNERS: Final = 6
_BLOCK: Final = 1024


class Candidates(NamedTuple):
    """M pairs that may be near duplicates: `left` < `right` are rows of the fingerprints, int64 (M,).

    Turning image `right` by `orientation` (0-7, see `duplicate_windows.orient`) makes it look like `left`; a point x of it
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


def candidates(fingerprints: NDArray[np.uint8], *, seed: int = 0) -> Candidates:
    """Find the pairs worth comparing among fingerprints (N, 1156), as `perceptual` makes them.

    Exact up to about 400 images' worth of windows, by cells above; deterministic for a given seed.
    Images of nearly one colour take no part. Memory is about 2.8 KB an image, time a little over
    linear (N^1.5 until the cells reach their largest number).
    """
    rows = np.flatnonzero(_contrast(fingerprints) >= _MIN_CONTRAST)
    if len(rows) < 2:
        return _nothing()
    coefficients = describe(fingerprints, rows)  # (R, 11, 8, 8) float16
    invariant = invariant_of(coefficients.reshape(-1, FREQUENCIES, FREQUENCIES))
    asked = (np.arange(len(rows))[:, None] * WINDOWS + np.arange(ASKED)).ravel()
    rng = np.random.default_rng(seed)
    question, answer, cosine = nearest_windows(invariant, asked, _cosine_needed(invariant, asked, rng), rng)
    del invariant
    return _with_signs(coefficients, rows, question, answer, cosine)


def _nothing() -> Candidates:
    none = np.empty(0, np.int64)
    return Candidates(
        none, none, none.astype(np.uint8), np.empty((0, 2, 2), np.float32), np.empty(0, np.float32)
    )


def _contrast(fingerprints: NDArray[np.uint8]) -> Floats:
    parts = [
        luma(fingerprints[s : s + 8192]).std(axis=(1, 2), dtype=np.float32)
        for s in range(0, len(fingerprints), 8192)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _cosine_needed(invariant: NDArray[np.float16], asked: Ints, rng: np.random.Generator) -> float:
    """The cosine above which a question has about `_HITS` answers, and never less than `_LOOSEST`.

    On a set where everything looks alike a fixed cosine would pass a share of all N^2 pairs.
    """
    total = len(invariant)
    some = rng.choice(asked, min(len(asked), 256), replace=False)
    others = rng.choice(total, min(total, 65536), replace=False)
    found = (invariant[some].astype(np.float32) @ invariant[others].astype(np.float32).T).ravel()
    share = _HITS / total + WINDOWS / total  # an image's own windows are always among them
    keep = max(1, int(share * len(found)))
    if keep >= len(found):
        return _LOOSEST
    return max(_LOOSEST, float(np.partition(found, -keep)[-keep]))


def nearest_windows(
    base: NDArray[np.float16],
    asked: Ints,
    cosine: float,
    rng: np.random.Generator,
    windows: int = WINDOWS,
    probes: int = _PROBES,
) -> tuple[Ints, Ints, Floats]:
    """All (question, answer, cosine) above `cosine`, both rows of `base`, never of the same image of so many windows."""
    cells = min(_MAX_CELLS, len(base) // _LEAF)
    if cells < 8:
        return _compare(base, asked, np.arange(len(base)), cosine, windows)
    centres = centres_of(base, cells, rng)
    member = nearest_centres(base, np.arange(len(base)), centres, 1)[:, 0]
    probed = nearest_centres(base, asked, centres, min(probes, cells))
    members, member_at = _sorted_by_cell(member, cells)
    visitors, visitor_at = _sorted_by_cell(probed.ravel(), cells)
    found = [
        _compare(
            base,
            asked[visitors[visitor_at[c] : visitor_at[c + 1]] // probed.shape[1]],
            members[member_at[c] : member_at[c + 1]],
            cosine,
            windows,
        )
        for c in range(cells)
    ]
    question, answer, value = (np.concatenate(part) for part in zip(*found, strict=True))
    return question, answer, value


def _sorted_by_cell(cell: NDArray[np.integer], cells: int) -> tuple[Ints, Ints]:
    return np.argsort(cell, kind="stable"), np.searchsorted(np.sort(cell), np.arange(cells + 1))


def centres_of(base: NDArray[np.floating], cells: int, rng: np.random.Generator) -> Floats:
    """Spherical k-means on a sample of `base` (N, D): (cells, D)."""
    sample = base[rng.choice(len(base), min(len(base), 48 * cells), replace=False)].astype(np.float32)
    centres = sample[:cells].copy()
    for _ in range(6):
        nearest = _nearest_of(sample, centres)
        order, at = _sorted_by_cell(nearest, cells)
        filled = np.flatnonzero(np.diff(at))
        centres[filled] = np.add.reduceat(sample[order], at[filled], axis=0)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True) + 1e-6
    return centres


def _nearest_of(points: Floats, centres: Floats) -> Ints:
    parts = [(points[s : s + _BLOCK] @ centres.T).argmax(axis=1) for s in range(0, len(points), _BLOCK)]
    return np.concatenate(parts)


def nearest_centres(base: NDArray[np.floating], rows: Ints, centres: Floats, count: int) -> NDArray[np.int32]:
    """The `count` nearest centres of each row: (len(rows), count), the nearest first."""
    out = np.empty((len(rows), count), np.int32)
    for s in range(0, len(rows), _BLOCK):
        near = base[rows[s : s + _BLOCK]].astype(np.float32) @ centres.T
        every = np.arange(len(near))
        for n in range(count):  # quicker than a partition, for a few of many
            out[s : s + _BLOCK, n] = nearest = near.argmax(axis=1)
            near[every, nearest] = -np.inf
    return out


def _compare(
    base: NDArray[np.float16], asked: Ints, members: Ints, cosine: float, windows: int
) -> tuple[Ints, Ints, Floats]:
    """Every question against every member, in blocks; at most 4 * `_HITS` answers each, the best."""
    questions, answers, values = [], [], []
    against = base[members].astype(np.float32).T
    image = members // windows
    most = int(4 * _HITS)
    for s in range(0, len(asked), _BLOCK):
        block = asked[s : s + _BLOCK]
        near = base[block].astype(np.float32) @ against
        row, column = np.divmod(np.flatnonzero(near.ravel() > cosine), max(1, len(members)))
        other = image[column] != block[row] // windows
        row, column = row[other], column[other]
        value = near[row, column]
        if len(row) > most:
            row, column, value = _best_of_each(row, column, value, most)
        questions.append(block[row])
        answers.append(members[column])
        values.append(value)
    if not questions:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    return np.concatenate(questions), np.concatenate(answers), np.concatenate(values)


def _best_of_each(row: Ints, column: Ints, value: Floats, most: int) -> tuple[Ints, Ints, Floats]:
    """Thin hits to the `most` with the highest value of each row (rows come sorted)."""
    counts = np.bincount(row)
    if counts.max() <= most:
        return row, column, value
    over = counts[row] > most
    place = np.flatnonzero(over)
    order = place[np.lexsort((-value[place], row[place]))]
    many = counts[counts > most]
    rank = np.arange(len(place)) - np.repeat(np.cumsum(many) - many, many)
    keep = np.sort(np.concatenate([np.flatnonzero(~over), order[rank < most]]))
    return row[keep], column[keep], value[keep]


def _with_signs(
    coefficients: NDArray[np.float16], rows: Ints, question: Ints, answer: Ints, cosine: Floats
) -> Candidates:
    """One hit a pair (the closest), kept where the signs of some orientation agree too."""
    asker, window = np.divmod(question, WINDOWS)
    found, place = np.divmod(answer, WINDOWS)
    pair = np.minimum(asker, found) * len(rows) + np.maximum(asker, found)
    order = np.lexsort((-cosine, pair))
    first = order[np.flatnonzero(np.diff(pair[order], prepend=-1))]
    asker, window, found, place = asker[first], window[first], found[first], place[first]
    best = np.empty(len(first), np.float32)
    orientation = np.empty(len(first), np.uint8)
    for s in range(0, len(first), 8192):
        c = slice(s, s + 8192)
        signed = signed_cosines(coefficients[found[c], place[c]], coefficients[asker[c], window[c]])
        orientation[c] = signed.argmax(axis=1)
        best[c] = signed.max(axis=1)
    loosest, strictest = _SIGNED
    crowded = best[best >= loosest]
    most = max(1, int(_A_IMAGE * len(rows)))
    if len(crowded) > most:
        loosest = min(strictest, float(np.partition(crowded, -most)[-most]))
    keep = np.flatnonzero(best >= loosest)
    keep = keep[among_best(asker[keep], found[keep], best[keep])]
    start = window_map(window[keep], place[keep])
    left, right, turn = rows[found[keep]], rows[asker[keep]], orientation[keep]
    return Candidates(left, right, turn, start, best[keep])


def among_best(one: Ints, other: Ints, value: Floats, partners: int = _PARTNERS) -> NDArray[np.bool_]:
    """Which pairs are among the `partners` best of either end: enough to hold any cluster together."""
    ends = np.concatenate([one, other])
    order = np.lexsort((-np.tile(value, 2), ends))
    counts = np.bincount(ends)
    rank = np.empty(len(ends), np.int64)
    rank[order] = np.arange(len(ends)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray((rank < partners).reshape(2, -1).any(axis=0), dtype=np.bool_)
