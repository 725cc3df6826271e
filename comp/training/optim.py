"""Optimizers and learning-rate schedules by name, and the stages of training: which part is trained in which epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from comp.errors import RecipeError, UnknownName
from comp.models.net import Net
from comp.models.timm_alone import timm
from comp.recipe import OptimizerConfig, Recipe, ScheduleConfig


@dataclass(frozen=True)
class Stage:
    """Epochs ``first`` … ``first + epochs - 1`` (from 0), the part that is trained, its learning rates, the side in
    pixels that images are resized to for it (None: as they come), and the rows that it trains on (see ``StageConfig``).
    """

    first: int
    epochs: int
    train: Literal["head", "all"] | int
    lr: float
    head_lr: float
    size: int | None = None
    rows: str = "both"


def stages_of(recipe: Recipe) -> list[Stage]:
    """The stages of a recipe, one over all epochs where it names none."""
    part = recipe.optimizer
    fresh = not recipe.head_start and not recipe.model.weights.startswith("run:")
    factor = 10 if recipe.mode == "finetune" and fresh else 1
    if recipe.stages is None:
        return [Stage(0, recipe.epochs, "all", part.lr, part.head_lr or part.lr * factor)]
    found: list[Stage] = []
    for stage in recipe.stages:
        lr = stage.lr or part.lr
        head_lr = stage.head_lr or part.head_lr or lr * factor
        first = found[-1].first + found[-1].epochs if found else 0
        found.append(Stage(first, stage.epochs, stage.train, lr, head_lr, stage.size, stage.rows))
    return found


def stage_at(stages: list[Stage], epoch: int) -> Stage:
    """The stage that an epoch belongs to; the last one past the end."""
    return next((s for s in stages if s.first <= epoch < s.first + s.epochs), stages[-1])


def open_layers(net: Any, train: Literal["head", "all"] | int) -> None:
    """Lets gradients reach the part of a ``Net`` that is trained: its head always, of the backbone all, nothing, or
    the last so many blocks.

    Raises
    ------
    RecipeError
        If blocks are asked for and the model does not know its order of layers.
    """
    net.head.requires_grad_(True)
    net.backbone.requires_grad_(train == "all")
    if isinstance(train, int):
        blocks = layer_groups(net.backbone)
        if not 1 <= train <= len(blocks):
            value = f"stages.train = {train}, the model has {len(blocks)}"
            raise RecipeError(
                "a stage trains some of the backbone's blocks", value, f"1 to {len(blocks)}, or all"
            )
        named = dict(net.backbone.named_parameters())
        for name in (name for block in blocks[-train:] for name in block):
            named[name].requires_grad_(True)


def layer_groups(backbone: nn.Module) -> list[list[str]]:
    """The names of a backbone's parameters in groups from the input to the output, by timm's ``group_matcher``.

    Raises
    ------
    RecipeError
        If the model has none.
    """
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        value = f"{type(backbone).__name__} has no group_matcher"
        raise RecipeError(
            "layer_decay and stages by depth need a model that knows its layers' order",
            value,
            "drop them, or choose another model",
        )
    groups = timm.models.group_parameters(backbone, matcher(coarse=False))
    return [groups[key] for key in sorted(groups)]


TORCH_OPTIMIZERS = ("adam", "adamw", "nadam", "sgd")
_FUSED = ("adam", "adamw", "sgd")  # torch has one CUDA kernel each for the whole step
_FORMS = ("fused", "foreach", "differentiable")  # which of its forms torch uses: one excludes another


def make_optimizer(net: Net, recipe: Recipe, stage: Stage | None = None) -> Optimizer:
    """The optimizer of a stage (by default the first) over the parameters that it trains.

    The classifier has its own rate, biases and norms no decay, and with ``layer_decay`` each layer of the backbone
    that times the rate of the layer above it (Clark et al. 2020; as in BEiT and timm).

    Raises
    ------
    UnknownName, RecipeError
        For a name that neither torch nor timm has, or arguments that it does not take.
    """
    part = recipe.optimizer
    stage = stage or stages_of(recipe)[0]
    layers = layer_groups(net.backbone) if part.layer_decay is not None else [None]
    groups: list[dict[str, Any]] = []
    for depth, names in enumerate(layers):
        lr = stage.lr * (part.layer_decay or 1.0) ** (len(layers) - depth if names is not None else 0)
        chosen = [p for name, p in net.backbone.named_parameters() if names is None or name in names]
        groups += _with_decay(chosen, lr, part.weight_decay)
    groups += _with_decay(list(net.head.parameters()), stage.head_lr, part.weight_decay)
    return _by_name(part, stage.lr, [group for group in groups if group["params"]])


def _with_decay(parameters: list[torch.nn.Parameter], lr: float, decay: float) -> list[dict[str, Any]]:
    trained = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "lr": lr, "weight_decay": decay},
        {"params": [p for p in trained if p.ndim <= 1], "lr": lr, "weight_decay": 0.0},
    ]


def require_optimizer(name: str) -> None:
    """UnknownName, with near misses, for an optimizer that neither torch nor timm has."""
    known = sorted({*TORCH_OPTIMIZERS, *timm.optim.list_optimizers()})
    if name not in known:
        raise UnknownName("optimizer", name, known, "torch's adam, adamw, nadam and sgd, and timm's")


def _by_name(part: OptimizerConfig, lr: float, groups: list[dict[str, Any]]) -> Optimizer:
    require_optimizer(part.name)
    made: Optimizer
    form = fused_form(part, [p for group in groups for p in group["params"]])
    try:
        if part.name == "sgd":
            nesterov = {"nesterov": part.momentum > 0, **part.kwargs, **form}
            made = torch.optim.SGD(groups, lr=lr, momentum=part.momentum, **nesterov)
        elif part.name == "nadam":
            made = torch.optim.NAdam(groups, lr=lr, **{"decoupled_weight_decay": True, **part.kwargs})
        elif part.name == "adam":
            made = torch.optim.Adam(groups, lr=lr, **part.kwargs, **form)
        elif part.name == "adamw":
            made = torch.optim.AdamW(groups, lr=lr, **part.kwargs, **form)
        else:
            made = timm.optim.create_optimizer_v2(
                groups, part.name, lr=lr, momentum=part.momentum, **part.kwargs
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"optimizer {part.name} must take its arguments", reason, "see optimizer.kwargs"
        ) from error
    return made


def fused_form(part: OptimizerConfig, parameters: Sequence[torch.Tensor]) -> dict[str, Any]:
    """The argument with which torch's optimizer takes a step in a few CUDA kernels instead of some for each operation.

    Empty on other devices, whose bits stay as they are, for optimizers without that form, and where ``optimizer.kwargs``
    chooses a form itself.
    """
    there = bool(parameters) and all(p.device.type == "cuda" and p.is_floating_point() for p in parameters)
    return {"fused": True} if there and part.name in _FUSED and not set(_FORMS) & set(part.kwargs) else {}


def make_schedule(
    optimizer: Optimizer, part: ScheduleConfig, steps: int, factor: Callable[[], float] = lambda: 1.0
) -> LambdaLR:
    """A factor on every group's rate, a step at a time, over ``steps`` steps; ``factor`` is what plateaus left of it."""
    return LambdaLR(optimizer, lambda step: lr_factor(part, step, steps) * factor())


