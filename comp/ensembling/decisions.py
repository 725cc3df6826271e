"""What is learned on OOF rows so that answers score best: multipliers, thresholds, cut points and a temperature, as one value.

Each moves predictions so that the usual rule (the likeliest class, a half, the nearest place) then gives the best answers:
whatever writes or judges predictions needs to know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.ensembling.class_weights import PASSES, fit_class_weights, reweight
from comp.ensembling.open_set import learn_unknown, with_unknown_at
from comp.ensembling.temperature import tempered
from comp.errors import InputError
from comp.files import read_json
from comp.metrics import Metric
from comp.runs.contents import DECISION_FILE
from comp.runs.run import Run

Probs = NDArray[np.float64]
RULES = {"single-label": "multipliers", "multi-label": "thresholds", "ordinal": "cut points"}
MANY = 60  # classes past which one threshold is learned for all
GRID = 39  # thresholds that are tried, evenly between 0 and 1
UNKNOWN = "threshold of the unknown class"
EDGE = 1e-3  # of a step: the least that two cut points are apart


@dataclass(frozen=True)
class Decision:
    """``values`` are multipliers or thresholds of the classes (C,), the cut points between them (C - 1,), or the one threshold
    of the unknown class, none where no rule was learned; ``temperature`` comes before them.
    """

    labels: LabelMap
    values: tuple[float, ...] = ()
    temperature: float | None = None

    @property
    def rule(self) -> str:
        """What the values are called."""
        return rule_of(self.labels)

    @property
    def is_empty(self) -> bool:
        return not self.values and self.temperature is None

    def __call__(self, probs: Probs) -> Probs:
        """Predictions (N, D) moved by the temperature, then by the rule."""
        if self.temperature is not None:
            probs = tempered(probs, self.temperature, self.labels)
        return moved(probs, np.array(self.values), self.labels) if self.values else probs

    def named(self) -> dict[str, float]:
        """The values by what they are of: a class, or the two classes that a cut point is between."""
        names = list(self.labels.names) if self.rule != UNKNOWN else [self.labels.task.unknown]
        if self.rule == "cut points":
            names = [f"{low}/{high}" for low, high in pairwise(names)]
        return dict(zip(names, self.values, strict=True)) if self.values else {}

    def as_json(self) -> dict[str, Any]:
        return {"rule": self.rule, "values": list(self.values), "temperature": self.temperature}

    @classmethod
    def of_json(cls, table: dict[str, Any], labels: LabelMap) -> Decision:
        """What ``as_json`` gave; ValueError where it is of another task or another number of classes, or no rule or
        temperature that can be learned.
        """
        values = tuple(float(value) for value in table["values"])
        wanted = len(labels) - 1 if labels.task.name == "ordinal" else len(labels)
        wanted = 1 if rule_of(labels) == UNKNOWN else wanted
        if table["rule"] != rule_of(labels) or len(values) not in (0, wanted):
            raise ValueError(
                f"{table['rule']!r} with {len(values)} values for {wanted} of {labels.task.name}"
            )
        if values and not _can_be(values, labels):
            raise ValueError(f"{list(values)} are no {table['rule']}")
        warm = None if table["temperature"] is None else float(table["temperature"])
        if warm is not None and not 0 < warm < float("inf"):
            raise ValueError(f"{warm} is no temperature")
        return cls(labels, values, warm)


def _can_be(values: tuple[float, ...], labels: LabelMap) -> bool:
    """Whether a rule of the task can have these values: positive multipliers, thresholds of 0 to 1, or cut points that
    rise along the scale.
    """
    if rule_of(labels) == UNKNOWN:
        return all(0 <= value <= 1 for value in values)
    if labels.task.is_single_label:
        return all(0 < value < float("inf") for value in values)
    if labels.task.is_numeric:
        return all(low < high for low, high in pairwise((0.0, *values, len(labels) - 1.0)))
    return all(0 < value < 1 for value in values)


def rule_of(labels: LabelMap) -> str:
    """What is learned of the answers of a task: "" for one without a rule."""
    return UNKNOWN if labels.task.unknown else RULES.get(labels.task.name, "")


def decision_of(run: Run, labels: LabelMap) -> Decision:
    """What a finished run moves its predictions by.

    Raises
    ------
    InputError
        If its decision.json is damaged, was changed since, or is of other classes.
    """
    if not run.has(DECISION_FILE):
        return Decision(labels)
    path = run.checked(DECISION_FILE)
    try:
        return Decision.of_json(read_json(path), labels)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "a decision is one of its run's classes", f"{path}: {error}", "restore the file"
        ) from error


def moved(probs: Probs, values: NDArray[np.float64], labels: LabelMap) -> Probs:
    """Predictions (N, D) after a rule: multiplied and normalised; with odds divided by those of the threshold, so that it
    becomes a half; or stretched between cut points, so that each becomes the middle between two places.
    """
    rule = rule_of(labels)
    if rule == UNKNOWN:
        return with_unknown_at(probs, float(values[0]), labels)
    if rule == "multipliers":
        return reweight(probs, values)
    if rule == "thresholds":
        there, absent = probs * (1 - values), (1 - probs) * values
        total = there + absent
        moved = np.divide(there, total, out=np.full_like(probs, 0.5), where=total > 0)
        # rounding must not turn an answer round: at its threshold a probability is a half
        return np.where(probs >= values, np.maximum(moved, 0.5), np.minimum(moved, np.nextafter(0.5, 0)))
    last = len(labels) - 1.0
    at = np.concatenate([[0.0], values, [last]])
    to = np.concatenate([[0.0], np.arange(len(values)) + 0.5, [last]])
    return np.asarray(np.interp(probs, at, to), dtype=np.float64)


def learn_rule(probs: Probs, truth: NDArray[Any], metric: Metric, labels: LabelMap) -> tuple[float, ...]:
    """The values of the task's rule with the best score on these rows; nothing for a task without one.

    One value after the other is tried, and changes only where the score rises; of equal scores the nearest to doing nothing
    stays. Past MANY classes there is one threshold for all.
    """
    rule = rule_of(labels)
    if rule == UNKNOWN:
        return (learn_unknown(probs, truth, metric, labels),)
    if rule == "multipliers":
        return tuple(fit_class_weights(probs, truth, metric).tolist())
    if rule == "thresholds":
        return _thresholds(probs, truth, metric, labels)
    return _cut_points(probs, truth, metric, labels) if rule == "cut points" else ()


def _thresholds(probs: Probs, truth: NDArray[Any], metric: Metric, labels: LabelMap) -> tuple[float, ...]:
    grid = sorted(np.linspace(0, 1, GRID + 2)[1:-1], key=lambda t: abs(t - 0.5))
    tried = np.full(len(labels), 0.5)

    def score(values: NDArray[np.float64]) -> float:
        return metric(truth, (probs >= values).astype(np.float64))

    best = score(tried)
    for value in grid:  # one for all first
        same = np.full(len(labels), value)
        if metric.better(at := score(same), best):
            tried, best = same, at
    if len(labels) <= MANY:
        with_rows = np.flatnonzero(truth.sum(axis=0) > 0).tolist()
        tried = _climbed(tried, best, with_rows, lambda c, now: grid, score, metric)
    return tuple(tried.tolist())


def _cut_points(probs: Probs, truth: NDArray[Any], metric: Metric, labels: LabelMap) -> tuple[float, ...]:
    last = len(labels) - 1.0
    plain = np.asarray(np.arange(len(labels) - 1) + 0.5, dtype=np.float64)
    shares = np.cumsum(np.bincount(truth, minlength=len(labels)))[:-1] / len(truth)
    by_share = _apart(
        np.quantile(probs[:, 0], shares), last
    )  # as many answers of each class as there are rows

    def score(values: NDArray[np.float64]) -> float:
        answers = np.searchsorted(values, probs[:, 0], side="right").astype(np.float64)
        return metric(truth, answers[:, None])

    def steps(c: int, now: NDArray[np.float64]) -> list[float]:
        low = now[c - 1] + EDGE if c else EDGE
        high = now[c + 1] - EDGE if c + 1 < len(now) else last - EDGE
        return (
            sorted(np.linspace(low, high, GRID).tolist(), key=lambda t: abs(t - plain[c]))
            if low < high
            else []
        )

    starts: tuple[Probs, Probs] = (plain, by_share)
    climbed = [_climbed(start, score(start), range(len(plain)), steps, score, metric) for start in starts]
    better = metric.better(score(climbed[1]), score(climbed[0]))
    return tuple(climbed[int(better)].tolist())


def _apart(values: NDArray[np.float64], last: float) -> NDArray[np.float64]:
    """Cut points in rising order, each a little above the one before, within 0 and ``last``."""
    room = EDGE * np.arange(1, len(values) + 1)
    rising = np.maximum.accumulate(np.clip(values, 0, last - EDGE * (len(values) + 1)))
    return np.asarray(rising + room)


def _climbed(
    start: NDArray[np.float64],
    best: float,
    places: Any,
    steps: Callable[[int, NDArray[np.float64]], list[float]],
    score: Callable[[NDArray[np.float64]], float],
    metric: Metric,
) -> NDArray[np.float64]:
    """Values (V,) after passes in which each takes the step with the best score, where that is better than before."""
    values = start.copy()
    for _ in range(PASSES):
        before = values.copy()
        for place in places:
            for step in steps(place, values):
                tried = values.copy()
                tried[place] = step
                if metric.better(at := score(tried), best):
                    values, best = tried, at
        if (values == before).all():
            break
    return values
