"""Grad-CAM: which parts of an image spoke for a class (Selvaraju et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comp.data.images.preprocess import Preprocess
from comp.models.net import Net, normalise


def grad_cam(
    net: Net, preprocess: Preprocess, pixels: NDArray[np.uint8], columns: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """How much each place of images uint8 (N, S, S, 3) speaks for a column (N,) of the network's output: float32 (N, S, S),
    0 to 1 in each image.

    Reads the last feature maps that have places; None for a network that has none, such as a plain transformer.
    """
    x = normalise(torch.from_numpy(pixels), preprocess)
    layer = _last_maps(net, x[:1])
    if layer is None:
        return None
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, out: Tensor) -> None:
        out.retain_grad()
        kept.append(out)

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            out = net(x.requires_grad_())
            out[torch.arange(len(out)), torch.from_numpy(columns)].sum().backward()
    finally:
        handle.remove()
        net.zero_grad(set_to_none=True)
    maps = kept[-1]
    assert maps.grad is not None
    weight = maps.grad.mean(dim=(2, 3), keepdim=True)
    heat = (weight * maps).sum(dim=1, keepdim=True).relu().detach()
    heat = nn.functional.interpolate(heat, size=pixels.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
    top = heat.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return np.asarray((heat / top).numpy(), dtype=np.float32)


def _last_maps(net: Net, x: Tensor) -> nn.Module | None:
    """The module of the backbone whose output is the last with places: (N, C, H, W), H and W above 1."""
    found: list[nn.Module] = []

    def look(module: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and min(out.shape[2:]) > 1 and out.shape[1] > 3:
            found.append(module)

    handles = [module.register_forward_hook(look) for module in net.backbone.modules()]
    try:
        with torch.inference_mode():
            net(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found else None
