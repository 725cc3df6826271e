"""A blend that takes its parts one by one, each only where it brings more than its standard error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.data.predictions import mean_loss
from comp.ensembling.aligned import LabelledPredictions, Probs
from comp.ensembling.temperature import learn_temperature, tempered
from comp.metrics import Metric
from comp.task_scores import likeliest
from comp.uncertainty import Gain, JackknifeScore, PairedJackknife

FORWARD = "forward"
LEAST, MOST = (
    0.2,
    5.0,
)  # temperatures: a part that is right on a few rows shall not count as sure of everything
FITTED_ON = 2_000_000  # numbers of a part that its temperature is fitted on at most
TINY = 1e-12  # the least probability whose logarithm is taken
CLEAR = 2.0  # standard errors of the log loss, where the metric says nothing


@dataclass(frozen=True)
class Addition:
    """A part that a blend took: its name, the score of the blend with it, and what it gained over the blend before."""

    part: str
    score: float
    gain: Gain | None


@dataclass(frozen=True, eq=False)
class _Tried:
    """An answer (N, D), scored by the metric and by its loss."""

    probs: Probs
    by_metric: JackknifeScore
    by_loss: JackknifeScore


@dataclass(frozen=True, eq=False)
class _Judge:
    """Scores answers to some rows. Accuracy and the log loss of single labels are means over rows: the score without a block
    is then a subtraction, and not another pass.
    """

    rows: LabelledPredictions
    metric: PairedJackknife
    loss: PairedJackknife

    def __call__(self, probs: Probs) -> _Tried:
        truth, labels = self.rows.truth, self.rows.aligned.labels
        if not labels.task.is_single_label:
            return _Tried(probs, self.metric.score(probs), self.loss.score(probs))
        losses = -np.log(np.maximum(probs[np.arange(len(truth)), truth], TINY))
        right = likeliest(probs) == truth
        is_accuracy = self.metric.metric.name == "accuracy"
        by_metric = self._mean(right.astype(np.float64)) if is_accuracy else self.metric.score(probs)
        return _Tried(probs, by_metric, self._mean(losses))

    def _mean(self, values: NDArray[np.float64]) -> JackknifeScore:
        blocks = self.metric.blocks
        counts, sums = np.bincount(blocks), np.bincount(blocks, weights=values)
        with np.errstate(invalid="ignore", divide="ignore"):  # a block may be all there is
            left = (values.sum() - sums) / (len(values) - counts)
        return JackknifeScore(float(values.mean()), left)


def temperatures_of(rows: LabelledPredictions) -> NDArray[np.float64]:
    """The temperature (P,) of each part with the smallest log loss on these rows, 1 for numbers.

    A linear classifier with a large penalty, label smoothing and mixup each leave a network less sure than it may be: without this a
    part would weigh in a mean, and be preferred, for its confidence.
    """
    labels, parts = rows.aligned.labels, rows.aligned.probs
    if labels.task.is_numeric:
        return np.ones(len(parts))
    step = max(1, parts[0].size // FITTED_ON)
    found = [learn_temperature(part[::step], rows.truth[::step], labels) for part in parts]
    return np.asarray(np.clip(found, LEAST, MOST), dtype=np.float64)


def at_temperatures(probs: Probs, temperatures: NDArray[np.float64], labels: LabelMap) -> Probs:
    """The parts' answers (P, N, D), each at its temperature: the order of the classes in a row stays."""
    if labels.task.is_numeric:
        return probs
    return np.stack([tempered(part, float(t), labels) for part, t in zip(probs, temperatures, strict=True)])


def forward_selection(
    rows: LabelledPredictions, metric: Metric, temperatures: NDArray[np.float64] | None = None
) -> list[Addition]:
    """The parts whose mean is the answer, in the order in which they are taken (after Caruana et al. 2004), each at its
    ``temperatures`` (by default those of these rows; Guo et al. 2017).

    The first is the best part alone. Then, again and again, the part whose addition to the mean gives the best log loss (mean
    error of numbers) among those that may be taken: the metric gains more than one paired standard error by it, or it loses
    nothing and the log loss gains CLEAR standard errors, which all rows speak for and not only those whose answer turns. Of
    equal parts it is the first by name.
    """
    judge = _Judge(
        rows,
        PairedJackknife(metric, rows.truth, rows.group),
        PairedJackknife(_loss_metric(rows), rows.truth, rows.group),
    )
    if temperatures is None:
        temperatures = temperatures_of(rows)
    parts, names = at_temperatures(rows.aligned.probs, temperatures, rows.aligned.labels), rows.aligned.names
    alone = [judge(one) for one in parts]
    sign = 1.0 if metric.direction == "max" else -1.0
    first = max(
        range(len(alone)),
        key=lambda n: (_or_worst(sign * alone[n].by_metric.score), -alone[n].by_loss.score, -n),
    )
    now, chosen = alone[first], [first]
    taken = [Addition(names[first], now.by_metric.score, None)]
    while True:
        better = []
        for n in (n for n in range(len(parts)) if n not in chosen):
            new = judge((now.probs * len(chosen) + parts[n]) / (len(chosen) + 1))
            gain = judge.metric.gain(new.by_metric, now.by_metric)
            if gain.is_beyond or (gain.value >= 0 and _is_clear(judge.loss.gain(new.by_loss, now.by_loss))):
                better.append((new.by_loss.score, n, new, gain))
        if not better:
            return taken
        _, n, now, gain = min(better, key=lambda one: one[:2])
        chosen.append(n)
        taken.append(Addition(names[n], now.by_metric.score, gain))


def _is_clear(gain: Gain) -> bool:
    return gain.value > CLEAR * gain.error


def _or_worst(value: float) -> float:
    return value if np.isfinite(value) else -np.inf


def _loss_metric(rows: LabelledPredictions) -> Metric:
    """The log loss, or mean error, of these rows as a metric."""
    labels = rows.aligned.labels
    return Metric("loss", lambda truth, probs: mean_loss(probs, truth, labels), "min")
