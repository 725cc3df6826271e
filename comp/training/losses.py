"""What is minimised, and what is done about classes with few rows among those that a fold fits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.augment.policies import TrainTransform
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.preprocess import Extent, fit
from comp.data.labels import LabelMap
from comp.data.manifest import feature_columns
from comp.data.task import Task
from comp.errors import InputError, RecipeError
from comp.files import make_folder, write_bytes, write_text
from comp.recipe import Recipe, derive_seed
from comp.training import arcface
from comp.training.optim import stage_at, stages_of
from comp.training.plan import FoldRows, Rows, TrainPlan, rows_of_fold


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Inverse frequencies (C,) of the classes among ``targets`` (N,), with the mean 1 over the rows.

    A class without rows has weight 0: it is never a target.
    """
    return _evened(np.bincount(targets, minlength=classes))


def _evened(count: NDArray[Any]) -> NDArray[np.float32]:
    """Inverse frequencies (C,) of how many rows each class has, shares of rows too."""
    filled = count > 0
    weights = np.zeros(len(count), np.float32)
    weights[filled] = count.sum() / (count[filled] * filled.sum())
    return weights


def loss_weights(
    recipe: Recipe,
    targets: NDArray[Any],
    labels: LabelMap,
    device: Any,
    shares: NDArray[np.float32] | None = None,
) -> Tensor | None:
    """The class weights (C,) of a fold's training rows on the device, where the recipe balances by weights; ``shares``
    (N, C) are what rows are to be answered with, where that is not their label alone. With arcface weights and margins
    (2, C) of the classes.
    """
    if recipe.loss.name == "arcface":
        count = np.bincount(targets, minlength=len(labels))
        even = _evened(count) if recipe.balance.name == "weights" else np.ones(len(labels), np.float32)
        return torch.from_numpy(np.stack([even, arcface.margins(recipe.loss, count)])).to(device)
    if recipe.balance.name != "weights":
        return None
    if shares is not None:
        return torch.from_numpy(_evened(shares.sum(axis=0, dtype=np.float64))).to(device)
    if targets.ndim == 2:  # each label that a row has counts once
        targets = np.nonzero(targets)[1]
    return torch.from_numpy(class_weights(targets, len(labels))).to(device)


_BINARY = {"cross_entropy": "binary_cross_entropy", "focal": "binary_focal"}
_OF_TASK = {  # the losses of each task, the usual one first
    "single-label": ("cross_entropy", "focal", "arcface"),
    "multi-label": ("binary_cross_entropy", "binary_focal", "asymmetric"),
    "ordinal": ("binary_cross_entropy", "mse", "l1"),
    "regression": ("binary_cross_entropy", "mse", "l1"),
}
_BY_COLUMN = {name for task in ("multi-label", "ordinal") for name in _OF_TASK[task]}
_BALANCES = {
    "multi-label": ("none", "weights"),
    "ordinal": ("none", "sampler", "copies"),
    "regression": ("none",),
}


def for_task(recipe: Recipe, task: Task) -> Recipe:
    """A recipe whose loss is the task's: of several labels, or a number, the binary cross entropy of each column.

    Numbers are not smoothed: that would draw them to the middle of their scale.

    Raises
    ------
    RecipeError
        For a loss or a way to balance that the task or the mode does not have.
    """
    loss, allowed = recipe.loss, _OF_TASK[task.name]
    if not task.is_single_label:
        loss = loss.model_copy(update={"name": _BINARY.get(loss.name, loss.name)})
    if loss.name not in allowed:
        remedy = f"choose of {', '.join(allowed)}"
        raise RecipeError(f"loss.name is one of task {task.name!r}", f"loss.name = {loss.name!r}", remedy)
    if recipe.mode == "probe" and loss.name != allowed[0]:
        value, remedy = f"loss.name = {loss.name!r}", "drop `loss`, or choose another mode"
        raise RecipeError(f"mode = 'probe' solves {allowed[0]}", value, remedy)
    balances = _BALANCES.get(task.name)
    if balances is not None and recipe.balance.name not in balances:
        value, remedy = f"balance = {recipe.balance.name!r}", f"choose of {', '.join(balances)}"
        raise RecipeError(f"balance is one of task {task.name!r}", value, remedy)
    if recipe.distill is not None and task.is_numeric:
        value = f"distill.run = {recipe.distill.run!r}, the task is {task.name}"
        raise RecipeError("distill is for classes", value, "drop `distill`")
    regularize = recipe.regularize
    if task.is_numeric:
        regularize = regularize.model_copy(update={"label_smoothing": 0.0})
    return recipe.model_copy(update={"loss": loss, "regularize": regularize})


