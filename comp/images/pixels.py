"""Fitted pictures by sample, decoded once and kept in memory while a stated budget lasts."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from comp.images.decode import load_pixels
from comp.images.fit import Preprocess, fit
from comp.images.source import ImageSource
from comp.images.store import shrunk, side_for
from comp.names import is_array_row

Pixels = NDArray[np.uint8]
DEFAULT_BUDGET = 2 << 30


class FittedPixels:
    """The pictures behind some paths as a network reads them; safe to read from several threads.

    ``budget`` is in bytes of uint8 pixels; past it a picture is decoded anew each time, so that memory stays
    bounded whatever the size of the set.
    """

    def __init__(
        self,
        source: ImageSource,
        paths: Sequence[str],
        preprocess: Preprocess,
        room: bool = False,
        budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.source = source
        self.paths = list(paths)
        self.preprocess = preprocess
        self.room = room
        self._side = side_for(preprocess)
        self._left = budget
        self._kept: dict[int, Pixels] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Pixels:
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        loaded = shrunk(load_pixels(self.source, self.paths[row]), self._side)
        pixels = fit(loaded, self.preprocess, self.room)
        if pixels is loaded and is_array_row(self.paths[row]):  # it lies in memory as it is: no second copy
            return pixels
        with self._lock:
            if self._left >= pixels.nbytes and row not in self._kept:
                self._kept[row] = np.ascontiguousarray(pixels)
                self._left -= pixels.nbytes
        return pixels
