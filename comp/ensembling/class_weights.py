"""Decision rules: which class a row of probabilities answers, where it is not simply the likeliest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.errors import InputError
from comp.metrics import Metric

Probs = NDArray[np.float64]

GRID = np.exp(np.linspace(-1.5, 1.5, 13))
PASSES = 3


def normalize_rows(probs: Probs) -> Probs:
    """Rows (N, C) divided by their sums; a row without any mass becomes even."""
    total = probs.sum(axis=1, keepdims=True)
    even = np.full_like(probs, 1.0 / probs.shape[1])
    return np.asarray(np.divide(probs, total, out=even, where=total > 0))


def reweight(probs: Probs, multipliers: NDArray[np.float64]) -> Probs:
    """Probabilities (N, C) times a number a class (C,), normalised."""
    return normalize_rows(probs * multipliers)


def fit_class_weights(probs: Probs, truth: NDArray[np.int64], metric: Metric) -> NDArray[np.float64]:
    """Numbers (C,) by which the classes' probabilities are multiplied for the best score, one class after the other.

    A class's number changes only where the score rises, and of equal scores the nearest to 1 stays; the geometric mean
    of all is 1. The number of a class without rows here is not looked for: nothing shows what it should be.
    """
    classes = probs.shape[1]
    with_rows = np.unique(truth).tolist()
    found = np.ones(classes)
    steps = sorted(GRID, key=lambda m: abs(np.log(m)))
    best = metric(truth, probs)
    for _ in range(PASSES):
        before = found.copy()
        for c in with_rows:
            here = found[c]
            for step in steps:
                tried = found.copy()
                tried[c] = here * step
                score = metric(truth, reweight(probs, tried))
                if metric.better(score, best):
                    found, best = tried, score
        if (found == before).all():
            break
    return np.asarray(found / np.exp(np.log(found).mean()))


def prior_factors(
    wanted: Mapping[str, float] | str, truth: NDArray[np.int64], labels: LabelMap
) -> NDArray[np.float64]:
    """What probabilities are multiplied with (C,) where the test rows' class shares are known to be other than those of
    the training rows: wanted share over training share (Saerens et al. 2002).

    Parameters
    ----------
    wanted : mapping or "uniform"
        Class name to share (any unit); a class that is not named keeps its training share of what is left.
    truth : int64 array (N,)
        Of the training rows.
    labels : LabelMap

    Raises
    ------
    InputError
        For an unknown class, a share that is no positive number, or a class without training rows.
    """
    classes = len(labels)
    own = np.bincount(truth, minlength=classes) / max(len(truth), 1)
    if (own == 0).any():
        value = f"{labels.names[int(own.argmin())]!r} has none"
        raise InputError("priors need training rows of every class", value, "drop `priors`")
    if isinstance(wanted, str):
        if wanted != "uniform":
            raise InputError("priors are uniform, or CLASS=SHARE,…", repr(wanted), '`priors="uniform"`')
        share = np.full(classes, 1.0 / classes)
    else:
        share = _shares(wanted, own, labels)
    return np.asarray(share / own)


def _shares(wanted: Mapping[str, float], own: Probs, labels: LabelMap) -> Probs:
    named = {labels.index(name): float(value) for name, value in wanted.items()}
    wrong = [labels.names[c] for c, share in named.items() if not 0 < share < float("inf")]
    if wrong:
        raise InputError("a share is a number above 0", f"that of {wrong[0]!r} is not", "correct `priors`")
    total = sum(named.values())
    rest = [c for c in range(len(labels)) if c not in named]
    if rest and total >= 1:
        value = f"the named shares sum to {total:g}, and {labels.names[rest[0]]!r} is not named"
        raise InputError("shares of some classes leave something for the others", value, "name all, or less")
    found = np.zeros(len(labels))
    for c, share in named.items():
        found[c] = share if rest else share / total
    if rest:
        found[rest] = own[rest] / own[rest].sum() * (1 - total)
    return found
