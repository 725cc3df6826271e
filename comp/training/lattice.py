"""Crops, padding, mirror images and quarter turns of whole batches at once, drawn as albumentations draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from comp.training.transforms import A

Pixels = NDArray[np.uint8]
Draws = NDArray[np.float64]
_TRIES = 10  # of albumentations' RandomResizedCrop to find a window that fits
_GOLDEN, _MIX1, _MIX2 = (np.uint64(v) for v in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class Windows:
    """What a batch of R rows shows of its pictures, each (L, L, 3).

    ``crop`` (R, 4) are top, left, height and width of a window that is first resized to (S, S), or None. Then pixel
    (i, j) of row r shows pixel (``first[r, i]``, ``second[r, j]``), both (R, S), or with ``turned[r]`` the pixel
    (``second[r, j]``, ``first[r, i]``); -1 is a black border.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turned: NDArray[np.bool_]
    crop: NDArray[np.int64] | None = None


Op = tuple[int, Callable[[Windows, Draws], Windows]]  # numbers in 0 … 1 that it draws a row, and what it does


def uniforms(seed: int, rows: NDArray[np.int64], count: int) -> Draws:
    """Numbers in [0, 1), (R, ``count``), that follow from seed, row and place alone (SplitMix64, Steele et al. 2014):
    the same whatever other rows are in the batch.
    """
    with np.errstate(over="ignore"):
        start = _scrambled(np.uint64(seed) * _GOLDEN + rows.astype(np.uint64))  # (R,)
        places = (np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)[None, :]
        bits = _scrambled(start[:, None] + places)
    return (bits >> np.uint64(11)).astype(np.float64) / 2.0**53


