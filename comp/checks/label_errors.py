"""Which labels are likely wrong: confident learning, nested per fold.

After C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021. What
judges a row (the class thresholds, and the classifier where there are features) is learned from rows of other folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comp.checks.label_classifier import Features, nested_probs
from comp.data.task import Task
from comp.errors import InputError
from comp.task_scores import CELLS

ENOUGH = 0.6  # of its threshold: what another class must reach
LITTLE = 0.15  # of its threshold: what the label's own class must stay below
LEAST_SPREAD = 0.25  # of places around the steps of a scale

Probs = NDArray[np.float64]
Rows = NDArray[np.bool_] | NDArray[np.intp]
Classes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LikelyWrong:
    """A verdict on each label, in the order of the rows that were judged.

    ``score`` (N,) is higher the likelier a label is wrong, from 0 to 1; ``suspected`` (N,) says which labels are likely
    wrong; ``suggested`` (N,) is the index of the class that is likelier right, the label's own class where none is.
    ``probs`` (N, C) are the probabilities that it was judged by.
    """

    score: Probs
    suspected: Rows
    suggested: Classes
    probs: Probs

    @property
    def ranked(self) -> NDArray[np.int64]:
        """The suspected rows, the likeliest to be wrong first."""
        rows = np.flatnonzero(self.suspected)
        return rows[np.argsort(-self.score[rows], kind="stable")]


def require_judged(task: Task, run: str) -> None:
    """InputError for a task whose labels cannot be judged so: numbers, and several labels a row."""
    if not task.one_class_a_row:
        reason = "several labels" if task.has_classes else "numbers"
        value = f"{run} is of task {task.name!r}, whose rows have {reason}"
        raise InputError("labels are judged where a row has one class", value, "look at rows.csv of the run")


def likely_wrong(
    probs: Probs,
    labels: Classes,
    folds: Classes,
    features: Features | None = None,
    classes: int | None = None,
) -> LikelyWrong:
    """Judges each label by out-of-fold probabilities, or with ``features`` by a classifier of its own on them.

    A row of fold k is judged by thresholds that rows of the other folds give: of each class the mean probability that
    rows with this label have for it. A label is suspected where another class reaches ENOUGH of its threshold and the
    label's own class not LITTLE of its own. The score is 1 - p(label), or with ``features`` what p(label) lacks to its
    threshold, both as square roots, which tell doubtful images apart.

    Parameters
    ----------
    probs : float64 array (N, C)
        Out-of-fold probabilities; rows sum to one. Of an ordinal task (N, 1), places of 0 to C - 1.
    labels : int64 array (N,)
        The class index of each row's label.
    folds : int64 array (N,)
        The fold that held the row out; two folds or more.
    features : float32 array (N, D), optional
        What a network that was fitted on none of the rows gives for them.
    classes : int, optional
        C, where it is not the width of ``probs``.
    """
    rows, width = len(labels), classes or probs.shape[1]
    given = features is None and probs.shape[1] == width
    judged_by = probs if given else np.zeros((rows, width))
    suggested, score = labels.astype(np.int64).copy(), np.zeros(rows)
    for here, own, thresholds in _judges(probs, labels, folds, features, width):
        if not given:
            judged_by[here] = own
        label, confidence = thresholds[labels[here]], own[np.arange(len(own)), labels[here]]
        reached = np.where(own >= ENOUGH * thresholds, own, -1.0)
        likelier = (reached.max(axis=1) > confidence) & (confidence < LITTLE * label)
        suggested[here] = np.where(likelier, reached.argmax(axis=1), labels[here])
        score[here] = 1.0 - confidence if features is None else _doubt(own, confidence, label)
    return LikelyWrong(score, suggested != labels, suggested, judged_by)


def _doubt(probs: Probs, confidence: Probs, threshold: Probs) -> Probs:
    """How far below its threshold (n,) the confidence (n,) in a label is, of 0 to 1, with all probabilities (n, C) as
    square roots.
    """
    soft = np.sqrt(confidence) / np.sqrt(probs).sum(axis=1)
    usual = np.sqrt(threshold)
    return np.asarray(usual / (usual + soft), dtype=np.float64)


def _judges(
    probs: Probs, labels: Classes, folds: Classes, features: Features | None, classes: int
) -> Iterator[tuple[Rows, Probs, Probs]]:
    """Of each fold its rows, some at once, their probabilities, and the thresholds (C,) that the others give."""
    if features is not None:
        for one in nested_probs(features, labels, folds, classes):
            others = ~one.held_out
            yield (
                one.held_out,
                one.probs,
                class_thresholds(_of_labels(one.inner, labels[others]), labels[others], classes),
            )
        return
    for fold in np.unique(folds):
        here = folds == fold
        given = probs
        if probs.shape[1] < classes:
            given = place_probs(probs, probs[~here, 0] - labels[~here], classes)
        thresholds = class_thresholds(_of_labels(given, labels)[~here], labels[~here], classes)
        for some in np.array_split(np.flatnonzero(here), 1 + here.sum() * classes // CELLS):
            yield some, given[some], thresholds


def place_probs(places: Probs, errors: Probs, classes: int) -> Probs:
    """Probabilities (N, C) of the steps of a scale for places (N, 1) that are as far off as ``errors`` are, normally."""
    spread = max(float(np.sqrt((errors**2).mean())), LEAST_SPREAD)
    powers = np.exp(-((np.arange(classes) - places) ** 2) / (2 * spread**2)) + 1e-12
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def _of_labels(probs: Probs, labels: Classes) -> Probs:
    """The probability (N,) of each row's label."""
    return np.asarray(probs[np.arange(len(labels)), labels], dtype=np.float64)


def class_thresholds(own: Probs, labels: Classes, classes: int) -> Probs:
    """The mean probability (C,) of a class among the rows that are labelled so, of the probabilities (N,) of the labels;
    above 1 where there are none.
    """
    sums = np.bincount(labels, weights=own, minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), 2.0)
