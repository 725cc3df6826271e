"""How well small regions of images tell their labels: every region guesses held-out rows, and is compared with those beside it.

A region is a value at one place of every image: the mean of a cell, a cell less its neighbours, a line along a side, a
pixel. Labels are guessed from its histogram by class. A watermark shows in many values a little: the cells of a corner,
less their neighbours, guess together by ridge regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import LUMA_SIDE, luma
from comp.checks.image_regions import COLOUR_CELLS, DEPTHS, FINE, FINE_CELLS, ZONE, part

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Number = TypeVar("Number", np.uint8, np.float32)

LEVELS: Final = 64  # that a value is rounded to
_STEP: Final = 256 // LEVELS
_PRIOR: Final = 1.0  # rows of all classes that are added to each class
_BLOCK: Final = 4_000_000  # cells of a table of counts
_LEAST_SIDE: Final = 24  # pixels; in smaller images a cell may be the object
_LEAST_SIDE_OF_PATTERNS: Final = 96  # in smaller images a corner shows the object
_RING: Final = 6  # cells of the whole image's grid between a region and those beside it
_BESIDE: Final = 0.5  # quantile of the regions beside one
_CORNERS: Final = 0.75  # the same of the regions of all corners
_RIDGE: Final = 12.0
_CLIP: Final = 48
_SMOOTH: Final = 3  # levels
_PIXELS: Final = {"fine": FINE * FINE_CELLS, "coarse": ZONE}


@dataclass(frozen=True, eq=False)
class RegionMap:
    """Regions of one kind in one part of the image: ``codes`` uint8 (N, F), of ``shape`` (its product is F).

    ``kind`` is "fine", "colour", "coarse", "pixel", "line" or "grid"; ``corner`` 0 to 3, or 4 for the middle.
    """

    kind: str
    corner: int
    shape: tuple[int, ...]
    codes: Bytes


@dataclass(frozen=True, eq=False)
class Pattern:
    """The cells of one part of the image less their neighbours, as numbers (N, F), that guess together.

    The part is ``pixels`` x ``pixels`` in a corner (0 to 3) or in the middle (4); 0 pixels are a part of the whole image.
    """

    pixels: int
    corner: int
    cells: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Labels:
    """Rows to guess: ``y`` (N,) classes 0 to ``classes`` - 1, ``fold`` (N,), ``units`` (C,) groups of each class."""

    y: Ints
    fold: Ints
    units: Ints

    @property
    def classes(self) -> int:
        return len(self.units)

    @property
    def folds(self) -> range:
        return range(int(self.fold.max()) + 1)


@dataclass(frozen=True, eq=False)
class Told:
    """How well F regions tell labels, (F, C + 1): each class from all others, and last all classes.

    ``value`` is the share of a class's rows that are guessed so less that of other rows; of all classes the balanced
    accuracy, 0 by chance and 1 at best. ``surprise`` is how unlikely it is by chance, in natural logarithms.
    """

    value: Floats
    surprise: Floats
    guessed: NDArray[np.int16] = field(repr=False)  # (N, F)


def region_maps(regions: Bytes, thumbs: Bytes, side: int) -> list[RegionMap]:
    """The regions of images, of their kept regions (N, REGION_BYTES) and fingerprints (N, 1156).

    ``side`` is the shorter side of the usual image in pixels: parts that do not fit in it are left out.
    """
    found = [RegionMap("pixel", n, (3,), part(regions, "pixel")[:, n] // _STEP) for n in range(4)]
    if side < _LEAST_SIDE:
        return found
    fine, colour, coarse = (part(regions, name) for name in ("fine", "colour", "coarse"))
    for n in range(4):
        found += _two("fine", n, fine[:, n])
        found.append(_map("colour", n, colour[:, n] // _STEP))
    for n in range(5) if side >= 2 * ZONE else ():
        found += _two("coarse", n, coarse[:, n])
    lines = part(regions, "line") // _STEP
    found += [_map("line", n, lines[:, n]) for n in range(4)]
    return [*found, *_two("grid", 4, luma(thumbs))]


def patterns(regions: Bytes, thumbs: Bytes, side: int) -> tuple[list[Pattern], list[Pattern]]:
    """The patterns of corners and middle, and those of 16 parts of the whole image to compare them with."""
    if side < _LEAST_SIDE_OF_PATTERNS:
        return [], []
    names = ["fine"] * 4 + (["coarse"] * 5 if side >= 4 * ZONE else [])
    corners = [*range(4), *range(5)]
    asked = [
        Pattern(_PIXELS[name], n, _flat(_clipped(part(regions, name)[:, n])))
        for name, n in zip(names, corners, strict=False)
    ]
    whole = _clipped(luma(thumbs))
    step = LUMA_SIDE // 4
    beside = [
        Pattern(0, 4, _flat(whole[:, a : a + step, b : b + step]))
        for a in range(0, LUMA_SIDE, step)
        for b in range(0, LUMA_SIDE, step)
    ]
    return asked, beside


def told_by_map(found: RegionMap, labels: Labels) -> Told:
    """How well each region of a map tells labels."""
    codes = found.codes
    guessed = np.empty(codes.shape, np.int16)
    step = max(1, _BLOCK // (LEVELS * labels.classes))
    for start in range(0, codes.shape[1], step):
        guessed[:, start : start + step] = _by_histogram(codes[:, start : start + step], labels)
    return judged(guessed, labels)


def told_by_patterns(found: Sequence[Pattern], labels: Labels) -> Told:
    """How well each pattern tells labels."""
    guessed = np.empty((len(labels.y), len(found)), np.int16)
    for n, one in enumerate(found):
        for k in labels.folds:
            held = labels.fold == k
            guessed[held, n] = ridge_guess(one.cells[~held], labels.y[~held], one.cells[held], labels.classes)
    return judged(guessed, labels)


def judged(guessed: NDArray[np.int16], labels: Labels) -> Told:
    """What held-out guesses (N, F) come to."""
    y, classes, regions = labels.y, labels.classes, guessed.shape[1]
    sizes = np.bincount(y, minlength=classes)
    right = guessed == y[:, None]
    hits = np.stack([right[y == c].sum(axis=0) for c in range(classes)], axis=1)  # (F, C)
    place = (np.arange(regions) * classes + guessed).ravel()
    answers = np.bincount(place, minlength=regions * classes).reshape(regions, classes)
    others = len(y) - sizes
    recall, wrong = hits / np.maximum(sizes, 1), (answers - hits) / np.maximum(others, 1)
    surprise = _surprise(recall, (answers - hits + 1) / (others + 2), labels.units)
    share = answers / len(y)
    error = np.sqrt((share * (1 - share) / np.maximum(labels.units, 1)).sum(axis=1)) / classes
    gain = recall.mean(axis=1) - 1 / classes
    certain = 0.5 * (np.maximum(gain, 0) / np.maximum(error, 1e-9)) ** 2
    return Told(
        np.column_stack([recall - wrong, gain / (1 - 1 / classes)]),
        np.column_stack([surprise, np.where(error > 0, certain, 0.0)]),
        guessed,
    )


def likelihood(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely each value is in each class, (F, LEVELS, C) of counts: those of the values beside count half."""
    near = counts.copy()
    near[:, 1:] += counts[:, :-1] / 2
    near[:, :-1] += counts[:, 1:] / 2
    near /= 2
    of_class = counts.sum(axis=1, keepdims=True)
    everyone = near.sum(axis=2, keepdims=True) / max(1.0, float(counts[0].sum()))
    return np.asarray((near + _PRIOR * everyone) / (of_class + _PRIOR), np.float32)


