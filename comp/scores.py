"""The functions behind the metrics: labels (N,) and probabilities (N, C) to a score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probs = NDArray[np.float64]


def accuracy(labels: Labels, probs: Probs) -> float:
    """The share of rows whose most probable class is theirs; ties go to the lower index."""
    return float((probs.argmax(axis=1) == labels).mean())


def balanced_accuracy(labels: Labels, probs: Probs) -> float:
    """Recall per class, averaged over the classes that have rows: scikit-learn's ``balanced_accuracy_score``."""
    hits, truth, _ = _counts(labels, probs)
    there = truth > 0
    return float((hits[there] / truth[there]).mean())


def macro_precision(labels: Labels, probs: Probs, every: bool = False) -> float:
    """Precision per class, averaged over the classes that rows have or answers name; one that is never answered counts 0.

    With ``every`` the average is over all C classes, and one that is nowhere counts 0. The same as scikit-learn's
    ``precision_score(average="macro", zero_division=0)``, with ``every`` that with ``labels=range(C)``.
    """
    hits, truth, answered = _counts(labels, probs)
    return _mean(_share(hits, answered), truth + answered, every)


def macro_recall(labels: Labels, probs: Probs, every: bool = False) -> float:
    """Recall per class, averaged over the classes that rows have or answers name; one without rows counts 0.

    With ``every`` over all C classes; as scikit-learn's ``recall_score``, as in ``macro_precision``.
    """
    hits, truth, answered = _counts(labels, probs)
    return _mean(_share(hits, truth), truth + answered, every)


def macro_f1(labels: Labels, probs: Probs, every: bool = False) -> float:
    """F1 per class, averaged over the classes that rows have or answers name.

    With ``every`` over all C classes, and one that is nowhere counts 0; as scikit-learn's ``f1_score``, as in
    ``macro_precision``.
    """
    hits, truth, answered = _counts(labels, probs)
    return _mean(_share(2 * hits, truth + answered), truth + answered, every)


def weighted_f1(labels: Labels, probs: Probs) -> float:
    """F1 per class, averaged with the classes' rows as weights: ``f1_score(average="weighted")``."""
    hits, truth, answered = _counts(labels, probs)
    return float((_share(2 * hits, truth + answered) * truth).sum() / truth.sum())


def log_loss(labels: Labels, probs: Probs) -> float:
    """Mean negative log-probability of the true class, clipped at float64's epsilon as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    picked = np.clip(probs[np.arange(len(labels)), labels], eps, 1.0)
    return float(-np.log(picked).mean())


def top_k(labels: Labels, probs: Probs, k: int) -> float:
    """The share of rows whose class is among the k most probable; ties go to the lower index."""
    return float((ranks(labels, probs) < k).mean())


def map_at_k(labels: Labels, probs: Probs, k: int) -> float:
    """Mean average precision at k with one true class a row: 1 / its place among the first k answers, else 0."""
    rank = ranks(labels, probs)
    return float(np.where(rank < k, 1.0 / (rank + 1), 0.0).mean())


def ranks(labels: Labels, probs: Probs) -> NDArray[np.int64]:
    """The place (N,), from 0, of each row's class among its answers; of equals the lower index comes first."""
    own = probs[np.arange(len(labels)), labels][:, None]  # (N, 1)
    before = np.arange(probs.shape[1])[None] < labels[:, None]
    place: NDArray[np.int64] = ((probs > own) | ((probs == own) & before)).sum(axis=1)
    return place


def roc_auc(labels: Labels, probs: Probs) -> float:
    """Area under the ROC curve, each class against the rest, averaged over the classes that have rows; of two
    classes that of the second.

    By ranks (Mann & Whitney 1947), with ties counted half: scikit-learn's ``roc_auc_score(multi_class="ovr")``.
    A class with no rows, or with all of them, has no curve and is left out; NaN where no class has one.
    """
    classes = probs.shape[1]
    areas = []
    for c in [1] if classes == 2 else range(classes):
        own = labels == c
        if 0 < own.sum() < len(labels):
            _, where, many = np.unique(probs[:, c], return_inverse=True, return_counts=True)
            middle = np.cumsum(many) - (many - 1) / 2  # the mean rank, from 1, of equal values
            above = middle[where][own].sum() - own.sum() * (own.sum() + 1) / 2
            areas.append(above / (own.sum() * (~own).sum()))
    return float(np.mean(areas)) if areas else float("nan")


def quadratic_kappa(labels: Labels, probs: Probs) -> float:
    """Cohen's kappa of class indices as ordinals, with squared distances as weights (Cohen 1968).

    scikit-learn's ``cohen_kappa_score(weights="quadratic")``; where chance leaves nothing to disagree on, 1 if all
    answers are right and else 0.
    """
    found = confusion(labels, probs).astype(np.float64)
    place = np.arange(len(found))
    distance = (place[:, None] - place[None]) ** 2
    by_chance = np.outer(found.sum(axis=1), found.sum(axis=0)) / found.sum()
    expected = (distance * by_chance).sum()
    if expected == 0:
        return float((distance * found).sum() == 0)
    return float(1 - (distance * found).sum() / expected)


def confusion(labels: Labels, probs: Probs) -> NDArray[np.int64]:
    """Rows by true class and answered class: int64 (C, C)."""
    classes = probs.shape[1]
    pairs = np.bincount(labels * classes + probs.argmax(axis=1), minlength=classes * classes)
    return pairs.reshape(classes, classes)


def _counts(labels: Labels, probs: Probs) -> tuple[Probs, Probs, Probs]:
    found = confusion(labels, probs).astype(np.float64)
    return np.diag(found), found.sum(axis=1), found.sum(axis=0)


def _mean(per_class: Probs, rows: Probs, every: bool) -> float:
    """The mean (C,) over the classes that have ``rows`` (C,), or over all."""
    return float((per_class if every else per_class[rows > 0]).mean())


def _share(part: Probs, whole: Probs) -> Probs:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
