"""Parts of one image that adjoin without an overlap: halves and tiles, told by edges that go on in another image.

Of each image the two outermost lines of pixels at each edge are held, in full. Where an image was cut, the lines on both
sides of the cut were neighbours: their fine detail agrees and their levels are near. Both have been used to solve jigsaw
puzzles of square pieces (Gallagher 2012); here hardly any image has a neighbour, so the evidence that detail agrees by chance
decides, and a pair must be by far the best of either edge. The constants were chosen on the Caltech photos, see
docs/near-duplicates.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST: Final = 512  # samples of a line: longer ones are averaged down by a whole factor
_LEAST: Final = 48  # samples of a line
_FINE: Final = 15  # samples: detail that is coarser than this is left to the levels
_NEAR: Final = 31  # samples over which detail is brought to one strength, so that no single step decides
_QUIET: Final = 3.0  # grey levels of detail that count as noise
_BEYOND: Final = 0.5  # pixels beyond the outermost line that the line is continued, to the cut
_LAGS: Final = 12
_ASKED: Final = 8  # nearest lines of each that are looked at
_BLOCK: Final = 1024
_FRAME: Final = (
    80.0**2
)  # mean square step, grey levels, between the outermost line and the next: a frame, not a cut
_LEAST_SCORE: Final = 3.0
_AHEAD: Final = 1.5  # that a pair's score lies above the second best of either line
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)

Floats = NDArray[np.float32]


class OuterLines(NamedTuple):
    """The outermost lines of an image at its four edges, each uint8 (2, L, 3): the outermost one and the next, RGB."""

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    top: NDArray[np.uint8]
    bottom: NDArray[np.uint8]


class AdjoiningPairs(NamedTuple):
    """M pairs of images of which one goes on in the other, each once.

    `pairs` int64 (M, 2): places in the list of images, left < right, sorted. `score` float32 (M,): how well the detail of
    both lines agrees, a correlation.
    """

    pairs: NDArray[np.int64]
    score: Floats


class _Lines(NamedTuple):
    """M lines of L samples, ready to be compared."""

    detail: Floats  # (M, 3 L), of length 1
    grey: Floats  # (M, L): the same of grey levels
    strength: Floats  # (M, L): where there is detail
    memory: Floats  # (M, lags): how alike neighbouring samples of the detail are
    levels: Floats  # (M, 3 L)
    slope: Floats  # (M,): mean square of the step between the two lines


def outer_lines(image: NDArray[np.uint8]) -> OuterLines:
    """The outer lines of an image, uint8 RGB (H, W, 3) of 2 pixels or more a side."""
    return OuterLines(
        _reduced(image[:, [0, 1]].swapaxes(0, 1)),
        _reduced(image[:, [-1, -2]].swapaxes(0, 1)),
        _reduced(image[[0, 1]]),
        _reduced(image[[-1, -2]]),
    )


def _reduced(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = -(-lines.shape[1] // LONGEST)
    if factor > 1:
        whole = lines.shape[1] // factor
        parts = lines[:, : whole * factor].reshape(2, whole, factor, 3)
        lines = np.rint(parts.mean(axis=2)).astype(np.uint8)
    return np.ascontiguousarray(lines)


def adjoining_pairs(images: Sequence[OuterLines]) -> AdjoiningPairs:
    """The pairs of images that lie beside or below one another in one image that was cut, at one scale and upright.

    Only edges of equal length are compared. Deterministic.
    """
    found: dict[tuple[int, int], float] = {}
    for before, after in (("right", "left"), ("bottom", "top")):
        for places in _of_one_length([getattr(one, before) for one in images]):
            lines = _prepared([getattr(images[n], before) for n in places])
            others = _prepared([getattr(images[n], after) for n in places])
            for one, other, score in _joins(lines, others):
                pair = (min(places[one], places[other]), max(places[one], places[other]))
                found[pair] = max(score, found.get(pair, -1.0))
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    return AdjoiningPairs(pairs, np.array([found[pair] for pair in sorted(found)], np.float32))


def _of_one_length(lines: Sequence[NDArray[np.uint8]]) -> Iterator[list[int]]:
    """The places of lines of one length, where there are two or more."""
    places: dict[int, list[int]] = defaultdict(list)
    for n, line in enumerate(lines):
        places[line.shape[1]].append(n)
    return (some for length, some in sorted(places.items()) if len(some) > 1 and length >= _LEAST)


def _prepared(lines: Sequence[NDArray[np.uint8]]) -> _Lines:
    both = np.stack(lines).astype(np.float32)  # (M, 2, L, 3)
    outer, step = both[:, 0], both[:, 0] - both[:, 1]
    at_the_cut = outer + _BEYOND * step
    colours = np.stack([_fine(at_the_cut[:, :, n]) for n in range(3)], axis=2)
    strength = np.sqrt(_averaged((colours**2).mean(axis=2), 9))
    detail = _of_length_one(colours.reshape(len(colours), -1))
    along = detail.reshape(colours.shape)
    memory = np.stack([(along[:, :-n] * along[:, n:]).sum(axis=(1, 2)) for n in range(1, _LAGS + 1)], axis=1)
    slope = (step**2).mean(axis=(1, 2))
    grey = _of_length_one(_fine(at_the_cut @ _GREY))
    return _Lines(detail, grey, strength, memory, outer.reshape(len(outer), -1), slope)


def _fine(lines: Floats) -> Floats:
    """The fine detail of lines (M, L), everywhere about as strong where it is more than noise."""
    fine = lines - _averaged(lines, _FINE)
    even: Floats = np.clip(fine / (np.sqrt(_averaged(fine**2, _NEAR)) + _QUIET), -2, 2)
    return even


def _of_length_one(lines: Floats) -> Floats:
    result: Floats = lines / np.maximum(np.linalg.norm(lines, axis=1, keepdims=True), 1e-6)
    return result


def _averaged(lines: Floats, length: int) -> Floats:
    """Lines (M, L), each sample averaged with those around it."""
    kernel = np.full(
        (1, length), 1 / length, np.float32
    )  # cv2.blur runs a sum, whose rounding may go below zero
    return np.asarray(cv2.filter2D(lines, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)


def _joins(lines: _Lines, others: _Lines) -> Iterator[tuple[int, int, float]]:
    """The lines that go on in another image's, by their places, with the correlation of their detail.

    The score is Fisher's z of the correlation, in standard deviations of what independent details would have by chance, less the
    octaves by which the two lines' levels differ more than the last two lines of each do.
    """
    count = len(lines.grey)
    forth = _nearest(lines.grey, others.grey)
    back = _nearest(others.grey, lines.grey)
    asked = np.unique(
        np.concatenate(
            [
                np.repeat(np.arange(count), forth.shape[1]) * count + forth.ravel(),
                back.ravel() * count + np.repeat(np.arange(count), back.shape[1]),
            ]
        )
    )
    one, other = asked // count, asked % count
    one, other = one[one != other], other[one != other]
    score, agree = _scored(lines, others, one, other)
    ahead = np.minimum(_ahead(one, score), _ahead(other, score))
    least = max(_LEAST_SCORE, np.sqrt(2 * np.log(count)) - 0.5)  # the best of many by chance is better
    for n in np.flatnonzero((score >= least) & (ahead >= _AHEAD)):
        yield int(one[n]), int(other[n]), float(agree[n])


def _nearest(lines: Floats, others: Floats) -> NDArray[np.int64]:
    """int64 (M, asked): for each line the others whose detail is nearest, without its own image's."""
    asked = min(_ASKED, len(others) - 1)
    found = np.empty((len(lines), asked), np.int64)
    for start in range(0, len(lines), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(lines)))
        close = lines[rows] @ others.T
        close[np.arange(len(rows)), rows] = -2
        for n in range(asked):
            found[rows, n] = close.argmax(axis=1)
            close[np.arange(len(rows)), found[rows, n]] = -2
    return found


