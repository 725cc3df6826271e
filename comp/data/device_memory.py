"""Memory: what its end looks like, what to do then, and giving it back to the system."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from comp.errors import TrainingFailed

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of a GPU or of this machine, did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


class GivesWay(Protocol):
    """What lies in memory for speed alone."""

    def release(self) -> None:
        """Gives the memory back, and does without."""


_GIVE_WAY: WeakSet[GivesWay] = WeakSet()


def gives_way(one: GivesWay) -> None:
    """Lets ``make_room`` release what this holds, as long as it lives."""
    _GIVE_WAY.add(one)


@contextmanager
def enough_memory(rule: str, value: str, remedy: str) -> Iterator[None]:
    """TrainingFailed in these words where memory does not suffice inside."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingFailed(rule, value, remedy) from error


def free_memory() -> None:
    """Frees what a failed step or an ended fold left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def make_room() -> None:
    """``free_memory`` where a step did not fit: what lies there for speed alone gives way first."""
    for one in list(_GIVE_WAY):
        one.release()
    free_memory()


@contextmanager
def only_new_is_searched() -> Iterator[None]:
    """Inside, ``free_memory`` looks through what was made since alone: through all that the libraries brought it takes half
    a second.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def release_memory() -> None:
    """Gives the memory that ``keep_memory`` held back to the system: between folds, so that it cannot pile up."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@cache
def keep_memory() -> None:
    """Tells glibc to keep the memory that tensors free, instead of giving it back to the system after every layer.

    A CPU training step frees and takes the same large blocks again and again; with glibc's defaults the system
    zeroes fresh pages for each of them, 40 % of the time of a MobileNetV2 step (docs/benchmarks.md). Elsewhere
    (macOS, musl) nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)


def upload(values: Tensor, device: Any) -> Tensor:
    """A tensor of the machine's memory on ``device``. A GPU copies it while the program goes on: a copy from memory that is
    not pinned would wait until all that was asked of the GPU before is done. One that lies there already stays as it is.
    """
    if torch.device(device).type != "cuda" or values.device.type == "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
