"""The penalty of a probe's classifier, from a path of values that are solved on the same features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.data.folds import group_names
from comp.recipe import ProbeConfig
from comp.training.head_trial import solved_fold
from comp.training.linear_probe import frozen_features
from comp.training.plan import FoldRows, TrainPlan, rows_of_fold
from comp.uncertainty import PairedJackknife

Probs = NDArray[np.float64]

PATH = (0.01, 0.03, 0.1, 0.3, 1.0)
MOST = 1e9  # rows times features times classes past which the recipe's own penalty stays


@dataclass(frozen=True)
class Penalty:
    """The penalty that is taken, its score on the OOF rows, and the score of the same rows where each fold's penalty is chosen by
    the others: what choosing is worth on rows that it was not made by.
    """

    l2: float
    score: float
    chosen_within: float
    scores: dict[float, float]


def best_penalty(plan: TrainPlan) -> Penalty | None:
    """The penalty of a probe; None where solving several would take too long.

    From the recipe's own and its two neighbours the path is followed to where the score is best, and no further: a
    solve of all folds costs seconds. The recipe's own stays unless another is better by more than its paired standard error.
    """
    features = frozen_features(plan)
    rows, wide = next(iter(features.by_view.values())).shape
    if rows * len(plan.solved_views) * wide * plan.labels.width > MOST:
        return None
    parts = {k: rows_of_fold(plan, k) for k in range(plan.folds.k)}
    truth = np.concatenate([part.targets[part.held_out] for part in parts.values()])
    path = sorted({*PATH, plan.recipe.probe.l2})
    answers: dict[float, list[Probs]] = {}
    with events.task("penalties", len(path)) as bar:

        def score(l2: float) -> float:
            recipe = plan.recipe.model_copy(update={"probe": ProbeConfig(l2=l2)})
            own = replace(plan, recipe=recipe)
            answers[l2] = [solved_fold(own, k, part, features).oof.probs for k, part in parts.items()]
            bar.advance()
            return plan.metric(truth, np.concatenate(answers[l2]))

        follow(path, path.index(plan.recipe.probe.l2), score, plan.metric.better)
    return _chosen(plan, list(parts.values()), answers)


def follow(
    path: Sequence[float],
    start: int,
    score: Callable[[float], float],
    is_better: Callable[[float, float], bool],
) -> None:
    """Scores the value at ``start``, its neighbours, and on while each is better than the last."""
    usual = score(path[start])
    for step in (-1, 1):
        at, last = start + step, usual
        while 0 <= at < len(path):
            found = score(path[at])
            if not is_better(found, last):
                break
            at, last = at + step, found


def _chosen(plan: TrainPlan, parts: Sequence[FoldRows], answers: Mapping[float, Sequence[Probs]]) -> Penalty:
    truth = np.concatenate([part.targets[part.held_out] for part in parts])
    fold = np.concatenate([np.full(len(part.held_out), k) for k, part in enumerate(parts)])
    names = [name for part in parts for name in group_names(part.table.iloc[part.held_out])]
    whole = {l2: np.concatenate(each) for l2, each in answers.items()}
    within = np.empty_like(whole[plan.recipe.probe.l2])
    for k in range(len(parts)):
        others = fold != k
        here = {l2: probs[others] for l2, probs in whole.items()}
        l2 = _best(plan, truth[others], here, [n for n, yes in zip(names, others, strict=True) if yes])
        within[~others] = whole[l2][~others]
    scores = {l2: plan.metric(truth, probs) for l2, probs in whole.items()}
    l2 = _best(plan, truth, whole, names)
    return Penalty(l2, scores[l2], plan.metric(truth, within), scores)


def _best(
    plan: TrainPlan, truth: NDArray[Any], answers: Mapping[float, Probs], names: Sequence[str]
) -> float:
    judge, usual = PairedJackknife(plan.metric, truth, names), plan.recipe.probe.l2
    scored = {l2: judge.score(probs) for l2, probs in answers.items()}
    best = usual
    for l2, one in scored.items():
        if plan.metric.better(one.score, scored[best].score):
            best = l2
    return best if judge.gain(scored[best], scored[usual]).is_beyond else usual
