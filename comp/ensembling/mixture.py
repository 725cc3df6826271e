"""Weights of a mean of parts, between 0 and 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from comp.calibration import TINY, temperature_of

Probs = NDArray[np.float64]

PENALTY = 1e-3  # of leaving equal weights: where nothing tells parts apart, they stay equal
ROUNDS = 100


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
        weights, beta = _softmax(flat[:parts]), float(np.exp(flat[parts]))
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
        turned = weights * (by_weight - weights @ by_weight) + PENALTY * flat[:parts]
        return value + 0.5 * PENALTY * float((flat[:parts] ** 2).sum()), np.append(turned, by_beta)

    start = np.append(np.zeros(parts), -np.log(temperature_of(probs.mean(axis=0), truth)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS})
    return _softmax(np.asarray(found.x[:parts], dtype=np.float64))


def _softmax(values: Probs) -> Probs:
    odds = np.exp(values - values.max())
    return np.asarray(odds / odds.sum())
