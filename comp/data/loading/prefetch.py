"""Batches of uint8 images, filled by threads ahead of the step that needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]
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
