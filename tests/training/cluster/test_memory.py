"""The memory of a fold is measured where the command runs, kept, and asked for; what no machine has is refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from comp.errors import InputError
from comp.training.cluster import memory
from comp.training.cluster.executor import Needs, require_room
from comp.training.cluster.memory import fold_memory
from comp.training.linear_probe import FrozenFeatures
from comp.training.train_fold import FoldJob
from made import write_shapes
from training.test_plan_travels import plan_of

GB = 1_000_000_000
NODE = {"CPU": 8.0, "GPU": 1.0, "memory": 16e9}


def ray_of(*nodes: dict[str, float]) -> Any:
    listed = [{"Alive": True, "Resources": one} for one in nodes] + [{"Alive": False, "Resources": NODE}]
    return SimpleNamespace(nodes=lambda: listed)


@pytest.mark.parametrize(
    ("needs", "count"),
    [
        (Needs(1, 0), 8),
        (Needs(2, 0, 5 * GB), 3),
        (Needs(0.1, 0.25, GB), 4),
        (Needs(0.1, 0), 80),
        (Needs(9, 0), 0),
        (Needs(1, 0, 17 * GB), 0),
    ],
)
def test_how_many_folds_a_machine_holds(needs: Needs, count: int) -> None:
    assert needs.fit(NODE) == count
    if count:
        assert require_room(ray_of(NODE, NODE), needs) == 2 * count


def test_what_no_machine_has_is_said_with_what_would_help() -> None:
    with pytest.raises(InputError) as refused:
        require_room(ray_of(NODE, {"CPU": 0.0, "memory": 64e9}), Needs(1, 0, 20 * GB))
    assert (
        refused.value.value
        == "1 CPUs, 0 GPUs, 20 GB of memory; of 2 machines the largest have 8 CPUs, 1 GPUs, 16 GB of memory"
    )
    assert "a smaller batch" in refused.value.remedy
    with pytest.raises(InputError) as refused:
        require_room(ray_of(NODE), Needs(16, 0, 20 * GB))
    assert "`cpus_per_fold`" in refused.value.remedy


def test_it_is_measured_once_and_images_and_features_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(tmp_path)
    plan = plan_of(tmp_path, "shapes")
    monkeypatch.setattr(memory, "Fresh", lambda work: pytest.fail("it was measured before"))
    monkeypatch.setattr(memory, "_measured", lambda job: {"bytes": 1e9})
    plain = fold_memory(FoldJob(plan, 0), tmp_path / "cache")
    rows, size = len(plan.manifest.train), plan.preprocess.size
    assert plain is not None
    assert 1.2e9 <= plain <= 1.2e9 + 8 * rows * size * size * 3
    monkeypatch.undo()
    monkeypatch.setattr(memory, "Fresh", lambda work: pytest.fail("it was measured before"))
    assert fold_memory(FoldJob(plan, 1), tmp_path / "cache") == plain
    later = replace(plan, recipe=plan.recipe.model_copy(update={"epochs": 9, "seed": 3}))
    assert fold_memory(FoldJob(later, 0), tmp_path / "cache") == plain
    features = FrozenFeatures({"identity": np.zeros((rows, 1000), np.float32)}, {})
    with_them = fold_memory(FoldJob(plan, 0, features), tmp_path / "cache")
    assert with_them == plain + 5 * rows * 4000


def test_where_it_cannot_be_measured_none_is_asked_for_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shapes(tmp_path)
    job = FoldJob(plan_of(tmp_path, "shapes"), 0)

    class Dies:
        def __init__(self, work: bytes) -> None:
            assert work

        def hear(self) -> bool:
            return False

        def end(self) -> Exception:
            return RuntimeError("gone")

    monkeypatch.setattr(memory, "Fresh", Dies)
    assert fold_memory(job, tmp_path / "cache") is None
    assert "none is asked for" in capsys.readouterr().err
    assert not list(tmp_path.glob("cache/step-times.json"))


@pytest.mark.slow
def test_a_larger_batch_takes_more_than_a_small_one(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    found = []
    for batch, size in ((2, 32), (16, 512)):
        overrides = [f"batch={batch}", f"model.size={size}", "model.name=test_resnet"]
        job = FoldJob(plan_of(tmp_path, "shapes", *overrides), 0)
        found.append(fold_memory(job, tmp_path / "cache"))
    small, large = found
    assert small is not None
    assert large is not None
    assert 0.2e9 < small < 2e9
    assert large > small + 50e6, found
