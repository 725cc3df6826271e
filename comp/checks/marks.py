"""Marks: the small region at one place of the images that tells their label, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.candidates import LUMA_SIDE
from comp.checks.image_regions import COARSE, COLOUR, CORNERS, DEPTHS, FINE, SIDES
from comp.checks.region_labels import (
    Bytes,
    Floats,
    Ints,
    Labels,
    Pattern,
    RegionMap,
    Told,
    beside,
    count_values,
    likelihood,
    patterns,
    region_maps,
    ridge_guess,
    told_by_map,
    told_by_patterns,
)

MOST_CLASSES: Final = 100  # those with the most rows
ONE_CLASS: Final = 0.5  # share of a class's rows that are guessed so, less that of others
ALL_CLASSES: Final = 0.35  # balanced accuracy, 0 by chance and 1 at best
BESIDE: Final = 1 / 3  # of what a mark tells, the most that the regions beside it may
BESIDE_PATTERN: Final = 0.5  # the same of what the cells of a whole part tell together
CERTAIN: Final = 8.0  # natural logarithms beyond the best of all regions and classes by chance
SHUFFLES: Final = 5
SURER: Final = 1.5  # times as sure as the surest region is of shuffled labels
WIDE: Final = 0.04  # share of the image's 1,024 cells: what tells in more of them is content
_TELLS: Final = 0.4  # of what a mark tells, from which a cell of the image tells it too
_FRAME: Final = 3  # cells along the sides, which a border may cover
_LIKELY: Final = 3.0  # times the mean of the other classes, from which a value is a mark of one
# what says best where a mark is, of regions that tell nearly as much
_WORTH: Final = {"line": 0.15, "fine": 0.1, "coarse": 0.08, "colour": 0.05, "pixel": 0.03, "grid": 0.0}
_USUAL: Final = 0.5  # quantile of the patterns of the whole image


@dataclass(frozen=True, eq=False)
class Looks:
    """What is known of N images: ``regions`` (N, R), ``thumbs`` (N, 1156), ``sides`` (N,) their shorter sides."""

    regions: Bytes
    thumbs: Bytes
    sides: Ints


@dataclass(frozen=True, eq=False)
class Mark:
    """A region that tells labels.

    ``region`` are words for it; ``column`` is the class that it tells from all others, the number of classes where it
    tells all. ``score`` is balanced accuracy, or for one class the share of its rows that are guessed so less that of other rows;
    ``chance`` what no relation gives, ``beside`` the same of the regions around it, ``shuffled`` its mean with shuffled
    labels. ``shown`` (N,) says which rows show it. ``train`` and ``test`` are the shares of training and test images
    with such values; -1 where that is not known.
    """

    region: str
    column: int
    score: float
    chance: float
    beside: float
    shuffled: float
    shown: NDArray[np.bool_]
    train: float
    test: float


@dataclass(frozen=True, eq=False)
class _Search:
    """All regions of the rows' images, and the labels to tell."""

    maps: list[RegionMap]
    patterns: list[Pattern]
    usual: list[Pattern]
    labels: Labels

    @classmethod
    def of(cls, looks: Looks, side: int, labels: Labels) -> _Search:
        asked, usual = patterns(looks.regions, looks.thumbs, side)
        return cls(region_maps(looks.regions, looks.thumbs, side), asked, usual, labels)

    def told(self, labels: Labels) -> list[Told]:
        """What each map tells of labels, and last what the patterns tell."""
        found = [told_by_map(one, labels) for one in self.maps]
        return [*found, told_by_patterns(self.patterns, labels)] if self.patterns else found


@dataclass(frozen=True, eq=False)
class _Hit:
    """A region that may be a mark: the number of its map (patterns come last), its number there, and what it tells."""

    at: int
    place: int
    column: int
    value: float
    beside: float


def find_mark(train: Looks, labels: Labels, groups: NDArray[np.int64], test: Looks) -> Mark | None:
    """The region that tells the labels of held-out rows best, where it is a mark; None where there is none.

    A region is a mark where it tells one class or all more than twice as well as the regions beside it, and more surely
    than any region tells labels that are shuffled among ``groups`` (N,).
    """
    side = int(np.median(train.sides))
    search = _Search.of(train, side, labels)
    told = search.told(labels)
    hits = _hits_of_maps(search, told) + _hits_of_patterns(search, told)
    if not hits:
        return None

    def rank(one: _Hit) -> tuple[bool, float]:
        """All classes before one; a line before the cells that it crosses."""
        worth = _WORTH[search.maps[one.at].kind] if one.at < len(search.maps) else 0.0
        return one.column == labels.classes, one.value - one.beside + worth

    hit = max(hits, key=rank)
    shuffled = _shuffled(search, hit, float(told[hit.at].surprise[hit.place, hit.column]), groups)
    if shuffled is None:
        return None
    is_all = hit.column == labels.classes
    chance = 1 / labels.classes if is_all else 0.0
    score, around, mixed = (chance + (1 - chance) * v for v in (hit.value, hit.beside, shuffled))
    shown = told[hit.at].guessed[:, hit.place] == labels.y
    if not is_all:
        shown &= labels.y == hit.column
    of_train, of_test = _shares(search, hit, told[hit.at], test, side)
    return Mark(
        _words(search, hit, hits), hit.column, score, chance, around, mixed, shown, of_train, of_test
    )


