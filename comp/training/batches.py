"""Batches of uint8 pictures, filled by threads ahead of the step that needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]
AHEAD = 3


@contextmanager
def loaders(threads: int) -> Iterator[ThreadPoolExecutor]:
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
    size: int,
    load: Callable[[int], Pixels],
    drop_last: bool = False,
) -> Iterator[tuple[Rows, Tensor]]:
    """Yields (rows (B,), pixels uint8 (B, S, S, 3)) in the order of ``rows``, whatever the threads do.

    Parameters
    ----------
    pool : ThreadPoolExecutor
    rows : int64 array
        Row numbers to load.
    batch : int
        B; the last batch may be smaller.
    size : int
        S, pixels.
    load : callable
        Row number to uint8 (S, S, 3).
    drop_last : bool
        Leave a last batch of one row out (BatchNorm cannot train on it).
    """
    waiting: deque[tuple[Rows, Tensor, list[Future[None]]]] = deque()
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    if drop_last and len(parts) > 1 and len(parts[-1]) == 1:
        parts.pop()
    for part in parts:
        buffer = torch.empty((len(part), size, size, 3), dtype=torch.uint8)
        waiting.append((part, buffer, _fill(pool, buffer.numpy(), part, load)))
        if len(waiting) > AHEAD:
            yield _ready(waiting)
    while waiting:
        yield _ready(waiting)


def _fill(
    pool: ThreadPoolExecutor, buffer: Pixels, part: Rows, load: Callable[[int], Pixels]
) -> list[Future[None]]:
    def fill(places: range) -> None:
        for place in places:
            buffer[place] = load(int(part[place]))

    step = max(1, len(part) // 4)
    return [
        pool.submit(fill, range(start, min(start + step, len(part)))) for start in range(0, len(part), step)
    ]


def _ready(waiting: deque[tuple[Rows, Tensor, list[Future[None]]]]) -> tuple[Rows, Tensor]:
    part, buffer, futures = waiting.popleft()
    for future in futures:
        future.result()
    return part, buffer
