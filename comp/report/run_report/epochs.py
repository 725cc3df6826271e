"""Learning curves, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from comp.metrics import Metric
from comp.report import svg
from comp.report.run_report.run_data import FoldEpochs

RISE = 1.03  # of the validation loss over its lowest: it overfits
GAIN = 0.004  # of the metric, as a share of its value, in the last fifth of the epochs: it still learns
LONG_ENOUGH = 3  # epochs, below which nothing is said of overfitting


@dataclass(frozen=True)
class Verdict:
    """What a fold's curves say: ``kind`` is "longer", "overfits", "unstable", "settled" or "short"."""

    kind: str
    words: str


def verdict(epochs: Sequence[dict[str, float]], metric: Metric) -> Verdict:
    """What a fold's epochs say, in a sentence a student can act on."""
    losses = [row["loss"] for row in epochs]
    valid = [row.get("valid_loss", math.nan) for row in epochs]
    scores = [row.get("valid_metric", math.nan) for row in epochs]
    if any(not math.isfinite(loss) for loss in losses):
        return Verdict("unstable", "the training loss is no number any more: the learning rate is too high")
    if len(losses) >= LONG_ENOUGH and max(losses[1:]) > 1.25 * losses[0]:
        n = 1 + losses[1:].index(max(losses[1:])) + 1
        return Verdict("unstable", f"the training loss rises to epoch {n}: the learning rate is too high")
    if len(epochs) < LONG_ENOUGH:
        return Verdict("short", f"{len(epochs)} epochs are too few to say more: train longer")
    known = [loss for loss in valid if math.isfinite(loss)]
    if known:
        lowest = valid.index(min(known))
        last = len(valid) - 1
        if lowest < last and valid[last] > RISE * valid[lowest] and losses[last] < losses[lowest]:
            extra = "" if _still_gains(scores, metric) else " and the metric gains no more"
            return Verdict(
                "overfits",
                f"it overfits from epoch {lowest + 1}: validation loss rises while training loss falls{extra}",
            )
    if _still_gains(scores, metric):
        return Verdict("longer", f"{metric.name} still gains in the last epochs: train longer")
    return Verdict("settled", "it has settled: more epochs alone will not help")


def _still_gains(scores: Sequence[float], metric: Metric) -> bool:
    """Whether the last fifth of the epochs still brought the metric on."""
    sign = 1.0 if metric.direction == "max" else -1.0
    last = max(1, len(scores) // 5)
    before, after = scores[:-last], scores[-last:]
    known = [sign * value for value in before if math.isfinite(value)]
    if not known or not all(math.isfinite(value) for value in after):
        return False
    best = max(known)
    return sign * after[-1] - best > GAIN * max(abs(best), 1e-9)


def overall(folds: Sequence[FoldEpochs], metric: Metric) -> Verdict | None:
    """What most folds say; None where none has epochs."""
    each = [verdict(fold.epochs, metric) for fold in folds if fold.epochs]
    if not each:
        return None
    kinds = [one.kind for one in each]
    most = max(kinds, key=lambda kind: (kind == "unstable", kinds.count(kind)))
    words = next(one.words for one in each if one.kind == most)
    agree = kinds.count(most)
    return Verdict(most, words if len(each) == 1 else f"{agree} of {len(each)} folds: {words}")


def drawn(folds: Sequence[FoldEpochs], metric: Metric) -> list[tuple[str, Markup]]:
    """The plots of losses and metric, a line for each fold, with their captions."""
    folds = [fold for fold in folds if fold.epochs]
    if not folds:
        return []
    losses: list[svg.Line] = []
    scores: list[svg.Line] = []
    for n, fold in enumerate(folds):
        at = [row["epoch"] for row in fold.epochs]
        name = f"fold {fold.fold}" + (f" {fold.model}" if fold.model else "")
        losses.append(svg.Line(f"{name}, training", at, [row["loss"] for row in fold.epochs], n, dashed=True))
        for column, lines in (("valid_loss", losses), ("valid_metric", scores)):
            values = [row.get(column, math.nan) for row in fold.epochs]
            lines.append(svg.Line(f"{name}, validation", at, values, n))
    word = f"loss by epoch, {len(folds)} folds; dashed: training, solid: validation"
    return [
        (word, svg.chart(losses, "epoch", "loss", description=word)),
        (
            f"{metric.name} on held-out rows",
            svg.chart(scores, "epoch", metric.name, description=f"{metric.name} by epoch"),
        ),
    ]
