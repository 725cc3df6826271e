"""Where a fold's images lie (packed in memory, or on the device), and how batches are filled from there by threads ahead."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp import events
from comp.data.augment.geometry import SamplingGrid, flat_places, is_black
from comp.data.device_memory import free_memory, gives_way, is_out_of_memory, upload
from comp.data.images.pixel_cache import ImageDataset
from comp.data.loading.prefetch import Pixels, batches, each

BUDGET = 1 << 30  # bytes of small images that are kept together


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
    """Images uint8 (L, L, 3) of some rows in the machine's memory, a pixel in four bytes: of other devices there is
    ``Resident``.

    Parameters
    ----------
    load : callable
        Row number to image; called from the threads of ``pool``.
    rows : int64 array (N,)
        Distinct; ``fits`` says whether so many are kept.
    side : int
        L.
    """

    def __init__(
        self, load: Callable[[int], Pixels], rows: Rows, side: int, pool: ThreadPoolExecutor
    ) -> None:
        self.side = side
        self._place = _places_of(rows)
        whole = np.zeros((len(rows), side, side, 4), np.uint8)

        def some(start: int) -> None:
            for place, row in enumerate(rows[start : start + 256].tolist(), start):
                whole[place, :, :, :3] = load(row)

        for _ in pool.map(some, range(0, len(rows), 256)):
            pass
        self._words = whole.view(np.int32).reshape(-1)

    @staticmethod
    def fits(count: int, side: int) -> bool:
        """Whether N images of side L are within ``BUDGET``."""
        return 0 < 4 * count * side**2 <= BUDGET

    def places(self, rows: Rows, windows: SamplingGrid) -> GatherIndex:
        """Where these rows (R,) show what through their windows, all of the side of the images."""
        lines, columns = (a.astype(np.int32) for a in flat_places(windows, self.side))
        lines += (_looked_up(self._place, rows)[:, None] * self.side**2).astype(
            np.int32
        )  # below 2**31: BUDGET
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


Rows = NDArray[np.int64]
ELSEWHERE = 2 << 30  # bytes of images on a device that does not say how much of its memory is free
CHUNK = 32 << 20  # bytes of images that are copied at once, some of which wait in the machine's memory
_GATHERED = 4 << 20  # pixels that are gathered at once: each takes an index of eight bytes
_alive: WeakSet[Resident] = WeakSet()
_most = 0  # bytes of images that have lain on a device together


def room_on(device: Any) -> int:
    """Bytes of a device's memory that images may take, as ``room_of`` has it."""
    device = torch.device(device)
    if device.type != "cuda":
        return ELSEWHERE
    allocated = torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - allocated
    steps = torch.cuda.max_memory_allocated(device) - _most  # an earlier fold's images were there as well
    return room_of(free, allocated, steps)


