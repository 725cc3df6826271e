"""Folds dealt to devices: each process sees one, and has one fold at a time; proven here without any GPU."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from comp.errors import TrainingFailed
from comp.pipelines.training_plans import train_models
from comp.recipe import Recipe
from comp.training import gpu_folds, train_folds
from comp.training.gpu_folds import AGpuEach, Gpu, visible_gpus
from comp.training.gpu_process import GpuFailed, is_of_gpu
from comp.training.time_limit import Deadline, OutOfTime
from comp.training.train_fold import Ended
from comp.training.train_folds import folds_at_once
from made import write_shapes
from made_gpus import Look, NoPlan
from training.test_plan_travels import plan_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process ends with its parent there alone")
TWO = [Gpu("0", "T4"), Gpu("GPU-7f")]


def dealt(gpus: list[Gpu], todo: list[int], job: Callable[[int], Look]) -> list[Ended]:
    return list(AGpuEach(gpus).run(job, todo))  # type: ignore[arg-type]


def seen(folder: Path) -> dict[int, dict[str, Any]]:
    return {int(path.stem): json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_each_device_has_one_fold_at_a_time_and_the_next_as_soon_as_it_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fold 0 goes on until fold 4 has begun: the other device has all the others meanwhile."""
    ended = dealt(TWO, [0, 1, 2, 3, 4], lambda k: Look(k, tmp_path, (4,) if k == 0 else ()))
    assert sorted((one.fold, one.failure) for one in ended) == [(k, None) for k in range(5)]
    found = seen(tmp_path)
    assert {k: one["device"] for k, one in found.items()} == {0: "0", **dict.fromkeys(range(1, 5), "GPU-7f")}
    assert len({one["pid"] for one in found.values()} | {os.getpid()}) == 6
    for k in range(1, 4):
        assert found[k]["ended"] <= found[k + 1]["began"]
    said = capsys.readouterr().err
    assert "fold 0 on GPU 0 (T4), process" in said
    assert "fold 3 sees GPU-7f" in said


@pytest.mark.parametrize("how", ["dies", "cuda", "memory"])
def test_a_device_that_fails_names_itself_and_its_fold_goes_on_at_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    ended = dealt(TWO, [0, 1, 2], lambda k: Look(k, tmp_path, fails={"0": how}))
    assert sorted((one.fold, one.failure) for one in ended) == [(k, None) for k in range(3)]
    assert {one["device"] for one in seen(tmp_path).values()} == {"GPU-7f"}
    said = capsys.readouterr().err
    assert said.count("fold 0 on GPU 0 (T4)") == 2, said
    assert "it goes on at another" in said


def test_where_none_is_left_every_fold_that_waits_has_failed(tmp_path: Path) -> None:
    ended = dealt(TWO, [0, 1, 2, 3], lambda k: Look(k, tmp_path, fails={"0": "cuda", "GPU-7f": "dies"}))
    assert sorted(one.fold for one in ended) == [0, 1, 2, 3]
    assert all(isinstance(one.failure, GpuFailed) for one in ended)
    assert len({str(one.failure) for one in ended}) == 1
    assert not seen(tmp_path)


def test_what_is_wrong_with_a_fold_ends_it_alone_and_says_where(tmp_path: Path) -> None:
    def job(k: int) -> Look:
        return Look(k, tmp_path, fails={"0": "diverges"} if k == 0 else {})

    ended = {one.fold: one.failure for one in dealt(TWO[:1], [0, 1], job)}
    assert isinstance(ended[0], TrainingFailed)
    assert ended[0].value == "fold 0, on GPU 0 (T4)"
    assert ended[1] is None


def test_a_bug_comes_back_with_its_traceback_and_nothing_is_left_running(tmp_path: Path) -> None:
    ended = dealt(TWO[:1], [0], lambda k: Look(k, tmp_path, fails={"0": "bug"}))
    assert isinstance(ended[0].failure, RuntimeError)
    assert "made_gpus" in ended[0].failure.__notes__[0]
    running = AGpuEach(TWO).run(lambda k: Look(k, tmp_path, (9,) if k else ()), [0, 1])  # type: ignore[arg-type, return-value]
    assert next(running).fold == 0
    running.close()
    assert not (tmp_path / "1.json").exists()


