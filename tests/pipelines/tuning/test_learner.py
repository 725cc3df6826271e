"""A trial whose folds train at once is given up as one whose folds train one after the other, and nothing of it goes on."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comp.pipelines.tuning.judging import Pruned
from comp.pipelines.tuning.learner import TrainedFolds
from comp.pipelines.tuning.pruning import FinishedTrial, TrialHistory
from made import write_shapes
from training.test_plan_travels import plan_of

EPOCHS = 40
GOOD = TrialHistory(
    [
        FinishedTrial(
            n,
            0.97,
            {0: 0.99 - n / 100, 1: 0.95},
            {0: [0.99 - n / 100] * EPOCHS, 1: [0.95 - n / 100] * EPOCHS},
        )
        for n in range(4)
    ],
    "max",
)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_a_trial_is_given_up_for_the_same_reasons(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    reasons = []
    for jobs in (1, 2):
        plan = plan_of(tmp_path, "shapes", f"epochs={EPOCHS}", "optimizer.lr=1e-9", f"jobs={jobs}")
        bench: Any = SimpleNamespace(executor=None)
        learner = TrainedFolds(bench, plan.in_folder(tmp_path / f"jobs-{jobs}"), plan.recipe)
        told: list[object] = []
        with pytest.raises(Pruned) as pruned:
            learner.judge(GOOD, told.append)
        reasons.append((str(pruned.value), told))
        assert not multiprocessing.active_children()
        assert not list(tmp_path.glob(f"jobs-{jobs}/*/result.json"))
    assert reasons[0] == reasons[1]
    assert "fold 0: " in reasons[0][0]
    assert "; fold 1: " in reasons[0][0]
