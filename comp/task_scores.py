"""Scores of several labels a row, and of numbers: functions of truth and predictions, as graders define them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CELLS = 1 << 21  # values of an array that are worked on at once
APPLIES = 0.5  # from this probability on a class is answered


@dataclass(frozen=True)
class Answers:
    """The answered classes (N,) of predictions (N, C), for metrics that ask for no more."""

    places: NDArray[np.int64]
    classes: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.places), self.classes

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Answers:
        return Answers(self.places[rows], self.classes)


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of an array (N, D), so many that they have CELLS values."""
    step = max(1, CELLS // max(1, shape[1]))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def likeliest(probs: NDArray[Any] | Answers) -> NDArray[np.int64]:
    """The most probable class (N,) of predictions (N, C), of equals the first. Some rows at once: numpy's ``argmax`` copies the
    whole of an array that is locked, which takes longer than to look through it.
    """
    if isinstance(probs, Answers):
        return probs.places
    parts = [probs[here].argmax(axis=1) for here in row_blocks(probs.shape)]
    return np.concatenate(parts).astype(np.int64, copy=False) if parts else np.zeros(0, np.int64)


def answered_sets(probs: Floats) -> NDArray[np.bool_]:
    """Which classes apply (N, C), of probabilities (N, C)."""
    return probs >= APPLIES


def exact_sets(truth: Floats, probs: Floats) -> float:
    """The share of rows whose classes are all right: scikit-learn's ``accuracy_score`` of label sets."""
    return float((answered_sets(probs) == (truth > 0)).all(axis=1).mean())


def f_beta_of_sets(
    truth: Floats, probs: Floats, average: str, beta: float = 1.0, every: bool = False
) -> float:
    """F-beta of label sets, truth and probs (N, C): scikit-learn's ``fbeta_score`` with ``zero_division=0``.

    ``average`` is "micro" (over all cells), "samples" (over the classes of a row, then over rows), "macro" (over the
    classes that occur in truth or answers; with ``every`` over all C) or "weighted" (by the rows of a class). ``beta``
    0 is precision, infinity recall.
    """
    real, said = truth > 0, answered_sets(probs)
    axis = {"micro": None, "samples": 1}.get(average, 0)
    hits, there, answered = (np.atleast_1d(cells.sum(axis=axis)) for cells in (real & said, real, said))
    each = f_of_counts(hits, there, answered, beta)
    if average == "weighted":
        return float((each * there).sum() / there.sum()) if there.sum() else 0.0
    if average == "macro" and not every:
        occurs = (there + answered) > 0
        return float(each[occurs].mean()) if occurs.any() else 0.0
    return float(each.mean())


def f_of_counts(hits: ArrayLike, there: ArrayLike, answered: ArrayLike, beta: float) -> Floats:
    """F-beta of counts: right answers, true ones and given ones; 0 where there is nothing to divide by."""
    tp, positives, given = (np.asarray(n, dtype=np.float64) for n in (hits, there, answered))
    if beta == float("inf"):
        part, whole = tp, positives
    elif beta == 0:
        part, whole = tp, given
    else:
        part, whole = (1 + beta**2) * tp, beta**2 * positives + given
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def column_auc(truth: Floats, probs: Floats) -> float:
    """The mean over columns of the area under the ROC curve; columns without both answers have none and are left out."""
    areas = [area for c in range(truth.shape[1]) if not np.isnan(area := auc(truth[:, c] > 0, probs[:, c]))]
    return float(np.mean(areas)) if areas else float("nan")


def auc(own: NDArray[np.bool_], values: Floats) -> float:
    """The area under the ROC curve of values (N,) for rows that are ``own`` or not, by ranks (Mann & Whitney 1947), ties
    counted half; NaN where all are or none is.
    """
    if not 0 < own.sum() < len(own):
        return float("nan")
    _, where, many = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(many) - (many - 1) / 2  # the mean rank, from 1, of equal values
    above = middle[where][own].sum() - own.sum() * (own.sum() + 1) / 2
    return float(above / (own.sum() * (~own).sum()))


def average_precision_of(own: NDArray[np.bool_], values: Floats) -> float:
    """The precision at each step of recall, weighted by the step: scikit-learn's ``average_precision_score``; NaN where
    no row is ``own``.
    """
    if not own.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order], append=-np.inf))  # of equal values the last
    hits = np.cumsum(own[order])[ends]
    steps = np.diff(hits, prepend=0) / own.sum()
    return float((steps * hits / (ends + 1)).sum())


def column_average_precision(truth: Floats, probs: Floats) -> float:
    """The mean over columns of average precision; columns without a true row are left out."""
    each = [average_precision_of(truth[:, c] > 0, probs[:, c]) for c in range(truth.shape[1])]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def column_log_loss(truth: Floats, probs: Floats) -> float:
    """The mean binary log loss over all cells, clipped at float64's epsilon as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    p = np.clip(probs, eps, 1 - eps)
    return float(-np.where(truth > 0, np.log(p), np.log(1 - p)).mean())


def map_at_k_of_sets(truth: Floats, probs: Floats, k: int) -> float:
    """Mean average precision of the k likeliest classes of a row: the precision at each right answer, over as many as
    there could be, min(k, true classes). A row without any counts 0. Of equals the lower index comes first.
    """
    order = np.argsort(-probs, axis=1, kind="stable")[:, :k]
    right = np.take_along_axis(truth > 0, order, axis=1)
    precision = np.cumsum(right, axis=1) / np.arange(1, order.shape[1] + 1)
    possible = np.minimum((truth > 0).sum(axis=1), k)
    return float(((precision * right).sum(axis=1) / np.maximum(possible, 1)).mean())


def squared(truth: NDArray[np.generic], values: Floats) -> Floats:
    """Squared errors (N, D)."""
    return np.asarray((values - np.asarray(truth, dtype=np.float64).reshape(values.shape)) ** 2)


def rmse(truth: NDArray[np.generic], values: Floats) -> float:
    """The root of the mean squared error over all cells."""
    return float(np.sqrt(squared(truth, values).mean()))


def mse(truth: NDArray[np.generic], values: Floats) -> float:
    """The mean squared error over all cells."""
    return float(squared(truth, values).mean())


def mcrmse(truth: NDArray[np.generic], values: Floats) -> float:
    """The mean over columns of the root of the mean squared error."""
    return float(np.sqrt(squared(truth, values).mean(axis=0)).mean())


def mae(truth: NDArray[np.generic], values: Floats) -> float:
    """The mean absolute error over all cells."""
    return float(np.sqrt(squared(truth, values)).mean())


def rmsle(truth: NDArray[np.generic], values: Floats) -> float:
    """The root mean squared error of log(1 + value); NaN below -1."""
    known = np.asarray(truth, dtype=np.float64).reshape(values.shape)
    if known.min() <= -1 or values.min() <= -1:
        return float("nan")
    return float(np.sqrt(((np.log1p(values) - np.log1p(known)) ** 2).mean()))


def r2(truth: NDArray[np.generic], values: Floats) -> float:
    """The share of variance that is explained, averaged over columns: scikit-learn's ``r2_score``; of a column whose
    truth does not vary 1 where all is right and else 0.
    """
    known = np.asarray(truth, dtype=np.float64).reshape(values.shape)
    left = ((known - values) ** 2).sum(axis=0)
    there = ((known - known.mean(axis=0)) ** 2).sum(axis=0)
    each = np.where(there > 0, 1 - left / np.where(there > 0, there, 1), (left == 0).astype(np.float64))
    return float(each.mean())
