"""How values that are no photograph's become levels of 8 bits: by one scale for the whole set, never by a file's own values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
LEVELS = 255


class Values(NamedTuple):
    """An image as its file has it: ``array`` (H, W, N) of any kind of number, ``kind`` of number in words, and whether
    high values are dark (DICOM's MONOCHROME1).
    """

    array: NDArray[Any]
    kind: str
    is_inverted: bool = False


@dataclass(frozen=True)
class Scale:
    """The value that becomes 0 and the one that becomes 255, of each of N channels, and the kind of number it is for.

    It travels in the checkpoint: predictions read by the very numbers that training read by.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    kind: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"low": list(self.low), "high": list(self.high), "kind": self.kind}

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Scale:
        low, high = (tuple(float(v) for v in table[key]) for key in ("low", "high"))
        if len(low) != len(high) or not all(a < b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"a scale rises in each channel, found {low} and {high}")
        return cls(low, high, str(table.get("kind", "")))

    @property
    def numbers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What decides the pixels."""
        return self.low, self.high

    def apply(self, values: Values) -> tuple[Pixels, float]:
        """Levels uint8 (H, W, N) of finite values, and the share of them that lay outside and were clipped.

        A single channel comes three times, as a grey photograph does.
        """
        wide = values.array.dtype.itemsize > 4 or values.array.dtype.kind in "iu"
        x = values.array.astype(np.float64 if wide else np.float32)
        low, high = (np.asarray(ends, x.dtype) for ends in self.numbers)
        outside = float(((x < low) | (x > high)).mean()) if x.size else 0.0
        x = np.clip((x - low) / (high - low), 0, 1)
        if values.is_inverted:
            x = 1 - x
        levels = np.rint(x * LEVELS).astype(np.uint8)
        return np.ascontiguousarray(levels if levels.shape[2] > 1 else np.repeat(levels, 3, axis=2)), outside


def pixel_channels(channels: int) -> int:
    """How many channels a network sees of images that have so many: grey ones come three times."""
    return 3 if channels == 1 else channels