def count_values(codes: Bytes, y: Ints, classes: int) -> NDArray[np.float32]:
    """How many rows of each class have each value: (F, LEVELS, C)."""
    regions = codes.shape[1]
    place = ((np.arange(regions) * LEVELS + codes) * classes + y[:, None]).ravel()
    counts = np.bincount(place, minlength=regions * LEVELS * classes)
    return counts.reshape(regions, LEVELS, classes).astype(np.float32)


def ridge_guess(
    cells: NDArray[np.float32], y: Ints, asked: NDArray[np.float32], classes: int
) -> NDArray[np.int64]:
    """The classes of ``asked`` (A, F) by ridge regression on ``cells`` (N, F), in which each class counts alike."""
    sizes = np.bincount(y, minlength=classes)
    weight = (len(y) / classes / sizes[y])[:, None]
    known = np.column_stack([cells, np.ones(len(cells), np.float32)]).astype(np.float64)
    square = (known * weight).T @ known
    square[np.arange(cells.shape[1]), np.arange(cells.shape[1])] += _RIDGE
    square[-1, -1] += 1e-6
    solved = np.linalg.solve(square, (known * weight).T @ np.eye(classes)[y])
    return np.asarray((asked @ solved[:-1] + solved[-1]).argmax(axis=1), np.int64)


