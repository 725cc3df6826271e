"""What the levels of a network see in images, at several sizes: more than its last output tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.source import ImageSource
from comp.data.loading.prefetch import loader_pool
from comp.errors import WeightsError
from comp.inference.feature_cache import FeatureCache
from comp.inference.forward import facts_of_features, large_size, outputs
from comp.models.checkpoint import Sidecar, load_checkpoint
from comp.models.net import Net, require_forward
from comp.models.runtime import accelerator as make_accelerator
from comp.recipe import Recipe

Features = NDArray[np.float32]
SIZES = (0.75, 1.0, 1.25)  # in parts of what the network reads
VIEWS = ("identity", "hflip")
GRID, GRIDDED = 3, 3  # cells across and down, and of how many levels, at the size of the network
GRID_COUNTS = 0.5  # beside the means and spreads
MOST_LEVELS = 6  # a transformer has more blocks than that: some of them, evenly


class Levels(nn.Module):
    """A backbone that gives the mean and the spread of each level's channels (B, E) where timm's
    ``forward_intermediates`` tells them, else its output (B, D). With ``grid`` also the means over the cells of the
    image, so many across and down, of the last levels.
    """

    def __init__(self, backbone: nn.Module, grid: int) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.levels = _levels_of(backbone)
        self.grid = grid
        self.first_cell: int | None = None  # the first column of the cells, once it is known

    def forward(self, x: Tensor) -> Tensor:
        if not self.levels:
            plain: Tensor = self.backbone(x)
            return plain
        levels = self.backbone.forward_intermediates(x, indices=self.levels, intermediates_only=True)
        flat = [level.float().flatten(2) for level in levels]  # (B, E, H W)
        pools = [pool for level in flat for pool in (level.mean(2), level.std(2, correction=0))]
        if self.grid:
            cells = [adaptive_avg_pool2d(level.float(), self.grid).flatten(1) for level in levels[-GRIDDED:]]
            self.first_cell = sum(pool.shape[1] for pool in pools)
            pools += cells
        return torch.cat(pools, 1)


def _levels_of(backbone: nn.Module) -> list[int]:
    """The levels to look at; none where the backbone does not tell them."""
    known = getattr(backbone, "feature_info", None)
    if not isinstance(known, list) or not hasattr(backbone, "forward_intermediates"):
        return []
    step = -(-len(known) // MOST_LEVELS) or 1
    return sorted(range(len(known) - 1, -1, -step))


def level_features(
    checkpoint: Path,
    source: ImageSource,
    paths: Sequence[str],
    recipe: Recipe,
    kept: Path | None = None,
    contents: Sequence[str] = (),
    advance: Callable[[int], None] = lambda n: None,
) -> Features:
    """Features (N, M) of images by the backbone of a checkpoint, each column with mean 0 and spread 1 over the rows:
    the mean over an image and its mirror, at each of SIZES that the network reads.

    Parameters
    ----------
    checkpoint : folder with model.safetensors and model.json
    source : ImageSource
    paths : sequence of str, (N,)
    recipe : Recipe
        Resolved; its device, threads and layout are used, in fp32.
    kept : Path, optional
        Where they are kept, found again by ``contents`` (N,) of the images.
    advance : function of how many rows were read at one size
    """
    net, sidecar = load_checkpoint(checkpoint)
    recipe = recipe.model_copy(update={"precision": "fp32"})
    facts = {
        **facts_of_features(recipe, sidecar.model, sidecar.preprocess, sidecar.backbone_sha256),
        "levels": [[GRID, GRIDDED, GRID_COUNTS], list(SIZES), list(VIEWS), MOST_LEVELS],
    }
    cache = FeatureCache(kept, facts, list(contents)) if kept is not None and len(contents) else None
    known = cache.load("identity") if cache else None
    if known is not None:
        advance(len(paths) * len(SIZES))
        return known
    sizes = dict.fromkeys(large_size(sidecar.preprocess.size, scale) for scale in SIZES)
    read = [size for size in sizes if _reads(net, sidecar, size)]
    device = make_accelerator(recipe).device
    found = []
    for size in read:
        levels = Levels(net.backbone, GRID if size == sidecar.preprocess.size else 0).eval().to(device)
        pixels = ImageDataset(source, list(paths), replace(sidecar.preprocess, size=size), budget=0)
        with loader_pool(recipe.threads or 1) as pool:
            rows = np.arange(len(paths))
            seen = outputs(levels, pool, pixels, rows, list(VIEWS), recipe, device, advance)
        even = _even(np.mean([seen[name] for name in VIEWS], axis=0))
        if levels.first_cell is not None:
            even[:, levels.first_cell :] *= GRID_COUNTS
        found.append(even)
    whole = np.concatenate(found, axis=1)
    if cache is not None:
        cache.keep("identity", whole)
    return whole


def _reads(net: Net, sidecar: Sidecar, size: int) -> bool:
    """Whether a network reads images of this size, as it does its own."""
    if size == sidecar.preprocess.size:
        return True
    try:
        require_forward(net, sidecar.model, sidecar.labels.width, size)
    except WeightsError:
        return False
    return True


def _even(features: Features) -> Features:
    """Columns with mean 0 and spread 1 over the rows; 0 where all rows have one value."""
    spread = features.std(axis=0)
    return np.asarray(
        (features - features.mean(axis=0)) / np.where(spread > 1e-6, spread, np.inf), np.float32
    )
