"""Near-duplicates among small coloured images (24 to 47 pixels, as CIFAR's), by their look as a whole.

In so few pixels local structure says little, and among tens of thousands of images the search by frequencies alone is
crowded out. Here luma and colours together describe six windows of each image, half-whitened by what all images have in
common, so that a look that many share counts little (compare Jegou and Chum 2012). Shifted, stretched, framed, mirrored
and recoloured copies come first among all images then, and the usual alignment verifies them.
"""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.alignment import Agreement
from comp.checks.duplicates.candidates import (
    CHROMA_SIDE,
    LUMA_SIDE,
    Candidates,
    Proposed,
    chroma,
    luma,
    native_size,
)
from comp.checks.duplicates.cells import BestHits, Hits, Windows, nearest_windows

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SIDES: Final = (24, 47)  # pixels of the shorter side
_COLOURFUL: Final = 2.0  # mean chroma, in levels: scans and drawings of one colour look alike as a whole
_LIKE: Final = (0.68, 0.8)  # cosine of two looks; the second is enough on any set
# pairs an image to pass on before the cosine is raised; the first up to so many pairs in all, which 100,000 photos have
_AN_IMAGE: Final = (6.0, 2.0)
_MOST_PAIRS: Final = 600_000
_WAVES: Final = (8, 4)  # lowest cosines along each axis, of luma and of colours
_SPANS: Final = ((0.0, 1.0), (0.0, 0.88), (0.12, 1.0), (0.07, 0.93))
_WINDOWS: Final = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (3, 3))  # spans across and down
_ASKED: Final = (0, 1, 3, 5)
_RIDGE: Final = 1e-5  # of the largest variance
_MOST_COUNTED: Final = 65536  # images whose looks say what all have in common
_CHUNK: Final = 8192
_PROBES: Final = 8
_PARTNERS: Final = 16

_COLOUR: Final = 0.9
SURE: Final = 0.9  # cosine of two looks that are one
# structure, evidence, cosine of looks and agreement of quiet places that prove a copy: any row of them
_PROOFS: Final = ((0.8, 10.0, _LIKE[0], 0.5), (0.8, 8.4, 0.9, 0.5), (0.7, 11.4, 0.8, 0.4))


def small_candidates(
    fingerprints: NDArray[np.uint8], rng: np.random.Generator, rows: Ints | None = None, workers: int = 2
) -> Proposed:
    """The pairs of small coloured images worth comparing, among fingerprints (N, 1156), or some `rows` of them."""
    rows = np.arange(len(fingerprints)) if rows is None else rows
    side = native_size(fingerprints).min(axis=1)[rows]
    rows = rows[(side >= SIDES[0]) & (side <= SIDES[1])]
    rows = rows[_chroma_level(fingerprints, rows) >= _COLOURFUL]
    common = _in_common(fingerprints, rows)
    images = Windows(
        len(rows),
        2 * len(_WINDOWS),
        _ASKED,
        len(common.half),
        lambda some: _looks(fingerprints, rows[some], common),
        _PROBES,
    )
    hits = BestHits(images, _PARTNERS, partial(_needed, len(rows)))
    for found in nearest_windows(images, _LIKE[0], rng, workers):
        found = hits.best_in(found)
        hits.add(found, found.cosine, np.zeros(len(found.cosine), np.uint8))

    def laid(some: Hits) -> Candidates:
        one, window, other, place = hits.ends(some)
        mirrored = place >= len(_WINDOWS)
        start = _maps(window, place % len(_WINDOWS), mirrored)
        return Candidates(rows[one], rows[other], mirrored.astype(np.uint8), start, some.cosine)

    return Proposed(hits.best(), laid)


def _needed(count: int, cosine: Floats) -> float:
    """The cosine to ask for among `count` images: it passes about `_AN_IMAGE` pairs an image, and all that are close.

    How many pairs lie above a cosine by chance grows with the square of the images: that many would take longer to lay
    upon one another than all the rest of the search.
    """
    most = int(np.clip(_MOST_PAIRS, _AN_IMAGE[1] * count, _AN_IMAGE[0] * count))
    if len(cosine) <= most:
        return _LIKE[0]
    return float(np.clip(np.partition(cosine, -most)[-most], *_LIKE))


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