def _scrambled(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


class Lattice:
    """The front part of a list of albumentations that only moves pixels, drawn and carried out for whole batches.

    ``taken`` says how many of ``transforms`` that are; the others have to follow one picture at a time. Parameters
    come from the same distributions as albumentations', the pixels are the same for the same parameters.

    Parameters
    ----------
    transforms : sequence of albumentations
    size : int
        S, the side that the network reads, pixels.
    room : bool
        Whether pictures come larger than S, for a random crop before everything else.
    """

    def __init__(self, transforms: Sequence[Any], size: int, room: bool) -> None:
        self.size = size
        self._ops: list[Op] = [_random_crop(size)] if room else []
        self.taken = 0
        self._whole = False
        for n, transform in enumerate(transforms):
            op = _op(transform, size, first=n == 0 and not room)
            if op is None:
                break
            self._ops.append(op)
            self.taken = n + 1
        self._count = sum(count for count, _ in self._ops)

    def windows(self, seed: int, rows: NDArray[np.int64], side: int) -> Windows:
        """What these rows show of pictures of (``side``, ``side``, 3) in the variant of ``seed``."""
        draws = uniforms(seed, rows, max(1, self._count))
        every = np.broadcast_to(np.arange(side), (len(rows), side))
        found = Windows(every, every, np.zeros(len(rows), np.bool_))
        place = 0
        for count, op in self._ops:
            found = op(found, draws[:, place : place + count])
            place += count
        return found


def shown(picture: Pixels, windows: Windows, n: int) -> Pixels:
    """What row ``n`` of a batch shows of its picture (L, L, 3); a view or a new array."""
    if windows.crop is not None:
        top, left, height, width = windows.crop[n]
        size = windows.first.shape[1]
        picture = np.asarray(
            cv2.resize(picture[top : top + height, left : left + width], (size, size)), dtype=np.uint8
        )
    ys, xs = (windows.second, windows.first) if windows.turned[n] else (windows.first, windows.second)
    y, x = ys[n], xs[n]
    down, across = _step(y), _step(x)
    if down and across:
        part = picture[min(y[0], y[-1]) : max(y[0], y[-1]) + 1, min(x[0], x[-1]) : max(x[0], x[-1]) + 1]
        code = {(1, 1): None, (1, -1): 1, (-1, 1): 0, (-1, -1): -1}[down, across]
        part = part if code is None else np.asarray(cv2.flip(part, code), dtype=np.uint8)
    else:
        part = picture[np.maximum(y, 0)[:, None], np.maximum(x, 0)[None, :]]
        part[y < 0], part[:, x < 0] = 0, 0
    return np.asarray(cv2.transpose(part), dtype=np.uint8) if windows.turned[n] else part


def flat_places(windows: Windows, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For windows without ``crop``: ``a``, ``b`` (R, S) so that pixel (i, j) of row r shows place ``a[r, i] + b[r, j]``
    of its flattened picture. Borders have the place of the pixel at 0; ``is_black`` tells them.
    """
    turned = windows.turned[:, None]
    first, second = np.maximum(windows.first, 0), np.maximum(windows.second, 0)
    return np.where(turned, first, first * side), np.where(turned, second * side, second)


def is_black(windows: Windows) -> NDArray[np.bool_] | None:
    """Which pixels (R, S, S) are a black border; None where there is none."""
    first, second = windows.first < 0, windows.second < 0
    if not (first.any() or second.any()):
        return None
    return np.asarray(first[:, :, None] | second[:, None, :])


def _step(values: NDArray[np.int64]) -> int:
    """1 or -1 where the values count up or down by one, else 0."""
    span = int(values[-1] - values[0])
    if abs(span) != len(values) - 1 or min(values[0], values[-1]) < 0:
        return 0
    steps = np.diff(values)
    return 1 if (steps == 1).all() else -1 if (steps == -1).all() else 0


def _op(transform: Any, size: int, first: bool) -> Op | None:
    """How a transform moves the pixels of a batch; None for one that does more than that."""
    kind, p = type(transform), float(transform.p)
    if kind is A.HorizontalFlip:
        return 1, lambda w, u: _flipped(w, u[:, 0] < p, across=True)
    if kind is A.VerticalFlip:
        return 1, lambda w, u: _flipped(w, u[:, 0] < p, across=False)
    if kind is A.RandomRotate90:
        return 2, lambda w, u: _turned(w, np.where(u[:, 0] < p, (u[:, 1] * 4).astype(np.int64), 0))
    if kind is A.Pad and p == 1 and isinstance(transform.padding, int) and _border(transform) is not None:
        return 0, lambda w, u: _padded(w, transform.padding, transform.border_mode)
    if kind is A.RandomCrop and p == 1 and not transform.pad_if_needed:
        return _random_crop(transform.height) if transform.height == transform.width == size else None
    if kind is A.RandomResizedCrop and p == 1 and first:
        plain = transform.interpolation == cv2.INTER_LINEAR and transform.area_for_downscale is None
        if plain and tuple(transform.size) == (size, size):
            return 2 * _TRIES + 2, lambda w, u: _resized_crop(w, u, transform, size)
    return None


def _border(transform: Any) -> int | None:
    if transform.border_mode == cv2.BORDER_REFLECT_101:
        return int(transform.border_mode)
    black = transform.border_mode == cv2.BORDER_CONSTANT and np.all(np.asarray(transform.fill) == 0)
    return int(transform.border_mode) if black else None


def _changed(w: Windows, first: Any, second: Any, turned: Any = None) -> Windows:
    return Windows(first, second, w.turned if turned is None else turned, w.crop)


def _flipped(w: Windows, chosen: NDArray[np.bool_], across: bool) -> Windows:
    if across:
        return _changed(w, w.first, np.where(chosen[:, None], w.second[:, ::-1], w.second))
    return _changed(w, np.where(chosen[:, None], w.first[:, ::-1], w.first), w.second)


def _turned(w: Windows, quarters: NDArray[np.int64]) -> Windows:
    """Quarter turns against the clock, as numpy.rot90: pixel (i, j) of one turn is (j, S - 1 - i)."""
    for turn in (1, 2, 3):
        one = (quarters >= turn)[:, None]
        first = np.where(one, w.second[:, ::-1], w.first)
        second = np.where(one, w.first, w.second)
        w = _changed(w, first, second, w.turned ^ one[:, 0])
    return w


def _padded(w: Windows, padding: int, border: int) -> Windows:
    side = w.first.shape[1]
    places = np.arange(-padding, side + padding)
    if border == cv2.BORDER_CONSTANT:
        inside = (places >= 0) & (places < side)
        places = places.clip(0, side - 1)
        first, second = (np.where(inside, a[:, places], -1) for a in (w.first, w.second))
        return _changed(w, first, second)
    period = max(1, 2 * (side - 1))
    places = np.abs((places + side - 1) % period - (side - 1)) if side > 1 else np.zeros_like(places)
    return _changed(w, w.first[:, places], w.second[:, places])


def _random_crop(size: int) -> Op:
    def crop(w: Windows, u: Draws) -> Windows:
        span = w.first.shape[1] - size + 1
        each = np.arange(size)[None, :]
        top, left = ((u[:, n] * span).astype(np.int64)[:, None] + each for n in (0, 1))
        return _changed(w, np.take_along_axis(w.first, top, 1), np.take_along_axis(w.second, left, 1))

    return 2, crop


def _resized_crop(w: Windows, u: Draws, transform: Any, size: int) -> Windows:
    """Windows of a share of the area and a ratio of sides, each drawn up to ten times until one lies in the picture."""
    side, rows = w.first.shape[1], len(w.first)
    low, high = (side * side * float(s) for s in transform.scale)
    area = low + (high - low) * u[:, :_TRIES]
    thin, wide = (np.log(float(r)) for r in transform.ratio)
    ratio = np.exp(thin + (wide - thin) * u[:, _TRIES : 2 * _TRIES])
    widths = np.round(np.sqrt(area * ratio)).astype(np.int64)
    heights = np.round(np.sqrt(area / ratio)).astype(np.int64)
    fits = (widths > 0) & (widths <= side) & (heights > 0) & (heights <= side)
    pick = fits.argmax(1)
    width, height = (np.where(fits.any(1), v[np.arange(rows), pick], side) for v in (widths, heights))
    top = ((side - height + 1) * u[:, -2]).astype(np.int64)
    left = ((side - width + 1) * u[:, -1]).astype(np.int64)
    every = np.broadcast_to(np.arange(size), (rows, size))
    return Windows(every, every, w.turned, np.stack([top, left, height, width], 1))
