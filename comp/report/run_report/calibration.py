"""Whether probabilities can be believed: the reliability diagram, ROC and precision-recall curves, and whether they matter."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from comp.metrics import Metric
from comp.report import svg
from comp.report.run_report.run_data import OofRows
from comp.task_scores import auc, average_precision_of
from comp.uncertainty import BINS

MOST_CURVES = 8  # classes with a curve each; of more, all cells together
MOST_POINTS = 200
MOST_CELLS = 1_000_000  # of a curve; of more every second, third … is drawn

Cells = tuple[str, NDArray[np.bool_], NDArray[np.float64]]


def plots(oof: OofRows) -> list[tuple[str, Markup]]:
    """Captions and plots; of numbers the answers over the labels."""
    if oof.labels.task.is_numeric:
        return [_scatter(oof)]
    told = "share of rows that are right, by how sure the answer is; on the diagonal sureness can be believed"
    return [(told, _reliability(oof, told)), *_curves(oof)]


def matters(metric: Metric, oof: OofRows) -> str:
    """In words, whether calibration changes the score of this metric."""
    if oof.labels.task.is_numeric:
        return f"{metric.name} judges the numbers themselves."
    if metric.proper:
        return (
            f"{metric.name} rewards probabilities that are near to frequencies: calibration matters for it."
        )
    if metric.wants_decision:
        return f"{metric.name} depends on where answers change, so thresholds matter for it, and calibration only through them."
    if metric.depth is not None:
        return (
            f"{metric.name} reads the order of the classes of each row alone: calibration does not change it, "
            "nor do ROC and precision-recall curves. They matter where rows are compared by how sure they are."
        )
    return (
        f"{metric.name} ranks rows: the ROC and precision-recall curves are what it sees, calibration is not."
    )


def _reliability(oof: OofRows, told: str) -> Markup:
    if oof.labels.task.is_single_label:
        sure, right = oof.probs.max(axis=1), ~oof.is_wrong
    else:
        sure, right = oof.probs.ravel(), (oof.truth > 0).ravel()
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    used = count > 0
    x = np.bincount(bins, weights=sure, minlength=BINS)[used] / count[used]
    y = np.bincount(bins, weights=right.astype(np.float64), minlength=BINS)[used] / count[used]
    line = svg.Line("rows", x.tolist(), y.tolist(), 0)
    span = (0.0, 1.0)
    return svg.chart(
        [line], "sureness", "share right", description=told, x_range=span, y_range=span, diagonal=True
    )


def _cells(oof: OofRows) -> list[Cells]:
    """What is drawn as one curve: each class, or all cells together; of two classes the second."""
    names = oof.labels.names
    real = np.eye(len(names), dtype=np.bool_)[oof.truth] if oof.labels.task.one_class_a_row else oof.truth > 0
    if oof.labels.task.is_single_label and len(names) == 2:
        return [(names[1], real[:, 1], oof.probs[:, 1])]
    if len(names) > MOST_CURVES:
        return [("all classes together", real.ravel(), oof.probs.ravel())]
    return [(name, real[:, c], oof.probs[:, c]) for c, name in enumerate(names)]


def _curves(oof: OofRows) -> list[tuple[str, Markup]]:
    roc, pr = [], []
    for n, (name, own, values) in enumerate(_cells(oof)):
        step = 1 + len(own) // MOST_CELLS
        own, values = own[::step], values[::step]
        if not 0 < own.sum() < len(own):
            continue
        order = np.argsort(-values, kind="stable")
        hits = np.cumsum(own[order])
        seen = np.arange(1, len(own) + 1)
        at = np.unique(np.linspace(0, len(own) - 1, MOST_POINTS).astype(np.int64))
        false = (seen - hits) / (len(own) - own.sum())
        recall, precision = hits / own.sum(), hits / seen
        area, mean = auc(own, values), average_precision_of(own, values)
        roc.append(svg.Line(f"{name}, area {area:.3f}", [0.0, *false[at]], [0.0, *recall[at]], n))
        pr.append(
            svg.Line(f"{name}, average precision {mean:.3f}", recall[at].tolist(), precision[at].tolist(), n)
        )
    span = (0.0, 1.0)
    shown = []
    for lines, x, y, told in (
        (roc, "false positive rate", "recall", "ROC"),
        (pr, "recall", "precision", "precision-recall"),
    ):
        if lines:
            names = "; ".join(line.name for line in lines)
            shown.append(
                (
                    f"{told}: {names}",
                    svg.chart(lines, x, y, description=f"{told}: {names}", x_range=span, y_range=span),
                )
            )
    return shown


def _scatter(oof: OofRows) -> tuple[str, Markup]:
    truth = np.asarray(oof.truth, dtype=np.float64).reshape(oof.probs.shape)
    step = max(1, len(oof) // 500)
    lines = [
        svg.Line(name, truth[::step, c].tolist(), oof.probs[::step, c].tolist(), c, points=True)
        for c, name in enumerate(oof.labels.columns[: svg.COLOURS])
    ]
    told = "answers over labels; on the diagonal both are the same"
    return told, svg.chart(lines, "label", "answer", description=told, diagonal=True)
