"""How an image of any size becomes the square that a network reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from comp.data.images.scale import Scale

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

    ``size`` is the side in pixels; ``mean`` and ``std`` are per channel (R, G, B of photographs) of values 0 … 1; ``fit`` is
    "crop" (shorter side to size / crop_pct, then the centre), "squash" (both sides to size) or "pad" (longer
    side to size, the rest filled with the mean).
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    fit: str = "crop"
    crop_pct: float = 1.0
    scale: Scale | None = None  # by which numbers became pixels; None of photographs

    @property
    def channels(self) -> int:
        """How many channels the network reads."""
        return len(self.mean)

    def as_json(self) -> dict[str, Any]:
        table = asdict(self)
        del table["scale"]
        return table if self.scale is None else {**table, "scale": self.scale.as_json()}

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Preprocess:
        mean, std = (tuple(float(v) for v in table[key]) for key in ("mean", "std"))
        if len(mean) != len(std) or len(mean) < 2:
            raise ValueError(f"mean and std have a value a channel, found {mean} and {std}")
        scale = Scale.from_json(table["scale"]) if table.get("scale") else None
        return cls(**{**table, "mean": mean, "std": std, "scale": scale})


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
    return by_fours(lambda some: cv2.resize(some, size, interpolation=cv2.INTER_AREA), pixels)


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
    return by_fours(lambda some: cv2.resize(some, (width, height), interpolation=code), pixels)


def by_fours(change: Callable[[Pixels], Any], pixels: Pixels) -> Pixels:
    """What OpenCV makes of an image (H, W, N), of which it takes no more than four channels at once in many functions."""
    count = pixels.shape[2]
    if count <= 4:
        return np.asarray(change(pixels), dtype=np.uint8)
    groups = np.array_split(
        np.arange(count), -(-count // 4)
    )  # of two and more, since it drops the axis of a single one
    parts = [change(np.ascontiguousarray(pixels[:, :, some[0] : some[-1] + 1])) for some in groups]
    return np.concatenate(parts, axis=2)


def _centre(pixels: Pixels, side: int) -> Pixels:
    top, left = (max(0, (n - side) // 2) for n in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _pad(pixels: Pixels, size: int, mean: tuple[float, ...]) -> Pixels:
    square = np.empty((size, size, len(mean)), dtype=np.uint8)
    square[:] = np.round(np.array(mean) * 255).astype(np.uint8)
    top, left = (size - pixels.shape[0]) // 2, (size - pixels.shape[1]) // 2
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return square


Extent = Literal["square", "room", "whole"]
DEFAULT_BUDGET = 2 << 30  # bytes of images that were decoded and fitted
# of those that are only fitted: a store has them decoded, in memory that the system may take back
STORED_BUDGET = 512 << 20