def lr_factor(part: ScheduleConfig, step: int, steps: int) -> float:
    """The factor on the learning rate at a step: 0 … 1.

    "onecycle" rises and falls along half cosines, from 1/25 up to 1 and down to 1e-5 (Smith & Topin 2018, with
    the cosine form of fastai); "cosine" rises linearly and falls along a half cosine to 0 (Loshchilov & Hutter
    2016); "constant" and "plateau" stay at 1 after the rise.
    """
    rise = part.warmup * steps
    if step < rise:
        along = (step + 1) / (rise + 1)
        return (
            1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * along)) / 2 if part.name == "onecycle" else along
        )
    if part.name in ("constant", "plateau"):
        return 1.0
    along = min(1.0, (step - rise) / max(1.0, steps - rise))
    low = 1e-5 if part.name == "onecycle" else 0.0
    return low + (1 - low) * (1 + math.cos(math.pi * along)) / 2


def plateau_factor(part: ScheduleConfig, losses: Sequence[float]) -> float:
    """What is left of the rate after epochs with these held-out losses, as torch's ReduceLROnPlateau has it.

    It follows from the history alone, so that a resumed run needs to keep nothing. A loss counts as lower by a
    ten-thousandth of the best.
    """
    if part.name != "plateau":
        return 1.0
    best, waited, factor = math.inf, 0, 1.0
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > part.patience:
            factor, waited = factor * part.factor, 0
    return factor
