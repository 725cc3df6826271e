"""Small regions of an image at its own resolution: what the search for marks looks at, some hundred bytes an image.

The perceptual fingerprint is of the whole image in 32 x 32 cells. A mark of a few pixels in a large image is lost in
it, and so is one at a fixed distance from a corner where images differ in size.
"""

from __future__ import annotations

from math import prod
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

CORNERS: Final = ("top left", "top right", "bottom left", "bottom right")
SIDES: Final = ("top", "bottom", "left", "right")
FINE, COLOUR, COARSE = 2, 4, 5  # pixels of a cell's side
FINE_CELLS, COARSE_CELLS, COLOUR_CELLS = 6, 8, 3
ZONE: Final = COARSE * COARSE_CELLS  # pixels of the side of what is looked at in a corner
_NEAR: Final = FINE * FINE_CELLS
DEPTHS: Final = (0, 1, 2, 7)  # of the lines along a side, in pixels from it
LINE_FACTS: Final = 4  # mean luma, Cr, Cb, and the luma's standard deviation

# by name: the first byte and the shape of what is kept
LAYOUT: Final[dict[str, tuple[int, tuple[int, ...]]]] = {}
_SHAPES: Final = (
    ("fine", (4, FINE_CELLS, FINE_CELLS)),
    ("colour", (4, 2, COLOUR_CELLS, COLOUR_CELLS)),
    ("coarse", (5, COARSE_CELLS, COARSE_CELLS)),
    ("pixel", (4, 3)),
    ("line", (4, len(DEPTHS), LINE_FACTS)),
)
_end = 0
for _name, _shape in _SHAPES:
    LAYOUT[_name] = (_end, _shape)
    _end += prod(_shape)
REGION_BYTES: Final = _end


def regions(image: Bytes) -> Bytes:
    """The regions of one decoded image, uint8 RGB (H, W, 3), as uint8 (REGION_BYTES,).

    In each corner 12 x 12 pixels in cells of 2 (luma) and 4 (Cr, Cb), 40 x 40 pixels in cells of 5 (luma), and the last
    pixel; the 40 x 40 pixels of the middle in cells of 5; the lines of pixels along each side, 1st, 2nd, 3rd and 8th.
    What lies beyond a small image repeats its last pixel.
    """
    out = np.empty(REGION_BYTES, np.uint8)
    fine, colour, coarse, pixel, line = (part(out[None], name)[0] for name in LAYOUT)
    height, width = image.shape[:2]
    for n, (down, across) in enumerate(((False, False), (False, True), (True, False), (True, True))):
        zone = cv2.cvtColor(_corner(image, down, across), cv2.COLOR_RGB2YCrCb)
        coarse[n] = cv2.resize(zone[..., 0], (COARSE_CELLS, COARSE_CELLS), interpolation=cv2.INTER_AREA)
        near = zone[-_NEAR:] if down else zone[:_NEAR]
        near = near[:, -_NEAR:] if across else near[:, :_NEAR]
        fine[n] = cv2.resize(near[..., 0], (FINE_CELLS, FINE_CELLS), interpolation=cv2.INTER_AREA)
        small = cv2.resize(near[..., 1:], (COLOUR_CELLS, COLOUR_CELLS), interpolation=cv2.INTER_AREA)
        colour[n] = small.transpose(2, 0, 1)
        pixel[n] = near[-1 if down else 0, -1 if across else 0]
    top, left = max(0, height - ZONE) // 2, max(0, width - ZONE) // 2
    middle = cv2.cvtColor(
        _padded(image[top : top + ZONE, left : left + ZONE], False, False), cv2.COLOR_RGB2GRAY
    )
    coarse[4] = cv2.resize(middle, (COARSE_CELLS, COARSE_CELLS), interpolation=cv2.INTER_AREA)
    _lines(image, line)
    return out


def part(kept: Bytes, name: str) -> Bytes:
    """The part of that name of many images' regions (N, REGION_BYTES): a view (N, ...)."""
    start, shape = LAYOUT[name]
    return kept[:, start : start + prod(shape)].reshape(-1, *shape)


def _corner(image: Bytes, down: bool, across: bool) -> Bytes:
    rows = image[-ZONE:] if down else image[:ZONE]
    return _padded(rows[:, -ZONE:] if across else rows[:, :ZONE], down, across)


def _padded(zone: Bytes, down: bool, across: bool) -> Bytes:
    """A zone of the full size, its last pixels repeated away from its corner."""
    tall, wide = ZONE - zone.shape[0], ZONE - zone.shape[1]
    if not tall and not wide:
        return zone
    sides = (tall if down else 0, 0 if down else tall, wide if across else 0, 0 if across else wide)
    return np.asarray(cv2.copyMakeBorder(zone, *sides, cv2.BORDER_REPLICATE), np.uint8)


def _lines(image: Bytes, out: Bytes) -> None:
    for across, side in enumerate(image.shape[:2]):
        from_edge = np.minimum(DEPTHS, side - 1)
        both = np.concatenate([from_edge, side - 1 - from_edge])
        strips = image[:, both].swapaxes(0, 1) if across else image[both]  # (2 * depths, L, 3)
        ycc = cv2.cvtColor(np.ascontiguousarray(strips), cv2.COLOR_RGB2YCrCb).astype(np.int64)
        length = ycc.shape[1]
        sums = ycc.sum(axis=1)
        squares = (ycc[..., 0] ** 2).sum(axis=1)
        variance = (length * squares - sums[:, 0] ** 2) / length**2
        told = np.concatenate([sums / length, np.sqrt(variance)[:, None]], axis=1)
        out[2 * across : 2 * across + 2] = np.rint(told).reshape(2, len(DEPTHS), LINE_FACTS)
