"""The space that is searched where nobody says one: what usually matters in a mode, around the recipe's own values."""

from __future__ import annotations

from typing import Any

from comp.data.task import Task
from comp.recipe import Recipe


def default_search(recipe: Recipe, task: Task) -> dict[str, Any]:
    """The [search] table for a recipe, as ``read_space`` takes it.

    Rates are searched over a factor of ten to both sides of the recipe's own, since what is usual differs by optimizer.
    """
    smoothing = {} if task.is_numeric else {"regularize.label_smoothing": {"low": 0.0, "high": 0.3}}
    if recipe.mode == "probe":
        balance = (
            {"balance.name": {"choices": ["none", "weights"]}}
            if task.has_classes and not task.is_numeric
            else {}
        )
        return {"probe.l2": {"low": 1e-4, "high": 10.0, "log": True}, **smoothing, **balance}
    rate = recipe.optimizer.lr
    found: dict[str, Any] = {
        "optimizer.lr": {"low": rate / 10, "high": rate * 10, "log": True},
        "optimizer.weight_decay": {"low": 1e-4, "high": 0.3, "log": True},
        **smoothing,
        "regularize.mixup": {"low": 0.0, "high": 0.4},
    }
    if recipe.mode == "finetune":
        head = recipe.optimizer.head_lr or (rate if recipe.head_start else 10 * rate)
        found["optimizer.head_lr"] = {"low": head / 10, "high": head * 10, "log": True}
        found["optimizer.layer_decay"] = {"low": 0.6, "high": 1.0}
        found["model.head.dropout"] = {"low": 0.0, "high": 0.5}
    return found
