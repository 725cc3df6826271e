"""Crops, padding, mirror images, turns and affine maps of whole batches at once, drawn as albumentations draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.policies import A
from comp.data.device_memory import upload
from comp.data.images.preprocess import by_fours

Draws = NDArray[np.float64]  # (R, N) in 0 … 1
COUNT, WIDTH = 8, 6  # numbers that a map is drawn from, and that it is
_BORDERS = {
    cv2.BORDER_CONSTANT: "zeros",
    cv2.BORDER_REPLICATE: "border",
    cv2.BORDER_REFLECT_101: "reflection",
}


def is_plain(transform: Any) -> bool:
    """Whether an albumentations' Affine is one that both ways here can do."""
    border = _BORDERS.get(transform.border_mode)
    black = border != "zeros" or np.all(np.asarray(transform.fill) == 0)
    linear = transform.interpolation == cv2.INTER_LINEAR
    return bool(border and black and linear and not transform.fit_output and not transform.balanced_scale)


def places(transform: Any, size: int, u: Draws) -> NDArray[np.float64]:
    """Of draws (R, 8) the six numbers (R, 6) a b c d right down by which a pixel at (x, y) from the middle shows what is at
    (a x + b y + right, c x + d y + down) from it.
    """
    wide = between(transform.scale["x"], u[:, 1])
    high = wide if transform.keep_ratio else between(transform.scale["y"], u[:, 2])
    if transform.translate_px is not None:
        least, most = (np.array([int(transform.translate_px[k][n]) for k in "xy"]) for n in (0, 1))
        shift = least + (u[:, 3:5] * (most - least + 1)).astype(np.int64)
    else:
        share = [between(transform.translate_percent[k], u[:, 3 + n]) for n, k in enumerate("xy")]
        shift = np.trunc(np.stack(share, 1) * size)
    angle = np.deg2rad(between(transform.rotate, u[:, 5]))
    lean_x, lean_y = (
        np.tan(np.deg2rad(-between(transform.shear[k], u[:, 6 + n]))) for n, k in enumerate("xy")
    )
    a, b, c, d = np.cos(angle) * wide, np.sin(angle) * high, -np.sin(angle) * wide, np.cos(angle) * high
    m = np.stack([a + lean_x * c, b + lean_x * d, lean_y * a + c, lean_y * b + d], 1)
    off = u[:, 0] >= float(transform.p)
    m[off], shift[off] = (1, 0, 0, 1), 0
    return inverted(m, shift)


def inverted(m: NDArray[np.float64], shift: NDArray[Any]) -> NDArray[np.float64]:
    """Where pixels come from (R, 6), for maps (R, 4) and shifts (R, 2) that say where they go; a map onto a point or a
    line, which has no way back, shows the middle.
    """
    a, b, c, d = m.T
    area = a * d - b * c
    scale = np.divide(1.0, area, out=np.zeros_like(area), where=area != 0)
    a, b, c, d = d * scale, -b * scale, -c * scale, a * scale
    right, down = (-(p * shift[:, 0] + q * shift[:, 1]) for p, q in ((a, b), (c, d)))
    return np.stack([a, b, c, d, right, down], 1)


