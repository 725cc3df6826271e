"""A run as a notebook shows it: the first things of its page, in a piece of HTML."""

from __future__ import annotations

import numpy as np

from comp.metrics import confusion
from comp.report import html
from comp.report.run_report import epochs, mistakes, scores
from comp.report.run_report.images import PageImages
from comp.report.run_report.run_data import RunData

MOST_CLASSES = 20  # of a matrix that a cell of a notebook can hold
MOST_IMAGES = 12


def summary(data: RunData, report: str = "") -> str:
    """Scores, curves, confusions of few classes, and the worst images; ``report`` is where the whole page lies."""
    images = PageImages(data.source, MOST_IMAGES)
    worst = [(one, images.small(one.path)) for one in mistakes.worst_rows(data, MOST_IMAGES)]
    return html.page(
        "summary.html",
        data=data,
        head=scores.headline(data, scores.Judge(data)),
        curves=epochs.drawn(data.epochs, data.metric),
        table=_table(data),
        names=data.labels.names,
        worst=[(one, image) for one, image in worst if image is not None],
        report=report,
    )


def _table(data: RunData) -> list[list[tuple[float, int]]]:
    """The share and the count of each answer by truth, shares below zero where it is wrong; empty for many classes, or
    where a row has not one class.
    """
    if not data.labels.task.one_class_a_row or len(data.labels) > MOST_CLASSES:
        return []
    counts = confusion(data.oof.truth, data.oof.wide)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = np.where(np.eye(len(counts), dtype=np.bool_), shares, -shares)
    return [list(zip(*rows, strict=True)) for rows in zip(shares.tolist(), counts.tolist(), strict=True)]
