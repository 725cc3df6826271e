"""Compiled steps and norms apart: chosen on a GPU alone, by measuring, and only where a run is long enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from comp.models import autotune
from comp.models.autotune import FILE
from comp.models.net import build
from comp.models.runtime import on_this_machine
from comp.recipe import Recipe, load
from comp.training import compiled, launches
from comp.training.launches import fewer_launches, is_better_folded, pays, steps_and_folds, worth_measuring
from comp.training.state import TrainState
from comp.training.train_folds import per_job_recipe
from made import planned

ASKED = ["model=test_resnet", "model.size=32", "batch=4", "threads=1", "precision=fp32", "channels_last=true"]


def recipe_of(*more: str) -> Recipe:
    return load(None, [*ASKED, "device=cuda", "mode=finetune", "model.freeze_bn=true", *more])


@pytest.mark.parametrize(
    ("step", "steps", "folds", "tensors", "worth"),
    [
        (0.01, 5_999, 5, 20, False),  # a fold of less than a minute
        (0.01, 6_001, 5, 20, True),  # 5 s of 300
        (0.01, 6_001, 5, 40, False),  # 10 s are more than 3 % of 300
        (0.01, 60_000, 1, 70, True),
        (0.01, 0, 5, 20, False),
    ],
)
def test_a_run_has_to_be_long_enough_to_try(
    step: float, steps: int, folds: int, tensors: int, worth: bool
) -> None:
    assert worth_measuring(step, steps, folds, tensors) is worth


@pytest.mark.parametrize(
    ("plain", "fast", "compiling", "steps", "times", "worth"),
    [
        (0.010, 0.006, 20.0, 10_001, 1, True),  # 40.004 s saved
        (0.010, 0.006, 20.0, 10_000, 1, False),  # 40 s for 2 x 20
        (0.010, 0.006, 20.0, 15_000, 2, False),  # two stages compile twice
        (0.010, 0.0095, 1.0, 10**6, 1, False),  # 5 % is not worth it
        (0.0111, 0.010, 1.0, 10**6, 1, True),
        (0.010, 0.012, 1.0, 10**6, 1, False),
    ],
)
def test_compiling_has_to_bring_twice_what_it_takes(
    plain: float, fast: float, compiling: float, steps: int, times: int, worth: bool
) -> None:
    assert pays(plain, fast, compiling, steps, times) is worth


@pytest.mark.parametrize(
    ("times", "folded"),
    [
        ({"folded": 1.0, "apart": 1.0}, True),
        ({"folded": 1.01, "apart": 1.0}, True),  # noise
        ({"folded": 1.03, "apart": 1.0}, False),
        ({"apart": 1.0}, False),  # the other did not fit into memory
        ({"folded": 1.0}, True),
        ({}, True),
    ],
)
def test_the_faster_way_with_norms_is_kept(times: dict[str, float], folded: bool) -> None:
    assert is_better_folded(times) is folded


def timed(monkeypatch: pytest.MonkeyPatch, folded: float, apart: float, fast: list[float] | Exception) -> Any:
    """Steps take these seconds from now on; the list that comes back says what was measured."""
    asked: list[str] = []

    def step_seconds(net: Any, recipe: Recipe, choice: Any, threads: Any) -> float:
        assert choice == ("fp32", True)
        asked.append("folded" if recipe.fold_norms is not False else "apart")
        return folded if recipe.fold_norms is not False else apart

    def step_times(net: Any, recipe: Recipe, *given: Any) -> list[float]:
        asked.append("compiled")
        if isinstance(fast, Exception):
            raise fast
        return fast

    monkeypatch.setattr(launches, "step_seconds", step_seconds)
    monkeypatch.setattr(launches, "step_times", step_times)
    # a key names the GPU
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    return asked


FAST = [18.0, 1.0, 1.0, 0.5, 0.5, 0.5]  # 20 s to compile, and half a second a step


@pytest.mark.parametrize(
    ("folded", "apart", "fast", "fold_norms", "compile_", "measured"),
    [
        (1.0, 0.8, FAST, False, True, ["folded", "apart", "apart", "compiled"]),
        (0.8, 1.0, FAST, True, True, ["folded", "apart", "folded", "compiled"]),
        (0.8, 1.0, [20.0, 0.8, 0.8, 0.8], True, False, ["folded", "apart", "folded", "compiled"]),
        (0.8, 1.0, RuntimeError("no triton"), True, False, ["folded", "apart", "folded", "compiled"]),
        (0.001, 1.0, FAST, True, False, ["folded", "apart", "folded"]),  # a short run: never tried
    ],
)
def test_what_is_measured_is_chosen_and_remembered(
    folded: float,
    apart: float,
    fast: Any,
    fold_norms: bool,
    compile_: bool,
    measured: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = timed(monkeypatch, folded, apart, fast)
    recipe = recipe_of()
    net = build(recipe.model, 3)
    for _ in range(2):  # the second time from what is remembered
        chosen = fewer_launches(net, recipe, tmp_path, 2000, 5)
        assert (chosen.fold_norms, chosen.compile) == (fold_norms, compile_)
    assert asked == measured
    told = capsys.readouterr().err
    assert ("no triton" in told) == isinstance(fast, Exception)
    assert ("compiled: 500.0 ms a step" in told) == compile_
    assert all(json.loads((tmp_path / FILE).read_text()).values())


@pytest.mark.parametrize(
    ("more", "fold_norms", "compile_", "measured"),
    [
        (["device=cpu"], True, False, []),
        (["device=mps"], True, False, []),
        (["mode=probe"], True, False, []),
        (["compile=true", "fold_norms=false"], False, True, []),
        (["compile=false", "fold_norms=true"], True, False, []),
        (["deterministic=true", "fold_norms=true"], True, False, []),
        (["accumulate=2", "fold_norms=true"], True, False, []),
        (["model.freeze_bn=false"], True, True, ["folded", "compiled"]),
    ],
)
def test_what_is_given_or_cannot_be_is_not_measured(
    more: list[str],
    fold_norms: bool,
    compile_: bool,
    measured: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = timed(monkeypatch, 1.0, 0.5, FAST)
    recipe = recipe_of(*more)
    chosen = fewer_launches(build(recipe.model, 3), recipe, tmp_path, 2000, 5)
    assert (chosen.fold_norms, chosen.compile) == (fold_norms, compile_)
    assert asked == measured


@pytest.mark.parametrize(("dropout", "worth"), [(0.0, True), (0.5, False)])
def test_a_network_that_drops_is_compiled_twice(
    dropout: float, worth: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps save 160 s a fold; compiling takes 60 s each time, and has to save twice that."""
    timed(monkeypatch, 0.58, 1.0, [58.0, 1.0, 1.0, 0.5])
    recipe = recipe_of(f"model.head.dropout={dropout}")
    assert fewer_launches(build(recipe.model, 3), recipe, tmp_path, 2000, 5).compile is worth


