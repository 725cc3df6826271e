"""Temperature scaling, and how far probabilities are from frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from comp.metrics import Metric, log_loss

Probs = NDArray[np.float64]

TINY = 1e-12
BINS = 15
RANGE = (0.05, 20.0)  # temperatures that are looked at


def apply_temperature(probs: Probs, temperature: float) -> Probs:
    """Probabilities (N, C) to the power 1 / temperature, normalised: above 1 they come nearer to each other.

    No answer changes: the order of classes in a row stays.
    """
    from scipy.special import softmax

    logs = np.log(np.maximum(probs, TINY)) / temperature
    return np.asarray(softmax(logs, axis=1))


def fit_temperature(probs: Probs, truth: NDArray[np.int64]) -> float:
    """The temperature with the smallest log loss (Guo et al. 2017), between 0.05 and 20.

    The loss is convex in 1 / temperature; its slope is bisected.

    Parameters
    ----------
    probs : float64 array (N, C)
    truth : int64 array (N,)
    """
    logs = np.log(np.maximum(probs, TINY))
    true = float(logs[np.arange(len(truth)), truth].mean())
    low, high = np.log(1.0 / RANGE[1]), np.log(1.0 / RANGE[0])
    for _ in range(50):
        middle = (low + high) / 2
        expected = float((apply_temperature(probs, 1.0 / np.exp(middle)) * logs).sum(axis=1).mean())
        low, high = (low, middle) if expected > true else (middle, high)
    return float(np.exp(-(low + high) / 2))


def calibration_error(probs: Probs, truth: NDArray[np.int64]) -> float:
    """The expected calibration error: the mean distance of confidence from accuracy over 15 bins of equal width,
    weighted by their rows (Naeini et al. 2015, Guo et al. 2017).
    """
    if not len(truth):
        return float("nan")
    confidence = probs.max(axis=1)
    hits = (probs.argmax(axis=1) == truth).astype(np.float64)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    apart = np.bincount(bins, weights=hits - confidence, minlength=BINS)
    return float(np.abs(apart).sum() / len(truth))


def calibration_summary(
    probs: Probs, truth: NDArray[np.int64], fold: NDArray[np.int64], metric: Metric
) -> dict[str, float]:
    """What a temperature would do to OOF rows (N, C): calibration error, log loss and the competition's own metric
    (``score``) before and after, each fold scaled by the temperature of the others; ``temperature`` is that of all rows.
    """
    after = probs.copy()
    for k in np.unique(fold):
        here = fold == k
        if not here.all():
            after[here] = apply_temperature(probs[here], fit_temperature(probs[~here], truth[~here]))
    return {
        "temperature": fit_temperature(probs, truth),
        "error_before": calibration_error(probs, truth),
        "error_after": calibration_error(after, truth),
        "log_loss_before": log_loss(truth, probs),
        "log_loss_after": log_loss(truth, after),
        "score_before": metric(truth, probs),
        "score_after": metric(truth, after),
    }
