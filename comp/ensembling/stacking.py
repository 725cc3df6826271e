"""Logistic stacking: a linear classifier over the parts' log-probabilities, drawn towards their geometric mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Probs = NDArray[np.float64]

FLOOR = (
    1e-6  # of a probability before its logarithm: a network that is sure beyond it is told apart no further
)
PENALTY = 1.0  # of squared distance from the geometric mean, beside the summed log loss
ROUNDS = 200


def train(probs: Probs, truth: NDArray[np.int64]) -> tuple[Probs, Probs]:
    """The weights (P, C, C) and biases (C,) with the smallest log loss, plus a penalty for leaving the geometric mean.

    Multinomial logistic regression; where rows are few it is the geometric mean, and no part is ever unlearned for
    want of rows. Solved by L-BFGS (scipy); convex.

    Parameters
    ----------
    probs : float64 array (P, N, C)
    truth : int64 array (N,)
    """
    from scipy.optimize import minimize

    parts, count, classes = probs.shape
    features = _features(probs)  # (N, P * C)
    prior = np.tile(np.eye(classes), (parts, 1)) / parts  # (P * C, C)
    wanted = np.eye(classes)[truth]
    split = parts * classes * classes

    def loss(flat: Probs) -> tuple[float, Probs]:
        weight, bias = flat[:split].reshape(-1, classes), flat[split:]
        logits = features @ weight + bias
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1, keepdims=True)
        away = weight - prior
        value = (np.log(total[:, 0]) - logits[np.arange(count), truth]).sum()
        value += 0.5 * PENALTY * ((away**2).sum() + (bias**2).sum())
        error = odds / total - wanted
        slope = np.concatenate(
            [(features.T @ error + PENALTY * away).ravel(), error.sum(axis=0) + PENALTY * bias]
        )
        return float(value), slope

    start = np.concatenate([prior.ravel(), np.zeros(classes)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS})
    solved = np.asarray(found.x, dtype=np.float64)
    return solved[:split].reshape(parts, classes, classes), solved[split:]


def stacked(probs: Probs, weight: Probs, bias: Probs) -> Probs:
    """The classifier's probabilities (N, C) for (P, N, C)."""
    logits = _features(probs) @ weight.reshape(-1, weight.shape[2]) + bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _features(probs: Probs) -> Probs:
    """Log-probabilities (N, P * C), the mean of each part's row taken off."""
    logs = np.log(np.maximum(probs, FLOOR))
    logs -= logs.mean(axis=2, keepdims=True)
    return np.ascontiguousarray(logs.transpose(1, 0, 2).reshape(probs.shape[1], -1))
