"""How far a network's own probabilities move when nothing but the arithmetic changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from comp.data.images.dataset import ImageDataset
from comp.inference.control_rows import Probs
from comp.inference.forward import probabilities
from comp.models.checkpoint import Noise
from comp.recipe import Recipe


def judged_again(
    net: nn.Module,
    pool: ThreadPoolExecutor,
    pixels: ImageDataset,
    rows: NDArray[np.int64],
    oof: Probs,
    recipe: Recipe,
    device: Any,
) -> tuple[Noise, Probs | None]:
    """The noise of some rows (n,) that were judged ``oof`` (n, C) among others, and what they are in fp32 (n, C) where the
    recipe's precision is a half.

    They go through the network once more by themselves, by twos, and where they were judged in half precision in fp32.
    """

    def again(in_: Recipe, at_once: int | None = None) -> Probs:
        return probabilities(net, pool, pixels, rows, ["identity"], in_, device, at_once=at_once)["identity"]

    precision = recipe.precision
    noise: Noise = {
        precision: {"again": _apart(again(recipe), oof), "by_twos": _apart(again(recipe, 2), oof)}
    }
    if precision == "fp32":
        return noise, None
    full = recipe.model_copy(update={"precision": "fp32"})
    exact = again(full)
    noise[precision]["in_fp32"] = _apart(exact, oof)
    noise["fp32"] = {"again": _apart(again(full), exact), "by_twos": _apart(again(full, 2), exact)}
    return noise, exact


def _apart(one: Probs, other: Probs) -> float:
    return float(np.abs(one - other).max(initial=0.0))
