"""How a fold's pictures reach its steps: filled by threads ahead of them, or gathered where the network is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.augmenter import SMALL, Augmenter, Pictures
from comp.data.augment.geometry import SamplingGrid
from comp.data.device_memory import is_out_of_memory, make_room
from comp.data.loading.resident import (
    Fill,
    GatherIndex,
    PackedImages,
    Resident,
    in_batches,
    prefetch,
    room_on,
)

Rows = NDArray[np.int64]
Parameters = NDArray[np.float32]
_DRAWN = 4096  # rows whose variants are drawn at once
_DRAWN_AHEAD = 1024  # the same where threads make them, which begin when the first are drawn
_CHANGED = 16 << 20  # numbers of pictures that are recoloured at once on a GPU, in floats


class TrainLoader:
    """Batches of an epoch's variants, uint8 (B, S, S, 3).

    On a GPU the pictures lie as bytes where there is room for them, and the moves of a whole batch are gathered there in one
    go; without room threads make the moves while steps run. What the policy turns, recolours or cuts out follows on the
    GPU either way (``Batched.batch``), so that its pixels do not depend on the room. On a CPU small pictures lie together,
    and threads do what follows (``Batched.one``). Moved pixels are the same everywhere, recoloured ones differ by a level
    here and there between GPU and CPU.

    Parameters
    ----------
    pictures : Pictures
        Of ``count`` rows.
    variants : Variants
    pool : ThreadPoolExecutor
    device : torch device
    rows : int64 array, optional
        Those that epochs will have; all where not given.
    room : int, optional
        Bytes that they may take on a GPU; ``room_on(device)`` where not given, and 0 where they come but once.
    on_gpu : bool, optional
        Whether to feed as a GPU is fed; as the device says where not given.
    """

    def __init__(
        self,
        pictures: Pictures,
        count: int,
        variants: Augmenter,
        pool: ThreadPoolExecutor,
        device: Any,
        rows: Rows | None = None,
        room: int | None = None,
        on_gpu: bool | None = None,
    ) -> None:
        self._pictures, self._variants, self._pool = pictures, variants, pool
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda" if on_gpu is None else on_gpu
        self._after = variants.after if self._on_gpu else None  # what is done where the network is
        self._at_once = max(
            1, _CHANGED // (3 * variants.size**2)
        )  # pictures, as long as memory suffices for them
        self._stack: PackedImages | None = None
        self._there: Resident | None = None
        squares = (
            variants.in_batches and not variants.transform.crops and variants.moved_side == variants.size
        )
        small = squares and variants.size <= SMALL
        if (squares and self._on_gpu) or (small and self._device.type != "cpu" and variants.after is None):
            wanted, left = np.arange(count) if rows is None else np.unique(rows), room
            left = room_on(self._device) if room is None else room
            load = pictures.__getitem__
            self._there = Resident.of(load, wanted, variants.side, pool, self._device, left)
        elif small and PackedImages.fits(count, variants.side):
            self._stack = PackedImages(pictures.__getitem__, count, variants.side, pool)

    @property
    def nbytes(self) -> int:
        """Bytes of pictures on a device other than the CPU."""
        return 0 if self._there is None else self._there.nbytes

    def epoch(self, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """(rows (B,), pixels uint8 (B, S, S, 3)) of an epoch in the order of ``rows``; a last batch of one row is
        left out (BatchNorm cannot train on it), unless it is the only one.
        """
        parts = in_batches(rows, batch, drop_last=True)
        if self._stack is not None and self._variants.after is None:
            for part, places in self._places(self._stack, parts, epoch, _DRAWN):
                yield part, self._stack.taken(places)
            return
        given = self._variants.parameters(rows, epoch) if self._after is not None else None
        done = 0
        for part, moved in self._moved(parts, epoch):
            yield part, self._changed(moved, given, done)
            done += len(part)

    def _moved(self, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """Batches, whole but for what is done where the network is."""
        done = 0
        if self._there is not None:
            for part, made in self._gathered(self._there, parts, epoch):
                done += 1
                yield part, made
        if done == len(parts):
            return
        # all of them, or those that are left since the pictures had to give way on the device
        work = (
            self._work(parts[done:], epoch)
            if self._stack is None
            else self._recoloured(self._stack, parts[done:], epoch)
        )
        shape = (self._variants.size, self._variants.size, 3)
        yield from prefetch(self._pool, work, shape, pinned=self._device.type == "cuda")

    def _work(self, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Fill]]:
        """Batches, and what fills each. Where the pictures' shapes are known, many batches' windows are drawn here at
        once: drawing costs as much for few rows as for many, and in the threads it would keep the others waiting.
        """
        for every, some in _together(parts, _DRAWN_AHEAD):
            shapes, place = self._pictures.shapes(every), 0
            windows = None if shapes is None else self._windows(every, epoch, shapes)
            if windows is not None and self._variants.in_batches:
                _ = windows.quick  # here, not by the first thread that asks for it while the others wait
            for part in some:
                yield part, partial(self._fill, part, epoch, windows, place)
                place += len(part)

    def _fill(
        self,
        part: Rows,
        epoch: int,
        windows: SamplingGrid | None,
        first: int,
        own: slice,
        out: NDArray[np.uint8],
    ) -> None:
        rows = part[own]
        loaded = [self._pictures[row] for row in rows.tolist()]
        if windows is None and len(rows):
            shapes = np.array([picture.shape[:2] for picture in loaded], dtype=np.int64)
            self._variants.show(loaded, rows, epoch, self._windows(rows, epoch, shapes), 0, out)
        elif windows is not None:
            self._variants.show(loaded, rows, epoch, windows, first + own.start, out)

    def _windows(self, rows: Rows, epoch: int, shapes: NDArray[np.int64]) -> SamplingGrid:
        """What threads show of these rows: all but what is done where the network is."""
        if self._after is not None:
            return self._variants.moves(rows, epoch, shapes)
        return self._variants.windows(rows, epoch, shapes)

    def _gathered(self, there: Resident, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """Batches that are gathered where the network is, as long as the pictures lie there."""
        for every, some in _together(parts, _DRAWN):
            places, place = None, 0
            for part in some:
                try:
                    if there.pixels is None:
                        return
                    if places is None:
                        shapes = np.full((len(every), 2), there.side)
                        places = there.places(every, self._variants.moves(every, epoch, shapes))
                    made = there.taken(places[place : place + len(part)])
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    made = None
                if made is None:
                    make_room()  # here the error is gone, and with it what it held
                    return
                yield part, made
                place += len(part)

    def _changed(self, moved: Tensor, given: Parameters | None, first: int) -> Tensor:
        """Moved pictures (B, S, S, 3) as what is done where the network is changes them, by the parameters from ``first``
        on; in smaller parts where memory ends.
        """
        if self._after is None or given is None:
            return moved
        moved = moved.to(self._device, non_blocking=True)
        while True:
            step = self._at_once
            try:
                parts = []
                for start in range(0, len(moved), step):
                    own = moved[start : start + step]
                    parts.append(self._after.batch(own, given[first + start :][: len(own)]))
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or step == 1:
                    raise
            parts = []  # nothing holds what the attempt had made
            make_room()
            self._at_once = -(-min(step, len(moved)) // 2)

    def _recoloured(self, stack: PackedImages, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Fill]]:
        """Batches, and what makes each on a CPU."""

        def fill(places: GatherIndex, own: slice, out: NDArray[np.uint8]) -> None:
            self._variants.after_moves(partial(stack.take, places[own]), places[own].after, out)

        for part, places in self._places(stack, parts, epoch, _DRAWN_AHEAD):
            yield part, partial(fill, places)

    def _places(
        self, stack: PackedImages, parts: list[Rows], epoch: int, together: int
    ) -> Iterator[tuple[Rows, GatherIndex]]:
        """Batches and their places, of about ``together`` rows drawn at once: it costs as much for few as for many."""
        for every, some in _together(parts, together):
            windows, place = self._variants.windows(every, epoch, np.full((len(every), 2), stack.side)), 0
            places = stack.places(every, windows)
            for part in some:
                yield part, places[place : place + len(part)]
                place += len(part)


def _together(parts: list[Rows], together: int) -> Iterator[tuple[Rows, list[Rows]]]:
    """Batches in groups of about ``together`` rows, each with all of its rows."""
    step = max(1, together // max(1, len(parts[0]))) if parts else 1
    for start in range(0, len(parts), step):
        some = parts[start : start + step]
        yield np.concatenate(some), some
