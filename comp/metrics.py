"""Metrics by name, each with its direction and the input it judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from comp.errors import UnknownName

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A score of probabilities against labels.

    ``function(labels (N,) int64, probs (N, C) float64) -> float``; ``direction`` says which end is better.
    """

    name: str
    function: Callable[[NDArray[np.int64], NDArray[np.float64]], float]
    direction: Direction = "max"

    def __call__(self, labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
        if len(labels) != len(probs):
            raise ValueError(f"{self.name}: {len(labels)} labels against {len(probs)} rows of probabilities")
        if len(labels) == 0:
            return float("nan")
        return float(self.function(labels, probs))

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is a better score than ``other``."""
        return one > other if self.direction == "max" else one < other


def accuracy(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """The share of rows whose most probable class is theirs; ties go to the lower index."""
    return float((probs.argmax(axis=1) == labels).mean())


def macro_f1(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """F1 per class over all C classes, averaged; a class that is neither present nor predicted counts 0.

    The same as scikit-learn's ``f1_score(average="macro", labels=range(C), zero_division=0)``.
    """
    classes = probs.shape[1]
    answers = probs.argmax(axis=1)
    confusion = np.bincount(labels * classes + answers, minlength=classes * classes).reshape(classes, classes)
    hits = np.diag(confusion).astype(np.float64)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)  # 2 tp + fp + fn
    return float(np.divide(2 * hits, total, out=np.zeros(classes), where=total > 0).mean())


def log_loss(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Mean negative log-probability of the true class, clipped at float64's epsilon as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    picked = np.clip(probs[np.arange(len(labels)), labels], eps, 1.0)
    return float(-np.log(picked).mean())


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", accuracy),
    "macro_f1": Metric("macro_f1", macro_f1),
    "log_loss": Metric("log_loss", log_loss, "min"),
}


def metric_by_name(name: str) -> Metric:
    """The metric of that name.

    Raises
    ------
    UnknownName
        Naming near misses.
    """
    try:
        return METRICS[name.strip().lower().replace(" ", "_").replace("-", "_")]
    except KeyError:
        raise UnknownName(
            "metric", name, METRICS, "multi-label and regression metrics are out of scope"
        ) from None
