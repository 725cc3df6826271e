"""Checkpoints that predict on several GPUs of a machine side by side, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from comp.models.runtime import exact

Probs = NDArray[np.float64]


def spread(
    one: Callable[[list[Path], int | None], dict[Path, Probs]], groups: Sequence[list[Path]], gpus: int
) -> dict[Path, Probs]:
    """What ``one`` gives for each group of checkpoints, called with the group and the number of a GPU that is free.

    The first error ends it, once what runs has ended. TF32 is off all the while: one thread that ends must not turn it on for
    the others.
    """
    free: SimpleQueue[int] = SimpleQueue()
    for number in range(gpus):
        free.put(number)

    def on_a_free_one(group: list[Path]) -> dict[Path, Probs]:
        number = free.get()
        try:
            return one(group, number)
        finally:
            free.put(number)

    found: dict[Path, Probs] = {}
    with exact(), ThreadPoolExecutor(gpus, thread_name_prefix="gpu") as pool:
        for part in pool.map(on_a_free_one, groups):
            found |= part
    return found
