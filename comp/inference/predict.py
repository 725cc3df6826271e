"""Predictions of rows by the checkpoints of a run: every fold, every view, averaged after softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from comp import console
from comp.data.images.pixel_cache import ImageDataset
from comp.data.images.source import ImageSource
from comp.data.loading.resident import loader_pool
from comp.data.predictions import Predictions, average
from comp.errors import WeightsError
from comp.inference.control_rows import (
    LEAST,
    ControlRow,
    ControlRowSource,
    control_row_error,
    exactly,
    max_abs_difference,
    read_controls,
    shuffled,
    tolerance,
)
from comp.inference.feature_cache import FeatureCache
from comp.inference.forward import Probs, facts_of_features, mean_of_views, outputs, softmax
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import Sidecar, load_checkpoint, read_sidecar
from comp.models.net import Net
from comp.models.runtime import accelerator as make_accelerator
from comp.models.runtime import computes
from comp.recipe import Recipe


@dataclass(frozen=True)
class KeptFor:
    """Where frozen features of the rows to predict are kept, and the contents (N,) of these rows, in their order."""

    folder: Path | None
    contents: Sequence[str]


def predict_each(
    checkpoints: Sequence[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    fingerprint: str = "",
    kept: KeptFor | None = None,
) -> dict[Path, Predictions]:
    """The probabilities of each checkpoint over the views of ``recipe.views``, by its folder.

    Each checkpoint reads images through its own preprocessing; those that share a frozen backbone and the
    preprocessing read them once. Every checkpoint's control rows stand shuffled among the rows, and are found
    again by id: their identity view must give their OOF probabilities.

    Parameters
    ----------
    checkpoints : folders with model.safetensors, model.json and control.json
    source : ImageSource
    ids, paths : sequences of str, (N,)
    recipe : Recipe
        Resolved; its device and views are used, the precision is the checkpoint's, or fp32 where the device does not
        compute in that.
    fingerprint : str
        Of the rows, kept in the result.
    kept : KeptFor, optional
        Where the features of a backbone that several checkpoints share are kept. Control rows never come from there.

    Raises
    ------
    WeightsError
        If a checkpoint is missing, torn, or has another label map than the first.
    CheckFailed
        If control rows come back changed, or a checkpoint has none.
    """
    sidecars = {folder: read_sidecar(folder) for folder in checkpoints}
    labels = sidecars[checkpoints[0]].labels
    for folder, sidecar in sidecars.items():
        if sidecar.labels != labels:
            value = f"{folder} has another than {checkpoints[0]}"
            raise WeightsError("checkpoints of one run share a label map", value, "train again")
    shared: dict[tuple[str, object, str, str], list[Path]] = {}
    for folder, sidecar in sidecars.items():
        precisions = sidecar.precision, _precision(sidecar, recipe)
        shared.setdefault((sidecar.backbone_sha256, sidecar.preprocess, *precisions), []).append(folder)
    for judged in sorted({judged for _, _, judged, used in shared if judged != used}):
        console.log(
            f"  judged in {judged}, predicted in fp32: {recipe.device} does not compute in {judged} here"
        )
    parts: dict[Path, Predictions] = {}
    with console.task("test rows", len(ids) * len(shared)) as bar:
        for folders in shared.values():
            cached = kept if len(folders) > 1 else None
            for folder, probs in _by_backbone(folders, source, ids, paths, recipe, bar, cached).items():
                parts[folder] = Predictions(tuple(ids), labels, probs, fingerprint)
    return {folder: parts[folder] for folder in checkpoints}


def predict(
    checkpoints: Sequence[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    fingerprint: str = "",
    kept: KeptFor | None = None,
) -> Predictions:
    """The mean of what ``predict_each`` gives."""
    each = predict_each(checkpoints, source, ids, paths, recipe, fingerprint, kept)
    return average(list(each.values()))


def _by_backbone(
    folders: list[Path],
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    recipe: Recipe,
    bar: console.Task,
    kept: KeptFor | None,
) -> dict[Path, Probs]:
    """Probabilities (N, C) by checkpoint, for checkpoints with one backbone: its features once, then each head."""
    net, sidecar = load_checkpoint(folders[0])
    recipe = recipe.model_copy(update={"precision": _precision(sidecar, recipe)})
    controls = {folder: read_controls(folder, sidecar.labels) for folder in folders}
    among = [row for folder in folders for row in controls[folder]]
    views = list(dict.fromkeys(["identity", *recipe.views]))
    cache = _cache(kept, sidecar, recipe)
    known = {name: cache.load(name) if cache else None for name in views}
    whole = all(features is not None for features in known.values())
    rows = [] if whole else list(zip(ids, paths, strict=True))  # kept features leave the control rows alone
    rows += [(row.id, row.path) for row in among]
    order = shuffled(len(rows))
    mixed = [rows[n] for n in order]
    seen = _features(net, sidecar, source, [path for _, path in mixed], views, recipe, bar.advance)
    place = {name: n for n, (name, _) in enumerate(mixed)}
    wanted = np.array([] if whole else [place[name] for name in ids], dtype=np.int64)
    features = {
        name: ready if whole and ready is not None else seen[name][wanted] for name, ready in known.items()
    }
    if cache is not None and not whole:
        for name, values in features.items():
            cache.keep(name, values)
    found: dict[Path, Probs] = {}
    for folder in folders:
        head = net.head if folder == folders[0] else load_checkpoint(folder)[0].head
        identity = softmax(_apply(head, seen["identity"]))
        back = {row.id: identity[place[row.id]] for row in controls[folder]}
        in_fp32 = partial(_in_fp32, net, head, sidecar, source, controls[folder], recipe)
        _require_controls(folder, controls[folder], back, recipe.precision, in_fp32)
        by_view = {name: softmax(_apply(head, features[name])) for name in recipe.views}
        found[folder] = mean_of_views(by_view, recipe.tta_mean)
    return found


def _cache(kept: KeptFor | None, sidecar: Sidecar, recipe: Recipe) -> FeatureCache | None:
    if kept is None or kept.folder is None:
        return None
    facts = facts_of_features(recipe, sidecar.model, sidecar.preprocess, sidecar.backbone_sha256)
    return FeatureCache(kept.folder, facts, kept.contents)


def _precision(sidecar: Sidecar, recipe: Recipe) -> str:
    """What a checkpoint predicts in: what it was judged in, or fp32 where only the device it was judged on does that."""
    same = sidecar.device == recipe.device or (not sidecar.device and sidecar.precision == "bf16")
    if (same and recipe.device != "cuda") or computes(sidecar.precision, recipe.device):
        return sidecar.precision
    return "fp32"


def _require_controls(
    folder: Path,
    controls: list[ControlRow],
    back: dict[str, Probs],
    precision: str,
    in_fp32: Callable[[], dict[str, Probs]],
) -> None:
    """Refuses control rows that came back changed from among the test rows: ``back`` by id, in ``precision``.

    Those of a half precision also have to come back in fp32, by themselves, as they were judged in it: there hardly any
    noise covers what another preprocessing changes.
    """
    sidecar, exact = read_sidecar(folder), exactly(controls)
    judged = sidecar.precision
    if precision == judged:
        most = tolerance(judged, sidecar.noise)
        difference, sample = max_abs_difference(controls, back)
        if not difference <= most and (exact or judged == "fp32"):
            raise control_row_error(folder, difference, sample, most)
        if judged == "fp32" or (difference <= most and not exact):
            return
        if not exact:  # an older checkpoint
            console.log(
                f"  {folder.name}: control rows differ by {difference:.3f} in {judged}; trying again in fp32"
            )
        back = in_fp32()
    most = tolerance("fp32", sidecar.noise) if exact else LEAST[judged]
    difference, sample = max_abs_difference(exact or controls, back)
    if not difference <= most:
        raise control_row_error(folder, difference, sample, most)


def _in_fp32(
    net: Net,
    head: torch.nn.Module,
    sidecar: Sidecar,
    source: ImageSource,
    controls: list[ControlRow],
    recipe: Recipe,
) -> dict[str, Probs]:
    """The identity-view probabilities of control rows by themselves, in fp32, by id."""
    full = recipe.model_copy(update={"precision": "fp32"})
    paths = [row.path for row in controls]
    seen = _features(net, sidecar, source, paths, ["identity"], full, lambda n: None)
    probs = softmax(_apply(head, seen["identity"]))
    return {row.id: own for row, own in zip(controls, probs, strict=True)}


def _features(
    net: Net,
    sidecar: Sidecar,
    source: ImageSource,
    paths: list[str],
    views: list[str],
    recipe: Recipe,
    advance: Callable[[int], None],
) -> dict[str, NDArray[np.float32]]:
    """Backbone outputs (N, D) by view, in the recipe's precision."""
    accelerator = make_accelerator(recipe)
    pixels = ImageDataset(ControlRowSource(source), paths, sidecar.preprocess, budget=0)
    backbone = net.backbone
    if recipe.channels_last:
        backbone = backbone.to(memory_format=torch.channels_last)
    fuse_frozen_batchnorm(backbone, sidecar.preprocess.size)  # as it was judged: in half precision that shows
    backbone = backbone.to(accelerator.device)
    with loader_pool(recipe.threads or 1) as pool:
        return outputs(
            backbone, pool, pixels, np.arange(len(paths)), views, recipe, accelerator.device, advance
        )


def _apply(head: torch.nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    if not isinstance(head, torch.nn.Linear):
        with torch.inference_mode():
            return np.asarray(head.cpu().eval()(torch.from_numpy(features)).numpy(), dtype=np.float32)
    weight, bias = head.weight.detach().cpu().numpy(), head.bias.detach().cpu().numpy()
    return np.asarray(features @ weight.T + bias, dtype=np.float32)