def beside(maps: Sequence[RegionMap], values: Sequence[Floats]) -> list[Floats]:
    """What the regions beside each region tell, by map and shaped as ``values`` (F, K) of what each region tells.

    The content of images tells as much beside a region as in it; a mark does not. Beside the pixels of a corner are the
    larger cells there; beside a line the eighth one; in the whole image the cells six cells away.
    """
    of_kind = {(found.kind, found.corner): [] for found in maps}  # type: dict[tuple[str, int], list[Floats]]
    for found, some in zip(maps, values, strict=True):
        of_kind[found.kind, found.corner].append(some)
    if ("grid", 4) not in of_kind:  # tiny images: all four corners
        usual = np.maximum(0, np.quantile(np.concatenate(values), 0.5, axis=0))
        return [np.broadcast_to(usual, some.shape) for some in values]
    grid = np.maximum(*of_kind["grid", 4])
    whole = np.quantile(grid, _BESIDE, axis=0)
    # in all four corners, of which a mark is in one: images of a class may be smooth, or of one colour
    pooled = {
        kind: np.quantile(np.concatenate([np.maximum(*of_kind[kind, n]) for n in range(4)]), _CORNERS, axis=0)
        for kind in ("fine", "coarse")
        if (kind, 0) in of_kind
    }
    hues = np.concatenate(
        [of_kind["colour", n][0].reshape(2, COLOUR_CELLS**2, -1).max(axis=0) for n in range(4)]
    )
    pooled["colour"] = np.quantile(hues, _CORNERS, axis=0)
    around = _ring(grid)
    levels = []
    for found, some in zip(maps, values, strict=True):
        cells = of_kind.get(("coarse", found.corner))
        level = np.quantile(np.maximum(*cells), _BESIDE, axis=0) if cells else whole
        level = np.maximum(level, pooled.get(found.kind, 0.0))
        if found.kind == "grid":
            level = around
        elif found.kind == "line":
            inner = some.reshape(*found.shape, -1)[-1]
            level = np.maximum(whole, np.tile(inner, (len(DEPTHS), 1)))
        levels.append(np.broadcast_to(np.maximum(level, 0.0), some.shape))
    return levels


def _by_histogram(codes: Bytes, labels: Labels) -> NDArray[np.int16]:
    """The classes of held-out rows (N, F) by the histograms of the others; each class counts alike."""
    y, classes = labels.y, labels.classes
    counts = {k: count_values(codes[labels.fold == k], y[labels.fold == k], classes) for k in labels.folds}
    total = np.sum(list(counts.values()), axis=0)
    guessed = np.empty(codes.shape, np.int16)
    for k, some in counts.items():
        likeliest = likelihood(total - some).argmax(axis=2)  # (F, LEVELS)
        held = labels.fold == k
        guessed[held] = likeliest[np.arange(codes.shape[1]), codes[held]]
    return guessed


def _surprise(recall: Floats, wrong: Floats, units: Ints) -> Floats:
    """Chernoff's bound on a class's share that is guessed right when any row were guessed so as often as others are."""
    at, by = np.clip(recall, 1e-9, 1 - 1e-9), np.clip(wrong, 1e-6, 1 - 1e-6)
    far = at * np.log(at / by) + (1 - at) * np.log((1 - at) / (1 - by))
    return np.where(recall > wrong, units * far, 0.0)


def _ring(values: Floats) -> Floats:
    """The upper middle of the values (1024, K) six cells away, of the whole image's grid."""
    side = LUMA_SIDE
    away = [
        (a, b)
        for a in range(-_RING, _RING + 1)
        for b in range(-_RING, _RING + 1)
        if max(abs(a), abs(b)) == _RING
    ]
    cells = values.reshape(side, side, -1)
    padded = np.full((side + 2 * _RING, side + 2 * _RING, cells.shape[2]), np.inf, np.float32)
    padded[_RING:-_RING, _RING:-_RING] = cells
    stack = np.stack([padded[_RING + a :, _RING + b :][:side, :side] for a, b in away])  # (48, 32, 32, K)
    stack.sort(axis=0)
    inside = np.isfinite(stack[..., :1]).sum(axis=0)
    at = np.floor(_BESIDE * (inside - 1) + 0.5).astype(np.int64)
    level = np.take_along_axis(stack, np.broadcast_to(at, cells.shape)[None], axis=0)[0]
    return np.asarray(level.reshape(values.shape), np.float64)


def _two(kind: str, corner: int, values: Bytes) -> list[RegionMap]:
    """Cells (N, h, w) as they are, and less their neighbours."""
    steps = np.rint(_detail(values) * _CLIP / _STEP)
    steps[np.abs(steps) <= _SMOOTH] = 0  # how smooth images are is no mark
    less = np.clip(steps + LEVELS // 2, 0, LEVELS - 1).astype(np.uint8)
    return [_map(kind, corner, values // _STEP), _map(kind, corner, less)]


def _map(kind: str, corner: int, codes: Bytes) -> RegionMap:
    return RegionMap(kind, corner, codes.shape[1:], _flat(codes))


def _flat(values: NDArray[Number]) -> NDArray[Number]:
    return values.reshape(len(values), -1)


def _clipped(values: Bytes) -> NDArray[np.float32]:
    return np.clip(_detail(values), -1, 1)


def _detail(values: Bytes) -> NDArray[np.float32]:
    """Cells (N, h, w) less the mean of the eight around each, in units of 48 grey levels."""
    height, width = values.shape[1:]
    padded = np.pad(values.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    ones = np.pad(np.ones((height, width), np.float32), 1)
    around, count = np.zeros(values.shape, np.float32), np.zeros((height, width), np.float32)
    for a in range(3):
        for b in range(3):
            if (a, b) != (1, 1):
                around += padded[:, a : a + height, b : b + width]
                count += ones[a : a + height, b : b + width]
    return np.asarray((values - around / count) / _CLIP, np.float32)
