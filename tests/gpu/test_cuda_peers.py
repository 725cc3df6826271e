"""Two GPUs that train a fold take the steps of one, BatchNorm of the whole batch among them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from comp.training.plan import TrainPlan
from comp.training.train_fold import run_fold
from made import write_shapes
from training.test_peers import recorded_losses
from training.test_plan_travels import plan_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices"),
]


@pytest.mark.parametrize("freeze", ["true", "false"], ids=["frozen", "synchronised"])
def test_two_gpus_take_the_steps_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, freeze: str) -> None:
    losses = recorded_losses(monkeypatch)
    write_shapes(tmp_path)

    def plan(processes: int) -> TrainPlan:
        more = ["device=cuda", "batch=5", "epochs=3", f"model.freeze_bn={freeze}"]
        more += [f"processes={processes}"] if processes > 1 else []
        return plan_of(tmp_path, "shapes", *more).in_folder(tmp_path / str(processes))

    run_fold(plan(1), 1)
    expected, losses[:] = list(losses), []
    run_fold(plan(2), 1)
    assert len(losses) == len(expected) >= 6
    assert losses == pytest.approx(expected, abs=1e-3)  # TF32
