"""The forward pass over rows and views: the one path for validation, OOF and test predictions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from comp.errors import TrainingFailed
from comp.images.fit import Preprocess
from comp.images.pixels import FittedPixels
from comp.inference.views import square_of, squares_of, view
from comp.predictions import ROW_SUM_TOLERANCE
from comp.recipe import Recipe
from comp.recipe_parts import ModelPart
from comp.training.batches import batches
from comp.training.memory import free_memory, is_out_of_memory
from comp.training.model import normalise

Probs = NDArray[np.float64]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BATCH = 64
FLOOR = 1e-12  # of a probability in a geometric mean
_ROWS = 4096  # that a mean holds in memory for all views at once


class NotFinite(TrainingFailed):
    """A network gave a NaN or an infinity for an image, of which no answer can be made."""


def outputs(
    net: nn.Module,
    pool: ThreadPoolExecutor,
    pixels: FittedPixels,
    rows: NDArray[np.int64],
    views: list[str],
    recipe: Recipe,
    device: Any,
    advance: Callable[[int], None] = lambda n: None,
) -> dict[str, NDArray[np.float32]]:
    """What the network gives for rows (R,) under each view: float32 (R, D), by view name.

    The network must be in eval mode and on ``device``. Each picture is decoded once for all views.

    Raises
    ------
    NotFinite
        Naming the first image and view for which it gives a NaN or an infinity.
    """
    found: dict[str, list[torch.Tensor]] = {name: [] for name in views}
    preprocess: Preprocess = pixels.preprocess
    half, room = _DTYPES.get(recipe.precision), _Room()
    squares = squares_of(views, preprocess)
    sides = [one.size for one in squares.values()]

    def fill(part: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        for n, row in enumerate(part):
            fitted = pixels.squares(int(row), list(squares.values()))
            np.concatenate([one.reshape(-1, 3) for one in fitted], out=out[n])

    with (
        torch.inference_mode(),
        torch.autocast(torch.device(device).type, dtype=half, enabled=half is not None),
    ):
        for part, flat in batches(pool, rows, BATCH, (sum(side**2 for side in sides), 3), fill):
            apart = torch.split(flat.to(device, non_blocking=True), [side**2 for side in sides], dim=1)
            for square, side, images in zip(squares, sides, apart, strict=True):
                x = normalise(images.reshape(-1, side, side, 3), preprocess)  # (B, 3, T, T)
                for name in views:
                    if square_of(name) == square:
                        seen = view(name, x, preprocess.size)
                        given = _fitting(net, seen, room).float().cpu()
                        _require_finite(given, [pixels.paths[row] for row in part], name, recipe.precision)
                        found[name].append(given)
            advance(len(part))
    return {
        name: torch.cat(parts).numpy() if parts else np.zeros((0, 0), np.float32)
        for name, parts in found.items()
    }


def _require_finite(given: torch.Tensor, paths: list[str], view: str, precision: str) -> None:
    """NotFinite where what a network gave (B, D) for images has a NaN or an infinity."""
    finite = torch.isfinite(given).flatten(1).all(1)
    if not bool(finite.all()):
        value = f"{paths[int(finite.int().argmin())]}, view {view!r}, in {precision}: NaN or infinity"
        raise NotFinite("a network's outputs must be finite numbers", value, _remedy(precision))


def _remedy(precision: str) -> str:
    if precision != "fp32":
        return "--set precision=fp32, which holds larger numbers"
    return "other weights, or a lower optimizer.lr; model.mean and model.std must be those of the weights"


def facts_of_features(
    recipe: Recipe, model: ModelPart, preprocess: Preprocess, backbone_sha256: str
) -> dict[str, Any]:
    """What decides a backbone's outputs beside the pictures, for keeping them."""
    device = torch.cuda.get_device_name() if recipe.device == "cuda" else f"{recipe.device} {recipe.threads}"
    return {
        "backbone": backbone_sha256,
        "model": [model.name, model.stem, model.kwargs],
        "preprocess": preprocess.as_json(),
        "precision": recipe.precision,
        "channels_last": recipe.channels_last,
        "device": device,
        "torch": torch.__version__,
        "batch": BATCH,
    }


@dataclass
class _Room:
    """How many rows memory was seen to hold at once."""

    rows: int = BATCH


def _fitting(net: nn.Module, x: torch.Tensor, room: _Room) -> torch.Tensor:
    """The network's outputs of a batch (B, 3, H, W), in parts where memory does not suffice for it at once."""
    while True:
        try:
            if len(x) <= room.rows:
                whole: torch.Tensor = net(x)
                return whole
            return torch.cat([net(part) for part in torch.split(x, room.rows)])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or min(room.rows, len(x)) < 2:
                raise
        free_memory()
        room.rows = min(room.rows, len(x)) // 2


def probabilities(
    net: nn.Module,
    pool: ThreadPoolExecutor,
    pixels: FittedPixels,
    rows: NDArray[np.int64],
    views: list[str],
    recipe: Recipe,
    device: Any,
    advance: Callable[[int], None] = lambda n: None,
) -> dict[str, Probs]:
    """Softmax probabilities float64 (R, C) of rows, by view."""
    logits = outputs(net, pool, pixels, rows, views, recipe, device, advance)
    return {name: softmax(values) for name, values in logits.items()}


def softmax(logits: NDArray[np.floating[Any]]) -> Probs:
    """Probabilities of logits (N, C), in float64; NotFinite for logits that are no finite numbers."""
    if not np.isfinite(logits).all():
        row = int(np.isfinite(logits).all(axis=1).argmin())
        raise NotFinite(
            "logits must be finite numbers", f"row {row} has a NaN or an infinity", _remedy("fp32")
        )
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def mean_of_views(by_view: dict[str, Probs], how: str = "arithmetic") -> Probs:
    """The mean over views (N, C) of their probabilities, after softmax, whatever their order.

    "geometric" is the mean of log-probabilities, brought back to rows that sum to one. They are taken as at least
    FLOOR, so that a view that is certain counts for much, and cannot forbid a class that all others see.

    Raises
    ------
    ValueError
        For anything but probabilities: logits have no mean that means anything, and a geometric one of negative
        numbers could turn an answer round.
    """
    views = list(by_view.values())
    mean = np.empty_like(views[0], dtype=np.float64)
    for start in range(0, len(mean), _ROWS):
        here = slice(start, start + _ROWS)
        mean[here] = _mean(np.stack([one[here] for one in views]), how)
    return mean


def _mean(seen: Probs, how: str) -> Probs:
    """The mean (R, C) of views (V, R, C)."""
    if not ((seen >= 0).all() and np.allclose(seen.sum(axis=2), 1.0, atol=ROW_SUM_TOLERANCE)):
        raise ValueError("views are averaged as probabilities: rows of 0 to 1 that sum to one")
    values = np.log(np.maximum(seen, FLOOR)) if how == "geometric" else seen
    # added from small to large, so that the order of the views changes no bit
    mean = np.asarray(np.add.reduce(np.sort(values, axis=0), axis=0) / len(seen), dtype=np.float64)
    return softmax(mean) if how == "geometric" else mean