def _chroma_level(fingerprints: NDArray[np.uint8], rows: Ints) -> Floats:
    level = np.empty(len(rows), np.float32)
    for s in range(0, len(rows), _CHUNK):
        colours = chroma(fingerprints[rows[s : s + _CHUNK]]).astype(np.float32) - 128
        level[s : s + _CHUNK] = np.abs(colours).mean(axis=(1, 2, 3))
    return level


def _cosines(waves: int, side: int, span: tuple[float, float]) -> Floats:
    """The lowest cosines over a span of a side: (waves, side)."""
    low, high = span
    edge = np.arange(side + 1) / side
    centre = (edge[1:] + edge[:-1]) / 2
    covered = np.clip(edge[1:], low, high) - np.clip(edge[:-1], low, high)
    phase = np.clip((centre - low) / (high - low), 0, 1)
    return (np.cos(np.pi * np.arange(waves)[:, None] * phase) * covered / (high - low)).astype(np.float32)


class _Common(NamedTuple):
    """What the looks of all images and of their mirror images have in common: they are half-whitened by it.

    `sign` (D,) turns a look into that of the mirror image; then `mean` (D,) is taken off, and `half` (D, D) applied.
    """

    sign: Floats
    mean: Floats
    half: Floats


def _in_common(fingerprints: NDArray[np.uint8], rows: Ints) -> _Common:
    odd = np.concatenate([np.tile(np.arange(w) % 2, w * n) for w, n in zip(_WAVES, (1, 2), strict=True)])[1:]
    sign = np.where(odd, -1.0, 1.0).astype(np.float32)  # of a wave across
    if len(rows) < 2:
        return _Common(sign, np.zeros_like(sign), np.eye(len(sign), dtype=np.float32))
    some = rows[:: -(-len(rows) // _MOST_COUNTED)]
    parts = [_raw(fingerprints[some[s : s + _CHUNK]], _WINDOWS[:1]) for s in range(0, len(some), _CHUNK)]
    whole = np.concatenate(parts)[:, 0].astype(np.float64)
    mean = whole.mean(axis=0) * (sign > 0)
    spread = (whole - mean).T @ (whole - mean) / len(whole)
    spread = (spread + spread * np.outer(sign, sign)) / 2
    level, axes = np.linalg.eigh(spread)
    half = (axes * np.maximum(level, level.max() * _RIDGE + 1e-12) ** -0.25).astype(np.float32)
    return _Common(sign, mean.astype(np.float32), half)


def _looks(fingerprints: NDArray[np.uint8], rows: Ints, common: _Common) -> NDArray[np.float16]:
    """The description of six windows of each image and of its mirror image, of length 1: (R, 12, 95)."""
    out = np.empty((len(rows), 2 * len(_WINDOWS), len(common.half)), np.float16)
    for s in range(0, len(rows), _CHUNK):
        part = _raw(fingerprints[rows[s : s + _CHUNK]], _WINDOWS)
        both = np.concatenate([part, part * common.sign], axis=1) - common.mean
        look = both @ common.half
        out[s : s + _CHUNK] = look / (np.linalg.norm(look, axis=2, keepdims=True) + 1e-6)
    return out


def _raw(fingerprints: NDArray[np.uint8], spans: tuple[tuple[int, int], ...]) -> Floats:
    """The waves of luma and colours in some windows (across, down) of each image: (N, windows, 95)."""
    light = luma(fingerprints).astype(np.float32)
    colours = chroma(fingerprints).astype(np.float32) - 128
    waves = [
        [_cosines(w, side, span) for span in _SPANS]
        for w, side in zip(_WAVES, (LUMA_SIDE, CHROMA_SIDE), strict=True)
    ]
    windows = []
    for across, down in spans:
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
