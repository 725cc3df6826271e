"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from comp.recipe import OptimizerPart, Recipe, SchedulePart
from comp.training.model import Net


def make_optimizer(net: Net, recipe: Recipe) -> Optimizer:
    """The optimizer, with the classifier at its own rate in finetune, and no decay on biases and norms."""
    part = recipe.optimizer
    head_lr = part.head_lr or (
        part.lr * 10 if recipe.mode == "finetune" and not recipe.head_start else part.lr
    )
    groups = []
    for module, lr in ((net.backbone, part.lr), (net.head, head_lr)):
        decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
        groups.append({"params": decayed, "lr": lr, "weight_decay": part.weight_decay})
        groups.append({"params": plain, "lr": lr, "weight_decay": 0.0})
    return _by_name(part, [g for g in groups if g["params"]])


def _by_name(part: OptimizerPart, groups: list[dict[str, object]]) -> Optimizer:
    if part.name == "sgd":
        return torch.optim.SGD(groups, lr=part.lr, momentum=part.momentum, nesterov=part.momentum > 0)
    if part.name == "nadam":
        return torch.optim.NAdam(groups, lr=part.lr, decoupled_weight_decay=True)
    if part.name == "adam":
        return torch.optim.Adam(groups, lr=part.lr)
    return torch.optim.AdamW(groups, lr=part.lr)


def make_schedule(optimizer: Optimizer, part: SchedulePart, steps: int) -> LambdaLR:
    """A factor on every group's rate, a step at a time, over ``steps`` steps."""
    return LambdaLR(optimizer, lambda step: rate(part, step, steps))


def rate(part: SchedulePart, step: int, steps: int) -> float:
    """The factor on the learning rate at a step: 0 … 1.

    "onecycle" rises and falls along half cosines, from 1/25 up to 1 and down to 1e-5 (Smith & Topin 2018, with
    the cosine form of fastai); "cosine" rises linearly and falls along a half cosine to 0 (Loshchilov & Hutter
    2016); "constant" stays at 1 after the rise.
    """
    rise = part.warmup * steps
    if step < rise:
        along = (step + 1) / (rise + 1)
        return (
            1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * along)) / 2 if part.name == "onecycle" else along
        )
    if part.name == "constant":
        return 1.0
    along = min(1.0, (step - rise) / max(1.0, steps - rise))
    low = 1e-5 if part.name == "onecycle" else 0.0
    return low + (1 - low) * (1 + math.cos(math.pi * along)) / 2
