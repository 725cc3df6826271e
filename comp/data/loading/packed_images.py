"""Small pictures in one block, from which batches are gathered in one go."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.geometry import Windows, flat_places, is_black
from comp.data.device_memory import free_memory, is_out_of_memory, upload

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]
BUDGET = 2 << 30  # bytes of small pictures that are kept where the network is


@dataclass(frozen=True)
class Places:
    """Where in a stack the pixels of a batch lie: ``lines`` (B, S) + ``columns`` (B, S), int32 arrays on a CPU, else
    tensors where the stack is; those of ``black`` (B, S, S) are 0 instead. ``after`` (B, P) are the parameters of what
    follows.
    """

    lines: Any
    columns: Any
    black: NDArray[np.bool_] | None
    after: NDArray[np.float32] | None

    def __getitem__(self, own: slice) -> Places:
        black = None if self.black is None else self.black[own]
        after = None if self.after is None else self.after[own]
        return Places(self.lines[own], self.columns[own], black, after)


class Stack:
    """Pictures uint8 (L, L, 3) of rows 0 … N - 1 on a device, a pixel in four bytes; where a GPU has no room for them, in
    the machine's memory, as ``device`` says.

    Parameters
    ----------
    load : callable
        Row number to picture; called from the threads of ``pool``.
    count, side : int
        N and L; ``fits`` says whether so many are kept.
    """

    def __init__(
        self, load: Callable[[int], Pixels], count: int, side: int, pool: ThreadPoolExecutor, device: Any
    ) -> None:
        self.side, self.device = side, torch.device(device)
        whole = np.zeros((count, side, side, 4), np.uint8)

        def some(start: int) -> None:
            for row in range(start, min(count, start + 256)):
                whole[row, :, :, :3] = load(row)

        for _ in pool.map(some, range(0, count, 256)):
            pass
        self._words = whole.view(np.int32).reshape(-1)
        self._there = None if self.device.type == "cpu" else self._uploaded()
        if self._there is None:
            self.device = torch.device("cpu")
        else:
            self._words = np.empty(0, np.int32)  # a view would keep all of them in the machine's memory too

    def _uploaded(self) -> Tensor | None:
        """All pictures on the device; None where its memory does not suffice."""
        try:
            return torch.from_numpy(self._words).to(self.device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        free_memory()
        return None

    @staticmethod
    def fits(count: int, side: int) -> bool:
        """Whether N pictures of side L are within ``BUDGET``."""
        return 0 < 4 * count * side**2 <= BUDGET

    def places(self, rows: Rows, windows: Windows) -> Places:
        """Where these rows (R,) show what through their windows, all of the side of the pictures."""
        lines, columns = (a.astype(np.int32) for a in flat_places(windows, self.side))
        lines += (rows[:, None] * self.side**2).astype(np.int32)  # below 2**31: BUDGET
        black = is_black(windows)
        if self._there is None:
            return Places(lines, columns, black, windows.after)
        there = [upload(torch.from_numpy(a), self.device) for a in (lines, columns)]
        return Places(there[0], there[1], black, windows.after)

    def take(self, at: Places, out: Pixels) -> None:
        """Writes the pixels at these places into ``out`` (B, S, S, 3); on a CPU, safe for several threads.

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

    def taken(self, at: Places) -> Tensor:
        """The pixels at these places, uint8 (B, S, S, 3), on the device of the stack."""
        if self._there is None:
            made = torch.empty((*at.lines.shape, at.columns.shape[1], 3), dtype=torch.uint8)
            self.take(at, made.numpy())
            return made
        index = at.lines[:, :, None] + at.columns[:, None, :]  # (B, S, S)
        words = self._there.index_select(0, index.view(-1)).view(index.shape)
        if at.black is not None:
            words = words.masked_fill(upload(torch.from_numpy(at.black), self.device), 0)
        return words.view(torch.uint8).view(*index.shape, 4)[..., :3]
