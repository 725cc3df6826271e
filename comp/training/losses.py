"""What is minimised: cross entropy or focal loss, of plain or mixed targets, with class weights if asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.recipe import Recipe


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Inverse frequencies (C,) of the classes among ``targets`` (N,), with the mean 1 over the rows.

    A class without rows has weight 0: it is never a target.
    """
    count = np.bincount(targets, minlength=classes)
    filled = count > 0
    weights = np.zeros(classes, np.float32)
    weights[filled] = len(targets) / (count[filled] * filled.sum())
    return weights


def loss_weights(recipe: Recipe, targets: NDArray[np.int64], classes: int, device: Any) -> Tensor | None:
    """The class weights (C,) of a fold's training rows on the device, where the recipe balances by weights."""
    if recipe.balance.name != "weights":
        return None
    return torch.from_numpy(class_weights(targets, classes)).to(device)


def loss_of(logits: Tensor, targets: Tensor, recipe: Recipe, weights: Tensor | None = None) -> Tensor:
    """The mean loss of a batch.

    Focal loss multiplies each class's term by (1 - p) ** gamma (Lin et al. 2017); weights are per class and have
    the mean 1 over the training rows, so that the loss keeps its scale.

    Parameters
    ----------
    logits : float tensor (B, C)
    targets : int64 tensor (B,), or float tensor (B, C) whose rows sum to one
    recipe : Recipe
    weights : float tensor (C,), optional
    """
    smoothing = recipe.regularize.label_smoothing
    if recipe.loss.name == "cross_entropy" and weights is None:
        plain: Tensor = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        return plain
    classes = logits.shape[1]
    wanted = targets if targets.ndim == 2 else torch.nn.functional.one_hot(targets, classes).float()
    wanted = wanted * (1 - smoothing) + smoothing / classes  # (B, C)
    log_probs = torch.log_softmax(logits.float(), dim=1)
    terms = wanted * log_probs
    if recipe.loss.name == "focal":
        terms = terms * (1 - log_probs.exp()).clamp_min(0) ** recipe.loss.gamma
    if weights is not None:
        terms = terms * weights
    return -terms.sum(dim=1).mean()
