"""Windows looked up among windows by the cosine of their descriptions, and the best hit of each pair of images.

k-means centres part all windows into cells of about `_LEAF`; a question is compared with the cells nearest to it, the
inverted index of Jegou et al. (2011). Whole cells are compared with one matrix product, which does several times more
a second than one lookup per question, and needs numpy only. The number of cells grows with that of windows, so that a
question costs the same among a million images as among ten thousand; from `_FLAT` cells on a window is compared with
those centres only that are near its group. Descriptions are made once, sorted by cell and, where they are many, kept on disk. What is held of
the hits does not grow with their number, but with that of images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from comp.checks.duplicates.spilled import Spilled
from comp.workspace import cache_folder

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Ints = NDArray[np.int64]
Cells = NDArray[np.uint16]

_LEAF: Final = 2000  # windows compared with one matrix product; also the mean size of a cell
_FEWEST: Final = 8  # cells; with fewer of them everything is compared with everything
_MOST: Final = 65535
_FLAT: Final = 512  # cells up to which every window is compared with every centre
_HITS: Final = 128  # answers of one cell to a question, at most
_BLOCK: Final = 1024
_WIDEST: Final = 1 << 24  # cosines held at once
_IMAGES: Final = 1 << 15  # described at once
_TOGETHER: Final = 8  # times so many images ask together; each time all cells are read
_IN_MEMORY: Final = 256 << 20  # bytes of descriptions; more are kept on disk
_WAITING: Final = 4_000_000  # hits that wait to be merged
_UNDER_WAY: Final = 3  # cells or images that threads work at
_RANKED: Final = 4_000_000  # ends of pairs that are ranked at once


class Windows(NamedTuple):
    """Images 0 to `images` - 1, described in `windows` windows each, of which those in `asked` are asked for.

    `describe` takes images (n,) and returns float16 (n, windows, D); the first `dims` of the D numbers have length 1
    and are compared, the others are handed on with every hit.
    """

    images: int
    windows: int
    asked: tuple[int, ...]
    dims: int
    describe: Callable[[Ints], Halves]
    probes: int


class Found(NamedTuple):
    """m hits in one cell: window `window` of image `asker` resembles window `place` of image `answer`.

    Rows `row` of `asking` and `column` of `answering` hold their descriptions.
    """

    asker: Ints
    window: Ints
    answer: Ints
    place: Ints
    cosine: Floats
    row: Ints
    column: Ints
    asking: Halves
    answering: Halves

    def of(self, chosen: Ints) -> Found:
        """Some of the hits."""
        return Found(
            self.asker[chosen],
            self.window[chosen],
            self.answer[chosen],
            self.place[chosen],
            self.cosine[chosen],
            self.row[chosen],
            self.column[chosen],
            self.asking,
            self.answering,
        )


def nearest_windows(
    images: Windows, cosine: float, rng: np.random.Generator, workers: int = 2
) -> Iterator[Found]:
    """Every question's answers above `cosine`, never of its own image, a cell at a time.

    Deterministic for a given `rng`, whatever `workers` (threads) is. Descriptions beyond 256 MB lie in the folder of caches meanwhile.

    Raises InputError where that folder cannot be written to.
    """
    if images.images < 2:
        return
    cells = min(_MOST, images.images * images.windows // _LEAF)
    centres = _centres(images, cells, rng) if cells >= _FEWEST else None
    with ExitStack() as stack:
        stack.enter_context(
            threadpool_limits(1)
        )  # of BLAS: its threads would wait for one another, and for ours
        pool = stack.enter_context(ThreadPoolExecutor(max(1, workers)))
        index = _filled(images, centres, pool, stack)
        for first in range(0, len(index.ids), _TOGETHER):
            pieces = range(first, min(first + _TOGETHER, len(index.ids)))
            yield from _in_order(pool, _questions(images, index, pieces, cosine))


def some_windows(images: Windows, chosen: Ints) -> Floats:
    """The descriptions of windows (n,), numbered image by image: (n, dims)."""
    image, window = np.divmod(chosen, images.windows)
    order = np.argsort(image, kind="stable")
    each, at = np.unique(image[order], return_index=True)
    at = np.append(at, len(order))
    out = np.empty((len(chosen), images.dims), np.float32)
    for s in range(0, len(each), _BLOCK):
        part = each[s : s + _BLOCK]
        here = order[at[s] : at[s + len(part)]]
        described = images.describe(part)
        out[here] = described[np.searchsorted(part, image[here]), window[here], : images.dims]
    return out


class Grouped(NamedTuple):
    """Centres (C, D), and for each of the `groups` (G, D) that windows fall into the centres `near` it, (G, W)."""

    centres: Floats
    groups: Floats
    near: Ints


def centres_of(base: NDArray[np.floating], cells: int, rng: np.random.Generator) -> Floats:
    """Spherical k-means on a sample of `base` (N, D): (cells, D)."""
    sample = base[rng.choice(len(base), min(len(base), 48 * cells), replace=False)].astype(np.float32)
    return _settled(sample, cells, _nearest_of)


def _centres(images: Windows, cells: int, rng: np.random.Generator) -> Floats | Grouped:
    total = images.images * images.windows
    sample = some_windows(images, rng.choice(total, min(total, 48 * cells), replace=False))
    if cells <= _FLAT:
        return _settled(sample, cells, _nearest_of)

    def nearest_of(points: Floats, centres: Floats) -> NDArray[np.integer]:
        return nearest_grouped(points, np.arange(len(points)), grouped(centres), 1)[:, 0]

    return grouped(_settled(sample, cells, nearest_of))


def _settled(
    sample: Floats, cells: int, nearest_of: Callable[[Floats, Floats], NDArray[np.integer]]
) -> Floats:
    centres = sample[:cells].copy()
    for _ in range(6):
        order, at = _sorted_by_cell(nearest_of(sample, centres), cells)
        filled = np.flatnonzero(np.diff(at))
        centres[filled] = np.add.reduceat(sample[order], at[filled], axis=0)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True) + 1e-6
    return centres


def _nearest_of(points: Floats, centres: Floats) -> Ints:
    parts = [(points[s : s + _BLOCK] @ centres.T).argmax(axis=1) for s in range(0, len(points), _BLOCK)]
    return np.concatenate(parts)


def _sorted_by_cell(cell: NDArray[np.integer], cells: int) -> tuple[Ints, Ints]:
    """The order that sorts by cell, and where each cell begins in it."""
    at = np.zeros(cells + 1, np.int64)
    np.cumsum(np.bincount(cell, minlength=cells), out=at[1:])
    return np.argsort(cell, kind="stable"), at


def nearest_centres(base: NDArray[np.floating], rows: Ints, centres: Floats, count: int) -> NDArray[np.int32]:
    """The `count` nearest centres of each row: (len(rows), count), the nearest first."""
    out = np.empty((len(rows), count), np.int32)
    for s in range(0, len(rows), _BLOCK):
        _highest(base[rows[s : s + _BLOCK]].astype(np.float32) @ centres.T, count, out[s : s + _BLOCK])
    return out


def _highest(values: Floats, count: int, out: NDArray[np.integer]) -> None:
    """Where the `count` highest of each row are, into `out`; `values` are spoilt."""
    every = np.arange(len(values))
    for n in range(count):  # quicker than a partition, for a few of many
        out[:, n] = highest = values.argmax(axis=1)
        values[every, highest] = -np.inf


def grouped(centres: Floats) -> Grouped:
    """Groups of the centres; the more centres there are, the smaller the share that is near each group."""
    root = len(centres) ** 0.5
    groups = _settled(centres, round(2 * root), _nearest_of)
    near = np.argsort(-(groups @ centres.T), axis=1, kind="stable")
    return Grouped(centres, groups, near[:, : max(_FLAT, round(12 * root))])


def nearest_grouped(
    base: NDArray[np.floating], rows: Ints, centres: Grouped, count: int
) -> NDArray[np.int32]:
    """As `nearest_centres`, among the centres near the group of each row only; 19 of 20 are the same."""
    out = np.empty((len(rows), count), np.int32)
    for s in range(0, len(rows), 32 * _BLOCK):
        points = base[rows[s : s + 32 * _BLOCK]].astype(np.float32)
        order, at = _sorted_by_cell(_nearest_of(points, centres.groups), len(centres.groups))
        for near, low, high in zip(centres.near, at[:-1], at[1:], strict=True):
            place = np.empty((high - low, count), np.int64)
            _highest(points[order[low:high]] @ centres.centres[near].T, count, place)
            out[s + order[low:high]] = near[place]
    return out


class _Held(list[Halves]):
    """As `Spilled`, in memory."""

    def part(self, piece: int, low: int = 0, high: int | None = None) -> Halves:
        return self[piece][low:high]


class _Index(NamedTuple):
    """All windows and questions, a piece for so many images.

    In each piece the `windows` (n, D) are sorted by cell, `ids` are their numbers, and those of cell c begin at
    `starts[c]`. The `questions` (q, D) are in the order of images, with the cells that each looks into, `probed`.
    """

    cells: int
    windows: _Held | Spilled
    questions: _Held | Spilled
    ids: list[NDArray[np.int32]]
    starts: list[Ints]
    probed: list[Cells]


_Result = TypeVar("_Result")


def _in_order(pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], _Result]]) -> Iterator[_Result]:
    """What the tasks come to, in their order, with few of them under way."""
    waiting: deque[Future[_Result]] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) > _UNDER_WAY:
            yield waiting.popleft().result()
    yield from (one.result() for one in waiting)


def _filled(
    images: Windows, centres: Floats | Grouped | None, pool: ThreadPoolExecutor, stack: ExitStack
) -> _Index:
    cells = 1 if centres is None else len(centres.centres if isinstance(centres, Grouped) else centres)

    def piece(first: int) -> tuple[Halves, Halves, NDArray[np.int32], Ints, Cells]:
        described = images.describe(np.arange(first, min(first + _IMAGES, images.images)))
        width = described.shape[2]
        questions = described[:, list(images.asked)].reshape(-1, width)
        windows = described.reshape(-1, width)
        order, start = _sorted_by_cell(_cells_of(windows, images.dims, centres, 1)[:, 0], cells)
        probed = _cells_of(questions, images.dims, centres, min(images.probes, cells))
        ids = (order + first * images.windows).astype(np.int32)
        return windows[order], questions, ids, start, probed

    index: _Index | None = None
    pieces = _in_order(pool, (partial(piece, n) for n in range(0, images.images, _IMAGES)))
    for windows, questions, ids, start, probed in pieces:
        if index is None:
            each = windows.shape[1] * windows.itemsize * images.images
            kept = [_kept(each * many, stack) for many in (images.windows, len(images.asked))]
            index = _Index(cells, kept[0], kept[1], [], [], [])
        index.windows.append(windows)
        index.questions.append(questions)
        index.ids.append(ids)
        index.starts.append(start)
        index.probed.append(probed)
    assert index is not None
    return index


def _kept(size: int, stack: ExitStack) -> _Held | Spilled:
    return _Held() if size <= _IN_MEMORY else stack.enter_context(Spilled(cache_folder()))


def _cells_of(vectors: Halves, dims: int, centres: Floats | Grouped | None, count: int) -> Cells:
    if centres is None:
        return np.zeros((len(vectors), 1), np.uint16)
    compared, rows = vectors[:, :dims], np.arange(len(vectors))
    if isinstance(centres, Grouped):
        return nearest_grouped(compared, rows, centres, count).astype(np.uint16)
    return nearest_centres(compared, rows, centres, count).astype(np.uint16)


def _questions(images: Windows, index: _Index, pieces: range, cosine: float) -> Iterator[Callable[[], Found]]:
    """All questions of some pieces of the index, a task for each cell that answers."""
    questions = np.concatenate([index.questions.part(k) for k in pieces])
    probed = np.concatenate([index.probed[k] for k in pieces])
    visitors, visitor_at = _sorted_by_cell(probed.ravel(), index.cells)
    asked, first = np.array(images.asked), pieces[0] * _IMAGES
    for cell in range(index.cells):
        who = visitors[visitor_at[cell] : visitor_at[cell + 1]] // probed.shape[1]
        bounds = [(int(start[cell]), int(start[cell + 1])) for start in index.starts]
        ids = np.concatenate(
            [own[low:high] for own, (low, high) in zip(index.ids, bounds, strict=True)]
        ).astype(np.int64)
        if not len(who) or not len(ids):
            continue
        answering = np.concatenate(
            [index.windows.part(k, low, high) for k, (low, high) in enumerate(bounds) if high > low]
        )
        asker, window = first + who // len(asked), asked[who % len(asked)]
        ends = asker, window, *np.divmod(ids, images.windows)
        yield partial(_answered, ends, questions[who], answering, images.dims, cosine)


def _answered(
    ends: tuple[Ints, Ints, Ints, Ints], asking: Halves, answering: Halves, dims: int, cosine: float
) -> Found:
    asker, window, answer, place = ends
    row, column, value = _compare(asking[:, :dims], asker, answering[:, :dims], answer, cosine)
    return Found(
        asker[row], window[row], answer[column], place[column], value, row, column, asking, answering
    )


def _compare(
    asking: Halves, asker: Ints, answering: Halves, answer: Ints, cosine: float
) -> tuple[Ints, Ints, Floats]:
    """Every question (v, dims) against every answer (m, dims), in blocks; at most `_HITS` each, the best."""
    rows, columns, values = [], [], []
    against = answering.astype(np.float32).T
    step = max(1, min(_BLOCK, _WIDEST // len(answer)))
    for s in range(0, len(asking), step):
        near = asking[s : s + step].astype(np.float32) @ against
        row, column = np.divmod(np.flatnonzero(near.ravel() > cosine), len(answer))
        other = answer[column] != asker[s + row]
        row, column = row[other], column[other]
        value = near[row, column]
        if len(row) > _HITS:
            row, column, value = _best_of_each(row, column, value, _HITS)
        rows.append(s + row)
        columns.append(column)
        values.append(value)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


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


class Hits(NamedTuple):
    """M pairs of images, each by its best hit, in 19 bytes.

    `pair` is the number of the smaller image times that of images, plus the larger one; `windows` encodes which of
    them asked, with which window, and which answered; `cosine` decides which hit is the best; `value` ranks pairs.
    """

    pair: Ints
    windows: NDArray[np.uint16]
    cosine: Floats
    value: Floats
    turn: NDArray[np.uint8]

    def part(self, chosen: slice | Ints) -> Hits:
        """Some of the pairs."""
        return Hits(
            self.pair[chosen],
            self.windows[chosen],
            self.cosine[chosen],
            self.value[chosen],
            self.turn[chosen],
        )


class BestHits:
    """The best hit of each pair of images among all that are added.

    Pairs stay whose value is at least `bar` of all values so far, and that are among the `partners` best pairs of
    either image: enough to hold any cluster together. Up to `_WAITING` hits all is decided at the end. Beyond, it is
    decided from time to time (then `thinned` is true), which keeps the same pairs, but for those of a better hit that
    did not reach the bar.
    """

    def __init__(self, images: Windows, partners: int, bar: Callable[[Floats], float]) -> None:
        self.images = images
        self.thinned = False
        self._partners, self._bar = partners, bar
        self._waiting: tuple[list[NDArray[Any]], ...] = ([], [], [], [], [])
        self._many = 0
        self._room = _WAITING
        self._least = -np.inf
        self._floor = np.full(images.images, -np.inf, np.float32)  # what a pair must exceed at each image

    def add(self, found: Found, value: Floats, turn: NDArray[np.uint8]) -> None:
        """Add hits, with what ranks them and the turn that they were found in: (m,) each."""
        if self.thinned:
            better = (value > self._floor[found.asker]) | (value > self._floor[found.answer])
            keep = np.flatnonzero(better & (value >= self._least))
            found, value, turn = found.of(keep), value[keep], turn[keep]
        count = self.images.windows
        windows = ((found.asker > found.answer) * count + found.window) * count + found.place
        hits = Hits(self._pair(found), windows.astype(np.uint16), found.cosine, value, turn)
        self._wait(hits)
        if self._many > self._room:
            kept = self.best()
            self.thinned, self._many = True, 0
            self._wait(kept)
            self._room = self._many + _WAITING

    def _wait(self, hits: Hits) -> None:
        columns: tuple[NDArray[Any], ...] = tuple(hits)
        for waiting, column in zip(self._waiting, columns, strict=True):
            waiting.append(column)
        self._many += len(hits.pair)

    def best(self) -> Hits:
        """The hits that stay, each pair once, in the order of pairs. They are given away."""
        types = (np.int64, np.uint16, np.float32, np.float32, np.uint8)
        columns = []
        for waiting, dtype in zip(self._waiting, types, strict=True):
            columns.append(np.concatenate([np.empty(0, dtype), *waiting]))
            waiting.clear()
        hits = Hits(*columns)
        hits = hits.part(_first_of_pairs(hits.pair, hits.cosine))
        self._least = self._bar(hits.value)
        hits = hits.part(np.flatnonzero(hits.value >= self._least))
        asker, _, answer, _ = self.ends(hits)
        keep, self._floor = best_partners(asker, answer, hits.value, self.images.images, self._partners)
        return hits.part(np.flatnonzero(keep))

    def best_in(self, found: Found) -> Found:
        """The best hit of each pair alone, in the order given."""
        return found.of(np.sort(_first_of_pairs(self._pair(found), found.cosine)))

    def _pair(self, found: Found) -> Ints:
        low, high = np.minimum(found.asker, found.answer), np.maximum(found.asker, found.answer)
        result: Ints = low * self.images.images + high
        return result

    def ends(self, hits: Hits) -> tuple[NDArray[np.int32], Ints, NDArray[np.int32], Ints]:
        """Who asked with which window, and who answered with which: (m,) each."""
        low = (hits.pair // self.images.images).astype(np.int32)
        high = (hits.pair % self.images.images).astype(np.int32)
        windows, place = np.divmod(hits.windows, np.uint16(self.images.windows))
        larger, window = np.divmod(windows, np.uint16(self.images.windows))
        asker, answer = np.where(larger, high, low), np.where(larger, low, high)
        return asker, window.astype(np.int64), answer, place.astype(np.int64)


def _first_of_pairs(pair: Ints, cosine: Floats) -> Ints:
    """The hit of each pair with the highest cosine, in the order of pairs."""
    order = np.lexsort((-cosine, pair))
    ordered = pair[order]
    first = np.ones(len(pair), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return np.asarray(order[first])


def best_partners(
    one: NDArray[np.integer], other: NDArray[np.integer], value: Floats, images: int, partners: int
) -> tuple[NDArray[np.bool_], Floats]:
    """Which pairs (M,) of images are among the `partners` best of either end.

    Also what a further pair must exceed to be so, for each of `images`: -inf where there are fewer pairs.
    """
    keep = np.zeros(len(one), np.bool_)
    floor = np.full(images, -np.inf, np.float32)
    parts = -(-2 * len(one) // _RANKED)
    for low, high in pairwise(np.linspace(0, images, parts + 1).astype(np.int64)):
        rows = [np.flatnonzero((end >= low) & (end < high)) for end in (one, other)]
        ends = np.concatenate([one[rows[0]], other[rows[1]]]).astype(np.int64)
        row = np.concatenate(rows)
        order = np.lexsort((-value[row], ends))
        ends, row = ends[order], row[order]
        counts = np.bincount(ends - low, minlength=high - low)
        rank = np.arange(len(ends)) - np.repeat(np.cumsum(counts) - counts, counts)
        keep[row[rank < partners]] = True
        last = rank == partners - 1
        floor[ends[last]] = value[row[last]]
    return keep, floor
