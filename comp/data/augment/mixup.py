"""Mixup, cutmix and random erasing: whole batches changed on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from comp.data.device_memory import upload
from comp.recipe_schema import RegularizeConfig

ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 3.3)


def mix(
    x: Tensor, y: Tensor, classes: int, part: RegularizeConfig, rng: np.random.Generator, mixes: bool = True
) -> tuple[Tensor, Tensor]:
    """A batch as the network is to learn it: rectangles erased, then pictures mixed by twos.

    Mixup is the weighted mean of two pictures and of their targets (Zhang et al. 2018); cutmix puts a rectangle
    of one picture into the other and weighs the targets by area (Yun et al. 2019); where both are on, each batch
    draws one. An erased rectangle takes the mean colour (Zhong et al. 2020). Everything random comes from ``rng``.

    Parameters
    ----------
    x : float tensor (B, 3, H, W)
        Normalised pictures, so that 0 is the mean colour.
    y : int64 tensor (B,)
    mixes : bool
        False past ``mix_until``: erasing only.

    Returns
    -------
    (Tensor, Tensor)
        Pictures (B, 3, H, W), and targets int64 (B,), or float (B, C) where the batch was mixed.
    """
    if part.erasing:
        x = _erase(x, part.erasing, rng)
    wanted = [name for name, alpha in (("mixup", part.mixup), ("cutmix", part.cutmix)) if alpha > 0]
    if not wanted or not mixes or rng.random() >= part.mix_share:
        return x, y
    kind = wanted[int(rng.integers(len(wanted)))]
    alpha = part.mixup if kind == "mixup" else part.cutmix
    share = float(rng.beta(alpha, alpha))  # of the picture that stays
    partner = upload(torch.from_numpy(rng.permutation(len(x))), x.device)
    if kind == "mixup":
        x = torch.lerp(x[partner], x, share)
    else:
        x, share = _paste(x, partner, share, rng)
    hot = torch.nn.functional.one_hot(y, classes).float()  # (B, C)
    return x, hot * share + hot[partner] * (1 - share)


def _paste(x: Tensor, partner: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Every picture with one rectangle of its partner, and the share of the area that stayed its own."""
    height, width = x.shape[2:]
    side = np.sqrt(1 - share)
    half_h, half_w = height * side / 2, width * side / 2
    cy, cx = rng.uniform(0, height), rng.uniform(0, width)
    top, bottom = (int(np.clip(round(v), 0, height)) for v in (cy - half_h, cy + half_h))
    left, right = (int(np.clip(round(v), 0, width)) for v in (cx - half_w, cx + half_w))
    x = x.clone()
    x[:, :, top:bottom, left:right] = x[partner][:, :, top:bottom, left:right]
    return x, 1 - (bottom - top) * (right - left) / (height * width)


def _erase(x: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    height, width = x.shape[2:]
    edges: list[tuple[int, ...]] = []
    for n in np.flatnonzero(rng.random(len(x)) < share):
        area = rng.uniform(*ERASED_AREA) * height * width
        aspect = np.exp(rng.uniform(*np.log(ERASED_ASPECT)))
        h, w = min(height, round(np.sqrt(area * aspect))), min(width, round(np.sqrt(area / aspect)))
        top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        edges.append((int(n), top, left, top + h, left + w))
    return (erased_at_once if x.device.type == "cuda" else erased_one_by_one)(x.clone(), edges)


def erased_one_by_one(x: Tensor, edges: list[tuple[int, ...]]) -> Tensor:
    """Pictures (B, 3, H, W) with rectangles of 0, changed in place: picture, top, left, bottom and right of each. A CPU then
    writes no other pixels.
    """
    for n, top, left, bottom, right in edges:
        x[n, :, top:bottom, left:right] = 0
    return x


def erased_at_once(x: Tensor, edges: list[tuple[int, ...]]) -> Tensor:
    """The same for a GPU, which takes as long for one rectangle as for all of a batch; one a picture at most."""
    every = np.zeros((len(x), 4), np.int64)
    for n, *sides in edges:
        every[n] = sides
    top, left, bottom, right = upload(torch.from_numpy(every), x.device).reshape(-1, 4, 1, 1, 1).unbind(1)
    down = torch.arange(x.shape[2], device=x.device)[:, None]
    across = torch.arange(x.shape[3], device=x.device)
    inside = (down >= top) & (down < bottom) & (across >= left) & (across < right)  # (B, 1, H, W)
    return x.masked_fill_(inside, 0.0)