def test_a_compiled_step_is_really_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, through another of torch's backends; the network is left as it was."""
    monkeypatch.setattr(compiled, "HOW", {"backend": "eager", "dynamic": False})
    monkeypatch.setattr(autotune, "SECONDS", 0.01)
    recipe = load(None, [*ASKED, "device=cpu", "mode=scratch"])
    net = build(recipe.model, 3)
    # a plain step first, as in every run: after torch's first compiling on a machine without a GPU the first backward pass
    # of a process would start threads for one, and no process could be forked any more
    plain = launches._plain(net, recipe)["plain"]
    times = launches._compiled(net, recipe)
    assert plain > 0
    assert times.keys() == {"compiling", "compiled"}
    assert times["compiling"] > times["compiled"] > 0
    assert all(p.grad is None for p in net.parameters())


def test_the_batches_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned()
    (rows,) = {steps_and_folds(_with(plan, batch=2, epochs=1))[0]}
    fitted = len(plan.manifest.train) - len(plan.judged_by([0]))
    assert rows == fitted // 2, "the last, smaller batch is no full one"
    stages = [{"epochs": 2, "size": 8}, {"epochs": 3}]
    staged = Recipe.model_validate({**plan.recipe.as_table(), "stages": stages, "epochs": 5, "batch": 2})
    steps, folds = steps_and_folds(_with(plan, **dict(staged)))
    assert steps == 3 * rows
    assert folds == plan.folds.k
    assert steps_and_folds(plan, 1)[1] == 1


def _with(plan: Any, **update: Any) -> Any:
    return plan.__class__(**{**vars(plan), "recipe": plan.recipe.model_copy(update=update)})


def test_norms_apart_are_trained_so() -> None:
    for fold_norms, expected in ((None, True), (True, True), (False, False)):
        recipe = load(None, [*ASKED, "device=cpu", "model.freeze_bn=true"])
        recipe = recipe.model_copy(update={"fold_norms": fold_norms})
        net = TrainState.begin(build(recipe.model, 3), recipe, 1).net
        assert any("forward" in vars(module) for module in net.modules()) is expected
        copied = autotune._copy(build(recipe.model, 3), recipe, torch.device("cpu"), True)
        assert any("forward" in vars(module) for module in copied.modules()) is expected


def test_a_run_goes_on_as_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    old = load(None, [*ASKED, "device=cpu"])
    here = on_this_machine(old)
    assert (here.compile, here.fold_norms) == (False, True), "of a version that had no such choices"
    chosen = old.model_copy(update={"compile": True, "fold_norms": False})
    assert on_this_machine(chosen) == chosen
    gone = on_this_machine(chosen.model_copy(update={"device": "cuda"}))
    assert torch.cuda.is_available() or (gone.device, gone.compile, gone.fold_norms) == ("cpu", False, True)


def test_how_a_step_is_computed_is_no_part_of_what_is_trained() -> None:
    plan = planned()
    keys = {
        _with(plan, compile=on, fold_norms=fold).key(0)
        for on in (None, True, False)
        for fold in (None, True, False)
    }
    assert len(keys) == 1
    assert "compile" not in plan.recipe.to_toml(), "so that states of earlier versions keep their key"


def test_folds_at_once_are_not_compiled() -> None:
    recipe = load(None, [*ASKED, "device=cpu", "jobs=2", "compile=true"])
    assert per_job_recipe(recipe).compile is False
    assert per_job_recipe(recipe.model_copy(update={"jobs": None})).compile is True
