"""The margin of ArcFace: by what angle a row is to be nearer to the centre of its own class than its answer needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp.data.manifest import PROB
from comp.errors import RecipeError
from comp.recipe import Recipe
from comp.recipe_tables import LossConfig

_FLAT = 1e-6  # of a squared sine: below that its root has no slope that a step could follow


def margins(loss: LossConfig, count: NDArray[Any]) -> NDArray[np.float32]:
    """The margin of each class (C,), in radians, by how many rows it has (C,).

    One for all, or the "dynamic margin" of Ha et al. 2020: a * n ** -power + b, with a and b such that the class with fewest
    rows has ``loss.margin`` and that with most ``loss.margin_least``. A class without rows is never a target.
    """
    assert loss.margin is not None, "a recipe with arcface has a margin"
    found = np.full(len(count), loss.margin, np.float32)
    if loss.margin_least is None or loss.margin_power is None:
        return found
    filled = count > 0
    falling = count[filled].astype(np.float64) ** -loss.margin_power
    spread = np.ptp(falling)
    if spread > 0:
        along = (falling - falling.min()) / spread
        found[filled] = loss.margin_least + (loss.margin - loss.margin_least) * along
    return found


def with_margins(logits: Tensor, targets: Tensor, recipe: Recipe, by_class: Tensor) -> Tensor:
    """Logits (B, C), scale times cosine, with that of each row's own class as if its angle t were wider by its margin m:
    scale * cos(t + m), which equals cos t cos m - sin t sin m.

    Past t = pi - m, where that would rise again, cos t - m sin m, as the authors have it (Deng et al. 2019).

    Parameters
    ----------
    logits : float tensor (B, C)
    targets : int64 tensor (B,), or float tensor (B, C) with a one for each row's class
    recipe : Recipe
        With the scale in ``model.head``.
    by_class : float tensor (C,)
        The margins, in radians.
    """
    scale = recipe.model.head.scale
    assert scale is not None, "a recipe with arcface has a scale"
    logits = logits.float()
    own = (targets if targets.ndim == 1 else targets.argmax(1))[:, None]
    cosine = (logits.gather(1, own) / scale).clamp(-1, 1)  # (B, 1)
    sine = (1 - cosine.square()).clamp_min(_FLAT).sqrt()
    margin = by_class[own]
    wider = cosine * margin.cos() - sine * margin.sin()
    wider = torch.where(cosine > -margin.cos(), wider, cosine - margin * margin.sin())
    return logits.scatter(1, own, scale * wider)


def require_labels(columns: Iterable[Any]) -> None:
    """RecipeError for arcface among rows that have probabilities: a margin is for one class a row."""
    soft = [str(name) for name in columns if str(name).startswith(PROB)]
    if soft:
        value = f"loss.name = 'arcface', and rows have {soft[0]} …"
        raise RecipeError(
            "arcface learns from one label a row", value, "leave these columns out, or another loss"
        )
