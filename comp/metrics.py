"""Metrics by name, each with its direction and the input it judges."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from comp.config import whole_number
from comp.errors import CompError, InputError, RecipeError, UnknownName, shortened

Labels = NDArray[np.int64]
Probs = NDArray[np.float64]
FLOAT_BITS = 1000  # of a whole number that a float64 surely holds
Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A score of probabilities against labels.

    ``function(labels (N,) int64, probs (N, C) float64) -> float``; ``direction`` says which end is better. ``depth``
    is how many answers of a row it looks at, best first, None where it looks at the probabilities themselves; an
    ``ordered`` one measures distances between classes by their places in the label map. Scores lie within ``lowest`` and
    ``highest``, infinite where nothing is known. A ``proper`` one rewards calibrated probabilities; the best answer for
    one that ``wants_decision`` is not always the likeliest class.
    """

    name: str
    function: Callable[[NDArray[np.int64], NDArray[np.float64]], float]
    direction: Direction = "max"
    depth: int | None = 1
    ordered: bool = False
    lowest: float = 0.0
    highest: float = 1.0
    proper: bool = False
    wants_decision: bool = False

    def __call__(self, labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
        if len(labels) != len(probs):
            raise ValueError(f"{self.name}: {len(labels)} labels against {len(probs)} rows of probabilities")
        if len(labels) == 0:
            return float("nan")
        return float(self.function(labels, probs))

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is a better score than ``other``."""
        return one > other if self.direction == "max" else one < other


def accuracy(labels: Labels, probs: Probs) -> float:
    """The share of rows whose most probable class is theirs; ties go to the lower index."""
    return float((probs.argmax(axis=1) == labels).mean())


def balanced_accuracy(labels: Labels, probs: Probs) -> float:
    """Recall per class, averaged over the classes that have rows: scikit-learn's ``balanced_accuracy_score``."""
    hits, truth, _ = _counts(labels, probs)
    there = truth > 0
    return float((hits[there] / truth[there]).mean())


def macro_precision(labels: Labels, probs: Probs, every: bool = False) -> float:
    """Precision per class, averaged over the classes that rows have or answers name; one that is never answered counts 0.

    With ``every`` the average is over all C classes, and one that is nowhere counts 0. The same as scikit-learn's
    ``precision_score(average="macro", zero_division=0)``, with ``every`` that with ``labels=range(C)``.
    """
    hits, truth, answered = _counts(labels, probs)
    return _mean(_share(hits, answered), truth + answered, every)


def macro_recall(labels: Labels, probs: Probs, every: bool = False) -> float:
    """Recall per class, averaged over the classes that rows have or answers name; one without rows counts 0.

    With ``every`` over all C classes; as scikit-learn's ``recall_score``, as in ``macro_precision``.
    """
    hits, truth, answered = _counts(labels, probs)
    return _mean(_share(hits, truth), truth + answered, every)


def macro_f1(labels: Labels, probs: Probs, every: bool = False) -> float:
    """F1 per class, averaged over the classes that rows have or answers name.

    With ``every`` over all C classes, and one that is nowhere counts 0; as scikit-learn's ``f1_score``, as in
    ``macro_precision``.
    """
    hits, truth, answered = _counts(labels, probs)
    return _mean(_share(2 * hits, truth + answered), truth + answered, every)


def weighted_f1(labels: Labels, probs: Probs) -> float:
    """F1 per class, averaged with the classes' rows as weights: ``f1_score(average="weighted")``."""
    hits, truth, answered = _counts(labels, probs)
    return float((_share(2 * hits, truth + answered) * truth).sum() / truth.sum())


def log_loss(labels: Labels, probs: Probs) -> float:
    """Mean negative log-probability of the true class, clipped at float64's epsilon as scikit-learn does."""
    eps = np.finfo(np.float64).eps
    picked = np.clip(probs[np.arange(len(labels)), labels], eps, 1.0)
    return float(-np.log(picked).mean())


def top_k(labels: Labels, probs: Probs, k: int) -> float:
    """The share of rows whose class is among the k most probable; ties go to the lower index."""
    return float((ranks(labels, probs) < k).mean())


def map_at_k(labels: Labels, probs: Probs, k: int) -> float:
    """Mean average precision at k with one true class a row: 1 / its place among the first k answers, else 0."""
    rank = ranks(labels, probs)
    return float(np.where(rank < k, 1.0 / (rank + 1), 0.0).mean())


def ranks(labels: Labels, probs: Probs) -> NDArray[np.int64]:
    """The place (N,), from 0, of each row's class among its answers; of equals the lower index comes first."""
    own = probs[np.arange(len(labels)), labels][:, None]  # (N, 1)
    before = np.arange(probs.shape[1])[None] < labels[:, None]
    place: NDArray[np.int64] = ((probs > own) | ((probs == own) & before)).sum(axis=1)
    return place


def roc_auc(labels: Labels, probs: Probs) -> float:
    """Area under the ROC curve, each class against the rest, averaged over the classes that have rows; of two
    classes that of the second.

    By ranks (Mann & Whitney 1947), with ties counted half: scikit-learn's ``roc_auc_score(multi_class="ovr")``.
    A class with no rows, or with all of them, has no curve and is left out; NaN where no class has one.
    """
    classes = probs.shape[1]
    areas = []
    for c in [1] if classes == 2 else range(classes):
        own = labels == c
        if 0 < own.sum() < len(labels):
            _, where, many = np.unique(probs[:, c], return_inverse=True, return_counts=True)
            middle = np.cumsum(many) - (many - 1) / 2  # the mean rank, from 1, of equal values
            above = middle[where][own].sum() - own.sum() * (own.sum() + 1) / 2
            areas.append(above / (own.sum() * (~own).sum()))
    return float(np.mean(areas)) if areas else float("nan")


def quadratic_kappa(labels: Labels, probs: Probs) -> float:
    """Cohen's kappa of class indices as ordinals, with squared distances as weights (Cohen 1968).

    scikit-learn's ``cohen_kappa_score(weights="quadratic")``; where chance leaves nothing to disagree on, 1 if all
    answers are right and else 0.
    """
    found = confusion(labels, probs).astype(np.float64)
    place = np.arange(len(found))
    distance = (place[:, None] - place[None]) ** 2
    by_chance = np.outer(found.sum(axis=1), found.sum(axis=0)) / found.sum()
    expected = (distance * by_chance).sum()
    if expected == 0:
        return float((distance * found).sum() == 0)
    return float(1 - (distance * found).sum() / expected)


def confusion(labels: Labels, probs: Probs) -> NDArray[np.int64]:
    """Rows by true class and answered class: int64 (C, C)."""
    classes = probs.shape[1]
    pairs = np.bincount(labels * classes + probs.argmax(axis=1), minlength=classes * classes)
    return pairs.reshape(classes, classes)


def _counts(labels: Labels, probs: Probs) -> tuple[Probs, Probs, Probs]:
    found = confusion(labels, probs).astype(np.float64)
    return np.diag(found), found.sum(axis=1), found.sum(axis=0)


def _mean(per_class: Probs, rows: Probs, every: bool) -> float:
    """The mean (C,) over the classes that have ``rows`` (C,), or over all."""
    return float((per_class if every else per_class[rows > 0]).mean())


def _share(part: Probs, whole: Probs) -> Probs:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


METRICS: dict[str, Metric] = {}
ALIASES: dict[str, str] = {}


def register(metric: Metric, *aliases: str) -> None:
    """Makes a metric known by its name and these others; a competition names it in its facts from then on.

    A function that pickle can take (one of a module, no lambda) lets folds train in other processes too.

    Raises
    ------
    ValueError
        For a name that another metric has, or that is not spelled as names are looked up: in small letters, with
        underscores.
    """
    for name in (metric.name, *aliases):
        if name != _plain(name) or not name:
            raise ValueError(f"a metric's name is in small letters with underscores, and not {name!r}")
        if name in METRICS or name in ALIASES or _k_of(name) is not None:
            raise ValueError(f"there is a metric {name!r} already")
    METRICS[metric.name] = metric
    ALIASES.update(dict.fromkeys(aliases, metric.name))


WITH_K = {"map@": map_at_k, "top": top_k}  # map@5, top5
MACRO = {
    "macro_precision": macro_precision,
    "macro_recall": macro_recall,
    "macro_f1": macro_f1,
}


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _k_of(name: str) -> tuple[str, int] | None:
    """The prefix and the K of a name such as map@5 or top_3; None for any other."""
    for prefix in WITH_K:
        most = whole_number(name.removeprefix(prefix).lstrip("_")) if name.startswith(prefix) else None
        if most is not None and most > 0:
            return prefix, most
    return None


register(Metric("accuracy", accuracy), "acc")
register(Metric("balanced_accuracy", balanced_accuracy, wants_decision=True))
register(Metric("macro_precision", macro_precision, wants_decision=True))
register(Metric("macro_recall", macro_recall, wants_decision=True))
register(Metric("macro_f1", macro_f1, wants_decision=True), "f1_macro")
register(Metric("weighted_f1", weighted_f1, wants_decision=True), "f1_weighted")
register(Metric("log_loss", log_loss, "min", depth=None, highest=math.inf, proper=True), "logloss")
register(Metric("roc_auc", roc_auc, depth=None), "auc")
register(
    Metric("quadratic_kappa", quadratic_kappa, ordered=True, lowest=-1.0, wants_decision=True),
    "qwk",
    "quadratic_weighted_kappa",
)


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
    plain = ALIASES.get(_plain(name), _plain(name))
    if plain in METRICS:
        return METRICS[plain]
    if (with_k := _k_of(plain)) is not None:
        prefix, k = with_k
        return Metric(f"{prefix}{k}", partial(WITH_K[prefix], k=k), depth=k)
    known = [*METRICS, "map@3", "map@5", "top5"]
    raise UnknownName("metric", name, known, "multi-label and regression metrics are out of scope")


def own_metric(
    name: str, function: Callable[..., object], direction: Direction, judges: Literal["probs", "index"]
) -> Metric:
    """A metric that a competition's adapter defines, with its answers looked at.

    ``function(labels (N,), probs (N, C))`` gives a number, or ``function(labels (N,), answers (N,))`` where it
    judges class indices. What it raises, and anything that is no finite number, is an InputError.
    """
    depth = 1 if judges == "index" else None
    judged = _Judged(name, function, judges)
    return Metric(name, judged, direction, depth=depth, lowest=-math.inf, highest=math.inf)


@dataclass(frozen=True)
class _Judged:
    """The function of an adapter's metric with its answers looked at."""

    name: str
    function: Callable[..., object]
    judges: Literal["probs", "index"]

    def __call__(self, labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
        name = self.name
        try:
            found = self.function(labels, probs.argmax(axis=1) if self.judges == "index" else probs)
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
