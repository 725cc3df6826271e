"""What the backbone of a checkpoint gives for rows, and its classifier on that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.source import ImageSource
from comp.data.loading.prefetch import loader_pool
from comp.inference.forward import outputs
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import Sidecar
from comp.models.net import Net
from comp.models.runtime import accelerator as make_accelerator
from comp.recipe import Recipe

_SETTING = threading.Lock()


def backbone_outputs(
    net: Net,
    sidecar: Sidecar,
    source: ImageSource,
    paths: list[str],
    views: list[str],
    recipe: Recipe,
    advance: Callable[[int], None],
    number: int | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Backbone outputs (N, D) by view, in the recipe's precision; ``number`` is that of the GPU, where there are several."""
    with _SETTING:  # it sets what the whole process computes by
        accelerator = make_accelerator(recipe)
    device = accelerator.device if number is None else torch.device("cuda", number)
    pixels = ImageDataset(source, paths, sidecar.preprocess, budget=0)
    backbone = net.backbone
    if recipe.channels_last:
        backbone = backbone.to(memory_format=torch.channels_last)
    own = sidecar.preprocess
    fuse_frozen_batchnorm(backbone, own.size, own.channels)  # as it was judged: in half precision that shows
    backbone = backbone.to(device)
    current = nullcontext() if number is None else torch.cuda.device(device)
    with loader_pool(recipe.threads or 1) as pool, current:
        return outputs(backbone, pool, pixels, np.arange(len(paths)), views, recipe, device, advance)


def apply_classifier(head: torch.nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (N, C) of features (N, D) by a classifier."""
    if not isinstance(head, torch.nn.Linear):
        with torch.inference_mode():
            return np.asarray(head.cpu().eval()(torch.from_numpy(features)).numpy(), dtype=np.float32)
    weight, bias = head.weight.detach().cpu().numpy(), head.bias.detach().cpu().numpy()
    return np.asarray(features @ weight.T + bias, dtype=np.float32)
