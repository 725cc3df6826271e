"""How well features tell training rows from test rows: adversarial validation by a linear classifier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTS = 5
LEAST_GROUPS = 20  # of each side: of fewer rows nothing is known
MOST_ROWS = 4000  # of each side that a classifier is fitted on
MOST_COLUMNS = 2048  # wider features are projected
PENALTY = 1 / 400  # a column, of ridge regression on columns of spread 1 with weights that sum to 1
CERTAIN = 4  # standard deviations of chance


@dataclass(frozen=True, eq=False)
class FeatureDrift:
    """``auc`` of telling test rows from training rows, 0.5 where they are alike, and ``error``, its standard deviation by
    chance; ``likeness`` (N,) says how like a test row each training row is: 1 where a regression takes it for one, 0 where
    for a training row.
    """

    auc: float
    error: float
    likeness: Floats

    @property
    def is_certain(self) -> bool:
        """Whether chance gives such an AUC less than once in 10,000 times."""
        return self.auc - 0.5 >= CERTAIN * self.error


def feature_drift(
    train: Features, test: Features, train_groups: Sequence[str], test_groups: Sequence[str]
) -> FeatureDrift | None:
    """Judges each row by a classifier of rows of other groups; None where a side has fewer than ``LEAST_GROUPS`` groups.

    A weighted ridge regression on standardised features, in which both sides count alike, is solved for each of five
    parts of the groups left out. Above ``MOST_ROWS`` rows of a side it is fitted on a sample. Time O(4,000 · 2,048²) at
    most, and O(N) for the rows that are judged.

    Parameters
    ----------
    train, test : float32 arrays (N, D), (T, D)
    train_groups, test_groups : sequences of str, (N,), (T,)
    """
    counts = [len(set(names)) for names in (train_groups, test_groups)]
    if min(counts) < LEAST_GROUPS or not (np.isfinite(train).all() and np.isfinite(test).all()):
        return None
    rng = np.random.default_rng(0)
    sides = [_narrow(side) for side in (train, test)]
    part = [_parts(names) for names in (train_groups, test_groups)]
    fitted = [np.sort(rng.permutation(len(side))[:MOST_ROWS]) for side in sides]
    seen = np.concatenate([side[at] for side, at in zip(sides, fitted, strict=True)])
    of_part = np.concatenate([one[at] for one, at in zip(part, fitted, strict=True)])
    is_test = np.repeat([False, True], [len(at) for at in fitted])
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0).astype(np.float32)
    weights = _solved((seen - mean) * scale, is_test, of_part)
    values = [_values(side, part[n], mean, scale, weights) for n, side in enumerate(sides)]
    aucs = [_auc(values[0][part[0] == k], values[1][part[1] == k]) for k in range(PARTS)]
    error = np.sqrt((counts[0] + counts[1] + 1) / (12 * counts[0] * counts[1]))
    return FeatureDrift(float(np.mean(aucs)), float(error), values[0])


def _narrow(features: Features) -> Features:
    """Features (N, D), of more than ``MOST_COLUMNS`` columns so many random mixtures of them."""
    wide = features.shape[1]
    if wide <= MOST_COLUMNS:
        return features
    mixing = np.random.default_rng(0).standard_normal((wide, MOST_COLUMNS)) / np.sqrt(wide)
    return np.asarray(features @ mixing.astype(np.float32))


def _parts(groups: Sequence[str]) -> Ints:
    """The part of each row (N,), 0 to 4: groups whole, dealt by their SHA-256."""
    names = sorted(
        set(groups), key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    )
    place = {name: n % PARTS for n, name in enumerate(names)}
    return np.array([place[name] for name in groups], dtype=np.int64)


def _solved(x: Features, is_test: NDArray[np.bool_], part: Ints) -> list[tuple[Features, float]]:
    """For each part the coefficients (D,) and the constant of a regression on the rows of the others, 1 for test rows."""
    from scipy.linalg import solve

    sums = [_sums(x, is_test, part == k) for k in range(PARTS)]
    total = [sum(values) for values in zip(*sums, strict=True)]
    found = []
    for one in sums:
        grams, means, counts = (whole - own for whole, own in zip(total, one, strict=True))
        share = 0.5 / np.maximum(counts, 1)  # both sides count alike
        centre = np.tensordot(share, means, 1)
        gram = np.tensordot(share, grams, 1) - np.outer(centre, centre)
        gram[np.diag_indices_from(gram)] += PENALTY * len(gram)
        cross = share[1] * means[1] - centre * 0.5
        solved = solve(gram, cross, assume_a="pos", overwrite_a=True, check_finite=False)
        found.append((np.asarray(solved, dtype=np.float32), float(0.5 - centre @ solved)))
    return found


def _sums(
    x: Features, is_test: NDArray[np.bool_], rows: NDArray[np.bool_]
) -> tuple[Features, Features, NDArray[np.float32]]:
    """Of the training and of the test rows of a part: products (2, D, D), sums (2, D) and counts (2,)."""
    sides = [x[rows & (is_test == side)] for side in (False, True)]
    return (
        np.stack([side.T @ side for side in sides]),
        np.stack([side.sum(axis=0) for side in sides]),
        np.array([len(side) for side in sides], dtype=np.float32),
    )


def _values(
    features: Features, part: Ints, mean: Features, scale: Features, weights: list[tuple[Features, float]]
) -> Floats:
    """What the regression of the other parts gives for each row (N,)."""
    values = np.empty(len(features), dtype=np.float64)
    for k, (coefficients, constant) in enumerate(weights):
        here = part == k
        values[here] = features[here] @ (coefficients * scale) + (
            constant - float((mean * scale) @ coefficients)
        )
    return values


def _auc(train: Floats, test: Floats) -> float:
    """The share of pairs of a training and a test row in which the test row has the larger value."""
    ordered = np.sort(train)
    below, up_to = (np.searchsorted(ordered, test, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(train)))
