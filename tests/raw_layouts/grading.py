"""The competitions' rules, by numpy and scikit-learn alone; a submission is read as Kaggle reads it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, fbeta_score, roc_auc_score, roc_curve
from sklearn.preprocessing import MultiLabelBinarizer

from .layout import Truth

Grade = Callable[[Path, Truth], float]
SMALLEST = 1e-15  # a probability's distance from 0 and 1 in the log loss


def write_answers(path: Path, truth: Truth, answers: Mapping[str, tuple[str, ...]]) -> None:
    """A submission CSV with these cells, one row for each test id."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([truth.id_column, *truth.columns])
        writer.writerows([i, *cells] for i, cells in answers.items())


def read_answers(path: Path, truth: Truth) -> list[tuple[str, ...]]:
    """The cells of each test id, in the order of ``truth.answers``; ValueError where Kaggle refuses the file."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    header = list(rows[0]) if rows else []
    if sorted(header) != sorted([truth.id_column, *truth.columns]):
        raise ValueError(f"the columns are {header}, not {[truth.id_column, *truth.columns]}")
    ids = [row[truth.id_column] for row in rows]
    if len(ids) != len(set(ids)):
        raise ValueError("an id comes twice")
    if set(ids) != set(truth.answers):
        raise ValueError(f"ids differ from the template's: {sorted(set(ids) ^ set(truth.answers))[:3]}")
    by_id = {row[truth.id_column]: tuple(row[c] for c in truth.columns) for row in rows}
    if any(cell is None for cells in by_id.values() for cell in cells):
        raise ValueError("a row is too short")
    return [by_id[i] for i in truth.answers]


def number(cell: str) -> float:
    value = float(cell)
    if not np.isfinite(value):
        raise ValueError(f"{cell} is no number")
    return value


def both(path: Path, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """True and submitted numbers, float (rows, columns)."""
    submitted = np.array([[number(c) for c in cells] for cells in read_answers(path, truth)])
    return np.array([[number(c) for c in cells] for cells in truth.answers.values()]), submitted


def both_words(path: Path, truth: Truth) -> tuple[list[str], list[str]]:
    """True and submitted cells of the only answer column."""
    return [cells[0] for cells in truth.answers.values()], [cells[0] for cells in read_answers(path, truth)]


def auc(path: Path, truth: Truth) -> float:
    """Area under the ROC curve, the mean over the columns."""
    true, submitted = both(path, truth)
    return float(
        np.mean([roc_auc_score(true[:, c] > 0.5, submitted[:, c]) for c in range(len(truth.columns))])
    )


def weighted_auc(path: Path, truth: Truth) -> float:
    """ALASKA2's: the part of the area below a true positive rate of 0.4 counts twice."""
    true, submitted = both(path, truth)
    false_rate, true_rate, _ = roc_curve(true[:, 0] > 0.5, submitted[:, 0])
    area = 0.0
    for low, high, weight in ((0.0, 0.4, 2.0), (0.4, 1.0, 1.0)):
        rates = np.linspace(0, 1, 1001)
        heights = np.clip(np.interp(rates, false_rate, true_rate), low, high) - low
        heights[0] = np.clip(true_rate[false_rate == 0].max(), low, high) - low
        area += weight * float(np.trapezoid(heights, rates))
    return area / (0.4 * 2.0 + 0.6 * 1.0)


def log_loss_of_two(path: Path, truth: Truth) -> float:
    """Binary log loss of the only column."""
    true, submitted = both(path, truth)
    p = np.clip(submitted, SMALLEST, 1 - SMALLEST)
    return float(-np.mean(true * np.log(p) + (1 - true) * np.log(1 - p)))


def log_loss_of_many(path: Path, truth: Truth) -> float:
    """Multi-class log loss; each row is scaled to a sum of 1 first."""
    true, submitted = both(path, truth)
    if (submitted < 0).any() or (submitted.sum(axis=1) <= 0).any():
        raise ValueError("a row is no distribution")
    p = np.clip(submitted / submitted.sum(axis=1, keepdims=True), SMALLEST, 1 - SMALLEST)
    return float(-np.mean(np.log(p[np.arange(len(p)), true.argmax(axis=1)])))