def test_what_a_process_imports_does_not_hear_what_it_prints_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """made_gpus imports the console, whose listener would print every line that was printed, without end."""
    ended = dealt(TWO[:1], [0], lambda k: Look(k, tmp_path, fails={"0": "prints"}))
    assert ended[0].failure is None, ended[0].failure
    assert capfd.readouterr().err.count("fold 0 prints") == 1


def test_past_the_time_limit_none_begins_and_what_is_measured_is_shared(tmp_path: Path) -> None:
    ended = dealt(TWO[:1], [0, 1], lambda k: Look(k, tmp_path, fails={"0": "late"}))
    assert [one.fold for one in ended] == [0]
    assert isinstance(ended[0].failure, OutOfTime)
    deadline = Deadline(1000.0, rows=10, views=1)
    job = Look(0, tmp_path, fails={"0": "measures"}, plan=NoPlan(deadline))
    assert dealt(TWO[:1], [0], lambda k: job)[0].failure is None
    deadline.fold_finished()
    deadline.fold_finished()
    assert deadline.passed(), "ten rows take 500 seconds"
    assert not deadline.is_shared
    assert pickle.loads(pickle.dumps(deadline)).passed()


@pytest.mark.slow
def test_the_same_bytes_as_one_fold_after_the_other(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    plan = plan_of(tmp_path, "shapes", "epochs=2")
    for name, executor in (("one", None), ("each", AGpuEach(TWO))):
        whole = train_models(tmp_path, [plan.in_folder(tmp_path / name)], executor=executor)
        assert whole.is_whole, whole.failures
    for k in range(2):
        for file in ("model.safetensors", "oof.npz"):
            one, each = ((tmp_path / name / f"fold-{k}" / file).read_bytes() for name in ("one", "each"))
            assert one == each


def test_how_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(**changes: Any) -> int:
        recipe = Recipe().model_copy(update={"device": "cuda", **changes})
        return folds_at_once(recipe, 5)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [count(), count(jobs=2), count(jobs=1), count(jobs=8)] == [3, 2, 1, 3]
    assert [count(processes=2), count(mode="probe"), count(device="cpu"), count(device="cpu", jobs=8)] == [
        1,
        1,
        1,
        5,
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [count(), count(jobs=4)] == [1, 1]


def test_a_plain_run_on_two_gpus_deals_its_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path)
    plan = plan_of(tmp_path, "shapes")
    on_gpus = plan.recipe.model_copy(update={"device": "cuda"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda n: f"T{n}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-7f,5")
    assert visible_gpus() == [Gpu("3", "T0"), Gpu("GPU-7f", "T1")]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == [Gpu("0", "T0"), Gpu("1", "T1")]
    made: list[list[Gpu]] = []

    class Seen(AGpuEach):
        def __init__(self, gpus: list[Gpu]) -> None:
            made.append(gpus)
            super().__init__(gpus)

        def run(self, job: Any, todo: Any) -> Any:
            yield from (Ended(k, TrainingFailed("not", "trained")) for k in todo)

    monkeypatch.setattr(gpu_folds, "AGpuEach", Seen)
    on = replace(plan, recipe=on_gpus, folder=tmp_path)
    train_models(tmp_path, [on, on])
    assert made == [[Gpu("0", "T0"), Gpu("1", "T1")]], "the folds of both models are one lot"
    train_folds.train_folds(replace(on, recipe=on_gpus.model_copy(update={"jobs": 2})), [1])
    assert len(made) == 1, "a single fold needs no process"


def test_which_errors_are_a_gpus() -> None:
    for text in (
        "CUDA error: device-side assert triggered",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "No CUDA GPUs are available",
    ):
        assert is_of_gpu(RuntimeError(text))
    assert is_of_gpu(torch.OutOfMemoryError("x"))
    assert not is_of_gpu(RuntimeError("Expected all tensors to be on the same device, cuda:0 and cpu"))
