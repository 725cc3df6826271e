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

from comp import console
from comp.data.augment.augmenter import SMALL, Pictures, Variants
from comp.data.augment.geometry import Windows
from comp.data.loading.packed_images import Places, Stack
from comp.data.loading.prefetch import Fill, filled, in_batches

Rows = NDArray[np.int64]
_DRAWN = 4096  # rows whose variants are drawn at once
_DRAWN_AHEAD = 1024  # the same where threads make them, which begin when the first are drawn


class Feed:
    """Batches of an epoch's variants, uint8 (B, S, S, 3).

    Small pictures lie together on the network's device, where the moves of a whole batch are gathered in one go; what
    their policy turns, recolours or cuts out follows there on a GPU (``Batched.batch``), on a CPU in the threads
    (``Batched.one``). All others are made by threads while steps run. Moved pixels are the same everywhere, recoloured
    ones differ by a level here and there.

    Parameters
    ----------
    pictures : Pictures
        Of ``count`` rows.
    variants : Variants
    pool : ThreadPoolExecutor
    device : torch device
    """

    def __init__(
        self, pictures: Pictures, count: int, variants: Variants, pool: ThreadPoolExecutor, device: Any
    ) -> None:
        self._pictures, self._variants, self._pool = pictures, variants, pool
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self._stack: Stack | None = None
        self._no_room = False  # on the GPU for the stack
        small = variants.in_batches and variants.size <= SMALL and not variants.transform.crops
        if small and variants.moved_side == variants.size and Stack.fits(count, variants.side):
            place = torch.device(device if self._on_gpu or variants.after is None else "cpu")
            self._stack = Stack(pictures.__getitem__, count, variants.side, pool, place)
            self._no_room = self._stack.device.type != place.type
            if self._no_room:
                console.say(
                    f"  out of memory: {count:,} small images stay outside the GPU, which gets them by batches"
                )

    def epoch(self, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """(rows (B,), pixels uint8 (B, S, S, 3)) of an epoch in the order of ``rows``; a last batch of one row is
        left out (BatchNorm cannot train on it), unless it is the only one.
        """
        shape = (self._variants.size, self._variants.size, 3)
        if self._stack is None:
            work = self._work(rows, batch, epoch)
        elif self._variants.after is None or (self._on_gpu and not self._no_room):
            yield from self._gathered(self._stack, rows, batch, epoch)
            return
        else:
            work = self._recoloured(self._stack, rows, batch, epoch)
        yield from filled(self._pool, work, shape, pinned=self._on_gpu)

    def _work(self, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Fill]]:
        """Batches, and what fills each. Where the pictures' shapes are known, many batches' windows are drawn here at
        once: drawing costs as much for few rows as for many, and in the threads it would keep the others waiting.
        """
        parts = in_batches(rows, batch, drop_last=True)
        together = max(1, _DRAWN_AHEAD // batch)
        for start in range(0, len(parts), together):
            every, place = np.concatenate(parts[start : start + together]), 0
            shapes = self._pictures.shapes(every)
            windows = None if shapes is None else self._variants.windows(every, epoch, shapes)
            if windows is not None and self._variants.in_batches:
                _ = windows.quick  # here, not by the first thread that asks for it while the others wait
            for part in parts[start : start + together]:
                yield part, partial(self._fill, part, epoch, windows, place)
                place += len(part)

    def _fill(
        self, part: Rows, epoch: int, windows: Windows | None, first: int, own: slice, out: NDArray[np.uint8]
    ) -> None:
        rows = part[own]
        if windows is None:
            self._variants.fill(self._pictures, rows, epoch, out)
            return
        loaded = [self._pictures[row] for row in rows.tolist()]
        self._variants.show(loaded, rows, epoch, windows, first + own.start, out)

    def _gathered(self, stack: Stack, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """Batches that are made where the network is."""
        after = self._variants.after
        for part, places in self._places(stack, rows, batch, epoch, _DRAWN):
            made = stack.taken(places)
            if after is not None and places.after is not None:
                made = after.batch(made, places.after)
            yield part, made

    def _recoloured(self, stack: Stack, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Fill]]:
        """Batches, and what makes each on a CPU."""

        def fill(places: Places, own: slice, out: NDArray[np.uint8]) -> None:
            self._variants.after_moves(partial(stack.take, places[own]), places[own].after, out)

        for part, places in self._places(stack, rows, batch, epoch, _DRAWN_AHEAD):
            yield part, partial(fill, places)

    def _places(
        self, stack: Stack, rows: Rows, batch: int, epoch: int, together: int
    ) -> Iterator[tuple[Rows, Places]]:
        """Batches and their places, of about ``together`` rows drawn at once: it costs as much for few as for many."""
        parts = in_batches(rows, batch, drop_last=True)
        step = max(1, together // batch)
        for start in range(0, len(parts), step):
            every, place = np.concatenate(parts[start : start + step]), 0
            windows = self._variants.windows(every, epoch, np.full((len(every), 2), stack.side))
            places = stack.places(every, windows)
            for part in parts[start : start + step]:
                yield part, places[place : place + len(part)]
                place += len(part)
