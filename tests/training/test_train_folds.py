"""Folds at once come to the same as folds one after the other on one thread."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import comp
from comp.errors import RecipeError, TrainingFailed
from comp.models.runtime import on_threads
from comp.pipelines.run_result import RunResult
from comp.recipe import load
from comp.training import parallel_folds
from comp.training import train_fold as module
from comp.training.plan import TrainPlan
from comp.training.time_limit import stopped
from made import write_shapes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
COMMON = ["epochs=2", "precision=fp32", "channels_last=false"]


def run(workspace: Path, *overrides: str, **more: object) -> RunResult:
    return comp.run("shapes", 3, workspace=workspace, overrides=[*COMMON, *overrides], **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    workspace = tmp_path_factory.mktemp("alone")
    write_shapes(workspace)
    return run(workspace, "threads=1")


def bytes_of(result: RunResult) -> tuple[bytes, bytes]:
    return (result.folder / "oof.npz").read_bytes(), result.submission.read_bytes()


def test_the_same_bytes(alone: RunResult, tmp_path: Path) -> None:
    write_shapes(tmp_path)
    assert bytes_of(run(tmp_path, "jobs=2", "threads=1")) == bytes_of(alone)


def test_the_same_bytes_where_it_cannot_be_and_where_one_fold_is_left(
    alone: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fold has one thread, though the rest of the run has two."""
    write_shapes(tmp_path)
    own, threads = module.run_fold, []

    def seen(plan: TrainPlan, k: int, features: object) -> object:
        threads.append(plan.recipe.threads)
        return own(plan, k, features)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run_fold", seen)
    monkeypatch.setattr(parallel_folds, "why_not_parallel", lambda device: "there is a GPU")
    run(tmp_path, "jobs=2", "threads=2", only=[0, 1])
    assert "one after the other: there is a GPU" in capsys.readouterr().err
    last = comp.run("shapes", workspace=tmp_path, resume="latest")
    assert threads == [1, 1, 1]
    assert bytes_of(last)[0] == bytes_of(alone)[0]
    assert load(last.folder / "recipe.toml").threads == 2


def test_a_fold_has_its_threads_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its classifier is solved before the network trains, on as many."""
    write_shapes(tmp_path)
    own, threads = module.rows_of_fold, []

    def seen(plan: TrainPlan, k: int) -> object:
        threads.append(torch.get_num_threads())
        return own(plan, k)

    monkeypatch.setattr(module, "rows_of_fold", seen)
    with on_threads(3):
        run(tmp_path, "threads=2", only=[0])
        torch.set_num_threads(3)
        monkeypatch.setattr(parallel_folds, "why_not_parallel", lambda device: "there is a GPU")
        run(tmp_path, "threads=2", "jobs=2", only=[0, 1])
    assert threads == [2, 1, 1]


def test_a_fold_that_fails_does_not_stop_the_others_and_the_run_goes_on(
    alone: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shapes(tmp_path)
    own = module.run_fold

    def fails(plan: object, k: int, features: object) -> object:
        if k == 1:
            raise TrainingFailed("a loss is a number", "nan", "less")
        return own(plan, k, features)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_fold", fails)
        with pytest.raises(TrainingFailed):
            run(tmp_path, "jobs=3", "threads=1")
    (folder,) = (tmp_path / "runs").iterdir()
    assert [(folder / f"fold-{k}" / "result.json").is_file() for k in range(3)] == [True, False, True]
    assert bytes_of(comp.run("shapes", workspace=tmp_path, resume="latest")) == bytes_of(alone)


def test_the_time_limit_in_one_lets_the_others_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path)
    own = module.run_fold

    def late(plan: object, k: int, features: object) -> object:
        if k == 0:
            raise stopped("fold 0, epoch 1, batch 1")
        return own(plan, k, features)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run_fold", late)
    found = run(tmp_path, "jobs=2", time_limit="1h")
    assert "partial" in found.marks
    assert len(found.per_fold) == 1


def test_a_bug_in_a_fold_is_one_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shapes(tmp_path)
    monkeypatch.setattr(module, "run_fold", lambda plan, k, features: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, "jobs=2")


def test_a_probe_has_no_jobs() -> None:
    load(None, ["mode=probe", "jobs=1"])
    with pytest.raises(RecipeError, match="drop jobs"):
        load(None, ["mode=probe", "jobs=2"])
    with pytest.raises(RecipeError, match="jobs"):
        load(None, ["jobs=0"])
