"""Folds dealt to GPUs come to the bytes of one fold after the other, where a GPU gives the same bits twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import comp
from comp.pipelines.training_plans import train_models
from comp.training.gpu_folds import AGpuEach, visible_gpus
from made import write_shapes
from training.test_plan_travels import plan_of

SAME = ["device=cuda", "deterministic=true", "epochs=2"]
pytestmark = pytest.mark.gpu


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices")
def test_a_plain_run_trains_a_fold_a_gpu_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shapes(tmp_path)
    found = []
    for more in (["jobs=1"], []):
        capsys.readouterr()
        result = comp.run("shapes", 3, workspace=tmp_path, overrides=[*SAME, *more])
        found.append([result.submission.read_bytes(), (result.folder / "oof.npz").read_bytes()])
    assert found[0] == found[1]
    said = capsys.readouterr().err
    assert all(f"on {gpu}, process" in said for gpu in visible_gpus()[:2]), said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_two_processes_with_one_gpu_each_train_what_this_one_does(tmp_path: Path) -> None:
    """Also where there is a single GPU: both see the same one."""
    write_shapes(tmp_path)
    plan, gpu = plan_of(tmp_path, "shapes", *SAME), visible_gpus()[0]
    for name, executor in (("one", None), ("each", AGpuEach([gpu, gpu]))):
        assert train_models(tmp_path, [plan.in_folder(tmp_path / name)], executor=executor).is_whole
    for k in range(2):
        one, each = ((tmp_path / name / f"fold-{k}" / "oof.npz").read_bytes() for name in ("one", "each"))
        assert one == each
