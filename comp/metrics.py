"""Metrics by name, each with its direction and the input it judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from comp import scores
from comp.errors import InputError, UnknownName

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


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", scores.accuracy),
    "balanced_accuracy": Metric("balanced_accuracy", scores.balanced_accuracy),
    "macro_precision": Metric("macro_precision", scores.macro_precision),
    "macro_recall": Metric("macro_recall", scores.macro_recall),
    "macro_f1": Metric("macro_f1", scores.macro_f1),
    "weighted_f1": Metric("weighted_f1", scores.weighted_f1),
    "log_loss": Metric("log_loss", scores.log_loss, "min"),
    "roc_auc": Metric("roc_auc", scores.roc_auc),
    "quadratic_kappa": Metric("quadratic_kappa", scores.quadratic_kappa),
}
ALIASES = {
    "acc": "accuracy",
    "f1_macro": "macro_f1",
    "f1_weighted": "weighted_f1",
    "logloss": "log_loss",
    "auc": "roc_auc",
    "qwk": "quadratic_kappa",
    "quadratic_weighted_kappa": "quadratic_kappa",
}
WITH_K = {"map@": scores.map_at_k, "top": scores.top_k}  # map@5, top5


def metric_by_name(name: str) -> Metric:
    """The metric of that name: one of METRICS, ``map@K`` or ``topK``.

    Raises
    ------
    UnknownName
        Naming near misses.
    """
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    plain = ALIASES.get(plain, plain)
    if plain in METRICS:
        return METRICS[plain]
    for prefix, function in WITH_K.items():
        k = plain.removeprefix(prefix).lstrip("_")
        if plain.startswith(prefix) and k.isdecimal() and int(k) > 0:
            return Metric(f"{prefix}{int(k)}", partial(function, k=int(k)))
    known = [*METRICS, "map@3", "map@5", "top5"]
    raise UnknownName("metric", name, known, "multi-label and regression metrics are out of scope")


def own_metric(
    name: str, function: Callable[..., object], direction: Direction, judges: Literal["probs", "index"]
) -> Metric:
    """A metric that a competition's adapter defines, with its answers looked at.

    ``function(labels (N,), probs (N, C))`` gives a number, or ``function(labels (N,), answers (N,))`` where it
    judges class indices. What it raises, and anything that is no finite number, is an InputError.
    """

    def judged(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
        try:
            found = float(function(labels, probs.argmax(axis=1) if judges == "index" else probs))  # type: ignore[arg-type]
        except Exception as error:
            value = f"adapter:{name} raised {type(error).__name__}: {error}"
            raise InputError("the competition's metric must give a number", value, "correct it") from error
        if not np.isfinite(found):
            value = f"adapter:{name} gave {found}"
            raise InputError("the competition's metric must give a finite number", value, "correct it")
        return found

    return Metric(name, judged, direction)
