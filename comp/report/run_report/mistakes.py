"""Where a run errs: its worst rows, which classes it takes for which, and every class by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comp.metrics import Metric, answered_counts, confusion
from comp.report.run_report.run_data import OofRows, RunData
from comp.task_scores import answered_sets, f_of_counts, likeliest

MOST_SHOWN = 60  # rows of the gallery
MOST_PAIRS = 30
MOST_LABELS = 5  # class names under an image
ORDERED = 400  # classes that are put beside those they are taken for
COSTLY = 3e8  # numbers that a page may look at to say what mending a class gains


@dataclass(frozen=True)
class Mistake:
    """A row of the gallery: ``place`` is its row among the OOF rows; ``likely`` the likely right label, empty where the
    label is not doubted.
    """

    place: int
    id: str
    path: str
    label: str
    answer: str
    p_true: float
    p_answer: float
    fold: int
    likely: str


def worst_rows(data: RunData, most: int = MOST_SHOWN) -> list[Mistake]:
    """The rows that the run gets most wrong: those whose label is likely wrong first, then by what they give to the truth,
    of numbers by their error. Rows that are answered rightly are none of them.
    """
    oof = data.oof
    doubted = np.zeros(len(oof), np.bool_) if data.doubts is None else data.doubts.suspected
    key = -oof.p_true if data.doubts is None else np.where(doubted, data.doubts.score, -oof.p_true)
    asked = oof.is_wrong if oof.labels.task.has_classes else np.ones(len(oof), np.bool_)
    chosen = np.flatnonzero(asked | doubted)
    order = chosen[np.lexsort((chosen, -key[chosen], ~doubted[chosen]))]
    return [_mistake(data, int(n), bool(doubted[n])) for n in order[:most]]


def _mistake(data: RunData, n: int, doubted: bool) -> Mistake:
    oof = data.oof
    likely = oof.labels.names[int(data.doubts.suggested[n])] if data.doubts is not None and doubted else ""
    answer = float(oof.probs[n].max()) if oof.labels.task.is_single_label else float("nan")
    return Mistake(
        n,
        oof.ids[n],
        oof.paths[n],
        oof.cells[n] or "no class",
        oof.answer_names[n] or "no class",
        float(oof.p_true[n]),
        answer,
        int(oof.fold[n]),
        likely,
    )


@dataclass(frozen=True)
class Confusions:
    """What was answered for what. ``order`` (C,) are class indices, like ones side by side; ``cells`` (truth, answer, rows);
    ``pairs`` the most confused as (truth, answer, rows, the share of the truth's rows), names all.
    """

    order: tuple[int, ...]
    cells: tuple[tuple[int, int, int], ...]
    pairs: tuple[tuple[str, str, int, float], ...]


def confusions(oof: OofRows) -> Confusions | None:
    """None where a row has not one class."""
    labels = oof.labels
    if not labels.task.one_class_a_row:
        return None
    both = np.stack([oof.truth, likeliest(oof.wide)])
    at, counts = np.unique(both, axis=1, return_counts=True)
    cells = tuple((int(t), int(a), int(n)) for t, a, n in zip(*at, counts, strict=True))
    rows = np.bincount(oof.truth, minlength=len(labels))
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: (-cell[2], cell[:2]))
    pairs = tuple(
        (labels.names[t], labels.names[a], n, n / max(int(rows[t]), 1)) for t, a, n in wrong[:MOST_PAIRS]
    )
    ordered = labels.task.name == "ordinal" or len(labels) > ORDERED
    order = tuple(range(len(labels))) if ordered else _by_likeness(confusion(oof.truth, oof.wide))
    return Confusions(order, cells, pairs)


def _by_likeness(table: NDArray[np.int64]) -> tuple[int, ...]:
    """Class indices so that classes that are taken for each other stand side by side: the leaves of average-linkage
    clustering (Sokal & Michener 1958) of the shares in which they are confused.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(table) < 3:
        return tuple(range(len(table)))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    apart = 1 - np.clip((shares + shares.T) / 2, 0, 1)
    np.fill_diagonal(apart, 0)
    return tuple(int(n) for n in leaves_list(linkage(squareform(apart, checks=False), "average")))


@dataclass(frozen=True)
class ClassRow:
    """A class, or a column of numbers: rows that have it, precision, recall and F1 (of a column the mean label, the mean
    answer, RMSE), and what the metric would gain were each of its rows right (NaN where that was not worked out).
    """

    name: str
    support: int
    values: tuple[float, float, float]
    gain: float


def class_rows(data: RunData) -> list[ClassRow]:
    """Every class in the order of the label map."""
    oof, task = data.oof, data.labels.task
    gains = _gains(oof, data.metric)
    if not task.has_classes:
        truth = np.asarray(oof.truth, dtype=np.float64)
        rmse = np.sqrt(((oof.probs - truth) ** 2).mean(axis=0))
        columns = zip(truth.mean(axis=0), oof.probs.mean(axis=0), rmse, strict=True)
        return [
            ClassRow(name, len(oof), (float(a), float(b), float(c)), gain)
            for name, (a, b, c), gain in zip(oof.labels.names, columns, gains, strict=True)
        ]
    if task.one_class_a_row:
        hits, rows, answered = answered_counts(oof.truth, oof.wide)
    else:
        said, there = answered_sets(oof.probs), oof.truth > 0
        hits, rows, answered = (cells.sum(axis=0) for cells in (said & there, there, said))
    precision, recall, f1 = (f_of_counts(hits, rows, answered, beta) for beta in (0, float("inf"), 1))
    return [
        ClassRow(name, int(rows[n]), (float(precision[n]), float(recall[n]), float(f1[n])), gains[n])
        for n, name in enumerate(oof.labels.names)
    ]


def _gains(oof: OofRows, metric: Metric) -> list[float]:
    """What the metric would gain, above zero where it is better, were the rows of a class, or a column, all right."""
    count = len(oof.labels)
    if oof.probs.size * count > COSTLY:
        return [float("nan")] * count
    sign = 1.0 if metric.direction == "max" else -1.0
    now = metric(oof.truth, oof.probs)
    return [sign * (metric(oof.truth, _mended(oof, c)) - now) for c in range(count)]


def _mended(oof: OofRows, c: int) -> NDArray[np.float64]:
    """Predictions in which the rows of class ``c`` are right; of numbers and several labels its column."""
    probs = oof.probs.copy()
    task = oof.labels.task
    if task.is_single_label:
        probs[oof.truth == c] = np.eye(probs.shape[1])[c]
    elif task.one_class_a_row:
        probs[oof.truth == c] = c
    else:
        probs[:, c] = oof.truth[:, c]
    return probs
