"""Two processes that train a fold take the steps of one: the same rows, the same losses, the same network within rounding."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from comp.errors import InputError, TrainingFailed
from comp.models.checkpoint import load_checkpoint
from comp.training import gradients, loop, peers
from comp.training.gradients import require_joint
from comp.training.loop import new_net
from comp.training.plan import TrainPlan
from comp.training.train_fold import run_fold
from comp.training.train_folds import per_job_recipe, train_folds
from made import write_shapes
from real_data import real_folder, use_real_weights
from training.test_plan_travels import plan_of

pytestmark = pytest.mark.slow
VIT = (
    "model.name=test_vit",
    "model.size=32",
    "model.kwargs={img_size=32, patch_size=8}",
    "batch=5",
    "epochs=3",
)
RESNET = ("model.name=test_resnet", "model.freeze_bn=true", "batch=5", "epochs=3")
ALL = (
    "accumulate=2",
    "optimizer.clip=0.5",
    "regularize.ema=0.9",
    "regularize.mixup=0.4",
    "regularize.label_smoothing=0.1",
)


LITE0 = (
    "model.name=tf_efficientnet_lite0",
    "model.weights=default",
    "model.size=128",
    "model.freeze_bn=true",
    "mode=finetune",
    "optimizer.lr=1e-4",
    "optimizer.head_lr=1e-4",
    "batch=16",
    "epochs=2",
)


def a_hundred_paintings(folder: Path) -> Path:
    """A raw folder of art-classification with every seventeenth painting."""
    raw, real = folder / "art", real_folder("art-classification")
    shutil.copytree(real, raw, ignore=shutil.ignore_patterns("train"))
    for number, path in enumerate(sorted((real / "train").glob("*/*"))):
        if number % 17 == 0:
            to = raw / path.relative_to(real)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    return raw


def plan_with(folder: Path, processes: int, *overrides: str) -> TrainPlan:
    if not (folder / "data").exists():
        write_shapes(folder)
    more = [f"processes={processes}"] if processes > 1 else []
    plan = plan_of(folder, "shapes", *overrides, *more)
    return plan.in_folder(folder / f"by-{processes}")


def recorded_losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every step that this process takes."""
    seen: list[float] = []
    own = loop.gradients

    def heard(*given: Any) -> torch.Tensor:
        loss = own(*given)
        seen.append(float(loss))
        return loss

    monkeypatch.setattr(loop, "gradients", heard)
    return seen


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return recorded_losses(monkeypatch)


def apart(one: Path, other: Path) -> float:
    """How far the weights of two checkpoints are from each other at most."""
    nets = [load_checkpoint(folder / "fold-1")[0].state_dict() for folder in (one, other)]
    assert nets[0].keys() == nets[1].keys()
    return max(float((nets[0][name].float() - nets[1][name].float()).abs().max()) for name in nets[0])


@pytest.mark.parametrize(
    "overrides",
    [VIT, (*VIT, *ALL), RESNET, (*RESNET, *ALL)],
    ids=["vit", "vit, all", "resnet", "resnet, all"],
)
def test_two_processes_take_the_steps_of_one(
    tmp_path: Path, losses: list[float], overrides: tuple[str, ...]
) -> None:
    one = run_fold(plan_with(tmp_path, 1, *overrides), 1)
    expected, losses[:] = list(losses), []
    two = run_fold(plan_with(tmp_path, 2, *overrides), 1)
    assert len(losses) == len(expected) >= 6
    assert losses == pytest.approx(expected, abs=1e-4)
    assert apart(tmp_path / "by-1", tmp_path / "by-2") < 1e-3
    assert two.oof.probs == pytest.approx(one.oof.probs, abs=1e-3)


