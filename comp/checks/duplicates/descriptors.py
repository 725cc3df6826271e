"""Descriptions of a thumbnail that a search can compare: eleven windows, deaf to mirroring and turning.

Each picture is described through eleven windows of its thumbnail (the whole, the inner 80 %, and nine of
93 % shifted to the sides and corners), each by its 8x8 lowest DCT coefficients without the mean. A crop of
A is close to one of A's windows, and the inside of a framed A is close to A's inside, so a search of
"whole and inside of every picture" among "all windows of every picture" meets both.

Mirroring and turning a square only change the signs of DCT coefficients and transpose them. Their absolute
values, with each (u, v), (v, u) couple sorted, are therefore the same for all eight orientations, and as
both steps are 1-Lipschitz no duplicate gets further away by them: one query serves eight orientations. What
the sorting forgets is checked right afterwards with the signs, which also tells the orientation.

The DCT as a signature is from pHash (Zauner 2010).
"""

from __future__ import annotations

from typing import Final

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
    """Reduce one decoded picture to its fingerprint.

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


Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

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
