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


def test_a_half_precision_that_was_asked_for_proves_itself(finished: Path) -> None:
    from functools import partial

    from comp.inference import predict
    from comp.models.checkpoint import read_sidecar

    (folder,) = (finished / "runs").glob("*/fold-0")
    controls = predict.read_controls(folder, read_sidecar(folder).labels)
    asked: list[int] = []

    def moved(by: float) -> dict[str, np.ndarray]:
        asked.append(1)
        return {row.id: row.probs + np.array([by, -by, 0.0]) for row in controls}

    judge = partial(predict._require_controls, folder, controls)
    judge(moved(0.015), "fp16", partial(moved, 0.0))  # rounded as fp16 does, and right in fp32
    assert len(asked) == 2
    with pytest.raises(CheckFailed, match="what validation gave"):
        judge(moved(0.05), "fp16", partial(moved, 0.0))
    with pytest.raises(CheckFailed, match="what validation gave"):
        judge(moved(0.015), "fp16", partial(moved, 0.015))  # another preprocessing shows in fp32
    with pytest.raises(CheckFailed, match="what validation gave"):
        judge(moved(0.015), "fp32", partial(moved, 0.0))
