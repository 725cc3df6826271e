"""Stages of training: which part of the network is trained in which epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import timm.models
from torch import nn

from comp.errors import RecipeError
from comp.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """Epochs ``first`` … ``first + epochs - 1`` (from 0), the part that is trained, its learning rates, and the side in
    pixels that pictures are resized to for it (None: as they come).
    """

    first: int
    epochs: int
    train: Literal["head", "all"] | int
    lr: float
    head_lr: float
    size: int | None = None


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
        found.append(Stage(first, stage.epochs, stage.train, lr, head_lr, stage.size))
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
