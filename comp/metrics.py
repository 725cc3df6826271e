"""Metrics by name, each with its direction and the input it judges."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from comp.config import finite_number, whole_number
from comp.errors import CompError, InputError, RecipeError, UnknownName, shortened
from comp.task_scores import (
    Answers,
    auc,
    average_precision_of,
    column_auc,
    column_average_precision,
    column_log_loss,
    exact_sets,
    f_beta_of_sets,
    f_of_counts,
    likeliest,
    mae,
    map_at_k_of_sets,
    mcrmse,
    mse,
    r2,
    rmse,
    rmsle,
)

Labels = NDArray[np.int64]
Probs = NDArray[np.float64]
FLOAT_BITS = 1000  # of a whole number that a float64 surely holds
Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A score of predictions against the truth.

    ``function(truth, predictions) -> float``, both as the task has them (``comp.data.task.Task``): of a single label
    ``(labels (N,) int64, probs (N, C) float64)``. ``tasks`` are those that it can score; an answer of an ordinal task
    comes as a row (C,) of zeros and a one. ``direction`` says which end is better. ``depth``
    is how many answers of a row it looks at, best first, None where it looks at the probabilities themselves; an
    ``ordered`` one measures distances between classes by their places in the label map. Scores lie within ``lowest`` and
    ``highest``, infinite where nothing is known. A ``proper`` one rewards calibrated probabilities; the best answer for
    one that ``wants_decision`` is not always the likeliest class.
    """

    name: str
    function: Callable[[NDArray[Any], NDArray[np.float64]], float]
    direction: Direction = "max"
    depth: int | None = 1
    ordered: bool = False
    lowest: float = 0.0
    highest: float = 1.0
    proper: bool = False
    wants_decision: bool = False
    tasks: tuple[str, ...] = ("single-label", "ordinal")

    def __call__(self, labels: NDArray[Any], probs: NDArray[np.float64]) -> float:
        if len(labels) != len(probs):
            raise ValueError(f"{self.name}: {len(labels)} labels against {len(probs)} rows of probabilities")
        if len(labels) == 0:
            return float("nan")
        if probs.shape[1] == 1 and labels.ndim == 1 and self.depth is not None:
            probs = one_hot_places(probs, int(labels.max()) + 1)
        return float(self.function(labels, probs))

    def looked_at(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the metric looks at of many predictions that it is to score part after part: the answers alone where they
        are all that counts, so that no part of large predictions (N, C) is copied; else the predictions.
        """
        of_ours = getattr(self.function, "func", self.function).__module__ == __name__
        if self.depth != 1 or not of_ours or self.tasks[0] != "single-label" or probs.shape[1] < 2:
            return probs
        return cast("NDArray[np.float64]", Answers(likeliest(probs), probs.shape[1]))

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is a better score than ``other``."""
        return one > other if self.direction == "max" else one < other


def nearest_places(places: Probs) -> NDArray[np.int64]:
    """The class index (N,) that a place (N, 1) on an ordinal scale answers: the nearest, of two the higher."""
    return np.asarray(np.floor(places[:, 0] + 0.5), dtype=np.int64)


def one_hot_places(places: Probs, classes: int) -> Probs:
    """Rows (N, C) with a one at the class that places (N, 1) on an ordinal scale answer; C is ``classes`` or more."""
    answers = nearest_places(places)
    return np.asarray(np.eye(max(classes, int(answers.max()) + 1))[answers], dtype=np.float64)


def accuracy(labels: Labels, probs: Probs) -> float:
    """The share of rows whose most probable class is theirs; ties go to the lower index."""
    return float((likeliest(probs) == labels).mean())


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
    picked = np.clip(probs[np.arange(len(labels)), labels].astype(np.float64), eps, 1.0)
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
    classes that of the second. scikit-learn's ``roc_auc_score(multi_class="ovr")``.

    A class with no rows, or with all of them, has no curve and is left out; NaN where no class has one.
    """
    return _of_each_class(auc, labels, probs)


def average_precision(labels: Labels, probs: Probs) -> float:
    """Average precision, each class against the rest, averaged over the classes that have rows; of two classes that of
    the second. scikit-learn's ``average_precision_score``.
    """
    return _of_each_class(average_precision_of, labels, probs)


def _of_each_class(score: Callable[[NDArray[np.bool_], Probs], float], labels: Labels, probs: Probs) -> float:
    classes = probs.shape[1]
    each = [score(labels == c, probs[:, c]) for c in ([1] if classes == 2 else range(classes))]
    known = [value for value in each if not math.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def probabilistic_f1(labels: Labels, probs: Probs) -> float:
    """F1 of the second of two classes, with its probabilities in place of counted answers; 0 where there is nothing to
    divide by. InputError for another number of classes.
    """
    _require_two(probs, "probabilistic_f1")
    hits, answered = probs[labels == 1, 1].sum(dtype=np.float64), probs[:, 1].sum(dtype=np.float64)
    return float(f_of_counts(hits, (labels == 1).sum(), answered, 1.0))


def _require_two(probs: Probs, name: str) -> None:
    if probs.shape[1] != 2:
        raise InputError(f"{name} is of two classes", f"{probs.shape[1]} classes", "choose another metric")


def matthews(labels: Labels, probs: Probs) -> float:
    """Matthews' correlation of classes and answers (Gorodkin 2004): scikit-learn's ``matthews_corrcoef``."""
    hits, truth, answered = _counts(labels, probs)
    total = truth.sum()
    spread = (total**2 - answered @ answered) * (total**2 - truth @ truth)
    return float((hits.sum() * total - truth @ answered) / math.sqrt(spread)) if spread > 0 else 0.0


def f_beta(labels: Labels, probs: Probs, average: str, beta: float = 1.0, every: bool = False) -> float:
    """F-beta of answered classes: scikit-learn's ``fbeta_score`` with ``zero_division=0``.

    ``average`` is "micro", "macro" (as in ``macro_f1``), "weighted", or "binary": of the second of two classes.
    """
    hits, truth, answered = _counts(labels, probs)
    if average == "micro":
        return float(f_of_counts(hits.sum(), truth.sum(), answered.sum(), beta))
    if average == "binary":
        _require_two(probs, "f1")
        return float(f_of_counts(hits[1:], truth[1:], answered[1:], beta)[0])
    each = f_of_counts(hits, truth, answered, beta)
    if average == "weighted":
        return float((each * truth).sum() / truth.sum())
    return _mean(each, truth + answered, every)


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
    pairs = np.bincount(labels * classes + likeliest(probs), minlength=classes * classes)
    return pairs.reshape(classes, classes)


def answered_counts(labels: Labels, probs: Probs) -> tuple[NDArray[np.int64], ...]:
    """Of each class (C,) the rows that are answered right, that have it, and that are answered with it."""
    classes, answers = probs.shape[1], likeliest(probs)
    which = (labels[answers == labels], labels, answers)
    hits, truth, answered = (np.bincount(some, minlength=classes) for some in which)
    return hits, truth, answered


def _counts(labels: Labels, probs: Probs) -> tuple[Probs, Probs, Probs]:
    hits, truth, answered = answered_counts(labels, probs)
    return hits.astype(np.float64), truth.astype(np.float64), answered.astype(np.float64)


def _mean(per_class: Probs, rows: Probs, every: bool) -> float:
    """The mean (C,) over the classes that have ``rows`` (C,), or over all."""
    return float((per_class if every else per_class[rows > 0]).mean())


def _share(part: Probs, whole: Probs) -> Probs:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


METRICS: dict[str, Metric] = {}  # of a single label
ORDINAL: dict[str, Metric] = {}
MULTI_LABEL: dict[str, Metric] = {}
NUMBERS: dict[str, Metric] = {}  # of a regression
ALIASES: dict[str, str] = {}
_TABLES = {"single-label": METRICS, "ordinal": ORDINAL, "multi-label": MULTI_LABEL, "regression": NUMBERS}
EVERY_TASK = tuple(_TABLES)


def register(metric: Metric, *aliases: str) -> None:
    """Makes a metric known by its name and these others; a competition names it in its facts from then on.

    Several tasks may have a metric of one name. A function that pickle can take (one of a module, no lambda) lets folds
    train in other processes too.

    Raises
    ------
    ValueError
        For a name that another metric of that task has, or that is not spelled as names are looked up: in small letters,
        with underscores.
    """
    tables = [table for task, table in _TABLES.items() if task in metric.tasks]
    for name in (metric.name, *aliases):
        if name != _plain(name) or not name:
            raise ValueError(f"a metric's name is in small letters with underscores, and not {name!r}")
        same = ALIASES.get(name, metric.name) == metric.name
        if any(name in table for table in tables) or not same or (_of_pattern(name, metric.tasks[0])):
            raise ValueError(f"there is a metric {name!r} already")
    for table in tables:
        table[metric.name] = metric
    ALIASES.update(dict.fromkeys(aliases, metric.name))


def metric_by_name(name: str, every_class: bool = False, task: str = "single-label") -> Metric:
    """The metric of that name for a task: one that was registered, ``map@K``, ``topK`` or ``AVERAGE_fBETA``.

    With ``every_class`` a macro average is over all classes of the label map, not over those that rows have or answers
    name.

    Raises
    ------
    UnknownName
        Naming near misses.
    RecipeError
        For one of another task, and for ``every_class`` with a metric that is no macro average.
    """
    metric = _by_name(name, task)
    if not every_class:
        return metric
    if (
        not isinstance(metric.function, partial)
        or "every" not in metric.function.keywords
        or task == "ordinal"
    ):
        value = f'metric_classes = "all" beside metric = {name!r}, task = {task!r}'
        remedy = "drop metric_classes, or choose one of macro_precision, macro_recall, macro_f1"
        raise RecipeError("metric_classes says over which classes a macro average goes", value, remedy)
    return replace(metric, function=partial(metric.function, every=True))


def fitting(task: str) -> list[str]:
    """The names of the metrics that can score a task."""
    return list(_TABLES[task])


def _by_name(name: str, task: str) -> Metric:
    plain = ALIASES.get(_plain(name), _plain(name))
    metric = _TABLES[task].get(plain) or _of_pattern(plain, task)
    if metric is not None:
        return metric
    others = [other for other in EVERY_TASK if other != task and _is_of(plain, other)]
    if others:
        value = f"metric = {name!r} is of task {' or '.join(map(repr, others))}, and the task is {task!r}"
        remedy = f"correct task, or choose of {', '.join(fitting(task))}"
        raise RecipeError("a metric scores the task's answers", value, remedy)
    known = [*fitting(task), *({"single-label": ["map@3", "map@5", "top5"]}.get(task, []))]
    raise UnknownName("metric", name, known, "or `adapter:function`, a function of adapter.py")


def _is_of(plain: str, task: str) -> bool:
    return plain in _TABLES[task] or _of_pattern(plain, task) is not None


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _of_pattern(name: str, task: str) -> Metric | None:
    """A metric whose name carries a number: map@5, top_3, micro_f2, macro_f0.5; None for any other."""
    for prefix, function in WITH_K.get(task, {}).items():
        k = whole_number(name.removeprefix(prefix).lstrip("_")) if name.startswith(prefix) else None
        if k is not None and k > 0:
            return Metric(f"{prefix}{k}", partial(function, k=k), depth=k, tasks=(task,))
    shape = _F_BETA.fullmatch(name)
    beta = finite_number(shape[2]) if shape else None
    if shape is None or not beta or beta == 1:
        return None
    average = shape[1]
    if task == "multi-label":
        return _of_sets(name, average, beta)
    if task == "regression" or average == "samples":
        return None
    return _of_classes(name, average, beta)


WITH_K: dict[str, dict[str, Callable[..., float]]] = {
    "single-label": {"map@": map_at_k, "top": top_k},
    "multi-label": {"map@": map_at_k_of_sets},
}
_F_BETA = re.compile(r"(micro|macro|weighted|samples)_f([0-9.]{1,8})")


def _of_classes(name: str, average: str, beta: float) -> Metric:
    function = partial(f_beta, average=average, beta=beta)
    if average == "macro":
        function = partial(f_beta, average=average, beta=beta, every=False)
    return Metric(name, function, wants_decision=True)


def _of_sets(name: str, average: str, beta: float) -> Metric:
    function = partial(f_beta_of_sets, average=average, beta=beta)
    if average == "macro":
        function = partial(f_beta_of_sets, average=average, beta=beta, every=False)
    return Metric(name, function, wants_decision=True, tasks=("multi-label",))


_SETS = ("multi-label",)
_PLACES = ("regression", "ordinal")
register(Metric("accuracy", accuracy), "acc")
register(Metric("balanced_accuracy", balanced_accuracy, wants_decision=True))
register(Metric("macro_precision", partial(macro_precision, every=False), wants_decision=True))
register(Metric("macro_recall", partial(macro_recall, every=False), wants_decision=True))
register(Metric("macro_f1", partial(macro_f1, every=False), wants_decision=True), "f1_macro")
register(Metric("micro_f1", partial(f_beta, average="micro"), wants_decision=True), "f1_micro")
register(Metric("weighted_f1", weighted_f1, wants_decision=True), "f1_weighted")
register(
    Metric("f1", partial(f_beta, average="binary"), wants_decision=True, tasks=("single-label",)), "binary_f1"
)
register(Metric("matthews", matthews, lowest=-1.0, wants_decision=True), "mcc")
register(
    Metric("log_loss", log_loss, "min", depth=None, highest=math.inf, proper=True, tasks=("single-label",)),
    "logloss",
)
register(Metric("roc_auc", roc_auc, depth=None, tasks=("single-label",)), "auc")
register(Metric("average_precision", average_precision, depth=None, tasks=("single-label",)), "ap")
register(Metric("probabilistic_f1", probabilistic_f1, depth=None, tasks=("single-label",)), "pf1")
register(
    Metric("quadratic_kappa", quadratic_kappa, ordered=True, lowest=-1.0, wants_decision=True),
    "qwk",
    "quadratic_weighted_kappa",
)
register(Metric("accuracy", exact_sets, wants_decision=True, tasks=_SETS))
for _average in ("micro", "macro", "weighted", "samples"):
    for _name, _beta in (("precision", 0.0), ("recall", math.inf), ("f1", 1.0)):
        register(_of_sets(f"{_average}_{_name}", _average, _beta))
ALIASES["f1_samples"] = "samples_f1"
register(Metric("log_loss", column_log_loss, "min", depth=None, highest=math.inf, proper=True, tasks=_SETS))
register(Metric("roc_auc", column_auc, depth=None, tasks=_SETS))
register(Metric("average_precision", column_average_precision, depth=None, tasks=_SETS))
for _name, _function in (("rmse", rmse), ("mae", mae), ("mse", mse)):
    register(Metric(_name, _function, "min", depth=None, highest=math.inf, tasks=_PLACES))
for _name, _function in (("mcrmse", mcrmse), ("rmsle", rmsle)):
    register(Metric(_name, _function, "min", depth=None, highest=math.inf, tasks=("regression",)))
register(Metric("r2", r2, depth=None, lowest=-math.inf, tasks=_PLACES))


def own_metric(
    name: str,
    function: Callable[..., object],
    direction: Direction,
    judges: Literal["probs", "index"],
    task: str = "single-label",
) -> Metric:
    """A metric that a competition's adapter defines, with its answers looked at.

    ``function(truth, predictions)`` gives a number, both as the task has them, or ``function(labels (N,), answers (N,))``
    where it judges class indices. What it raises, and anything that is no finite number, is an InputError.
    """
    depth = 1 if judges == "index" else None
    judged = _Judged(name, function, judges)
    return Metric(name, judged, direction, depth=depth, lowest=-math.inf, highest=math.inf, tasks=(task,))


@dataclass(frozen=True)
class _Judged:
    """The function of an adapter's metric with its answers looked at."""

    name: str
    function: Callable[..., object]
    judges: Literal["probs", "index"]

    def __call__(self, labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
        name = self.name
        try:
            found = self.function(labels, likeliest(probs) if self.judges == "index" else probs)
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
