"""A probe's fold without its files: the classifier is solved on frozen features and judged, no checkpoint is kept."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import torch

from comp.data.predictions import Predictions, mean_of_views
from comp.models.net import Net
from comp.training.linear_probe import FrozenFeatures, apply_head, solve_on, views_to_solve
from comp.training.losses import solved_for
from comp.training.plan import FoldResult, FoldRows, TrainPlan


def solved_fold(plan: TrainPlan, k: int, part: FoldRows, features: FrozenFeatures) -> FoldResult:
    """What ``run_fold`` comes to for fold k of a probe, bit for bit, at the cost of the solve; nothing is written.

    ``part`` is ``rows_of_fold(plan, k)``. The result has no predictions beside those by the recipe's views and its sets.
    """
    torch.set_num_threads(plan.recipe.threads or 1)
    started = time.perf_counter()
    wide = next(iter(features.by_view.values())).shape[1]
    # of a network, only its classifier is asked for
    net = cast(Net, SimpleNamespace(head=torch.nn.Linear(wide, plan.labels.width)))
    fitted, ids = list(part.table["id"].iloc[part.fitted]), part.table["id"].iloc[part.held_out]
    views = views_to_solve(plan, k, part, features, net)
    soft = solved_for(plan.labels, part, part.fitted)
    solve_on(plan, net, features, views, fitted, part.targets[part.fitted], soft)
    judged = apply_head(net, features, plan.views, list(ids), plan.labels)

    def predictions(names: list[str]) -> Predictions:
        probs = mean_of_views({one: judged[one] for one in names}, plan.recipe.tta_mean, plan.labels)
        return Predictions(tuple(ids), plan.labels, probs, plan.folds.fingerprint)

    targets: Any = part.targets[part.held_out]
    oof, plain = predictions(plan.recipe.views), predictions(["identity"])
    return FoldResult(
        fold=k,
        score=plan.metric(targets, oof.probs),
        identity_score=plan.metric(targets, plain.probs),
        rows=len(ids),
        seconds=time.perf_counter() - started,
        images_per_second=0.0,
        oof=oof,
        sets={name: predictions(views) for name, views in plan.sets.items()},
    )