def wanted(labels: LabelMap, truth: NDArray[Any]) -> Tensor:
    """The truth as a loss takes it: int64 (B,) of a single label, else float32 (B, D) on the scale of 0 to 1."""
    if labels.task.is_single_label:
        return torch.from_numpy(truth)
    columns = truth[:, None] if truth.ndim == 1 else truth
    return torch.from_numpy(labels.scaled(columns).astype(np.float32))


def loss_of(logits: Tensor, targets: Tensor, recipe: Recipe, weights: Tensor | None = None) -> Tensor:
    """The mean loss of a batch.

    Focal loss multiplies each class's term by (1 - p) ** gamma (Lin et al. 2017); weights are per class and have
    the mean 1 over the training rows, so that the loss keeps its scale.

    Parameters
    ----------
    logits : float tensor (B, D)
    targets : int64 tensor (B,), or float tensor (B, D): shares of classes, or each column of 0 to 1
        Wider ones are packed (see ``soft_targets``): those of rows with weights, probabilities or a teacher.
    recipe : Recipe
    weights : float tensor (C,), optional
        Of arcface (2, C): the weights, and the margins.
    """
    smoothing = recipe.regularize.label_smoothing
    if targets.ndim == 2 and targets.shape[1] > logits.shape[1]:
        from comp.training.soft_targets import packed_loss

        return packed_loss(logits, targets, recipe, partial(losses_of_rows, recipe=recipe, weights=weights))
    if recipe.loss.name == "cross_entropy" and weights is None:
        plain: Tensor = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        return plain
    if recipe.loss.name in _BY_COLUMN:
        return _of_columns(logits.float(), targets, recipe, weights).mean()
    return losses_of_rows(logits, targets, recipe, weights).mean()


def losses_of_rows(logits: Tensor, targets: Tensor, recipe: Recipe, weights: Tensor | None = None) -> Tensor:
    """The loss of each row (B,), of what ``loss_of`` takes but packed targets."""
    if recipe.loss.name in _BY_COLUMN:
        return _of_columns(logits.float(), targets, recipe, weights).mean(dim=1)
    if recipe.loss.name == "arcface" and weights is not None:
        logits = arcface.with_margins(logits, targets, recipe, weights[1])
        weights = weights[0]
    smoothing, classes = recipe.regularize.label_smoothing, logits.shape[1]
    wanted = targets if targets.ndim == 2 else torch.nn.functional.one_hot(targets, classes).float()
    wanted = wanted * (1 - smoothing) + smoothing / classes  # (B, C)
    log_probs = torch.log_softmax(logits.float(), dim=1)
    terms = wanted * log_probs
    if recipe.loss.name == "focal":
        terms = terms * (1 - log_probs.exp()).clamp_min(0) ** recipe.loss.gamma
    if weights is not None:
        terms = terms * weights
    return -terms.sum(dim=1)


def _of_columns(logits: Tensor, targets: Tensor, recipe: Recipe, weights: Tensor | None) -> Tensor:
    """A loss that looks at each column alone, of logits and targets (B, D): (B, D)."""
    loss, smoothing = recipe.loss, recipe.regularize.label_smoothing
    y = targets * (1 - smoothing) + smoothing / 2
    probs = torch.sigmoid(logits)
    if loss.name == "mse":
        each = (probs - y).square()
    elif loss.name == "l1":
        each = (probs - y).abs()
    elif loss.name == "asymmetric":
        absent = (probs - loss.shift).clamp_min(0)
        there = y * torch.log(probs.clamp_min(1e-8)) * (1 - probs) ** loss.gamma_positive
        each = -(there + (1 - y) * torch.log((1 - absent).clamp_min(1e-8)) * absent**loss.gamma_negative)
    else:
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
        if loss.name == "binary_focal":
            each = each * (y - probs).abs() ** loss.gamma
    return each if weights is None else each * weights


