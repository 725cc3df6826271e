"""What the nearest known images say: features of a checkpoint compared by their angles, and the likeness to each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from comp.data.labels import LabelMap
from comp.data.predictions import mean_loss
from comp.inference.forward import apply_classifier, softmax
from comp.models.metric_layers import CosineHead

Features = NDArray[np.float32]
Likeness = NDArray[np.float32]

ROWS = 512  # that are compared at once
NOTHING = -1.0  # the likeness to a class without known rows: the least that a cosine can be
SCALES = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 90.0)  # of likeness, before a softmax


def embedded(head: nn.Module, features: Features) -> Features:
    """Features (N, D) of a backbone as unit vectors: those that a classifier by angles compares, which a linear embedding may
    come before.
    """
    if isinstance(head, nn.Sequential) and isinstance(head[-1], CosineHead):
        features = apply_classifier(head[0], features)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), dtype=np.float32)


def likeness(rows: Features, known: Features, targets: NDArray[np.int64], classes: int) -> Likeness:
    """The cosine of each row (Q, D) with the nearest known row (N, D) of each class: (Q, C), by ``targets`` (N,)."""
    found = np.full((len(rows), classes), NOTHING, np.float32)
    order = np.argsort(targets, kind="stable")
    there, first = np.unique(targets[order], return_index=True)
    ordered = known[order]
    for start in range(0, len(rows), ROWS):
        here = slice(start, start + ROWS)
        found[here, there] = np.maximum.reduceat(rows[here] @ ordered.T, first, axis=1)
    return found


def answers(alike: Likeness, scale: float) -> NDArray[np.float64]:
    """Probabilities (Q, C) of likeness: a softmax of ``scale`` times it."""
    return softmax(alike.astype(np.float64) * scale)


def best_scale(alike: Likeness, truth: NDArray[np.int64], labels: LabelMap) -> float:
    """The scale with the least log loss on these rows, those of the unknown class left out."""
    known = truth != (labels.index(labels.task.unknown) if labels.task.unknown else -1)
    losses = [mean_loss(answers(alike[known], scale), truth[known], labels) for scale in SCALES]
    return SCALES[int(np.argmin(losses))]
