"""Near-duplicates among small coloured images (24 to 47 pixels, as CIFAR's), by their look as a whole.

In so few pixels local structure says little, and among tens of thousands of images the search by frequencies alone is
crowded out. Here luma and colours together describe six windows of each image, half-whitened by what all images have in
common, so that a look that many share counts little (compare Jegou and Chum 2012). Shifted, stretched, framed, mirrored
and recoloured copies come first among all images then, and the usual alignment verifies them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.alignment import Agreement
from comp.checks.duplicates.candidates import (
    CHROMA_SIDE,
    LUMA_SIDE,
    Candidates,
    among_best,
    chroma,
    luma,
    native_size,
    nearest_windows,
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SIDES: Final = (24, 47)  # pixels of the shorter side
_COLOURFUL: Final = 2.0  # mean chroma, in levels: scans and drawings of one colour look alike as a whole
_LIKE: Final = 0.68  # cosine of two looks
_WAVES: Final = (8, 4)  # lowest cosines along each axis, of luma and of colours
_SPANS: Final = ((0.0, 1.0), (0.0, 0.88), (0.12, 1.0), (0.07, 0.93))
_WINDOWS: Final = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (3, 3))  # spans across and down
_ASKED: Final = (0, 1, 3, 5)
_RIDGE: Final = 1e-5  # of the largest variance
_CHUNK: Final = 8192
_PROBES: Final = 8
_PARTNERS: Final = 16

_COLOUR: Final = 0.9
SURE: Final = 0.9  # cosine of two looks that are one
# structure, evidence, cosine of looks and agreement of quiet places that prove a copy: any row of them
_PROOFS: Final = ((0.8, 10.0, _LIKE, 0.5), (0.8, 8.4, 0.9, 0.5), (0.7, 11.4, 0.8, 0.4))


def small_candidates(fingerprints: NDArray[np.uint8], rng: np.random.Generator) -> Candidates:
    """The pairs of small coloured images worth comparing, among fingerprints (N, 1156)."""
    side = native_size(fingerprints).min(axis=1)
    rows = np.flatnonzero((side >= SIDES[0]) & (side <= SIDES[1]))
    rows = rows[_chroma_level(fingerprints[rows]) >= _COLOURFUL]
    if len(rows) < 2:
        none = np.empty(0, np.int64)
        maps = np.empty((0, 2, 2), np.float32)
        return Candidates(none, none, none.astype(np.uint8), maps, np.empty(0, np.float32))
    looks = _looks(fingerprints, rows)
    count = looks.shape[1]
    asked = (np.arange(len(rows))[:, None] * count + np.array(_ASKED)).ravel()
    base = looks.reshape(len(rows) * count, -1)
    question, answer, cosine = nearest_windows(base, asked, _LIKE, rng, count, _PROBES)
    one, window = np.divmod(question, count)
    other, found = np.divmod(answer, count)
    pair = np.minimum(one, other) * len(rows) + np.maximum(one, other)
    order = np.lexsort((-cosine, pair))
    first = order[np.flatnonzero(np.diff(pair[order], prepend=-1))]
    first = first[among_best(one[first], other[first], cosine[first], _PARTNERS)]
    one, other, window, found = one[first], other[first], window[first], found[first]
    mirrored = found >= len(_WINDOWS)
    start = _maps(window, found % len(_WINDOWS), mirrored)
    return Candidates(rows[one], rows[other], mirrored.astype(np.uint8), start, cosine[first])


def are_small_copies(
    pairs: Candidates, measured: Agreement, moved: Floats, most_moved: float
) -> NDArray[np.bool_]:
    """Which candidates are copies; ``moved`` (M,) says by how much of a side, at most ``most_moved``."""
    proven = np.zeros(len(pairs.left), np.bool_)
    for structure, evidence, cosine, quiet in _PROOFS:
        proven |= (
            (measured.structure >= structure)
            & (measured.evidence >= evidence)
            & (pairs.cosine >= cosine)
            & (measured.quiet >= quiet)
        )
    result: NDArray[np.bool_] = proven & (measured.colour >= _COLOUR) & (moved <= most_moved)
    return result


def _chroma_level(fingerprints: NDArray[np.uint8]) -> Floats:
    if not len(fingerprints):
        return np.empty(0, np.float32)
    level = np.abs(chroma(fingerprints).astype(np.float32) - 128).mean(axis=(1, 2, 3))
    return np.asarray(level, dtype=np.float32)


def _cosines(waves: int, side: int, span: tuple[float, float]) -> Floats:
    """The lowest cosines over a span of a side: (waves, side)."""
    low, high = span
    edge = np.arange(side + 1) / side
    centre = (edge[1:] + edge[:-1]) / 2
    covered = np.clip(edge[1:], low, high) - np.clip(edge[:-1], low, high)
    phase = np.clip((centre - low) / (high - low), 0, 1)
    return (np.cos(np.pi * np.arange(waves)[:, None] * phase) * covered / (high - low)).astype(np.float32)


def _looks(fingerprints: NDArray[np.uint8], rows: Ints) -> NDArray[np.float16]:
    """The description of six windows of each image and of its mirror image, of length 1: (R, 12, 95)."""
    raw = np.concatenate([_raw(fingerprints[rows[s : s + _CHUNK]]) for s in range(0, len(rows), _CHUNK)])
    odd = np.concatenate([np.tile(np.arange(w) % 2, w * n) for w, n in zip(_WAVES, (1, 2), strict=True)])[1:]
    sign = np.where(odd, -1.0, 1.0).astype(np.float32)  # of a wave across, in the mirror image
    whole = raw[:, 0].astype(np.float64)
    mean = whole.mean(axis=0) * (sign > 0)
    spread = (whole - mean).T @ (whole - mean) / len(whole)
    spread = (spread + spread * np.outer(sign, sign)) / 2
    level, axes = np.linalg.eigh(spread)
    half = (axes * np.maximum(level, level.max() * _RIDGE + 1e-12) ** -0.25).astype(np.float32)
    out = np.empty((len(rows), 2 * len(_WINDOWS), raw.shape[2]), np.float16)
    for s in range(0, len(rows), _CHUNK):
        part = raw[s : s + _CHUNK]
        both = np.concatenate([part, part * sign], axis=1) - mean.astype(np.float32)
        look = both @ half
        out[s : s + _CHUNK] = look / (np.linalg.norm(look, axis=2, keepdims=True) + 1e-6)
    return out


def _raw(fingerprints: NDArray[np.uint8]) -> Floats:
    light = luma(fingerprints).astype(np.float32)
    colours = chroma(fingerprints).astype(np.float32) - 128
    waves = [
        [_cosines(w, side, span) for span in _SPANS]
        for w, side in zip(_WAVES, (LUMA_SIDE, CHROMA_SIDE), strict=True)
    ]
    windows = []
    for across, down in _WINDOWS:
        one = np.matmul(np.matmul(waves[0][down], light), waves[0][across].T).reshape(len(light), -1)[:, 1:]
        two = np.matmul(np.matmul(waves[1][down], colours), waves[1][across].T).reshape(len(light), -1)
        windows.append(np.concatenate([one, two], axis=1))
    return np.stack(windows, axis=1)


def _maps(asked: Ints, found: Ints, mirrored: NDArray[np.bool_]) -> Floats:
    """The maps (m, 2, 2) that lay window `found` of the other image, turned, upon window `asked` of the first."""
    spans = np.array(_SPANS, np.float32)[np.array(_WINDOWS)]  # (6, axis, low and high)
    here, there = spans[asked], spans[found].copy()
    there[mirrored, 0] = 1 - there[mirrored, 0][:, ::-1]
    scale = (here[..., 1] - here[..., 0]) / (there[..., 1] - there[..., 0])
    return np.stack([scale, here[..., 0] - scale * there[..., 0]], axis=-1)