def test_it_goes_on_where_it_was_stopped(
    tmp_path: Path, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_fold(plan_with(tmp_path, 1, *VIT, *ALL), 1)
    expected, losses[:] = list(losses), []
    plan = plan_with(tmp_path, 2, *VIT, *ALL)
    steps = loop.train_step

    def stops(state: Any, *rest: Any) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt
        steps(state, *rest)

    monkeypatch.setattr(loop, "train_step", stops)
    with pytest.raises(KeyboardInterrupt):
        run_fold(plan, 1)
    monkeypatch.setattr(loop, "train_step", steps)
    assert (tmp_path / "by-2" / "fold-1" / "state.pt").is_file()
    before = len(losses)
    run_fold(plan, 1)
    rest = losses[before:]
    assert 2 <= len(rest) < len(expected), "it goes on after an epoch"
    assert losses[:before] == pytest.approx(expected[:before], abs=1e-4)
    assert rest == pytest.approx(expected[-len(rest) :], abs=1e-4)


def test_where_memory_does_not_suffice_in_one_all_take_smaller_parts(
    tmp_path: Path, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_fold(plan_with(tmp_path, 1, *VIT), 1)
    expected, losses[:] = list(losses), []
    own = gradients._in_parts

    def scarce(state: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        if state.accumulate == 1:  # here alone: the other process has room enough
            raise torch.OutOfMemoryError("made up")
        return own(state, x, *rest)

    monkeypatch.setattr(gradients, "_in_parts", scarce)
    found = run_fold(plan_with(tmp_path, 2, *VIT), 1)
    assert found.accumulate == 2
    assert losses == pytest.approx(expected, abs=1e-4)


@pytest.mark.real
@pytest.mark.parametrize(
    ("optimizer", "accumulate", "within"), [("sgd", 1, 1e-4), ("adamw", 2, 1e-5)], ids=["sgd", "adamw"]
)
def test_two_processes_fine_tune_a_hundred_paintings_as_one_does(
    tmp_path: Path,
    losses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    optimizer: str,
    accumulate: int,
    within: float,
) -> None:
    """AdamW divides each gradient by its size, so that those which are rounding alone make steps as large as others: it is held
    against one process that sums up the same two parts of a batch."""
    use_real_weights(monkeypatch)
    raw = a_hundred_paintings(tmp_path)

    def trained(processes: int, parts: int) -> list[float]:
        changes = (f"optimizer.name={optimizer}", f"processes={processes}", f"accumulate={parts}")
        own = plan_of(tmp_path, "art-classification", *LITE0, *changes, data=raw)
        run_fold(own.in_folder(tmp_path / f"by-{processes}"), 1)
        seen, losses[:] = list(losses), []
        return seen

    expected = trained(1, accumulate)
    assert expected[0] < 0.7, "it begins at the solved head: the weights are there"
    assert trained(2, 1) == pytest.approx(expected, abs=within)


def test_a_process_that_dies_ends_the_fold_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers: list[Any] = []
    started = peers.multiprocessing.get_context("spawn").Process.start

    def start(self: Any) -> None:
        started(self)
        helpers.append(self)

    monkeypatch.setattr(peers.multiprocessing.get_context("spawn").Process, "start", start)
    steps = loop.train_step

    def kills(state: Any, *rest: Any) -> None:
        if state.epoch == 1:
            helpers[0].kill()
            helpers[0].join()
        steps(state, *rest)

    monkeypatch.setattr(loop, "train_step", kills)
    results, failures = train_folds(plan_with(tmp_path, 2, *VIT), only=[1])
    assert not results
    (failure,) = failures
    assert isinstance(failure, TrainingFailed)
    assert "live to its end" in failure.rule
    assert not [one for one in helpers if one.is_alive()]


def test_what_would_train_to_something_else_is_refused(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, 1, "model.name=test_resnet")
    recipe = plan.recipe.model_copy(update={"processes": 2})
    with pytest.raises(InputError, match="on CUDA alone"):
        require_joint(recipe, new_net(plan, 0))
    with pytest.raises(InputError, match="drop one"):
        require_joint(recipe.model_copy(update={"jobs": 2}), new_net(plan, 0))
    frozen = recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze_bn": True})})
    require_joint(frozen, new_net(plan, 0))


def test_processes_share_the_threads_of_a_cpu(tmp_path: Path) -> None:
    recipe = plan_with(tmp_path, 1).recipe.model_copy(update={"threads": 5, "processes": 2, "compile": True})
    assert (per_job_recipe(recipe).threads, per_job_recipe(recipe).compile) == (2, False)
