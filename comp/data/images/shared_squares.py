"""Squares that several networks read of the same images: each image is decoded once for all of them, into one file on disk
that memory maps, so that more images than memory holds do no harm.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from comp.data.images.pixel_cache import budget_of, stores_folder, sweep, write_at
from comp.data.images.preprocess import Preprocess, fit, shrunk, side_for
from comp.data.images.source import ImageSource, Pixels

Key = tuple[int | None, Preprocess]


class SharedSquares:
    """Squares by the SHA-256 of an image's file; several threads may put and read them. Gone when it is closed.

    ``wanted`` are pairs of a network's own preprocessing and the squares that it reads, ``count`` how many images there are
    at most. Past what COMP_CACHE_GB allows and the disk has, images are left out: they are decoded each time.
    """

    def __init__(self, wanted: Iterable[tuple[Preprocess, Sequence[Preprocess]]], count: int) -> None:
        keys = dict.fromkeys(_key(side_for(base), one) for base, squares in wanted for one in squares)
        self._at: dict[Key, tuple[int, int]] = {}
        self._bytes = 0  # of the squares of one image
        for key in keys:
            size, channels = key[1].size, key[1].channels
            self._at[key] = (self._bytes, size)
            self._bytes += channels * size * size
        root = stores_folder()
        sweep(root)
        self._most = min(count, budget_of(root) // max(1, self._bytes))
        self._folder = root / f".part-{os.getpid()}-{id(self):x}"
        self._slot: dict[str, int] = {}
        self._ready: set[str] = set()
        self._lock = Lock()
        self._file: int | None = None
        self._flat: NDArray[np.uint8] | None = None
        if self._most:
            self._open()

    def _open(self) -> None:
        path = self._folder / "squares.u8"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.ftruncate(self._file, self._most * self._bytes)
            self._flat = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        except OSError:  # nowhere to write: every network decodes for itself
            self._most = 0

    @property
    def bytes(self) -> int:
        """What the squares that are kept take on the disk."""
        return len(self._ready) * self._bytes

    def put(self, content: str, pixels: Pixels) -> None:
        """Keeps the squares of a decoded image."""
        with self._lock:
            if content in self._slot or len(self._slot) >= self._most or self._file is None:
                return
            slot = self._slot[content] = len(self._slot)
        by_side = {side: shrunk(pixels, side) for side, _ in self._at}
        parts = [fit(by_side[side], one).reshape(-1) for side, one in self._at]
        try:
            write_at(self._file, memoryview(np.concatenate(parts).data), slot * self._bytes)
        except OSError:  # a full disk
            with self._lock:
                self._most = 0
            return
        self._ready.add(content)

    def get(self, content: str, side: int | None, wanted: Sequence[Preprocess]) -> list[Pixels] | None:
        """The squares (S, S, 3) of an image; None where they are not here."""
        if content not in self._ready or self._flat is None:
            return None
        start = self._slot[content] * self._bytes
        found = []
        for one in wanted:
            place = self._at.get(_key(side, one))
            if place is None:
                return None
            offset, size = place
            flat = self._flat[start + offset : start + offset + one.channels * size * size]
            found.append(flat.reshape(size, size, one.channels))
        return found

    def close(self) -> None:
        """Removes what was kept."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._flat = None, None
        self._ready.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> SharedSquares:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _key(side: int | None, square: Preprocess) -> Key:
    """What decides the pixels of a square: mean and std come later, on the device, but for the rim of "pad"."""
    plain = replace(square, mean=(0.0,) * square.channels, std=(1.0,) * square.channels)
    return side, (square if square.fit == "pad" else plain)


@dataclass(frozen=True)
class SquaredSource:
    """A source whose images were decoded already: ``contents`` is the SHA-256 of a path's file."""

    own: ImageSource
    kept: SharedSquares
    contents: Mapping[str, str]

    def load(self, path: str) -> bytes | Pixels:
        return self.own.load(path)

    def squares(self, path: str, side: int | None, wanted: Sequence[Preprocess]) -> list[Pixels] | None:
        """The squares of a path's image; None where it has to be decoded."""
        return self.kept.get(self.contents.get(path, ""), side, wanted)
