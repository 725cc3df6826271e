"""Metrics by name, each with its direction and the input it judges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from comp import scores
from comp.errors import CompError, InputError, RecipeError, UnknownName, shortened
from comp.numerals import whole_number
from comp.spelling import in_order, listed, whole_of

FLOAT_BITS = 1000  # of a whole number that a float64 surely holds
Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A score of probabilities against labels.

    ``function(labels (N,) int64, probs (N, C) float64) -> float``; ``direction`` says which end is better. ``depth``
    is how many answers of a row it looks at, best first, None where it looks at the probabilities themselves; an
    ``ordered`` one measures distances between classes by their places in the label map.
    """

    name: str
    function: Callable[[NDArray[np.int64], NDArray[np.float64]], float]
    direction: Direction = "max"
    depth: int | None = 1
    ordered: bool = False

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
    "log_loss": Metric("log_loss", scores.log_loss, "min", depth=None),
    "roc_auc": Metric("roc_auc", scores.roc_auc, depth=None),
    "quadratic_kappa": Metric("quadratic_kappa", scores.quadratic_kappa, ordered=True),
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
MACRO = {
    "macro_precision": scores.macro_precision,
    "macro_recall": scores.macro_recall,
    "macro_f1": scores.macro_f1,
}


def metric_by_name(name: str, every_class: bool = False) -> Metric:
    """The metric of that name: one of METRICS, ``map@K`` or ``topK``.

    With ``every_class`` a macro average is over all classes of the label map, not over those that rows have or answers
    name.

    Raises
    ------
    UnknownName
        Naming near misses.
    RecipeError
        For ``every_class`` with a metric that is no macro average.
    """
    found = _by_name(name)
    if not every_class:
        return found
    if found.name not in MACRO:
        value = f'metric_classes = "all" beside metric = {name!r}'
        remedy = f"drop metric_classes, or choose one of {', '.join(MACRO)}"
        raise RecipeError("metric_classes says over which classes a macro average goes", value, remedy)
    return replace(found, function=partial(MACRO[found.name], every=True))


def _by_name(name: str) -> Metric:
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    plain = ALIASES.get(plain, plain)
    if plain in METRICS:
        return METRICS[plain]
    for prefix, function in WITH_K.items():
        k = plain.removeprefix(prefix).lstrip("_")
        most = whole_number(k) if plain.startswith(prefix) else None
        if most is not None and most > 0:
            return Metric(f"{prefix}{most}", partial(function, k=most), depth=most)
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
            found = function(labels, probs.argmax(axis=1) if judges == "index" else probs)
            one = found.item() if hasattr(found, "item") else found  # numpy's and torch's
        except (CompError, MemoryError):
            raise
        except Exception as error:
            value = f"adapter:{name} raised {type(error).__name__}: {error}"
            raise InputError("the competition's metric must give a number", value, "correct it") from error
        if isinstance(one, bool) or not isinstance(one, int | float):
            value = f"adapter:{name} gave {type(found).__name__} {shortened(repr(found), 100)}"
            raise InputError("the competition's metric must give a number", value, "correct it")
        if isinstance(one, int) and one.bit_length() > FLOAT_BITS:
            one = math.inf
        if not abs(one) < math.inf:
            value = f"adapter:{name} gave {one}"
            raise InputError("the competition's metric must give a finite number", value, "correct it")
        return float(one)

    return Metric(name, judged, direction, depth=1 if judges == "index" else None)


@dataclass(frozen=True)
class Disorder:
    """Why a metric of order cannot be trusted with a label map; ``grave`` where it would score another thing."""

    message: str
    grave: bool = True


def disorder(metric: Metric, names: Sequence[str], stated: bool) -> Disorder | None:
    """What is wrong with the order of classes for a metric that measures distances between them; None where nothing is.

    Whole numbers must follow one another by ones. Words must be ``stated`` in their order: sorted as text they mean
    nothing. Of two classes either order is the same.
    """
    if not metric.ordered or len(names) < 3:
        return None
    numbers = [whole for name in names if (whole := whole_of(name)) is not None]
    if len(numbers) < len(names):
        if stated:
            return None
        return Disorder(
            f"{metric.name} goes by the order of the classes, and they are neither stated nor whole numbers: {listed(names, 8)}"
        )
    steps = {b - a for a, b in pairwise(numbers)}
    if steps in ({1}, {-1}):
        return None
    told = f"{metric.name} counts the steps between classes, and these numbers do not follow by ones: {listed(names, 12)}"
    rising = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return Disorder(told, grave=not (stated and rising))


def is_sorted(names: Sequence[str]) -> bool:
    """Whether names stand as a listing sorts them, so that their order may mean nothing."""
    return list(names) in (sorted(names), in_order(names))