def learned(labels: LabelMap, part: FoldRows, rows: Rows) -> Tensor:
    """What the loss takes of some rows of a fold: as ``wanted``, or packed."""
    if part.is_plain:
        return wanted(labels, part.targets[rows])
    from comp.training.soft_targets import packed

    return packed(labels, part, rows, wanted(labels, part.targets[rows]))


def solved_for(labels: LabelMap, part: FoldRows, rows: Rows) -> Tensor | None:
    """The packed targets that a linear classifier is solved for, a teacher's left out; None where labels alone tell all."""
    if part.shares is None and part.weight is None:
        return None
    from comp.training.soft_targets import packed

    return packed(labels, part, rows, wanted(labels, part.targets[rows]), teacher=False)


def rows_at(part: FoldRows, recipe: Recipe, epoch: int) -> Rows:
    """The fitted rows that this epoch's stage trains on."""
    which = stage_at(stages_of(recipe), epoch).rows
    if which == "both":
        return part.fitted
    is_own = (part.table["split"] == "train").to_numpy()[part.fitted]
    return part.fitted[is_own if which == "train" else ~is_own]


def with_side_features(recipe: Recipe, columns: Iterable[Any]) -> Recipe:
    """The recipe as rows with the columns of a manifest are trained: uncompiled where some are side features.

    Raises
    ------
    RecipeError
        If it mixes images: what stands beside a mixed image is nothing that rows have.
    """
    if not feature_columns(columns):
        return recipe
    mixes = [name for name in ("mixup", "cutmix") if getattr(recipe.regularize, name)]
    if mixes:
        value = f"regularize.{mixes[0]} = {getattr(recipe.regularize, mixes[0])}, and [data] features"
        raise RecipeError("images with side features are not mixed", value, f"regularize.{mixes[0]} = 0")
    return recipe.model_copy(update={"compile": False})


def require_extra_rows(plan: TrainPlan, folds: Iterable[int]) -> None:
    """InputError where a stage trains on extra rows, and one of these folds has fewer than two."""
    for k in folds:
        part = rows_of_fold(plan, k)
        count = int((part.table["split"].iloc[part.fitted] != "train").sum())
        if count < 2:
            value = f"fold {k} has {count or 'none'}"
            remedy = "name some, `extra=CSV` or `pseudo=CSV`, or set the stage's rows to both"
            raise InputError('a stage of rows = "extra" trains on extra rows', value, remedy)


def epoch_order(part: FoldRows, recipe: Recipe, k: int, epoch: int) -> Rows:
    """The rows of this epoch in their order, the same for the same seed, fold and epoch.

    Each once, shuffled; with balance "sampler" as many draws with replacement, every class equally likely.
    """
    rng = np.random.default_rng(derive_seed(recipe.seed, "order", k, epoch))
    if recipe.balance.name != "sampler":
        return rng.permutation(rows_at(part, recipe, epoch))
    rows = rows_at(part, recipe, epoch)
    targets = part.targets[rows]
    chance = 1.0 / np.bincount(targets)[targets]
    return rng.choice(rows, len(rows), p=chance / chance.sum())