def log_loss_of_each_class(path: Path, truth: Truth) -> float:
    """Multi-class log loss, the mean over the classes of the mean over each class's rows."""
    true, submitted = both(path, truth)
    if (submitted < 0).any() or (submitted.sum(axis=1) <= 0).any():
        raise ValueError("a row is no distribution")
    p = np.clip(submitted / submitted.sum(axis=1, keepdims=True), SMALLEST, 1 - SMALLEST)
    right = true.argmax(axis=1)
    losses = -np.log(p[np.arange(len(p)), right])
    return float(np.mean([losses[right == c].mean() for c in range(len(truth.columns))]))


def accuracy(path: Path, truth: Truth) -> float:
    """The share of right cells."""
    return float(accuracy_score(*both_words(path, truth)))


def balanced_accuracy(path: Path, truth: Truth) -> float:
    """The mean over the true classes of the share of right cells."""
    true, submitted = both_words(path, truth)
    return float(
        np.mean(
            [np.mean([s == t for t, s in zip(true, submitted, strict=True) if t == c]) for c in set(true)]
        )
    )


def macro_f1(path: Path, truth: Truth) -> float:
    return float(f1_score(*both_words(path, truth), average="macro", zero_division=0))


def micro_f1_of_classes(path: Path, truth: Truth) -> float:
    return float(f1_score(*both_words(path, truth), average="micro", zero_division=0))


def quadratic_kappa(path: Path, truth: Truth) -> float:
    """Quadratic weighted kappa of whole numbers."""
    true, submitted = both(path, truth)
    if (submitted != submitted.round()).any():
        raise ValueError("an answer is no whole number")
    return float(cohen_kappa_score(true.astype(int)[:, 0], submitted.astype(int)[:, 0], weights="quadratic"))


def rmse(path: Path, truth: Truth) -> float:
    """Root mean squared error over all cells."""
    true, submitted = both(path, truth)
    return float(np.sqrt(np.mean((true - submitted) ** 2)))


def mean_r2(path: Path, truth: Truth) -> float:
    """R2 of each column, then their mean."""
    true, submitted = both(path, truth)
    rest, spread = ((true - submitted) ** 2).sum(axis=0), ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return float(np.mean(1 - rest / spread))


def weighted_r2(weights: Mapping[str, float]) -> Grade:
    """One R2 over all rows; a row's weight is that of the word after ``__`` in its id."""

    def grade(path: Path, truth: Truth) -> float:
        true, submitted = both(path, truth)
        w = np.array([weights[i.split("__")[1]] for i in truth.answers])[:, None]
        mean = (w * true).sum() / w.sum()
        return float(1 - (w * (true - submitted) ** 2).sum() / (w * (true - mean) ** 2).sum())

    return grade


def tags(average: str, beta: float = 1.0) -> Grade:
    """F score of space-separated labels in one cell; ``average`` is "micro", "samples" or "macro"."""

    def grade(path: Path, truth: Truth) -> float:
        true, submitted = ([cell.split() for cell in cells] for cells in both_words(path, truth))
        known = sorted({label for cell in [*true, *submitted] for label in cell})
        binary = MultiLabelBinarizer(classes=known).fit([known])
        return float(
            fbeta_score(
                binary.transform(true),
                binary.transform(submitted),
                beta=beta,
                average=average,
                zero_division=0,
            )
        )

    return grade


def map_at_5(path: Path, truth: Truth) -> float:
    """Mean average precision of up to five names a row, of which one is right."""
    true, submitted = both_words(path, truth)
    guesses = [cell.split() for cell in submitted]
    if any(len(names) > 5 for names in guesses):
        raise ValueError("a row has more than five names")
    return float(
        np.mean(
            [1 / (names.index(t) + 1) if t in names else 0.0 for t, names in zip(true, guesses, strict=True)]
        )
    )


def top_1_error(path: Path, truth: Truth) -> float:
    """The share of rows whose first name is wrong."""
    true, submitted = both_words(path, truth)
    return float(np.mean([cell.split()[:1] != [t] for t, cell in zip(true, submitted, strict=True)]))
