"""Which epoch is kept and when training ends early, both from the history alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from comp.errors import InputError
from comp.files import sha256_of
from comp.metrics import Metric
from comp.models.checkpoint import save_tensors
from comp.recipe import Recipe
from comp.training.state import Epoch

BEST_FILE = "best.pt"


def best_epoch(history: Sequence[Epoch], metric: Metric) -> int:
    """The number, from 0, of the epoch with the best held-out metric; of equals that with the lower held-out loss."""
    best = 0
    for n, epoch in enumerate(history):
        leader = history[best]
        if metric.better(epoch.valid_metric, leader.valid_metric) or (
            epoch.valid_metric == leader.valid_metric and epoch.valid_loss < leader.valid_loss
        ):
            best = n
    return best


def is_over(recipe: Recipe, history: Sequence[Epoch], metric: Metric) -> bool:
    """Whether ``stop.patience`` epochs have passed since the best one."""
    waited = len(history) - 1 - best_epoch(history, metric) if history else 0
    return recipe.stop is not None and waited >= recipe.stop.patience


def save_best(folder: Path, tensors: dict[str, Tensor]) -> str:
    """Keeps the best epoch's weights; the next best replaces them. Returns the SHA-256 of the file."""
    return save_tensors(folder / BEST_FILE, tensors)


def load_best(folder: Path, sha256: str = "") -> dict[str, Tensor]:
    """The best epoch's weights.

    Raises
    ------
    InputError
        Where they cannot be read, or are not those of ``sha256``.
    """
    path = folder / BEST_FILE
    remedy = "remove it and state.pt beside it: the fold begins anew, others are kept"
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zip have many errors for bytes that are no weights
        value = f"{path}: {type(error).__name__}"
        raise InputError("the best epoch's weights must be whole", value, remedy) from error
    if sha256 and sha256_of(path) != sha256:
        raise InputError("the best epoch's weights must be whole", f"{path} is not the best epoch's", remedy)
    return tensors
