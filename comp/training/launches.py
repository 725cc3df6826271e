"""Fewer kernel launches on a CUDA GPU, by measuring: norms apart or within their convolutions, steps compiled or not."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import torch
from torch import nn

from comp import events
from comp.data.device_memory import free_memory
from comp.models.autotune import Choice, Times, median, remembered, step_seconds, step_times
from comp.models.net import Net
from comp.recipe import Recipe
from comp.training.compiled import RECORDED, compiled_call, forget_compiled, in_words, layers_that_drop
from comp.training.loop import steps_per_epoch
from comp.training.optim import stages_of
from comp.training.plan import TrainPlan, rows_of_fold

FASTER = 1.1  # times: less is not worth another way of computing
SAFE = 2.0  # times the seconds of compiling that it has to save: they vary with what else the machine does
SHORT = 60.0  # seconds of a fold's steps; compiling takes some tens
MEASURING_SHARE = 0.03  # of all steps' seconds that measuring may take
GUESS = 0.25  # seconds of compiling for each tensor of weights, before it is known
APART = 1.02  # times faster without folding: less is noise


def fewer_launches(net: Net, recipe: Recipe, cache: Path, steps: int, folds: int) -> Recipe:
    """The recipe with ``fold_norms`` and ``compile`` filled in where they were left open.

    Only on a CUDA GPU anything is measured; elsewhere norms are folded and nothing is compiled. What was measured is kept in
    ``cache`` beside the times of precision and layout.

    Parameters
    ----------
    net : Net
        Of this recipe; copied, not changed.
    recipe : Recipe
        With precision and layout resolved.
    cache : Path
        The folder of the kept measurements.
    steps : int
        Full batches of ``model.size`` in a fold.
    folds : int
        How many are trained on this machine.
    """
    on_gpu = recipe.device == "cuda" and recipe.mode != "probe"
    if recipe.fold_norms is None:
        folded = not on_gpu or _better_folded(net, recipe, cache)
        recipe = recipe.model_copy(update={"fold_norms": folded})
    if recipe.compile is None:
        may = on_gpu and not recipe.deterministic and recipe.accumulate == 1
        better = may and _better_compiled(net, recipe, cache, steps, folds)
        recipe = recipe.model_copy(update={"compile": better})
    return recipe


def steps_and_folds(plan: TrainPlan, folds_here: int | None = None) -> tuple[int, int]:
    """The full batches of ``model.size`` in fold 0, in all its epochs, and the number of folds that are trained."""
    recipe, fitted = plan.recipe, len(rows_of_fold(plan, 0).fitted)
    epochs = sum(one.epochs for one in stages_of(recipe) if one.size in (None, plan.preprocess.size))
    whole = min(fitted // recipe.batch, steps_per_epoch(fitted, recipe.batch))
    return epochs * whole, min(folds_here or plan.folds.k, plan.folds.k)


def worth_measuring(step: float, steps: int, folds: int, tensors: int) -> bool:
    """Whether a run with so many steps of ``step`` seconds in each fold is long enough to try to compile it."""
    return step * steps >= SHORT and tensors * GUESS <= MEASURING_SHARE * step * steps * folds


def pays(plain: float, compiled: float, compiling: float, steps: int, times: int) -> bool:
    """Whether steps of ``compiled`` seconds instead of ``plain`` bring a fold of so many steps more than compiling it so many
    ``times`` takes; each fold compiles anew.
    """
    return compiled * FASTER <= plain and steps * (plain - compiled) > SAFE * compiling * times


def _better_folded(net: Net, recipe: Recipe, cache: Path) -> bool:
    if not recipe.model.freeze_bn or not any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        return True

    def measure() -> Times:
        with events.task("measuring norms", 2):
            return {
                name: step_seconds(net, _with(recipe, fold), _choice(recipe), recipe.threads)
                for name, fold in (("folded", True), ("apart", False))
            }

    times = remembered(net, recipe, cache, "norms", measure)
    folded = is_better_folded(times)
    if not folded:
        told = f"{times['apart'] * 1000:.0f} ms a step instead of {times.get('folded', 0) * 1000:.0f}"
        events.log(f"  norms apart from their convolutions: {told}, measured")
    return folded


def is_better_folded(times: Times) -> bool:
    """Whether norms are folded, by the seconds of a step "folded" and "apart"; what did not fit into memory is not there."""
    if "folded" not in times:
        return "apart" not in times
    return times["folded"] <= times.get("apart", float("inf")) * APART


def _better_compiled(net: Net, recipe: Recipe, cache: Path, steps: int, folds: int) -> bool:
    if not steps:
        return False
    plain = remembered(net, recipe, cache, _what(recipe, "plain"), lambda: _plain(net, recipe))
    tensors = sum(1 for _ in net.parameters())
    if "plain" not in plain or not worth_measuring(plain["plain"], steps, folds, tensors):
        return False
    times = remembered(net, recipe, cache, _what(recipe, "compiled"), lambda: _compiled(net, recipe))
    if "compiled" not in times:
        return False
    sizes = (None, recipe.model.size)
    stages = sum(stage.size in sizes for stage in stages_of(recipe))
    each = 2 if layers_that_drop(net) else 1  # once without them, to be compared
    better = pays(plain["plain"], times["compiled"], times["compiling"], steps, stages * each)
    events.log(
        f"  {'compiled' if better else 'not compiled'}: {times['compiled'] * 1000:.1f} ms a step instead of "
        f"{plain['plain'] * 1000:.1f}, {times['compiling']:.0f} s to compile, measured"
    )
    return better


def _plain(net: Net, recipe: Recipe) -> Times:
    return {"plain": step_seconds(net, recipe, _choice(recipe), recipe.threads)}


def _compiled(net: Net, recipe: Recipe) -> Times:
    """Seconds of compiling and of a compiled step; of the former alone where it cannot be compiled."""
    started, reason = time.perf_counter(), ""
    forget_compiled()
    try:
        with warnings.catch_warnings(), events.task("measuring compiled steps", 1):
            warnings.simplefilter("ignore")  # of torch, about how it compiles
            through = compiled_call
            times = step_times(net, recipe, _choice(recipe), recipe.threads, RECORDED, through)
        return {"compiling": sum(times[:RECORDED]), "compiled": median(times[RECORDED:])}
    except Exception as error:  # whatever torch's compilers raise: none of it may end a run
        reason = in_words(error)
    finally:
        forget_compiled()
        free_memory()
    events.log(f"  steps are not compiled: {reason}")
    return {"compiling": time.perf_counter() - started}


def _what(recipe: Recipe, what: str) -> str:
    """What decides these times beside the model: torch's way of compiling is part of torch."""
    return f"{what}, norms {recipe.model.freeze_bn and recipe.fold_norms}, cuda {torch.version.cuda}"


def _with(recipe: Recipe, fold: bool) -> Recipe:
    return recipe.model_copy(update={"fold_norms": fold})


def _choice(recipe: Recipe) -> Choice:
    return recipe.precision, bool(recipe.channels_last)  # type: ignore[return-value]
