"""Layers of metric learning: a classifier by angles, and generalised-mean pooling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from comp.errors import RecipeError
from comp.models.small_nets import SmallNet
from comp.models.timm_alone import timm


class CosineHead(nn.Module):
    """``scale`` times the cosine between features (B, D) and the nearest of a class's ``centres``: logits (B, C).

    Source: Deng et al. 2019 (ArcFace), with the sub-centres of Deng et al. 2020. The margin is the loss's alone, so that rows
    that are judged have none. ``weight`` (C * K, D) has the K centres of a class one after the other; their lengths, and
    those of features, do not count.
    """

    def __init__(self, features: int, classes: int, scale: float, centres: int = 1) -> None:
        super().__init__()
        self.in_features, self.out_features = features, classes
        self.scale, self.centres = scale, centres
        self.weight = nn.Parameter(torch.empty(classes * centres, features))
        self.begin(None)

    def begin(self, generator: torch.Generator | None) -> None:
        """Centres in random directions."""
        with torch.no_grad():
            self.weight.normal_(0.0, 1 / math.sqrt(self.in_features), generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        x = nn.functional.normalize(features, dim=1)
        cosines = x @ nn.functional.normalize(self.weight, dim=1).T  # (B, C * K)
        if self.centres > 1:
            cosines = cosines.view(len(x), self.out_features, self.centres).amax(2)
        return self.scale * cosines


class GeM(nn.Module):
    """The generalised mean over the places of feature maps, (mean of x ** p) ** (1 / p), with a ``p`` that is learned from 3
    (Radenović et al. 2018): 1 is the mean, and towards infinity it is the maximum. (B, D, h, w) to (B, D), or to (B, D, 1, 1)
    where ``flat`` is off; of maps (B, h, w, D) by ``axes`` (1, 2).

    Values count from ``FLOOR`` up, and powers are taken in float32: half precision would overflow.
    """

    START, FLOOR = 3.0, 1e-6

    def __init__(self, axes: tuple[int, ...] = (2, 3), flat: bool = True) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(self.START))
        self.axes, self.flat = axes, flat

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            p = self.p.float()
            mean = x.float().clamp_min(self.FLOOR).pow(p).mean(self.axes, keepdim=not self.flat)
            return mean.pow(1 / p).to(x.dtype)


def set_gem(backbone: nn.Module, name: str) -> str:
    """Lets a backbone pool its last maps by ``GeM``, in place, and returns the name of the new parameter.

    Raises
    ------
    RecipeError
        If it does not pool maps of places in one known layer, as plain transformers do not.
    """
    if isinstance(backbone, SmallNet):
        backbone.pool = GeM()
        return "pool.p"
    pools = [
        (place, module)
        for place, module in backbone.named_modules()
        if isinstance(module, timm.layers.SelectAdaptivePool2d) and not isinstance(module.pool, nn.Identity)
    ]
    if len(pools) != 1 or pools[0][1].feat_mult() != 1:
        value = f"{name} has {'no such layer' if not pools else 'another kind of pooling'}"
        remedy = "drop model.pool, or choose a convolutional network of timm's"
        raise RecipeError('model.pool = "gem" pools maps of places', value, remedy)
    place, chosen = pools[0]
    axes = getattr(chosen.pool, "dim", (2, 3))  # that of timm's own pooling of (B, h, w, D)
    chosen.pool = GeM(tuple(axes), flat=bool(getattr(chosen.pool, "flatten", False)))
    return f"{place}.pool.p"
