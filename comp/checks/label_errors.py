"""Which labels are likely wrong: confident learning on out-of-fold predictions, nested per fold.

After C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021. What
judges a row (class thresholds, the classifier where there are features) is learned from rows of other folds alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probs = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LikelyWrong:
    """A verdict on each label, in the order of the rows that were judged.

    ``score`` (N,) is higher the likelier a label is wrong, from 0 to 1; ``suspected`` (N,) says which labels are likely
    wrong; ``suggested`` (N,) is the index of the class that is likelier right, the label's own class where none is.
    """

    score: Probs
    suspected: NDArray[np.bool_]
    suggested: NDArray[np.int64]


def likely_wrong(probs: Probs, labels: NDArray[np.int64], folds: NDArray[np.int64]) -> LikelyWrong:
    """Judges each label by out-of-fold probabilities.

    A row of fold k is judged by thresholds that the rows of the other folds give: of each class the mean probability
    that rows with this label have for it. A label is suspected where another class reaches its threshold and is
    likelier than the label's own class.

    Parameters
    ----------
    probs : float64 array (N, C)
        Out-of-fold probabilities; rows sum to one.
    labels : int64 array (N,)
        The class index of each row's label.
    folds : int64 array (N,)
        The fold that held the row out.
    """
    rows, classes = probs.shape
    every = np.arange(rows)
    suggested = labels.astype(np.int64).copy()
    for fold in np.unique(folds):
        here = folds == fold
        judged = probs[here] - class_thresholds(probs[~here], labels[~here], classes)
        best = np.where(judged >= 0, probs[here], -1.0)
        top = best.argmax(axis=1)
        own = probs[here, labels[here]]
        suggested[here] = np.where(best.max(axis=1) > own, top, labels[here])
    return LikelyWrong(1.0 - probs[every, labels], suggested != labels, suggested)


def class_thresholds(probs: Probs, labels: NDArray[np.int64], classes: int) -> Probs:
    """The mean probability (C,) of a class among the rows that are labelled so; above 1 where there are none."""
    own = probs[np.arange(len(labels)), labels]
    sums = np.bincount(labels, weights=own, minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 2.0)