def _bar(tried: int) -> float:
    return float(np.log(tried)) + CERTAIN


def _strong(told: Told, column: int, bar: float) -> NDArray[np.bool_]:
    least = ALL_CLASSES if column == told.value.shape[1] - 1 else ONE_CLASS
    return np.asarray((told.value[:, column] >= least) & (told.surprise[:, column] >= bar))


def _hits_of_maps(search: _Search, told: list[Told]) -> list[_Hit]:
    maps = search.maps
    told = told[: len(maps)]
    bar = _bar(sum(one.value.size for one in told))
    strong = {c: [_strong(one, c, bar) for one in told] for c in range(search.labels.classes + 1)}
    columns = [c for c, found in strong.items() if any(one.any() for one in found)]
    if not columns:
        return []
    levels = beside(maps, [one.value[:, columns] for one in told])
    hits = [
        _Hit(at, int(n), c, float(told[at].value[n, c]), float(levels[at][n, k]))
        for k, c in enumerate(columns)
        for at in range(len(maps))
        for n in np.flatnonzero(strong[c][at] & (levels[at][:, k] <= BESIDE * told[at].value[:, c]))
    ]
    cells = _whole(maps, told)
    return [one for one in hits if _is_small(cells, maps[one.at].kind, one)]


def _whole(maps: list[RegionMap], told: list[Told]) -> Floats:
    """What each cell of the whole image tells, (32, 32, C + 1); nothing of tiny images."""
    grids = [one.value for found, one in zip(maps, told, strict=True) if found.kind == "grid"]
    return np.maximum(*grids).reshape(LUMA_SIDE, LUMA_SIDE, -1) if grids else np.zeros((0, 0, 0))


def _is_small(cells: Floats, kind: str, hit: _Hit) -> bool:
    """Whether few cells of the image tell what the region tells."""
    if not len(cells):
        return True
    edge = _FRAME if kind == "line" else 0
    inside = cells[edge : LUMA_SIDE - edge, edge : LUMA_SIDE - edge, hit.column]
    return float((inside >= _TELLS * hit.value).mean()) <= WIDE


def _hits_of_patterns(search: _Search, told: list[Told]) -> list[_Hit]:
    if not search.patterns:
        return []
    last = len(search.maps)
    one, bar = told[last], _bar(told[last].value.size)
    strong = {c: _strong(one, c, bar) for c in range(search.labels.classes + 1)}
    if not any(found.any() for found in strong.values()):
        return []
    usual = np.quantile(told_by_patterns(search.usual, search.labels).value, _USUAL, axis=0)
    level = np.stack(
        [np.maximum(usual, _elsewhere(search.patterns, one.value, n)) for n in range(len(one.value))]
    )
    level = np.maximum(level, 0.0)
    return [
        _Hit(last, int(n), c, float(one.value[n, c]), float(level[n, c]))
        for c, found in strong.items()
        for n in np.flatnonzero(found & (level[:, c] <= BESIDE_PATTERN * one.value[:, c]))
    ]


def _elsewhere(found: list[Pattern], values: Floats, n: int) -> Floats:
    """What the same pattern tells in the other three corners, their median; nothing for the middle."""
    one = found[n]
    others = [
        m
        for m, other in enumerate(found)
        if m != n and other.pixels == one.pixels and other.corner < len(CORNERS)
    ]
    if one.corner == len(CORNERS):
        return np.zeros(values.shape[1])
    return np.asarray(np.median(values[others], axis=0))


