"""Blends that are solved for: logistic stacking over log-probabilities, and the weights of a mixture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from comp.uncertainty import TINY, fit_temperature

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
    return np.asarray(softmax(logits, axis=1))


def _features(probs: Probs) -> Probs:
    """Log-probabilities (N, P * C), the mean of each part's row taken off."""
    logs = np.log(np.maximum(probs, FLOOR))
    logs -= logs.mean(axis=2, keepdims=True)
    return np.ascontiguousarray(logs.transpose(1, 0, 2).reshape(probs.shape[1], -1))


MIXTURE_PENALTY = 1e-3  # of leaving equal weights: where nothing tells parts apart, they stay equal
MIXTURE_ROUNDS = 100


def mixture(probs: Probs, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weights (P,), summing to one, with which the mean of the parts has the smallest log loss at its own best
    temperature.

    The temperature is sought along with the weights: without it a part would be preferred for being sure, not for being
    right. By L-BFGS (scipy) from equal weights.

    Parameters
    ----------
    probs : float64 array (P, N, C)
    truth : int64 array (N,)
    """
    from scipy.optimize import minimize

    parts, count, _ = probs.shape
    own = np.arange(count)

    def loss(flat: Probs) -> tuple[float, Probs]:
        weights, beta = softmax(flat[:parts]), float(np.exp(flat[parts]))
        mixed = np.maximum(np.tensordot(weights, probs, axes=1), TINY)  # (N, C)
        logs = np.log(mixed)
        highest = logs.max(axis=1, keepdims=True)
        odds = np.exp(beta * (logs - highest))
        total = odds.sum(axis=1, keepdims=True)
        share = odds / total
        value = float((np.log(total[:, 0]) - beta * (logs[own, truth] - highest[:, 0])).mean())
        slope = share / mixed
        slope[own, truth] -= 1.0 / mixed[own, truth]
        by_weight = beta / count * np.tensordot(probs, slope, axes=2)
        by_beta = beta * float(((share * logs).sum(axis=1) - logs[own, truth]).mean())
        turned = weights * (by_weight - weights @ by_weight) + MIXTURE_PENALTY * flat[:parts]
        return value + 0.5 * MIXTURE_PENALTY * float((flat[:parts] ** 2).sum()), np.append(turned, by_beta)

    start = np.append(np.zeros(parts), -np.log(fit_temperature(probs.mean(axis=0), truth)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MIXTURE_ROUNDS})
    return np.asarray(softmax(found.x[:parts]))
