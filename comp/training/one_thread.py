"""How many threads torch's operations run on, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

LITTLE = 1 << 20  # numbers; from about here on a second thread is worth its waking (docs/benchmarks.md)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Torch's operations inside run on ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread(numbers: int, device: torch.device) -> Iterator[None]:
    """Operations on about so many numbers run on the calling thread alone where these are few, and on a CPU: to wake a
    sleeping thread takes longer (20 to 60 µs an operation) than to do its work.
    """
    with on_threads(1) if device.type == "cpu" and numbers <= LITTLE else nullcontext():
        yield
