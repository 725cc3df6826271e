"""Small pictures in one block of the machine's memory, from which batches are gathered in one go."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.geometry import SamplingGrid, flat_places, is_black

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]
BUDGET = 2 << 30  # bytes of small pictures that are kept together


@dataclass(frozen=True)
class GatherIndex:
    """Where in a stack the pixels of a batch lie: ``lines`` (B, S) + ``columns`` (B, S), both int32; those of ``black``
    (B, S, S) are 0 instead. ``after`` (B, P) are the parameters of what follows.
    """

    lines: NDArray[np.int32]
    columns: NDArray[np.int32]
    black: NDArray[np.bool_] | None
    after: NDArray[np.float32] | None

    def __getitem__(self, own: slice) -> GatherIndex:
        black = None if self.black is None else self.black[own]
        after = None if self.after is None else self.after[own]
        return GatherIndex(self.lines[own], self.columns[own], black, after)


class PackedImages:
    """Pictures uint8 (L, L, 3) of rows 0 … N - 1 in the machine's memory, a pixel in four bytes: of other devices there is
    ``Resident``.

    Parameters
    ----------
    load : callable
        Row number to picture; called from the threads of ``pool``.
    count, side : int
        N and L; ``fits`` says whether so many are kept.
    """

    def __init__(
        self, load: Callable[[int], Pixels], count: int, side: int, pool: ThreadPoolExecutor
    ) -> None:
        self.side = side
        whole = np.zeros((count, side, side, 4), np.uint8)

        def some(start: int) -> None:
            for row in range(start, min(count, start + 256)):
                whole[row, :, :, :3] = load(row)

        for _ in pool.map(some, range(0, count, 256)):
            pass
        self._words = whole.view(np.int32).reshape(-1)

    @staticmethod
    def fits(count: int, side: int) -> bool:
        """Whether N pictures of side L are within ``BUDGET``."""
        return 0 < 4 * count * side**2 <= BUDGET

    def places(self, rows: Rows, windows: SamplingGrid) -> GatherIndex:
        """Where these rows (R,) show what through their windows, all of the side of the pictures."""
        lines, columns = (a.astype(np.int32) for a in flat_places(windows, self.side))
        lines += (rows[:, None] * self.side**2).astype(np.int32)  # below 2**31: BUDGET
        return GatherIndex(lines, columns, is_black(windows), windows.after)

    def take(self, at: GatherIndex, out: Pixels) -> None:
        """Writes the pixels at these places into ``out`` (B, S, S, 3); safe for several threads.

        numpy's and OpenCV's, on the calling thread alone: torch would wake others, and take twenty times as long to leave
        the fourth byte out.
        """
        count, size = at.lines.shape
        index = at.lines[:, :, None] + at.columns[:, None, :]
        words = self._words.take(index, mode="clip")  # all lie in it; "clip" looks at each only once
        if at.black is not None:
            words[at.black] = 0
        wide = words.view(np.uint8).reshape(count * size, size, 4)
        cv2.cvtColor(wide, cv2.COLOR_RGBA2RGB, dst=out.reshape(count * size, size, 3))

    def taken(self, at: GatherIndex) -> Tensor:
        """The pixels at these places, uint8 (B, S, S, 3)."""
        made = torch.empty((*at.lines.shape, at.columns.shape[1], 3), dtype=torch.uint8)
        self.take(at, made.numpy())
        return made