def _scored(
    lines: _Lines, others: _Lines, one: NDArray[np.int64], other: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """The scores of pairs of lines, and the correlations of their detail."""
    score, agree = np.empty(len(one), np.float32), np.empty(len(one), np.float32)
    length = lines.grey.shape[1]
    for start in range(0, len(one), _BLOCK):
        some = slice(start, start + _BLOCK)
        a, b = one[some], other[some]
        corr = np.einsum("ml,ml->m", lines.detail[a], others.detail[b])
        both = lines.strength[a] * others.strength[b]
        details = both.sum(axis=1) ** 2 / np.maximum((both**2).sum(axis=1), 1e-9)
        like = np.einsum("ml,ml->m", lines.memory[a], others.memory[b])
        details = np.minimum(details, length) / (1 + 2 * np.maximum(like, 0))
        chance = np.arctanh(np.clip(corr, -0.999, 0.999)) * np.sqrt(np.maximum(details - 3, 0))
        apart = ((lines.levels[a] - others.levels[b]) ** 2).mean(axis=1)
        slope = (lines.slope[a] + others.slope[b]) / 2
        score[some] = chance - np.clip(np.log2((apart + 4) / (slope + 4)), -0.5, 6)
        score[some][np.maximum(lines.slope[a], others.slope[b]) > _FRAME] = 0
        agree[some] = corr
    return score, agree


def _ahead(line: NDArray[np.int64], score: Floats) -> Floats:
    """By how much each pair's score is above the best of the other pairs of its line; below zero where another is better."""
    order = np.lexsort((-score, line))
    first = np.flatnonzero(np.diff(line[order], prepend=-1))
    sizes = np.diff(first, append=len(order))
    best, second = score[order[first]], np.full(len(first), -np.inf, np.float32)
    several = sizes > 1
    second[several] = score[order[first[several] + 1]]
    group = np.repeat(np.arange(len(first)), sizes)
    result = np.empty(len(score), np.float32)
    result[order] = score[order] - best[group]
    result[order[first]] = best - second
    return result