def with_copies(plan: TrainPlan, k: int, part: FoldRows) -> FoldRows:
    """Fold k's rows with changed copies of the fitted ones, where the recipe balances by copies.

    Copies are made after the split and of fitted rows only, so that no copy can be of a held-out image; a copy
    carries its parent's label, group and content, and ``parent`` names it; its own id is like ``PARENT~copy-3``.
    Within a class the images are copied in turn, in a seeded order. The pixels are made while training loads them.

    Parameters
    ----------
    plan : Plan
    k : int
    part : Part
        Of fold k; not changed.
    """
    balance = plan.recipe.balance
    if balance.name != "copies":
        return part
    targets = part.targets[part.fitted]
    count = np.bincount(targets, minlength=len(plan.labels))
    goal = balance.per_class or int(count.max())
    parents: list[int] = []
    number: list[int] = []
    for c in np.flatnonzero(count):
        wanted = goal if balance.classes == "all" else max(0, goal - int(count[c]))
        order = np.random.default_rng(
            derive_seed(plan.recipe.seed, "copies", k, plan.labels.names[c])
        ).permutation(part.fitted[targets == c])
        parents += [int(order[n % len(order)]) for n in range(wanted)]
        number += [n // len(order) + 1 for n in range(wanted)]
    return _extended(plan, k, part, parents, number) if parents else part


def _extended(plan: TrainPlan, k: int, part: FoldRows, parents: list[int], number: list[int]) -> FoldRows:
    copies = part.table.iloc[parents].copy()
    copies["parent"] = copies["id"]
    mark = _mark(part.table["id"])
    copies["id"] = [f"{i}{mark}{n}" for i, n in zip(copies["id"], number, strict=True)]
    seeds = [
        derive_seed(plan.recipe.seed, "copy", k, name) | 1 for name in copies["id"]
    ]  # never 0, which is no copy
    first = len(part.table)
    return replace(
        part,
        table=pd.concat([part.table, copies], ignore_index=True),
        targets=np.concatenate([part.targets, part.targets[parents]]),
        fitted=np.concatenate([part.fitted, np.arange(first, first + len(parents))]),
        **{name: np.concatenate([known, known[parents]]) for name, known in part.soft.items()},
        origin=np.concatenate([part.origin_of_all, np.array(parents, dtype=np.int64)]),
        copy_seed=np.concatenate([np.zeros(first, np.int64), np.array(seeds, dtype=np.int64)]),
    )


def _mark(ids: pd.Series) -> str:
    """What stands between a parent's id and a copy's number: found in no real id, so that none can clash."""
    mark = "~copy-"
    while any(mark in i for i in ids):
        mark = f"~{mark}"
    return mark


class TrainPixels:
    """The images of a fold's rows before the training transform: a copy's are its parent's, changed."""

    def __init__(self, plan: TrainPlan, part: FoldRows, extent: Extent = "square") -> None:
        self._part = part
        self._fitted = ImageDataset(plan.images, list(part.table["path"]), plan.preprocess, extent)
        self._change = TrainTransform(plan.recipe.balance.transform, plan.preprocess)

    def forget(self) -> None:
        """Gives back the memory of the images that were kept, as for those that lie together elsewhere."""
        self._fitted.forget()

    def shapes(self, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Heights and widths (R, 2) of these rows' images, where none has to be made for it."""
        part = self._part
        if part.origin is None or part.copy_seed is None:
            return self._fitted.shapes(rows)
        return None if part.copy_seed[rows].any() else self._fitted.shapes(part.origin[rows])

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        part = self._part
        if part.origin is None or part.copy_seed is None:
            return self._fitted[row]
        pixels = self._fitted[int(part.origin[row])]
        seed = int(part.copy_seed[row])
        if not seed:
            return pixels
        changed = self._change.changed(pixels, seed)
        if self._fitted.extent == "whole":
            return changed
        whole = replace(self._fitted.preprocess, size=pixels.shape[0], crop_pct=1.0)
        return changed if changed.shape == pixels.shape else fit(changed, whole)


def write_copies(plan: TrainPlan, part: FoldRows, folder: Path) -> None:
    """Writes copies.csv (id, parent, label) beside a fold's checkpoint, and the images to copies/ if the recipe keeps them."""
    if part.copy_seed is None:
        return
    rows = np.flatnonzero(part.copy_seed)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keep = plan.recipe.balance.keep
    writer.writerow(["id", "parent", "label", *(["file"] if keep else [])])
    pixels = TrainPixels(plan, part)
    for n, row in enumerate(rows):
        one = part.table.iloc[int(row)]
        file = f"copies/{part.targets[row]:03}/{n:05}.png"
        writer.writerow([one["id"], one["parent"], one["label"], *([file] if keep else [])])
        if keep:
            make_folder((folder / file).parent)
            code = cv2.imencode(".png", cv2.cvtColor(pixels[int(row)], cv2.COLOR_RGB2BGR))[1]
            write_bytes(folder / file, code.tobytes())
    write_text(folder / "copies.csv", out.getvalue())
