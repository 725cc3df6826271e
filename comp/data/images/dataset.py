"""Fitted pictures by sample, decoded once and kept in memory while a stated budget lasts."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from comp.data.images.decode import decode
from comp.data.images.pixel_cache import DecodedSource
from comp.data.images.preprocess import Preprocess, fit, room_side, shrunk, side_for
from comp.data.images.source import ImageSource

Pixels = NDArray[np.uint8]
Extent = Literal["square", "room", "whole"]
DEFAULT_BUDGET = 2 << 30


class ImageDataset:
    """The pictures behind some paths as a network reads them; safe to read from several threads.

    ``extent`` says how much of each: "square" is what validation sees (S, S, 3), "room" has the margin around it
    that "crop" cuts away, "whole" is the picture as it was decoded, for policies that crop from it. ``budget`` is in
    bytes of uint8 pixels; past it a picture is decoded anew each time, so that memory stays bounded whatever the
    size of the set.
    """

    def __init__(
        self,
        source: ImageSource,
        paths: Sequence[str],
        preprocess: Preprocess,
        extent: Extent = "square",
        budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.source = source
        self.paths = list(paths)
        self.preprocess = preprocess
        self.extent = extent
        self._side = side_for(preprocess)
        self._left = budget
        self._kept: dict[int, Pixels] = {}
        side = {"whole": 0, "square": preprocess.size, "room": room_side(preprocess)}[extent]
        self._shapes = np.full((len(self.paths), 2), side, np.int64)  # 0 where it is not known yet
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Pixels:
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        content, pixels = self._decoded(row)
        if self.extent != "whole":
            pixels = fit(pixels, self.preprocess, room=self.extent == "room")
        self._shapes[row] = pixels.shape[:2]
        if pixels is content:  # it lies in memory, or in the store, as it is: no second copy
            return pixels
        with self._lock:
            if self._left >= pixels.nbytes and row not in self._kept:
                self._kept[row] = np.ascontiguousarray(pixels)
                self._left -= pixels.nbytes
        return pixels

    def forget(self) -> None:
        """Gives back the memory of the pictures that were kept; what is read from now on is kept anew."""
        with self._lock:
            self._left += sum(pixels.nbytes for pixels in self._kept.values())
            self._kept.clear()

    def shapes(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Heights and widths (R, 2) of these rows' pictures; None where one of them was not seen yet, and does not lie
        in a store either.
        """
        if isinstance(self.source, DecodedSource):
            for row in rows[~self._shapes[rows].all(1)].tolist():
                self._shapes[row] = self.source.shape(self.paths[row]) or 0
        found = self._shapes[rows]
        return found if found.all() else None

    def squares(self, row: int, wanted: Sequence[Preprocess]) -> list[Pixels]:
        """A picture fitted to several squares, decoded once; none of them is kept."""
        _, pixels = self._decoded(row)
        return [fit(pixels, one) for one in wanted]

    def _decoded(self, row: int) -> tuple[bytes | Pixels, Pixels]:
        """What the source gives, and the picture (H, W, 3) of it before it is fitted."""
        content = self.source.load(self.paths[row])
        decoded = decode(content, self.paths[row]) if isinstance(content, bytes) else content
        return content, shrunk(decoded, self._side)
