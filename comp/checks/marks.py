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
LEAST_OF_CLASS: Final = 10  # groups of a class that is told from all others
ONE_CLASS: Final = 0.5  # share of a class's rows that are guessed so, less that of others
ALL_CLASSES: Final = 0.35  # balanced accuracy, 0 by chance and 1 at best
BESIDE: Final = 1 / 3  # of what a mark tells, the most that the regions beside it may
BESIDE_PATTERN: Final = 0.5  # the same of what the cells of a whole part tell together
CERTAIN: Final = 8.0  # natural logarithms beyond the best of all regions and classes by chance
SHUFFLES: Final = 5
SURER: Final = 1.5  # times as sure as the surest region is of shuffled labels
WIDE: Final = 0.04  # share of the image's 1,024 cells: what tells in more of them is content
_ALL_FIRST: Final = 0.25
_TELLS: Final = 0.4  # of what a mark tells, from which a cell of the image tells it too
_FRAME: Final = 3  # cells along the sides, which a border may cover
_LIKELY: Final = 3.0  # times the mean of the other classes, from which a value is a mark of one
# what says best where a mark is, of regions that tell nearly as much
_WORTH: Final = {"line": 0.25, "fine": 0.2, "coarse": 0.08, "colour": 0.05, "pixel": 0.03, "grid": 0.0}
_USUAL: Final = (0.5, 0.75)  # quantiles of the patterns of the whole image, for corners and for the middle


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
    large = np.append(labels.units >= LEAST_OF_CLASS, True)  # all classes together are always enough
    hits = [hit for hit in _hits_of_maps(search, told) + _hits_of_patterns(search, told) if large[hit.column]]
    if not hits:
        return None

    hit, shuffled = _surest(search, told, hits, groups)
    if hit is None:
        return None
    is_all = hit.column == labels.classes
    chance = 1 / labels.classes if is_all else 0.0
    score, around, mixed = (chance + (1 - chance) * v for v in (hit.value, hit.beside, shuffled))
    shown = told[hit.at].guessed[:, hit.place] == labels.y
    if not is_all:
        shown &= labels.y == hit.column
    of_train, of_test = _shares(search, hit, told[hit.at], test, side)
    return Mark(_words(search, hit, hits), hit.column, score, chance, around, mixed, shown, of_train, of_test)


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
    usual = told_by_patterns(search.usual, search.labels).value
    level = np.stack([_level(search.patterns, one.value, n, usual) for n in range(len(one.value))])
    level = np.maximum(level, 0.0)
    in_middle = [pattern.corner == len(CORNERS) for pattern in search.patterns]
    most = np.where(
        in_middle, BESIDE, BESIDE_PATTERN
    )  # an object is in the middle more often than in a corner
    return [
        _Hit(last, int(n), c, float(one.value[n, c]), float(level[n, c]))
        for c, found in strong.items()
        for n in np.flatnonzero(found & (level[:, c] <= most * one.value[:, c]))
    ]


def _level(found: list[Pattern], values: Floats, n: int, usual: Floats) -> Floats:
    """What a pattern usually tells: those of the parts of the whole image, and the same one in the other corners."""
    one = found[n]
    if one.corner == len(CORNERS):
        return np.asarray(np.quantile(usual, _USUAL[1], axis=0))
    others = [
        m for m, other in enumerate(found) if other.pixels == one.pixels and other.corner < len(CORNERS)
    ]
    others.remove(n)
    return np.maximum(np.quantile(usual, _USUAL[0], axis=0), np.median(values[others], axis=0))


def _surest(
    search: _Search, told: list[Told], hits: list[_Hit], groups: NDArray[np.int64]
) -> tuple[_Hit | None, float]:
    """The best region that is surer than all regions are of shuffled labels, and what it tells of those on average.

    One that tells all classes comes before one that tells one class, unless it tells much less. A group keeps one label
    when labels are shuffled.
    """
    labels = search.labels

    def rank(one: _Hit) -> float:
        worth = _WORTH[search.maps[one.at].kind] if one.at < len(search.maps) else 0.0
        return one.value - one.beside + worth + _ALL_FIRST * (one.column == labels.classes)

    of_all, of_one = ([h for h in hits if (h.column == labels.classes) == is_all] for is_all in (True, False))
    best = sorted((max(some, key=rank) for some in (of_all, of_one) if some), key=rank, reverse=True)
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    surest, values = 0.0, np.zeros(len(best))
    for seed in range(SHUFFLES):
        drawn = np.random.default_rng(seed).permutation(labels.y[first])[group]
        mixed = search.told(Labels(drawn, labels.fold, labels.units))
        surest = max(surest, *(float(one.surprise.max()) for one in mixed))
        values += [mixed[hit.at].value[hit.place, hit.column] / SHUFFLES for hit in best]
    for hit, value in zip(best, values, strict=True):
        if told[hit.at].surprise[hit.place, hit.column] > SURER * surest:
            return hit, float(value)
    return None, 0.0


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
    telling = (likely > 0) & (likely >= _LIKELY * others)
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
