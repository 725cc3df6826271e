"""One number that makes the probabilities of a part as sure as they are right (Guo et al. 2017), for every task that has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.errors import InputError
from comp.uncertainty import apply_temperature, fit_temperature

Probs = NDArray[np.float64]


def as_pairs(probs: Probs) -> Probs:
    """Probabilities (N, C) of labels as rows (N·C, 2) of two classes: absent and there."""
    flat = probs.reshape(-1)
    return np.stack([1 - flat, flat], axis=1)


def tempered(probs: Probs, temperature: float, labels: LabelMap) -> Probs:
    """Predictions (N, D) at a temperature; of several labels each against its absence."""
    if labels.task.is_single_label:
        return apply_temperature(probs, temperature)
    return apply_temperature(as_pairs(probs), temperature)[:, 1].reshape(probs.shape)


def learn_temperature(probs: Probs, truth: NDArray[Any], labels: LabelMap) -> float:
    """The temperature with the smallest log loss; of several labels of each against its absence.

    Raises
    ------
    InputError
        For a task whose predictions are no probabilities.
    """
    if labels.task.is_single_label:
        return fit_temperature(probs, truth)
    if labels.task.is_numeric:
        value = f"those of task {labels.task.name!r} are numbers"
        raise InputError("a temperature is of probabilities", value, 'calibrate="off"')
    return fit_temperature(as_pairs(probs), truth.reshape(-1).astype(np.int64))