def between(bounds: Any, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws of 0 … 1 as draws between two bounds."""
    low, high = (float(v) for v in bounds)
    return low + (high - low) * u


def of_one(transform: Any, size: int) -> Callable[[Pixels, list[float]], Pixels]:
    """An image (S, S, 3) of its six numbers."""
    flags, border, middle = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, transform.border_mode, (size - 1) / 2

    def shown(image: Pixels, given: list[float]) -> Pixels:
        a, b, c, d, right, down = given
        if (a, b, c, d, right, down) == (1, 0, 0, 1, 0, 0):
            return image
        m = np.array(
            [[a, b, right + middle * (1 - a - b)], [c, d, down + middle * (1 - c - d)]], dtype=np.float64
        )
        made = cv2.warpAffine(image, m, (size, size), flags=flags, borderMode=border)
        return np.asarray(made, dtype=np.uint8)

    return shown


def of_batch(transform: Any, size: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Images (B, 3, S, S) of their six numbers each (B, 6)."""
    border = _BORDERS[transform.border_mode]

    def shown(x: Tensor, given: Tensor) -> Tensor:
        a, b, c, d, right, down = upload(given, x.device).reshape(-1, 6, 1, 1).unbind(1)
        lines = torch.arange(size, dtype=torch.float32, device=x.device) - (size - 1) / 2
        across, along = lines[None, None, :], lines[None, :, None]
        # by hand: a matrix product would lose places to TF32 on a GPU
        grid = torch.stack([a * across + b * along + right, c * across + d * along + down], -1)
        grid *= 2 / (size - 1)
        made = torch.nn.functional.grid_sample(x, grid, "bilinear", border, align_corners=True)
        return (made + 0.5).clamp_(0, 255).floor_()

    return shown


Pixels = NDArray[np.uint8]
_TRIES = 10  # of albumentations' RandomResizedCrop to find a window that fits
_CROP_DRAWS = 2 * _TRIES + 2
_NO_FLIP = 2
_FLIPS = np.array([[0, 0, 0], [0, _NO_FLIP, 1], [0, 0, -1]])  # cv2.flip's, by the steps down and across

Quick = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class SamplingGrid:
    """What a batch of R rows shows of its images, each (L, L, 3), or of any shape where there is a ``crop``.

    ``crop`` (R, 4) are top, left, height and width of a window that is first resized to (``side``, ``side``) with the
    interpolation ``codes`` (R,) of OpenCV. Then pixel (i, j) of row r shows pixel (``first[r, i]``, ``second[r, j]``),
    both (R, S), or with ``turned[r]`` the pixel (``second[r, j]``, ``first[r, i]``); -1 is a black border. ``after``
    (R, P) are the parameters of what follows (``Batched``).
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    turned: NDArray[np.bool_]
    crop: NDArray[np.int64] | None = None
    codes: NDArray[np.int64] | None = None
    side: int = 0
    after: NDArray[np.float32] | None = None

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """(R, 2): 1 or -1 where ``first`` and ``second`` count up or down by one, else 0."""
        return np.stack([_steps(self.first), _steps(self.second)], 1)

    @cached_property
    def quick(self) -> list[Quick | None]:
        """Of each row its crop, its code and cv2.flip's number for its mirror image (2: none); None where it shows
        something else than a whole crop.
        """
        if self.crop is None or self.codes is None or self.first.shape[1] != self.side:
            return [None] * len(self.first)
        plain = self.steps.all(1) & ~self.turned
        flips = _FLIPS[self.steps[:, 0], self.steps[:, 1]]
        rows = np.column_stack([self.crop, self.codes, flips]).tolist()
        return [tuple(row) if whole else None for row, whole in zip(rows, plain.tolist(), strict=True)]


Op = tuple[
    int, Callable[[SamplingGrid, Draws], SamplingGrid]
]  # numbers in 0 … 1 that it draws a row, and what it does
Shapes = NDArray[np.int64]  # (R, 2): height and width
Crop = Callable[[Shapes, Draws], tuple[NDArray[np.int64], NDArray[np.int64]]]  # windows (R, 4), codes (R,)


class GeometricOps:
    """The front part of a list of albumentations that only moves pixels, drawn and carried out for whole batches.

    ``taken`` says how many of ``transforms`` that are; the others have to follow one image at a time. Parameters
    come from the same distributions as albumentations', the pixels are the same for the same parameters. Images are
    squares of one side, unless a RandomResizedCrop comes first.

    Parameters
    ----------
    transforms : sequence of albumentations
    size : int
        S, the side that the network reads, pixels.
    room : bool
        Whether images come larger than S, for a random crop before everything else.
    """

    def __init__(self, transforms: Sequence[Any], size: int, room: bool) -> None:
        self.size = size
        self._ops: list[Op] = [_random_crop(size)] if room else []
        self._crop = None if room or not transforms else _resized_crop(transforms[0], size)
        self.taken = int(self._crop is not None)
        for n, transform in enumerate(transforms[self.taken :], self.taken):
            op = _op(transform, size)
            if op is None:
                break
            self._ops.append(op)
            self.taken = n + 1
        self._count = sum(count for count, _ in self._ops) + (_CROP_DRAWS if self._crop else 0)

    @property
    def is_empty(self) -> bool:
        """Whether images are shown as they come: of any shape, where a crop of another size follows."""
        return self._crop is None and not self._ops

    def windows(self, seed: int, rows: NDArray[np.int64], shapes: Shapes) -> SamplingGrid:
        """What these rows (R,) show of images of these heights and widths (R, 2) in the variant of ``seed``."""
        draws = counter_uniforms(seed, rows, max(1, self._count))
        side = self.size if self._crop else int(shapes[0, 0])
        every = np.broadcast_to(np.arange(side), (len(rows), side))
        found = SamplingGrid(every, every, np.zeros(len(rows), np.bool_))
        place = 0
        if self._crop is not None:
            place = _CROP_DRAWS
            crop, codes = self._crop(shapes, draws[:, :place])
            found = replace(found, crop=crop, codes=codes, side=self.size)
        for count, op in self._ops:
            found = op(found, draws[:, place : place + count])
            place += count
        return found


def apply_grid(image: Pixels, windows: SamplingGrid, n: int, out: Pixels | None = None) -> Pixels:
    """What row ``n`` of a batch shows of its image (H, W, N); a view or a new array, or ``out`` where that saved a copy."""
    if image.shape[2] > 4:
        return by_fours(lambda some: apply_grid(some, windows, n), image)
    if out is not None and (quick := windows.quick[n]) is not None:
        return _at_once(image, quick, out)
    (down, across), turned = windows.steps[n].tolist(), bool(windows.turned[n])
    ys, xs = windows.first, windows.second
    if turned:
        down, across, ys, xs = across, down, xs, ys
    y, x = ys[n], xs[n]
    if windows.crop is not None:
        image = _cropped(image, windows, n)
    if down and across:
        part = image[min(y[0], y[-1]) : max(y[0], y[-1]) + 1, min(x[0], x[-1]) : max(x[0], x[-1]) + 1]
        part = _mirrored(part, down, across)
    else:
        part = image[np.maximum(y, 0)[:, None], np.maximum(x, 0)[None, :]]
        part[y < 0], part[:, x < 0] = 0, 0
    return np.asarray(cv2.transpose(part), dtype=np.uint8) if turned else part


def flat_places(windows: SamplingGrid, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For windows without ``crop``: ``a``, ``b`` (R, S) so that pixel (i, j) of row r shows place ``a[r, i] + b[r, j]``
    of its flattened image. Borders have the place of the pixel at 0; ``is_black`` tells them.
    """
    turned = windows.turned[:, None]
    first, second = np.maximum(windows.first, 0), np.maximum(windows.second, 0)
    return np.where(turned, first, first * side), np.where(turned, second * side, second)


def is_black(windows: SamplingGrid) -> NDArray[np.bool_] | None:
    """Which pixels (R, S, S) are a black border; None where there is none."""
    first, second = windows.first < 0, windows.second < 0
    if not (first.any() or second.any()):
        return None
    return np.asarray(first[:, :, None] | second[:, None, :])


def _steps(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each row (R, S): 1 or -1 where its values count up or down by one, 0 where not, or where some are -1."""
    by = np.diff(values, axis=1)
    found = (by == 1).all(1).astype(np.int64) - (by == -1).all(1)
    return np.where(values.min(1) < 0, 0, found)


def _at_once(image: Pixels, quick: Quick, out: Pixels) -> Pixels:
    top, left, height, width, code, flip = quick
    window, size = image[top : top + height, left : left + width], out.shape[1::-1]
    if flip == _NO_FLIP:
        cv2.resize(window, size, dst=out, interpolation=code)
    else:
        cv2.flip(cv2.resize(window, size, interpolation=code), flip, dst=out)
    return out


def _cropped(image: Pixels, windows: SamplingGrid, n: int) -> Pixels:
    """A row's window at the side that everything after it works at."""
    assert windows.crop is not None
    assert windows.codes is not None
    top, left, height, width = windows.crop[n].tolist()
    window, side = image[top : top + height, left : left + width], windows.side
    if height == width == side:  # as albumentations, which then does not resize either
        return window
    return np.asarray(cv2.resize(window, (side, side), interpolation=int(windows.codes[n])), dtype=np.uint8)


def _mirrored(part: Pixels, down: int, across: int) -> Pixels:
    flip = int(_FLIPS[down, across])
    return part if flip == _NO_FLIP else np.asarray(cv2.flip(part, flip), dtype=np.uint8)


def _op(transform: Any, size: int) -> Op | None:
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
    return None


def _border(transform: Any) -> int | None:
    if transform.border_mode == cv2.BORDER_REFLECT_101:
        return int(transform.border_mode)
    black = transform.border_mode == cv2.BORDER_CONSTANT and np.all(np.asarray(transform.fill) == 0)
    return int(transform.border_mode) if black else None


def _changed(w: SamplingGrid, first: Any, second: Any, turned: Any = None) -> SamplingGrid:
    return replace(w, first=first, second=second, turned=w.turned if turned is None else turned)


def _flipped(w: SamplingGrid, chosen: NDArray[np.bool_], across: bool) -> SamplingGrid:
    if across:
        return _changed(w, w.first, np.where(chosen[:, None], w.second[:, ::-1], w.second))
    return _changed(w, np.where(chosen[:, None], w.first[:, ::-1], w.first), w.second)


def _turned(w: SamplingGrid, quarters: NDArray[np.int64]) -> SamplingGrid:
    """Quarter turns against the clock, as numpy.rot90: pixel (i, j) of one turn is (j, S - 1 - i)."""
    for turn in (1, 2, 3):
        one = (quarters >= turn)[:, None]
        first = np.where(one, w.second[:, ::-1], w.first)
        second = np.where(one, w.first, w.second)
        w = _changed(w, first, second, w.turned ^ one[:, 0])
    return w


def _padded(w: SamplingGrid, padding: int, border: int) -> SamplingGrid:
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
    def crop(w: SamplingGrid, u: Draws) -> SamplingGrid:
        span = w.first.shape[1] - size + 1
        each = np.arange(size)[None, :]
        top, left = ((u[:, n] * span).astype(np.int64)[:, None] + each for n in (0, 1))
        return _changed(w, np.take_along_axis(w.first, top, 1), np.take_along_axis(w.second, left, 1))

    return 2, crop


def _resized_crop(transform: Any, size: int) -> Crop | None:
    """How an albumentations' RandomResizedCrop to (``size``, ``size``) draws its windows; None for another transform.

    A share of the area and a ratio of sides are drawn up to ten times until a window of them lies in the image; then
    the largest window in the middle whose ratio is allowed.
    """
    if (
        type(transform) is not A.RandomResizedCrop
        or transform.p != 1
        or tuple(transform.size) != (size, size)
    ):
        return None
    thin, wide = (float(r) for r in transform.ratio)

    def crop(shapes: Shapes, u: Draws) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, whole = np.arange(len(shapes)), shapes.astype(np.int64)
        high, broad = whole[:, :1], whole[:, 1:]  # (R, 1)
        least, most = (high * broad * float(s) for s in transform.scale)
        area = least + (most - least) * u[:, :_TRIES]
        ratio = np.exp(np.log(thin) + (np.log(wide) - np.log(thin)) * u[:, _TRIES : 2 * _TRIES])
        widths = np.round(np.sqrt(area * ratio)).astype(np.int64)
        heights = np.round(np.sqrt(area / ratio)).astype(np.int64)
        fits = (widths > 0) & (widths <= broad) & (heights > 0) & (heights <= high)
        pick, found = fits.argmax(1), fits.any(1)
        height = np.where(found, heights[rows, pick], np.minimum(high, np.round(broad / thin))[:, 0])
        width = np.where(found, widths[rows, pick], np.minimum(broad, np.round(high * wide))[:, 0])
        sides = np.stack([height, width], 1).astype(np.int64)  # (R, 2)
        spare = whole - sides
        corner = np.where(found[:, None], ((spare + 1) * u[:, -2:]).astype(np.int64), spare // 2)
        shrinks = (sides > size).any(1) & (transform.area_for_downscale is not None)
        codes = np.where(shrinks, cv2.INTER_AREA, transform.interpolation)
        return np.concatenate([corner, sides], 1), codes

    return crop


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def counter_uniforms(seed: int, rows: NDArray[np.int64], count: int) -> Draws:
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
