"""The test rows of a run: which classes it answers, where it is least sure, and where its folds disagree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comp.report.run_report.run_data import RunData, TestRows
from comp.task_scores import answered_sets

MOST_CLASSES = 30
MOST_SHOWN = 24


@dataclass(frozen=True)
class TestImage:
    """A test row of the gallery, and in words why it is there."""

    __test__ = False

    id: str
    path: str
    answer: str
    words: str


@dataclass(frozen=True)
class TestSide:
    """``shares`` are (class, its share of training rows, of test answers), those that differ most first; ``unsure`` and
    ``split`` the least certain rows and those where folds disagree.
    """

    __test__ = False

    rows: int
    shares: tuple[tuple[str, float, float], ...]
    unsure: tuple[TestImage, ...]
    split: tuple[TestImage, ...]


def of_test(data: RunData) -> TestSide | None:
    """None for a run without test predictions."""
    if data.test is None or not len(data.test.ids):
        return None
    return TestSide(len(data.test.ids), _shares(data, data.test), _unsure(data.test), _split(data.test))


def _shares(data: RunData, test: TestRows) -> tuple[tuple[str, float, float], ...]:
    task, names = data.labels.task, data.labels.names
    if not task.has_classes:
        return ()
    if task.one_class_a_row:
        place = {name: n for n, name in enumerate(names)}
        counts = np.bincount([place[answer] for answer in test.answer_names], minlength=len(names))
        answered = counts / max(len(test.ids), 1)
    else:
        answered = answered_sets(test.probs).mean(axis=0)
    apart = np.abs(answered - data.training_shares)
    first = np.argsort(-apart, kind="stable")[:MOST_CLASSES]
    return tuple((names[n], float(data.training_shares[n]), float(answered[n])) for n in sorted(first))


def _sureness(test: TestRows) -> NDArray[np.float64] | None:
    """How sure each row (N,) is, 0 to 1; None of numbers."""
    task = test.labels.task
    if task.is_single_label:
        two = np.sort(test.probs, axis=1)[:, -2:]
        return np.asarray(two[:, 1] - two[:, 0])
    if task.is_numeric:
        return None
    return np.asarray(np.abs(test.probs - 0.5).min(axis=1) * 2)


def _unsure(test: TestRows) -> tuple[TestImage, ...]:
    sure = _sureness(test)
    if sure is None:
        return ()
    first = np.argsort(sure, kind="stable")[:MOST_SHOWN]
    return tuple(
        TestImage(test.ids[n], test.paths[n], test.answer_names[n], _likeliest(test, int(n))) for n in first
    )


def _likeliest(test: TestRows, n: int) -> str:
    order = np.argsort(-test.probs[n], kind="stable")[:2]
    return ", ".join(f"{test.labels.names[c]} {test.probs[n, c]:.2f}" for c in order)


def _split(test: TestRows) -> tuple[TestImage, ...]:
    """Rows that the folds answer otherwise, or with numbers far from each other."""
    if test.by_fold is None or len(test.by_fold) < 2:
        return ()
    spread = test.by_fold.std(axis=0).mean(axis=1)
    if test.labels.task.is_single_label:
        said = test.by_fold.argmax(axis=2)
        asked = np.flatnonzero((said != said[0]).any(axis=0))
    else:
        asked = np.arange(len(spread))
    first = asked[np.argsort(-spread[asked], kind="stable")][:MOST_SHOWN]
    return tuple(
        TestImage(test.ids[n], test.paths[n], test.answer_names[n], _of_folds(test, int(n))) for n in first
    )


def _of_folds(test: TestRows, n: int) -> str:
    assert test.by_fold is not None
    each = test.by_fold[:, n]
    if not test.labels.task.is_single_label:
        return f"spread over folds {float(each.std(axis=0).mean()):.3g}"
    said = [test.labels.names[c] for c in each.argmax(axis=1)]
    return ", ".join(f"{said.count(name)} of {len(said)} folds {name}" for name in dict.fromkeys(said))