def room_of(free: int, allocated: int, peak: int) -> int:
    """Bytes that images may take: at most half of what is free, and no more than leaves what training will need.

    That is what its measured steps took beyond what lies there now, and three times what lies there (the network): for
    gradients and an optimizer's two numbers a weight.

    Parameters
    ----------
    free, allocated, peak : int
        Bytes that are free on the device, that this process has taken, and that it had taken at most so far beside images.
    """
    return max(0, min(free // 2, free - max(0, peak - allocated) - 3 * allocated))


@dataclass(frozen=True)
class There:
    """Where the pixels of a batch lie among the images on a device: pixel (i, j) at ``lines[b, i] + columns[b, j]``, both
    int64 (B, S); black where ``down[b, i]`` or ``across[b, j]``, both None where nothing is.
    """

    lines: Tensor
    columns: Tensor
    down: Tensor | None
    across: Tensor | None

    def __getitem__(self, own: slice) -> There:
        down, across = (None if a is None else a[own] for a in (self.down, self.across))
        return There(self.lines[own], self.columns[own], down, across)

    def __len__(self) -> int:
        return len(self.lines)


class Resident:
    """Images uint8 (N, L, L, 3) of some rows on a device, three bytes a pixel, for speed alone: where memory ends they give
    way, and ``pixels`` is None from then on.

    ``seconds`` is what loading them took.
    """

    def __init__(self, pixels: Tensor, rows: Rows, seconds: float = 0.0) -> None:
        self.pixels: Tensor | None = pixels
        self.side, self.seconds = int(pixels.shape[1]), seconds
        self._place = _places_of(rows)
        gives_way(self)
        _alive.add(self)
        global _most
        _most = max(_most, sum(one.nbytes for one in _alive))

    @classmethod
    def of(
        cls,
        load: Callable[[int], Pixels],
        rows: Rows,
        side: int,
        pool: ThreadPoolExecutor,
        device: Any,
        room: int,
    ) -> Resident | None:
        """The images of ``rows`` (N,), copied in chunks as the threads of ``pool`` load them; None where they take more than
        ``room`` bytes, or memory does not suffice after all.
        """
        if not 0 < bytes_of(len(rows), side) <= room:
            return None
        started = time.perf_counter()
        try:
            pixels = _copied(load, rows, side, pool, torch.device(device))
            return cls(pixels, rows, time.perf_counter() - started)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        free_memory()  # here nothing holds what was copied
        events.log(f"  out of memory: {len(rows):,} images stay outside the GPU, which gets them by batches")
        return None

    @property
    def nbytes(self) -> int:
        return 0 if self.pixels is None else self.pixels.nbytes

    def release(self) -> None:
        """Gives the memory back; what comes next loads images in another way."""
        if self.pixels is not None:
            count, self.pixels = len(self.pixels), None
            events.log(f"  out of memory: {count:,} images leave the GPU, which gets them by batches")

    def places(self, rows: Rows, windows: SamplingGrid) -> There:
        """Where these rows (R,) show what through their windows, all of the side of the images."""
        assert self.pixels is not None
        device = self.pixels.device
        lines, columns = (a.astype(np.int32) for a in flat_places(windows, self.side))
        # not in 32 bits: 50,000 images of 256 pixels have more than 2**31
        first = upload(torch.from_numpy(_looked_up(self._place, rows)), device)[:, None] * self.side**2
        at = [upload(torch.from_numpy(a), device) for a in (lines, columns)]
        black = [windows.first < 0, windows.second < 0]
        down, across = None, None
        if any(a.any() for a in black):
            down, across = (upload(torch.from_numpy(a), device) for a in black)
        return There(first + at[0], at[1].long(), down, across)

    def taken(self, at: There) -> Tensor:
        """The pixels at these places, uint8 (B, S, S, 3), on the device."""
        assert self.pixels is not None
        flat, count, size = self.pixels.view(-1, 3), len(at), at.lines.shape[1]
        made = torch.empty((count, size, size, 3), dtype=torch.uint8, device=flat.device)
        step = max(1, _GATHERED // size**2)
        for start in range(0, count, step):
            own = at[start : start + step]
            index = own.lines[:, :, None] + own.columns[:, None, :]  # (B, S, S)
            part = flat.index_select(0, index.view(-1)).view(*index.shape, 3)
            if own.down is not None and own.across is not None:
                part.masked_fill_((own.down[:, :, None] | own.across[:, None, :])[..., None], 0)
            made[start : start + step] = part
        return made

    def whole(self, rows: Rows) -> Tensor:
        """The images of these rows (R,) as they are, uint8 (R, L, L, 3)."""
        assert self.pixels is not None
        return self.pixels.index_select(
            0, upload(torch.from_numpy(_looked_up(self._place, rows)), self.pixels.device)
        )


def watched(
    pixels: ImageDataset, rows: Rows, pool: ThreadPoolExecutor, device: Any, room: int
) -> Resident | None:
    """The squares of held-out rows on a GPU, as the identity view sees them, for a look after every epoch; None elsewhere,
    or where they take more than ``room`` bytes.
    """
    if torch.device(device).type != "cuda" or pixels.preprocess.channels != 3:
        return None
    return squares(pixels, rows, pool, device, room)


def squares(
    pixels: ImageDataset, rows: Rows, pool: ThreadPoolExecutor, device: Any, room: int
) -> Resident | None:
    """``watched``, on any device."""
    wanted = [pixels.preprocess]
    return Resident.of(lambda row: pixels.squares(row, wanted)[0], rows, wanted[0].size, pool, device, room)


def _places_of(rows: Rows) -> Rows:
    """Where each row lies among ``rows`` (N,), by its number; -1 for numbers between them."""
    places = np.full(int(rows.max()) + 1, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return places


def _looked_up(places: Rows, rows: Rows) -> Rows:
    """The places of ``rows`` (R,); IndexError for a row that does not lie there, which must not pass for another."""
    found = places[rows]
    if (found < 0).any():
        raise IndexError(f"row {int(rows[found < 0][0])} was not loaded")
    return found


def bytes_of(count: int, side: int) -> int:
    """Bytes of so many images of a side on a device."""
    return 3 * count * side**2


def _copied(
    load: Callable[[int], Pixels], rows: Rows, side: int, pool: ThreadPoolExecutor, device: torch.device
) -> Tensor:
    """The images of ``rows`` on the device; a few chunks of them are in the machine's memory at a time."""
    made = torch.empty((len(rows), side, side, 3), dtype=torch.uint8, device=device)
    size, done = max(1, CHUNK // bytes_of(1, side)), 0
    chunks = batches(pool, rows, size, (side, side, 3), each(load), pinned=device.type == "cuda")
    with events.task("images onto the GPU", len(rows)) as bar:
        for part, pixels in chunks:
            made[done : done + len(part)].copy_(pixels, non_blocking=True)
            done += len(part)
            bar.advance(len(part))
    return made
