"""Where a fold's images lie (packed in memory, or on the device), and how batches are filled from there by threads ahead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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

BUDGET = 2 << 30  # bytes of small images that are kept together


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
    """Images uint8 (L, L, 3) of rows 0 … N - 1 in the machine's memory, a pixel in four bytes: of other devices there is
    ``Resident``.

    Parameters
    ----------
    load : callable
        Row number to image; called from the threads of ``pool``.
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
        """Whether N images of side L are within ``BUDGET``."""
        return 0 < 4 * count * side**2 <= BUDGET

    def places(self, rows: Rows, windows: SamplingGrid) -> GatherIndex:
        """Where these rows (R,) show what through their windows, all of the side of the images."""
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


Pixels = NDArray[np.uint8]
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
        self._place = np.zeros(int(rows.max()) + 1, np.int64)
        self._place[rows] = np.arange(len(rows))
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
        first = upload(torch.from_numpy(self._place[rows]), device)[:, None] * self.side**2
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
        return self.pixels.index_select(0, upload(torch.from_numpy(self._place[rows]), self.pixels.device))


def watched(
    pixels: ImageDataset, rows: Rows, pool: ThreadPoolExecutor, device: Any, room: int
) -> Resident | None:
    """The squares of held-out rows on a GPU, as the identity view sees them, for a look after every epoch; None elsewhere,
    or where they take more than ``room`` bytes.
    """
    if torch.device(device).type != "cuda":
        return None
    return squares(pixels, rows, pool, device, room)


def squares(
    pixels: ImageDataset, rows: Rows, pool: ThreadPoolExecutor, device: Any, room: int
) -> Resident | None:
    """``watched``, on any device."""
    wanted = [pixels.preprocess]
    return Resident.of(lambda row: pixels.squares(row, wanted)[0], rows, wanted[0].size, pool, device, room)


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


# writes the pixels of a batch's places start … stop into (stop - start, *shape)
Fill = Callable[[slice, Pixels], None]
AHEAD = 3


@contextmanager
def loader_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for loading; on the way out (an error, Ctrl-C) what they have not begun is dropped."""
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="load")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batches(
    pool: ThreadPoolExecutor,
    rows: Rows,
    batch: int,
    shape: tuple[int, ...],
    fill: Callable[[Rows, Pixels], None],
    drop_last: bool = False,
    pinned: bool = False,
) -> Iterator[tuple[Rows, Tensor]]:
    """Yields (rows (B,), pixels uint8 (B, *shape)) in the order of ``rows``, whatever the threads do.

    Parameters
    ----------
    pool : ThreadPoolExecutor
    rows : int64 array
        Row numbers to load.
    batch : int
        B; the last batch may be smaller.
    shape : tuple of int
        Of a row's pixels, (S, S, 3) for a square.
    fill : callable
        Writes the pixels of row numbers (R,) into uint8 (R, *shape); called from several threads.
    drop_last : bool
        Leave a last batch of one row out (BatchNorm cannot train on it).
    pinned : bool
        In memory that a GPU copies from while it computes.
    """

    def own(part: Rows, places: slice, out: Pixels) -> None:
        fill(part[places], out)

    work = ((part, partial(own, part)) for part in in_batches(rows, batch, drop_last))
    return prefetch(pool, work, shape, pinned)


def prefetch(
    pool: ThreadPoolExecutor, work: Iterable[tuple[Rows, Fill]], shape: tuple[int, ...], pinned: bool = False
) -> Iterator[tuple[Rows, Tensor]]:
    """``batches`` whose rows each have a ``Fill`` of their own; ``work`` is taken as far ahead as batches are made."""
    waiting: deque[tuple[Rows, Tensor, list[Future[None]]]] = deque()
    for part, fill in work:
        buffer = torch.empty((len(part), *shape), dtype=torch.uint8, pin_memory=pinned)
        waiting.append((part, buffer, _begun(pool, buffer.numpy(), fill)))
        if len(waiting) > AHEAD:
            yield _ready(waiting)
    while waiting:
        yield _ready(waiting)


def in_batches(rows: Rows, batch: int, drop_last: bool = False) -> list[Rows]:
    """Rows in parts of ``batch``; with ``drop_last`` without a last part of one row, unless it is the only one."""
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    if drop_last and len(parts) > 1 and len(parts[-1]) == 1:
        parts.pop()
    return parts


def each(load: Callable[[int], Pixels]) -> Callable[[Rows, Pixels], None]:
    """What fills a batch by loading one row after another: row number to uint8 (S, S, 3)."""

    def fill(rows: Rows, out: Pixels) -> None:
        for n, row in enumerate(rows):
            out[n] = load(int(row))

    return fill


def _begun(pool: ThreadPoolExecutor, buffer: Pixels, fill: Fill) -> list[Future[None]]:
    step = max(1, len(buffer) // 4)
    places = [slice(start, min(start + step, len(buffer))) for start in range(0, len(buffer), step)]
    return [pool.submit(fill, own, buffer[own]) for own in places]


def _ready(waiting: deque[tuple[Rows, Tensor, list[Future[None]]]]) -> tuple[Rows, Tensor]:
    part, buffer, futures = waiting.popleft()
    for future in futures:
        future.result()
    return part, buffer
