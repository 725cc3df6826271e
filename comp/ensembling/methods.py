"""Ways to blend: each is learned on OOF rows with their truth, and then answers any rows of the same parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from comp.data.labels import LabelMap
from comp.data.predictions import mean_loss
from comp.data.task import TASKS
from comp.ensembling.aligned import AlignedPredictions, LabelledPredictions, Probs
from comp.ensembling.class_weights import normalize_rows
from comp.ensembling.forward_selection import (
    FORWARD,
    at_temperatures,
    forward_selection,
    temperatures_of,
)
from comp.ensembling.solvers import mixture, stacked, train
from comp.ensembling.temperature import as_pairs
from comp.errors import InputError, UnknownName
from comp.metrics import Metric, log_loss

TINY = 1e-12  # below it a probability counts as this: one part's zero shall not silence all others
EXPONENTS = (1.0, 0.5, 2.0, 0.25, 4.0)  # nearest to the mean first: of equals the nearest wins
BAGS, STEPS = 10, 20

PROBABLE = ("single-label", "multi-label")

Apply = Callable[[Probs], Probs]
State = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Blend:
    """A learned way to make one answer of several: ``weights`` (P,) by part where they say it, ``facts`` for the record.

    ``state`` is all that was learned, from which ``apply`` is made again elsewhere; None where the method cannot say it.
    """

    method: str
    names: tuple[str, ...]
    labels: LabelMap
    weights: NDArray[np.float64] | None
    apply: Apply
    facts: dict[str, Any] = field(default_factory=dict)
    state: State | None = None

    def __call__(self, aligned: AlignedPredictions) -> Probs:
        """Probabilities (N, C) of these rows; InputError for other parts than those it was learned with."""
        aligned.require_like(self.names, self.labels)
        probs = self.apply(aligned.probs)
        if self.labels.task.is_single_label:
            return normalize_rows(probs)
        return np.clip(probs, *self.labels.task.bounds(len(self.labels)))

    def by_part(self) -> dict[str, float] | None:
        """The weight of each part, by name."""
        if self.weights is None:
            return None
        return dict(zip(self.names, (float(w) for w in self.weights), strict=True))


TWO = LabelMap(("absent", "there"))
Learner = Callable[["LabelledPredictions", "Metric"], Blend]
# By simplicity: of methods that no one can tell apart, the first is taken.
METHODS: dict[str, Learner] = {}
DEAR: set[str] = set()  # those that "auto" leaves out where there is much to learn on
BY_NAME: set[str] = set()  # those that "auto" never tries
TASKS_OF: dict[str, tuple[str, ...]] = {}  # that each method can blend
PAIRED = ("geometric", "rank", "power", "weighted")  # of several labels they see each against its absence


def method(
    name: str, *, dear: bool = False, by_name: bool = False, tasks: tuple[str, ...] = ("single-label",)
) -> Callable[[Learner], Learner]:
    """Registers a way to blend, under ``name``: what ``comp ensemble --method`` and its help know is this registry.

    The function takes OOF rows with their truth and the metric, and gives a ``Blend``. The order of registration is that
    of simplicity: one from elsewhere counts as less simple than those that are here. ``dear``: "auto" does without it
    where there are very many rows; ``by_name``: it never tries it. ``tasks`` are those whose predictions it can blend.

    Raises
    ------
    ValueError
        For a name that is taken.
    """

    def registered(learner: Learner) -> Learner:
        if name in METHODS or name == "auto":
            raise ValueError(f"there is a method {name!r} already")
        METHODS[name] = learner
        TASKS_OF[name] = tasks
        if dear:
            DEAR.add(name)
        if by_name:
            BY_NAME.add(name)
        return learner

    return registered


APPLIES: dict[str, Callable[[State, LabelMap], Apply]] = {}  # how each method's state answers


def applies(
    *names: str,
) -> Callable[[Callable[[State, LabelMap], Apply]], Callable[[State, LabelMap], Apply]]:
    """Registers how what methods of these names learned answers the predictions of parts (P, N, D)."""

    def registered(make: Callable[[State, LabelMap], Apply]) -> Callable[[State, LabelMap], Apply]:
        APPLIES.update(dict.fromkeys(names, make))
        return make

    return registered


def blend_of(
    method: str, names: tuple[str, ...], labels: LabelMap, weights: NDArray[np.float64] | None, state: State
) -> Blend:
    """A blend made again of what it learned, as ``Blend.state`` has it."""
    if labels.task.is_single_label or method not in PAIRED:
        apply = APPLIES[method](state, labels)
    else:
        apply = _of_pairs(APPLIES[method](state, TWO))
    return Blend(method, names, labels, weights, apply, state=state)


def _of_pairs(inner: Apply) -> Apply:
    """A way to blend probabilities of two classes, for several labels of which each is there or absent."""

    def apply(probs: Probs) -> Probs:
        pairs = inner(np.stack([as_pairs(part) for part in probs]))
        return normalize_rows(pairs)[:, 1].reshape(probs.shape[1:])

    return apply


def learn(method: str, rows: LabelledPredictions, metric: Metric) -> Blend:
    """Learns a method on OOF rows; UnknownName for a method that does not exist."""
    if method not in METHODS:
        raise UnknownName("method", method, [*METHODS, "auto"])
    labels = rows.aligned.labels
    if labels.task.name not in TASKS_OF[method]:
        value = f"{method} cannot blend those of task {labels.task.name!r}"
        remedy = f"choose of {', '.join(methods_of(labels))}"
        raise InputError("a method blends predictions of its tasks", value, remedy)
    if labels.task.is_single_label or method not in PAIRED:
        return METHODS[method](rows, metric)
    inner = METHODS[method](paired(rows), metric)
    return Blend(
        method, rows.aligned.names, labels, inner.weights, _of_pairs(inner.apply), inner.facts, inner.state
    )


def methods_of(labels: LabelMap) -> tuple[str, ...]:
    """The methods that can blend the predictions of a task, from simple to elaborate."""
    return tuple(name for name in METHODS if labels.task.name in TASKS_OF[name])


def paired(rows: LabelledPredictions) -> LabelledPredictions:
    """Rows with several labels as so many rows of two classes each."""
    aligned, classes = rows.aligned, len(rows.aligned.labels)
    ids = tuple(f"{i}\x1f{c}" for i in aligned.ids for c in range(classes))
    probs = np.stack([as_pairs(part) for part in aligned.probs])
    two = AlignedPredictions(aligned.names, ids, TWO, probs)
    truth = rows.truth.reshape(-1).astype(np.int64)
    group = tuple(name for name in rows.group for _ in range(classes))
    return LabelledPredictions(two, truth, np.repeat(rows.fold, classes), group)


def power_mean(probs: Probs, exponent: float) -> Probs:
    """The power mean over parts of (P, N, C), normalised; exponent 1 is the mean, towards 0 the geometric mean."""
    return normalize_rows(np.mean(np.maximum(probs, TINY) ** exponent, axis=0) ** (1.0 / exponent))


def geometric_mean(probs: Probs) -> Probs:
    """The geometric mean over parts of probabilities (P, N, C), normalised."""
    logs = np.log(np.maximum(probs, TINY)).mean(axis=0)
    return np.asarray(softmax(logs, axis=1))


def _even(rows: LabelledPredictions) -> NDArray[np.float64]:
    count = len(rows.aligned.names)
    return np.full(count, 1.0 / count)


def _blend(
    method: str, rows: LabelledPredictions, weights: NDArray[np.float64] | None, state: State, **facts: Any
) -> Blend:
    labels = rows.aligned.labels
    apply = APPLIES[method](state, labels)
    return Blend(method, rows.aligned.names, labels, weights, apply, facts, state)


def _linear(method: str, rows: LabelledPredictions, weights: NDArray[np.float64], **facts: Any) -> Blend:
    return _blend(method, rows, weights, {"weights": weights}, **facts)


@applies("mean", "weighted", "greedy")
def _apply_weights(state: State, _: LabelMap) -> Apply:
    weights = state["weights"]
    return lambda probs: np.tensordot(weights, probs, axes=1)


@method("mean", tasks=TASKS)
def _mean(rows: LabelledPredictions, _: Metric) -> Blend:
    return _linear("mean", rows, _even(rows))


@method("geometric", tasks=PROBABLE)
def _geometric(rows: LabelledPredictions, _: Metric) -> Blend:
    return _blend("geometric", rows, _even(rows), {})


@applies("geometric")
def _apply_geometric(_: State, __: LabelMap) -> Apply:
    return geometric_mean


@method("rank", tasks=PROBABLE)
def _rank(rows: LabelledPredictions, _: Metric) -> Blend:
    """Each part's probability of a class becomes its rank among those it gave the OOF rows, from 0 to 1; ranks are
    averaged. A row's answer depends on no other row that is answered with it.
    """
    return _blend("rank", rows, _even(rows), {"known": np.sort(rows.aligned.probs, axis=1)})


@applies("rank")
def _apply_ranks(state: State, _: LabelMap) -> Apply:
    known = state["known"]  # (P, n, C)

    def apply(probs: Probs) -> Probs:
        ranks = np.empty_like(probs)
        for part, c in np.ndindex(probs.shape[0], probs.shape[2]):
            column = known[part, :, c]
            below = np.searchsorted(column, probs[part, :, c], side="left")
            upto = np.searchsorted(column, probs[part, :, c], side="right")
            ranks[part, :, c] = (below + upto + 1) / (2 * len(column) + 2)  # equals share the middle
        return normalize_rows(ranks.mean(axis=0))

    return apply


@method("power", tasks=PROBABLE)
def _power(rows: LabelledPredictions, _: Metric) -> Blend:
    """The exponent with the smallest log loss."""
    probs, truth = rows.aligned.probs, rows.truth
    losses = [round(log_loss(truth, power_mean(probs, e)), 12) for e in EXPONENTS]
    exponent = EXPONENTS[int(np.argmin(losses))]
    return _blend("power", rows, _even(rows), {"exponent": np.array([exponent])}, exponent=exponent)


@applies("power")
def _apply_power(state: State, _: LabelMap) -> Apply:
    exponent = float(state["exponent"][0])
    return lambda probs: power_mean(probs, exponent)


@method("weighted", tasks=PROBABLE)
def _weighted(rows: LabelledPredictions, _: Metric) -> Blend:
    return _linear("weighted", rows, mixture(rows.aligned.probs, rows.truth))


@method("greedy", dear=True, tasks=TASKS)
def _greedy(rows: LabelledPredictions, metric: Metric) -> Blend:
    """Selection with replacement of the part that helps the metric most, in several bags (Caruana et al. 2004).

    Bags are drawn over groups of rows rather than over models, since there are often few models. Equal scores are
    told apart by log loss. Each bag keeps the selection that was best on the way; counts over all bags are the weights.
    """
    names = sorted(set(rows.group))
    place = {name: n for n, name in enumerate(names)}
    of_row = np.array([place[name] for name in rows.group])
    counts = np.zeros(len(rows.aligned.names))
    rng = np.random.default_rng(0)
    for _ in range(BAGS):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[of_row]
        bag = np.repeat(np.arange(len(rows)), times)
        chosen = _selected(rows.aligned.probs[:, bag], rows.truth[bag], metric, rows.aligned.labels)
        counts += chosen / chosen.sum()
    return _linear("greedy", rows, counts / counts.sum(), bags=BAGS)


def _selected(probs: Probs, truth: NDArray[Any], metric: Metric, labels: LabelMap) -> NDArray[np.float64]:
    """How often each part (P,) was selected."""
    sign = 1.0 if metric.direction == "max" else -1.0
    total = np.zeros_like(probs[0])
    counts = np.zeros(len(probs))
    best: tuple[float, float] | None = None
    kept = counts
    for step in range(1, STEPS + 1):
        keys = []
        for part in probs:
            tried = (total + part) / step
            keys.append((sign * metric(truth, tried), -_loss(tried, truth, labels)))
        place = max(range(len(keys)), key=lambda n: keys[n])
        total, counts = total + probs[place], counts.copy()
        counts[place] += 1
        if best is None or keys[place] > best:
            best, kept = keys[place], counts
    return kept


def _loss(probs: Probs, truth: NDArray[Any], labels: LabelMap) -> float:
    """The log loss of answers; of numbers their mean error."""
    if labels.task.is_single_label:
        return log_loss(truth, probs)
    return mean_loss(probs, truth, labels)


@method("stacking", dear=True)
def _stacking(rows: LabelledPredictions, _: Metric) -> Blend:
    weight, bias = train(rows.aligned.probs, rows.truth)
    shares = np.abs(weight).sum(axis=(1, 2))
    return _blend(
        "stacking",
        rows,
        shares / shares.sum(),
        {"weight": weight, "bias": bias},
        shrinks_to="geometric",
    )


@applies("stacking")
def _apply_stacking(state: State, _: LabelMap) -> Apply:
    weight, bias = state["weight"], state["bias"]
    return lambda probs: stacked(probs, weight, bias)


@method(FORWARD, tasks=TASKS, by_name=True)
def _forward(rows: LabelledPredictions, metric: Metric) -> Blend:
    """The mean of the parts of ``forward_selection``, each at its temperature; the others have no weight."""
    temperatures = temperatures_of(rows)
    taken = [one.part for one in forward_selection(rows, metric, temperatures)]
    weights = np.array([1.0 / len(taken) if name in taken else 0.0 for name in rows.aligned.names])
    by_part = dict(zip(rows.aligned.names, (float(t) for t in temperatures), strict=True))
    state = {"weights": weights, "temperatures": temperatures}
    return _blend(FORWARD, rows, weights, state, taken=taken, temperatures=by_part)


@applies(FORWARD)
def _apply_forward(state: State, labels: LabelMap) -> Apply:
    weights, temperatures = state["weights"], state["temperatures"]
    return lambda probs: np.tensordot(weights, at_temperatures(probs, temperatures, labels), axes=1)
