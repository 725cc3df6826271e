"""Standard errors of gains on the same rows, and how far probabilities are from frequencies (temperature scaling)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.metrics import Metric, log_loss
from comp.task_scores import likeliest

BLOCKS = 100  # parts of the rows, each left out once


@dataclass(frozen=True)
class Gain:
    """A difference of two scores of the same rows, above zero where the first is better, whatever the metric's
    direction, and its standard error.
    """

    value: float
    error: float

    @property
    def is_beyond(self) -> bool:
        """Whether it exceeds its standard error; never so with a NaN."""
        return self.value > 0 and self.value > self.error

    @property
    def is_within(self) -> bool:
        """Whether nothing speaks against no gain: it is no larger than its standard error."""
        return not self.is_beyond


@dataclass(frozen=True, eq=False)
class JackknifeScore:
    """A score over all rows (N), and ``left`` (B,) the scores without each block of them."""

    score: float
    left: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairedJackknife:
    """A metric over rows whose truth (N,) and groups (N,) are known.

    The standard error of a gain is that of a jackknife which leaves out one of up to 100 blocks of rows at a time
    (Efron & Tibshirani 1993, ch. 11), in both sets of predictions alike: it is paired, it holds for any metric, and
    rows of one group, which are not independent, are left out together.
    """

    metric: Metric
    truth: NDArray[Any]
    groups: Sequence[str]

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """The block of each row (N,), 0 … B-1: groups whole, dealt by their SHA-256, whatever the order of rows."""
        names = sorted(set(self.groups), key=_digest)
        place = {name: n % BLOCKS for n, name in enumerate(names)}
        return np.array([place[name] for name in self.groups], dtype=np.int64)

    def score(self, probs: NDArray[np.float64]) -> JackknifeScore:
        """The score of probabilities (N, C), and those without each block."""
        count = int(self.blocks.max()) + 1 if len(self.blocks) else 0
        probs = self.metric.looked_at(probs)
        left = [
            self.metric(self.truth[kept], probs[kept]) for kept in (self.blocks != b for b in range(count))
        ]
        return JackknifeScore(self.metric(self.truth, probs), np.array(left, dtype=np.float64))

    def gain(self, one: JackknifeScore, over: JackknifeScore) -> Gain:
        """What ``one`` gains over the other; its error is infinite where there is one block alone."""
        sign = 1.0 if self.metric.direction == "max" else -1.0
        apart, count = one.left - over.left, len(one.left)
        error = float(np.sqrt((count - 1) / count * ((apart - apart.mean()) ** 2).sum()))
        return Gain(sign * (one.score - over.score), error if count > 1 else float("inf"))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


Probs = NDArray[np.float64]
DRAWS = 200


def bootstrap(metric: Metric, truth: NDArray[Any], probs: Probs, rows: int, seed: int = 0) -> float:
    """The standard error of a metric on ``rows`` rows like these: the spread over samples drawn with replacement.

    ``truth`` (N,) are class indices, ``probs`` (N, C).
    """
    rng = np.random.default_rng(seed)
    probs = metric.looked_at(probs)
    drawn = (rng.integers(0, len(truth), rows) for _ in range(DRAWS))
    scores = [score for at in drawn if np.isfinite(score := metric(truth[at], probs[at]))]
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else float("inf")


TINY = 1e-12
BINS = 15
MANY = 1000  # classes from which on rows are looked through for values that many of them share
LARGE = 1 << 24  # probabilities from which on a temperature is worked out on a sample of rows
SAMPLED = 1 << 21  # probabilities of that sample
FEWEST = 1000  # rows of it
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
    true = float(np.log(np.maximum(probs[np.arange(len(truth)), truth], TINY), dtype=np.float64).mean())
    logs, counts = _values(probs)
    low, high = np.log(1.0 / RANGE[1]), np.log(1.0 / RANGE[0])
    for _ in range(50):
        middle = (low + high) / 2
        expected = _expected(logs, counts, 1.0 / np.exp(middle))
        low, high = (low, middle) if expected > true else (middle, high)
    return float(np.exp(-(low + high) / 2))


def _values(probs: Probs) -> tuple[Probs, NDArray[np.int64] | None]:
    """The logarithms (N, C) of probabilities; of many classes, most of which share one value in a row, the values (N, V) and
    how many classes have each (V,).
    """
    classes = probs.shape[1]
    most = int((probs != probs.min(axis=1, keepdims=True)).sum(axis=1).max()) if classes > MANY else classes
    if 2 * most >= classes:
        return np.log(np.maximum(probs, TINY)), None
    best = -np.partition(-probs, most, axis=1)[:, : most + 1]  # all that stand out, and the value of the rest
    values = np.concatenate([best[:, :most], probs.min(axis=1, keepdims=True)], axis=1)
    counts = np.ones(most + 1, np.int64)
    counts[-1] = classes - most
    return np.log(np.maximum(values.astype(np.float64), TINY)), counts


def _expected(logs: Probs, counts: NDArray[np.int64] | None, temperature: float) -> float:
    """The mean over rows of what the logarithm is expected to be at a temperature."""
    from scipy.special import softmax

    if counts is None:
        return float((softmax(logs / temperature, axis=1) * logs).sum(axis=1).mean())
    share = np.exp((logs - logs.max(axis=1, keepdims=True)) / temperature) * counts
    return float(((share * logs).sum(axis=1) / share.sum(axis=1)).mean())


def calibration_error(probs: Probs, truth: NDArray[np.int64]) -> float:
    """The expected calibration error: the mean distance of confidence from accuracy over 15 bins of equal width,
    weighted by their rows (Naeini et al. 2015, Guo et al. 2017).
    """
    if not len(truth):
        return float("nan")
    confidence = probs.max(axis=1)
    hits = (likeliest(probs) == truth).astype(np.float64)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    apart = np.bincount(bins, weights=hits - confidence, minlength=BINS)
    return float(np.abs(apart).sum() / len(truth))


def calibration_summary(
    probs: Probs, truth: NDArray[np.int64], fold: NDArray[np.int64], metric: Metric
) -> dict[str, float]:
    """What a temperature would do to OOF rows (N, C): calibration error, log loss and the competition's own metric
    (``score``) before and after, each fold scaled by the temperature of the others; ``temperature`` is that of all rows. Of
    more than LARGE probabilities all this is worked out on a sample of ``rows`` rows, as far apart from each other as can be.
    """
    if probs.size > LARGE:
        count = min(len(probs), max(FEWEST, SAMPLED // probs.shape[1]))
        some = np.unique(np.linspace(0, len(probs) - 1, count).astype(np.int64))
        found = _summary(probs[some], truth[some], fold[some], metric)
        return {**found, "rows": float(len(some))}
    return _summary(probs, truth, fold, metric)


def _summary(
    probs: Probs, truth: NDArray[np.int64], fold: NDArray[np.int64], metric: Metric
) -> dict[str, float]:
    after = probs.copy()
    for k in np.unique(fold):
        here = fold == k
        if not here.all():
            after[here] = apply_temperature(probs[here], fit_temperature(probs[~here], truth[~here]))
    scores = metric(truth, probs), metric(truth, after)
    return calibration_effect(fit_temperature(probs, truth), probs, after, truth, scores)


def calibration_effect(
    temperature: float, probs: Probs, after: Probs, truth: NDArray[np.int64], scores: tuple[float, float]
) -> dict[str, float]:
    """Calibration error and log loss of rows (N, C) before and after a temperature, beside the competition's ``scores``."""
    return {
        "temperature": temperature,
        "error_before": calibration_error(probs, truth),
        "error_after": calibration_error(after, truth),
        "log_loss_before": log_loss(truth, probs),
        "log_loss_after": log_loss(truth, after),
        "score_before": scores[0],
        "score_after": scores[1],
    }
