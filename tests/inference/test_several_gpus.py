"""Checkpoints dealt to several GPUs: each GPU does one at a time, each checkpoint is done once, an error ends it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from comp.errors import CheckFailed
from comp.inference.several_gpus import spread

GROUPS = [[Path(f"fold-{n}")] for n in range(7)]


def test_each_group_goes_to_one_free_gpu() -> None:
    at_work: dict[int, int] = {0: 0, 1: 0}
    most, lock = dict(at_work), threading.Lock()

    def one(group: list[Path], gpu: int | None) -> dict[Path, np.ndarray]:
        assert gpu is not None
        with lock:
            at_work[gpu] += 1
            most[gpu] = max(most[gpu], at_work[gpu])
        time.sleep(0.02)
        with lock:
            at_work[gpu] -= 1
        return {group[0]: np.array([[float(group[0].name[-1])]])}

    found = spread(one, GROUPS, 2)
    assert most == {0: 1, 1: 1}
    assert {folder.name: values.item() for folder, values in found.items()} == {
        f"fold-{n}": n for n in range(7)
    }


def test_an_error_of_one_is_that_of_all() -> None:
    def one(group: list[Path], gpu: int | None) -> dict[Path, np.ndarray]:
        if group[0].name == "fold-3":
            raise CheckFailed("mine", "fold-3", "none")
        return {group[0]: np.zeros((1, 1))}

    with pytest.raises(CheckFailed, match="mine"):
        spread(one, GROUPS, 2)
