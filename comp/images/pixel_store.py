"""Decoded pictures in one flat file, mapped into memory."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class PixelStore:
    """Decoded pictures by the SHA-256 of their files; read-only, safe for threads and processes.

    A store is a folder with ``pixels.u8``, the pictures' RGB bytes one after another, and ``index.json``, which has
    [offset, height, width, CRC-32 of shape and bytes] of each. Each picture is summed up when it is first read: one
    that has changed is not given, and the store is made anew the next time.
    """

    def __init__(self, folder: Path) -> None:
        table = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self._place: dict[str, tuple[int, int, int, int]] = {
            key: _four(place) for key, place in table.items()
        }
        self._index, self._sound = folder / "index.json", set[str]()
        mapped = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r")
        self._flat = np.asarray(mapped)  # a plain array is sliced six times as fast
        ends = [offset + 3 * height * width for offset, height, width, _ in self._place.values()]
        starts = [offset for offset, *_ in self._place.values()]
        if sorted([*starts, len(self._flat)]) != sorted([0, *ends]):  # one after another, all of it
            raise ValueError(f"{folder} is torn")

    def __len__(self) -> int:
        return len(self._place)

    def get(self, content: str) -> Pixels | None:
        """The picture (H, W, 3) of a file, a view of the mapped file; None where it is not here, or not as it was."""
        place = self._place.get(content)
        if place is None:
            return None
        offset, height, width, told = place
        flat = self._flat[offset : offset + 3 * height * width]
        if content not in self._sound:
            if sum_of(flat, height, width) != told:
                self._place.pop(content, None)
                with suppress(OSError):  # somebody else's store, say: it stays as it is
                    self._index.unlink(missing_ok=True)
                return None
            self._sound.add(content)
        return flat.reshape(height, width, 3)

    def shape(self, content: str) -> tuple[int, int] | None:
        """Height and width of the picture of a file, without reading it; None where it is not here."""
        place = self._place.get(content)
        return None if place is None else place[1:3]


def sum_of(pixels: Pixels, height: int, width: int) -> int:
    """CRC-32 of a picture's shape and its bytes."""
    return zlib.crc32(pixels.data, zlib.crc32(f"{height} {width}".encode()))


def _four(place: Any) -> tuple[int, int, int, int]:
    """Offset, height, width and sum as an index tells them; ValueError for anything else."""
    if len(place) != 4 or not all(type(n) is int and n >= 0 for n in place):
        raise ValueError(f"not a place: {place}")
    offset, height, width, told = place
    return offset, height, width, told
