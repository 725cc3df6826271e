"""The frozen-feature path: features once for all folds, then a linear classifier solved to its optimum."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from comp import events
from comp.data.folds import group_names
from comp.data.images.pixel_cache import ImageDataset
from comp.data.labels import LabelMap
from comp.data.loading.prefetch import loader_pool
from comp.errors import TrainingFailed
from comp.inference.feature_cache import FeatureCache
from comp.inference.forward import Probs, activated, facts_of_features, joined, outputs
from comp.models.batchnorm_fusion import fuse_frozen_batchnorm
from comp.models.checkpoint import hash_tensors, read_sidecar
from comp.models.net import Net
from comp.models.runtime import accelerator as make_accelerator
from comp.training.loop import new_net
from comp.training.losses import loss_weights, solved_for, wanted
from comp.training.plan import FoldRows, TrainPlan, needs_features
from comp.uncertainty import PairedJackknife

Features = NDArray[np.float32]


@dataclass(frozen=True)
class FrozenFeatures:
    """Backbone outputs of all rows that train: ``by_view[name]`` is float32 (N, D), ``place`` its row of an id."""

    by_view: dict[str, Features]
    place: dict[str, int]

    def of(self, view: str, ids: list[str]) -> Features:
        return self.by_view[view][[self.place[i] for i in ids]]


def with_beside(plan: TrainPlan, net: Net, part: FoldRows, features: FrozenFeatures) -> FrozenFeatures:
    """The features of a fold's rows with what stands beside their images, by the fold's own encoder."""
    if net.side is None:
        return features
    ids, beside = list(part.table["id"]), net.side.beside(plan.source, list(part.table["path"]))
    by_view = {name: joined(features.of(name, ids), beside) for name in features.by_view}
    return FrozenFeatures(by_view, {i: n for n, i in enumerate(ids)})


def frozen_features(plan: TrainPlan, k: int = 0) -> FrozenFeatures:
    """The outputs of the backbone that fold k starts from for every labelled row and view of the recipe.

    They are computed once for a backbone, preprocessing and set of images, and kept in the workspace.
    """
    tables = [plan.by_image.table[plan.by_image.table["split"] != "test"]]
    if plan.pseudo is not None:
        tables.append(plan.pseudo_table(dict.fromkeys(plan.pseudo.ids, "")))
    place = {i: n for n, i in enumerate(i for table in tables for i in table["id"])}
    net = new_net(plan, k).eval()
    views = (
        list(dict.fromkeys([*plan.solved_views, *plan.views]))
        if plan.recipe.mode == "probe"
        else ["identity"]
    )
    parts = [_of_rows(plan, net, table, views) for table in tables]
    return FrozenFeatures({name: np.concatenate([part[name] for part in parts]) for name in views}, place)


def _of_rows(plan: TrainPlan, net: Net, table: pd.DataFrame, views: list[str]) -> dict[str, Features]:
    """The features of some rows by view, kept ones where there are some."""
    cache = None
    if plan.features is not None and plan.warm is None and "content" in table:
        cache = _cache(plan, plan.features, _sha_of_backbone(net), table)
    known = {name: cache.load(name) if cache else None for name in views}
    found = {name: features for name, features in known.items() if features is not None}
    left = [name for name in views if name not in found]
    if left:
        fresh = _computed(plan, net.backbone, list(table["path"]), left)
        for name, features in fresh.items():
            if cache is not None:
                cache.keep(name, features)
        found.update(fresh)
    else:
        events.log(f"  features of {len(table):,} rows: kept from an earlier run")
    return found


def _sha_of_backbone(net: Net) -> str:
    return hash_tensors({n: t for n, t in net.state_dict().items() if n.startswith("backbone.")})


def _cache(plan: TrainPlan, folder: Path, backbone_sha256: str, table: pd.DataFrame) -> FeatureCache:
    facts = facts_of_features(plan.recipe, plan.recipe.model, plan.preprocess, backbone_sha256)
    return FeatureCache(folder, facts, list(table["content"]))


def features_at_hand(plan: TrainPlan, fold: int, tables: Sequence[pd.DataFrame]) -> list[Features | None]:
    """The features (N, D) of some rows, a table each, by the identity view of the network that ``plan`` froze, or began
    with; None for those that are not in the workspace. Nothing is computed: ``fold`` is a finished one.
    """
    if plan.features is None or plan.warm is not None or not needs_features(plan):
        return [None] * len(tables)
    if plan.recipe.mode == "probe":
        sha = read_sidecar(plan.fold_folder(fold)).backbone_sha256
    else:
        sha = _sha_of_backbone(new_net(plan, 0))  # as frozen_features has it
    return [
        _cache(plan, plan.features, sha, table).load("identity")
        if len(table) and "content" in table
        else None
        for table in tables
    ]


def _computed(
    plan: TrainPlan, backbone: torch.nn.Module, paths: list[str], views: list[str]
) -> dict[str, Features]:
    accelerator = make_accelerator(plan.recipe)
    if plan.recipe.channels_last:
        backbone = backbone.to(memory_format=torch.channels_last)
    fuse_frozen_batchnorm(backbone, plan.preprocess.size, plan.preprocess.channels)
    backbone = backbone.to(accelerator.device)
    pixels = ImageDataset(plan.images, paths, plan.preprocess, budget=0)
    with loader_pool(plan.recipe.threads or 1) as pool, events.task("features", len(paths)) as bar:
        rows = np.arange(len(paths))
        return outputs(backbone, pool, pixels, rows, views, plan.recipe, accelerator.device, bar.advance)


def views_to_solve(plan: TrainPlan, k: int, part: FoldRows, features: FrozenFeatures, net: Net) -> list[str]:
    """The views whose features fold k's classifier is solved on.

    Where views are chosen (``tta = "auto"``), the mirrored ones are left out if they cost more than the standard error:
    judged on a quarter of the rows that the fold fits, by classifiers of the other three. ``net.head`` is overwritten.
    """
    views = [name for name in plan.solved_views if name in features.by_view]
    if not plan.sets or views == ["identity"]:
        return views
    rows = part.table.iloc[part.fitted]
    names = group_names(rows)
    quarter = np.array(
        [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[0] % 4 for name in names]
    )
    targets, ids = part.targets[part.fitted], np.asarray(rows["id"])
    soft = solved_for(plan.labels, part, part.fitted[quarter != 0])
    judged, fitted = quarter == 0, quarter != 0
    if not judged.any() or (plan.labels.task.one_class_a_row and len(set(targets[fitted])) < 2):
        return views
    judge = PairedJackknife(
        plan.metric, targets[judged], [name for name, yes in zip(names, judged, strict=True) if yes]
    )
    scored = []
    for tried in (["identity"], views):
        solve_on(plan, net, features, tried, list(ids[fitted]), targets[fitted], soft)
        seen = apply_head(net, features, ["identity"], list(ids[judged]), plan.labels)
        scored.append(judge.score(seen["identity"]))
    gain = judge.gain(*scored)
    if not gain.is_beyond:
        return views
    events.log(
        f"  {plan.name(k)}: its classifier is solved without mirrored views, which cost {gain.value:.4f} ± {gain.error:.4f}"
    )
    return ["identity"]


def solve_on(
    plan: TrainPlan,
    net: Net,
    features: FrozenFeatures,
    views: list[str],
    ids: list[str],
    targets: NDArray[np.int64],
    soft: Tensor | None = None,
) -> None:
    """Solves ``net.head`` on some views of some rows (N), by the recipe; ``soft`` are their packed targets, where they have
    probabilities or weights (see ``losses.solved_for``).
    """
    stacked = np.concatenate([features.of(name, ids) for name in views])
    own = None if soft is None or soft.shape[1] <= len(plan.labels) else soft[:, :-1] / soft[:, -1:]
    shares = None if own is None else own.numpy()
    weights = loss_weights(plan.recipe, targets, plan.labels, "cpu", shares)
    smoothing = plan.recipe.regularize.label_smoothing
    if soft is None:
        repeated = wanted(plan.labels, np.concatenate([targets] * len(views)))
    else:
        repeated = torch.cat([soft] * len(views))
    is_single = plan.labels.task.is_single_label
    solve_head(net, stacked, repeated, plan.recipe.probe.l2, smoothing, weights, is_single)


def apply_head(
    net: Net, features: FrozenFeatures, views: list[str], ids: list[str], labels: LabelMap
) -> dict[str, Probs]:
    """The predictions (N, D) of rows under the identity view and others."""
    assert isinstance(net.head, torch.nn.Linear), "the recipe gives probe a linear classifier"
    weight, bias = net.head.weight.detach().numpy(), net.head.bias.detach().numpy()
    return {
        name: activated(features.of(name, ids) @ weight.T + bias, labels)
        for name in dict.fromkeys(["identity", *views])
    }


def solve_head(
    net: Net,
    features: Features,
    targets: Tensor,
    l2: float,
    smoothing: float,
    weights: Tensor | None = None,
    is_single: bool = True,
) -> None:
    """Fits ``net.head`` on features (N, D) by multinomial logistic regression, in place; where targets are (N, C) floats
    by a logistic regression of each column. Packed ones (N, C + 1) are of a single label where ``is_single``.

    Minimises the mean cross entropy plus ``l2 / 2`` times the squared weights on standardised features, with
    L-BFGS; the standardising is then folded into the weights, so that the checkpoint is a plain
    linear layer; ``weights`` (C,) multiply the terms of each class. The problem is convex: seeds and epochs do not matter.
    """
    assert isinstance(net.head, torch.nn.Linear), "only a linear classifier has a solution"
    x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))  # (N, D)
    y = targets
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / std
    _require_finite(features, std, x)
    weight = torch.zeros(net.head.out_features, x.shape[1], requires_grad=True)  # (C, D)
    bias = torch.zeros(net.head.out_features, requires_grad=True)
    loss_of = partial(solved_loss, y=y, smoothing=smoothing, weights=weights)
    if y.ndim == 2 and y.shape[1] > net.head.out_features:
        from comp.training.soft_targets import solved_packed_loss

        loss_of = partial(
            solved_packed_loss, targets=y, smoothing=smoothing, weights=weights, is_single=is_single
        )
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=100,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        fits = loss_of(x @ weight.T + bias)
        loss: Tensor = fits + l2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        scaled = weight / std
        shift = bias - scaled @ mean
    _require_finite(features, scaled, shift)
    with torch.no_grad():
        net.head.weight.copy_(scaled)
        net.head.bias.copy_(shift)


def solved_loss(logits: Tensor, y: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """The mean cross entropy of rows, of each column where targets are (N, C): convex in the logits."""
    if y.is_floating_point():
        smoothed = y * (1 - smoothing) + smoothing / 2
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="none")
        return (each if weights is None else each * weights).sum(dim=1).mean()
    if weights is None:
        return torch.nn.functional.cross_entropy(logits, y, label_smoothing=smoothing)
    rows = torch.nn.functional.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")
    return (rows * weights[y]).mean()


def _require_finite(features: Features, *tensors: Tensor) -> None:
    """TrainingFailed where what is solved for, or solved with, is no finite number."""
    if all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        return
    value = f"its numbers overflow on features between {features.min():.3g} and {features.max():.3g}"
    remedy = "other weights; model.mean and model.std must be those that they were trained with"
    raise TrainingFailed("the classifier must have a solution", value, remedy)
