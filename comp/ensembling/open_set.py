"""When a row is answered with the unknown class: a threshold on the best probability of all known ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.metrics import Metric

Probs = NDArray[np.float64]

GRID = 61  # thresholds that are tried, between rows of as many quantiles


def with_unknown_at(probs: Probs, threshold: float, labels: LabelMap) -> Probs:
    """Probabilities (N, C) in which the unknown class stands at ``threshold`` among the others, whatever a network gave it:
    the likeliest class is the unknown one where no known one reaches the threshold, and of the k likeliest it has the place
    that its threshold has among their probabilities. Rows sum to one, the known classes to one before.
    """
    column = labels.index(labels.task.unknown)
    moved = probs.copy()
    moved[:, column] = 0
    total = moved.sum(axis=1, keepdims=True)
    even = 1 / max(probs.shape[1] - 1, 1)
    moved = np.divide(moved, total, out=np.full_like(moved, even), where=total > 0)
    moved[:, column] = threshold
    return np.asarray(moved / moved.sum(axis=1, keepdims=True))


def best_known(probs: Probs, labels: LabelMap) -> NDArray[np.float64]:
    """The largest probability (N,) of a known class, those of all known ones summing to one."""
    known = np.delete(probs, labels.index(labels.task.unknown), axis=1)
    total = known.sum(axis=1)
    return np.asarray(np.divide(known.max(axis=1), total, out=np.zeros(len(known)), where=total > 0))


def learn_unknown(probs: Probs, truth: NDArray[Any], metric: Metric, labels: LabelMap) -> float:
    """The threshold with the best score on these rows, 0 (the unknown class comes last) where none is better.

    Tried are the middles between neighbours of ``GRID`` quantiles of the best known probability. Of equal scores in a row
    the middle one counts: at the edge of a plateau other rows would fall off it.
    """
    best = np.unique(np.quantile(best_known(probs, labels), np.linspace(0, 1, GRID)))
    tried = [0.0, *((best[:-1] + best[1:]) / 2).tolist(), 1.0]
    scores = [metric(truth, with_unknown_at(probs, t, labels)) for t in tried]
    top = 0
    for n, score in enumerate(scores):
        if metric.better(score, scores[top]):
            top = n
    last = top
    while top and last + 1 < len(scores) and scores[last + 1] == scores[top]:
        last += 1
    return float(tried[(top + last) // 2])
