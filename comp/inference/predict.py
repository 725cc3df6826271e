"""Predictions of rows by the checkpoints of a run: every fold, every view, averaged after softmax."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from comp import console
from comp.errors import WeightsError
from comp.images.pixels import FittedPixels
from comp.images.source import ImageSource
from comp.inference.forward import Probs, mean_of_views, outputs, softmax
from comp.predictions import Predictions, average
from comp.recipe import Recipe
from comp.training.batches import loaders
from comp.training.checkpoint import load_checkpoint, read_sidecar
from comp.training.device import accelerator as make_accelerator


def predict(
    checkpoints: Sequence[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    fingerprint: str = "",
) -> Predictions:
    """The mean probabilities of all checkpoints over the views of ``recipe.tta``.

    Each checkpoint reads images through its own preprocessing; those that share a frozen backbone and the
    preprocessing read them once.

    Parameters
    ----------
    checkpoints : folders with model.safetensors and model.json
    source : ImageSource
    ids, paths : sequences of str, (N,)
    recipe : Recipe
        Resolved; its device, precision and views are used.
    fingerprint : str
        Of the rows, kept in the result.

    Raises
    ------
    WeightsError
        If a checkpoint is missing, torn, or has another label map than the first.
    """
    sidecars = [read_sidecar(folder) for folder in checkpoints]
    for folder, sidecar in zip(checkpoints, sidecars, strict=True):
        if sidecar.labels != sidecars[0].labels:
            raise WeightsError(
                "checkpoints of one run share a label map",
                f"{folder} has another than {checkpoints[0]}",
                "train again",
            )
    shared: dict[tuple[str, object], list[Path]] = {}
    for folder, sidecar in zip(checkpoints, sidecars, strict=True):
        shared.setdefault((sidecar.backbone_sha256, sidecar.preprocess), []).append(folder)
    parts: dict[Path, Predictions] = {}
    with console.task("test rows", len(ids) * len(shared)) as bar:
        for folders in shared.values():
            for folder, by_view in _by_checkpoint(folders, source, paths, recipe, bar).items():
                labels = sidecars[0].labels
                parts[folder] = Predictions(tuple(ids), labels, mean_of_views(by_view), fingerprint)
    return average([parts[folder] for folder in checkpoints])


def _by_checkpoint(
    folders: list[Path], source: ImageSource, paths: Sequence[str], recipe: Recipe, bar: console.Task
) -> dict[Path, dict[str, Probs]]:
    """Probabilities by checkpoint and view, for checkpoints with one backbone: its features once, then each head."""
    accelerator = make_accelerator(recipe)
    net, sidecar = load_checkpoint(folders[0])
    recipe = recipe.model_copy(update={"precision": sidecar.precision})
    pixels = FittedPixels(source, list(paths), sidecar.preprocess, budget=0)
    backbone = net.backbone.to(accelerator.device)
    if recipe.channels_last:
        backbone = backbone.to(memory_format=torch.channels_last)
    with loaders(recipe.threads or 1) as pool:
        rows = np.arange(len(paths))
        features = outputs(backbone, pool, pixels, rows, recipe.tta, recipe, accelerator.device, bar.advance)
    found: dict[Path, dict[str, Probs]] = {}
    for folder in folders:
        head = net.head if folder == folders[0] else load_checkpoint(folder)[0].head
        weight, bias = head.weight.detach().cpu().numpy(), head.bias.detach().cpu().numpy()
        found[folder] = {name: softmax(values @ weight.T + bias) for name, values in features.items()}
    return found
