"""How a fold's pictures reach its steps: filled by threads ahead of them, or gathered where the network is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.training.batches import batches, in_batches
from comp.training.lattice import flat_index
from comp.training.variants import Pictures, Variants

Rows = NDArray[np.int64]
SMALL = 64  # pixels: up to here a whole set is kept where the network is
BUDGET = 2 << 30  # bytes of it


class Feed:
    """Batches of an epoch's variants, uint8 (B, S, S, 3).

    Small pictures whose policy only moves pixels lie together on the network's device and are gathered there, a
    batch in one go; all others are made by threads while steps run. The pixels are the same either way.

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
        if variants.only_moves and variants.size <= SMALL and count:
            self._side = pictures[0].shape[0]
            plain = variants.windows(np.zeros(1, np.int64), 0, self._side).crop is None
            if plain and 4 * count * self._side**2 <= BUDGET:
                self._stack = self._stacked(count)

    def epoch(self, rows: Rows, batch: int, epoch: int) -> Iterator[tuple[Rows, Tensor]]:
        """(rows (B,), pixels uint8 (B, S, S, 3)) of an epoch in the order of ``rows``; a last batch of one row is
        left out (BatchNorm cannot train on it), unless it is the only one.
        """
        if self._stack is not None:
            for part in in_batches(rows, batch, drop_last=True):
                yield part, self._gathered(part, epoch)
            return

        def fill(part: Rows, out: NDArray[np.uint8]) -> None:
            self._variants.fill(self._pictures, part, epoch, out)

        pinned = self._device.type == "cuda"
        yield from batches(self._pool, rows, batch, self._variants.size, fill, drop_last=True, pinned=pinned)

    def _stacked(self, count: int) -> Tensor:
        whole = np.zeros((count, self._side, self._side, 4), np.uint8)

        def load(start: int) -> None:
            for row in range(start, min(count, start + 256)):
                whole[row, :, :, :3] = self._pictures[row]

        for _ in self._pool.map(load, range(0, count, 256)):
            pass
        return torch.from_numpy(whole).view(torch.int32).reshape(count, -1).to(self._device)

    def _gathered(self, rows: Rows, epoch: int) -> Tensor:
        assert self._stack is not None
        index = flat_index(self._variants.windows(rows, epoch, self._side), self._side)  # (B, S, S)
        black = bool((index < 0).any())
        places = torch.from_numpy(np.maximum(index, 0) if black else index).to(self._device)
        offsets = torch.from_numpy(rows).to(self._device) * self._stack.shape[1]
        words = self._stack.view(-1)[(places + offsets[:, None, None])]  # (B, S, S) int32
        if black:
            words = words * torch.from_numpy(index >= 0).to(self._device)
        return words.view(torch.uint8).reshape(*index.shape, 4)[..., :3]