def _shuffled(search: _Search, hit: _Hit, real: float, groups: NDArray[np.int64]) -> float | None:
    """What the region tells of shuffled labels on average; None where any region tells such labels as surely.

    A group keeps one label.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    labels, values = search.labels, []
    for seed in range(SHUFFLES):
        drawn = np.random.default_rng(seed).permutation(labels.y[first])[group]
        told = search.told(Labels(drawn, labels.fold, labels.units))
        if SURER * max(float(one.surprise.max()) for one in told) >= real:
            return None
        values.append(float(told[hit.at].value[hit.place, hit.column]))
    return float(np.mean(values))


def _shares(search: _Search, hit: _Hit, told: Told, test: Looks, side: int) -> tuple[float, float]:
    """The shares of training and of test images with values of the mark; -1 where that is not known."""
    labels = search.labels
    is_all = hit.column == labels.classes
    if not len(test.regions) or (is_all and hit.at == len(search.maps)):
        return -1.0, -1.0
    there = _Search.of(test, side, labels)
    if hit.at == len(search.maps):
        cells = search.patterns[hit.place].cells
        guessed = ridge_guess(cells, labels.y, there.patterns[hit.place].cells, labels.classes)
        return float((told.guessed[:, hit.place] == hit.column).mean()), float((guessed == hit.column).mean())
    codes = search.maps[hit.at].codes[:, [hit.place]]
    likely = likelihood(count_values(codes, labels.y, labels.classes))[0]  # (LEVELS, C)
    others = (likely.sum(axis=1, keepdims=True) - likely) / (labels.classes - 1)
    telling = likely >= _LIKELY * others
    marked = telling.any(axis=1) if is_all else telling[:, hit.column]
    return float(marked[codes].mean()), float(marked[there.maps[hit.at].codes[:, hit.place]].mean())


def _words(search: _Search, hit: _Hit, hits: list[_Hit]) -> str:
    """Words for the region."""
    if hit.at == len(search.maps):
        one = search.patterns[hit.place]
        size = one.pixels
        return f"a pattern in the {size} x {size} pixels {_corner(one.corner)}"
    found = search.maps[hit.at]
    if found.kind == "pixel":
        return f"the last pixel {_corner(found.corner)}"
    if found.kind == "line":
        return _lines(search, hit, hits)
    if found.kind == "fine":
        hit = _larger(search, hit, hits)
    same = [one.place for one in hits if one.column == hit.column and one.at == hit.at]
    return _box(search.maps[hit.at], hit.place, same)


def _larger(search: _Search, hit: _Hit, hits: list[_Hit]) -> _Hit:
    """The best of the larger cells of the corner, where a mark covers more than the small cells there."""
    one = search.maps[hit.at]
    covered = sum(other.at == hit.at and other.column == hit.column for other in hits)
    larger = [
        other
        for other in hits
        if other.column == hit.column
        and other.at < len(search.maps)
        and (search.maps[other.at].kind, search.maps[other.at].corner) == ("coarse", one.corner)
    ]
    whole = covered == one.codes.shape[1]
    return max(larger, key=lambda other: other.value) if whole and len(larger) > 4 else hit


def _corner(corner: int) -> str:
    return "in the middle" if corner == len(CORNERS) else f"at the {CORNERS[corner]} corner"


def _lines(search: _Search, hit: _Hit, hits: list[_Hit]) -> str:
    """The sides along which lines tell as much, and how many pixels deep."""
    lines = [
        (search.maps[one.at].corner, one.place // search.maps[one.at].shape[1])
        for one in hits
        if one.at < len(search.maps)
        and search.maps[one.at].kind == "line"
        and one.column == hit.column
        and one.value >= BESIDE * hit.value
    ]
    sides = sorted({side for side, _ in lines})
    deep = 1 + max(DEPTHS[depth] for _, depth in lines)
    where = "all sides" if len(sides) == len(SIDES) else " and ".join(SIDES[side] for side in sides) + " side"
    pixels = "line of pixels" if deep == 1 else f"{deep} lines of pixels"
    return f"the border: the outer {pixels} along {'' if len(sides) == len(SIDES) else 'the '}{where}"


def _box(found: RegionMap, place: int, same: Sequence[int]) -> str:
    """The box around the cells of a map that tell, those that touch the best one."""
    height, width = found.shape[-2:]
    grid = np.zeros((height, width), bool)
    for one in same:
        grid[np.unravel_index(one, found.shape)[-2:]] = True
    y, x = (int(n) for n in np.unravel_index(place, found.shape)[-2:])
    top, bottom = _run(grid[:, x], y)
    left, right = _run(grid[y], x)
    if found.kind == "grid":
        across, down = (round(100 * (a + b + 1) / 2 / LUMA_SIDE) for a, b in ((left, right), (top, bottom)))
        w, h = (round(100 * (b - a + 1) / LUMA_SIDE) for a, b in ((left, right), (top, bottom)))
        return f"a region of {w} % x {h} % of the image, {across} % from the left and {down} % from the top"
    cell = {"fine": FINE, "colour": COLOUR, "coarse": COARSE}[found.kind]
    size = f"the {cell * (right - left + 1)} x {cell * (bottom - top + 1)} pixels"
    if found.corner == len(CORNERS):
        return f"{size} in the middle"
    vertical, horizontal = CORNERS[found.corner].split()
    down = cell * (top if vertical == "top" else height - 1 - bottom)
    across = cell * (left if horizontal == "left" else width - 1 - right)
    if not down and not across:
        return f"{size} {_corner(found.corner)}"
    return f"{size} {across} pixels from the {horizontal} and {down} from the {vertical}"


def _run(line: NDArray[np.bool_], at: int) -> tuple[int, int]:
    """The first and the last of the cells that follow each other around one."""
    first = last = at
    while first > 0 and line[first - 1]:
        first -= 1
    while last < len(line) - 1 and line[last + 1]:
        last += 1
    return first, last
