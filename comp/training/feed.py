"""How a fold's pictures reach its steps: filled by threads ahead of them, or gathered where the network is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.training.batches import Fill, filled, in_batches
from comp.training.lattice import Windows, flat_places, is_black
from comp.training.one_thread import one_thread
from comp.training.variants import SMALL, Pictures, Variants

Rows = NDArray[np.int64]
BUDGET = 2 << 30  # bytes of small pictures that are kept where the network is
_DRAWN = 4096  # rows whose variants are drawn at once
_DRAWN_AHEAD = 1024  # the same where threads make them, which begin when the first are drawn


class Feed:
    """Batches of an epoch's variants, uint8 (B, S, S, 3).

    Small pictures whose policy only moves pixels lie together on the network's device and are gathered there, a batch in
    one go; on a GPU also those that it turns, recolours or cuts out, as far as batches can be (``Batched``). All others
    are made by threads while steps run. Moved pixels are the same either way, others differ by a level here and there.

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
        self._stack: Tensor | None = None  # (N, L * L) int32: red, green, blue and an empty byte a pixel
        self._side = 0
        gathers = variants.after is None or self._device.type == "cuda"
        if variants.in_batches and gathers and variants.size <= SMALL and count:
            fits = variants.moved_side == variants.size and 4 * count * variants.side**2 <= BUDGET
            if fits and not variants.transform.crops:
                self._side = variants.side
                self._stack = self._stacked(count)

    def epoch(self, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """(rows (B,), pixels uint8 (B, S, S, 3)) of an epoch in the order of ``rows``; a last batch of one row is
        left out (BatchNorm cannot train on it), unless it is the only one.
        """
        if self._stack is not None:
            parts = in_batches(rows, batch, drop_last=True)
            for start in range(0, len(parts), _DRAWN // batch + 1):
                yield from self._gathered(parts[start : start + _DRAWN // batch + 1], epoch)
            return
        shape = (self._variants.size, self._variants.size, 3)
        yield from filled(
            self._pool, self._work(rows, batch, epoch), shape, pinned=self._device.type == "cuda"
        )

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

    def _stacked(self, count: int) -> Tensor:
        whole = np.zeros((count, self._side, self._side, 4), np.uint8)

        def load(start: int) -> None:
            for row in range(start, min(count, start + 256)):
                whole[row, :, :, :3] = self._pictures[row]

        for _ in self._pool.map(load, range(0, count, 256)):
            pass
        return torch.from_numpy(whole).view(torch.int32).reshape(count, -1).to(self._device)

    def _gathered(self, parts: list[Rows], epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """Some batches, drawn together: what is drawn costs as much for one batch as for many."""
        assert self._stack is not None
        rows = np.concatenate(parts)
        windows = self._variants.windows(rows, epoch, np.full((len(rows), 2), self._side))
        black, after = is_black(windows), self._variants.after
        down, across = (a.astype(np.int32) for a in flat_places(windows, self._side))
        down += (rows[:, None] * self._side**2).astype(np.int32)  # below 2**31: BUDGET
        lines, columns = (torch.from_numpy(a).to(self._device) for a in (down, across))
        place = 0
        for part in parts:
            own = slice(place, place + len(part))
            made = self._taken(lines[own], columns[own], None if black is None else black[own])
            if after is not None and windows.after is not None:
                made = after.batch(made, windows.after[own])
            yield part, made
            place += len(part)

    def _taken(self, lines: Tensor, columns: Tensor, black: NDArray[np.bool_] | None) -> Tensor:
        """Pixels uint8 (B, S, S, 3) at the places ``lines`` (B, S) + ``columns`` (B, S) of the stack, ``black`` (B, S, S)
        ones at 0.
        """
        assert self._stack is not None
        count, size = lines.shape
        with one_thread(count * size * size, self._device):
            index = lines[:, :, None] + columns[:, None, :]  # (B, S, S)
            words = self._stack.view(-1).index_select(0, index.view(-1)).view(index.shape)
            if black is not None:
                words = words.masked_fill(torch.from_numpy(black).to(self._device), 0)
        pixels = words.view(torch.uint8).view(count, size, size, 4)
        if self._device.type != "cpu":
            return pixels[..., :3]
        made = torch.empty(
            (count, size, size, 3), dtype=torch.uint8
        )  # OpenCV packs them, twenty times as fast as torch
        cv2.cvtColor(pixels.view(-1, size, 4).numpy(), cv2.COLOR_RGBA2RGB, dst=made.view(-1, size, 3).numpy())
        return made
