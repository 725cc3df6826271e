"""How an image of any size becomes the square that a network reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SIDE = 768  # pixels; an image whose shorter side is longer is read at this one
LONG = 16  # times the shorter side: of longer images "crop" resizes the middle alone
_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


@dataclass(frozen=True)
class Preprocess:
    """A model's own preprocessing; it travels in the checkpoint, and prediction accepts no other.

    ``size`` is the side in pixels; ``mean`` and ``std`` are per channel (R, G, B) of values 0 … 1; ``fit`` is
    "crop" (shorter side to size / crop_pct, then the centre), "squash" (both sides to size) or "pad" (longer
    side to size, the rest filled with the mean).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    fit: str = "crop"
    crop_pct: float = 1.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Preprocess:
        mean, std = (tuple(float(v) for v in table[key]) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3:
            raise ValueError(f"mean and std have a value a channel, found {mean} and {std}")
        return cls(**{**table, "mean": mean, "std": std})


def room_side(preprocess: Preprocess) -> int:
    """The side in pixels of what ``fit`` makes with ``room``."""
    return round(preprocess.size / preprocess.crop_pct) if preprocess.fit == "crop" else preprocess.size


def side_for(preprocess: Preprocess) -> int | None:
    """The shorter side that images are shrunk to before they are fitted: SIDE where that is at least twice what the
    network reads, else None, and images are fitted from all their pixels.

    It holds whether or not there is a store, so that a store changes no pixel.
    """
    reads = round(preprocess.size / preprocess.crop_pct)
    return SIDE if 2 * reads <= SIDE else None


def shrunk(pixels: Pixels, side: int | None) -> Pixels:
    """An image (H, W, 3) with its shorter side at most ``side``, averaged over areas; as it is where it is smaller."""
    height, width = pixels.shape[:2]
    if side is None or min(height, width) <= side:
        return pixels
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def fit(pixels: Pixels, preprocess: Preprocess, room: bool = False) -> Pixels:
    """Fits an image to the square of its network.

    Of an image more than 16 times as long as broad "crop" sees the middle, 16 times as long, in training too.
    Shrinking averages over areas (OpenCV's INTER_AREA), so that nothing aliases; growing interpolates as named.

    Parameters
    ----------
    pixels : uint8 array (H, W, 3)
    preprocess : Preprocess
    room : bool
        Leave the margin that "crop" would cut away (training crops it at random).

    Returns
    -------
    uint8 array (S, S, 3); with ``room``, both sides are ``room_side``
    """
    height, width = pixels.shape[:2]
    size = preprocess.size
    if preprocess.fit == "squash":
        return _resize(pixels, size, size, preprocess.interpolation)
    if preprocess.fit == "pad":
        scale = size / max(height, width)
        small = _resize(
            pixels, max(1, round(height * scale)), max(1, round(width * scale)), preprocess.interpolation
        )
        return _pad(small, size, preprocess.mean)
    side = room_side(preprocess)
    longest = LONG * min(height, width)
    if max(height, width) > longest:  # the rest would be enlarged, by gigabytes, only to be cut away
        pixels = _centre(pixels, longest)
        height, width = pixels.shape[:2]
    scale = side / min(height, width)
    large = _resize(
        pixels, max(side, round(height * scale)), max(side, round(width * scale)), preprocess.interpolation
    )
    return _centre(large, side if room else size)


def _resize(pixels: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    code = cv2.INTER_AREA if shrinks and interpolation != "nearest" else _INTERPOLATION[interpolation]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=code), dtype=np.uint8)


def _centre(pixels: Pixels, side: int) -> Pixels:
    top, left = (max(0, (n - side) // 2) for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _pad(pixels: Pixels, size: int, mean: tuple[float, float, float]) -> Pixels:
    square = np.empty((size, size, 3), dtype=np.uint8)
    square[:] = np.round(np.array(mean) * 255).astype(np.uint8)
    top, left = (size - pixels.shape[0]) // 2, (size - pixels.shape[1]) // 2
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return square


Extent = Literal["square", "room", "whole"]
DEFAULT_BUDGET = 2 << 30  # bytes of images that were decoded and fitted
# of those that are only fitted: a store has them decoded, in memory that the system may take back
STORED_BUDGET = 512 << 20
