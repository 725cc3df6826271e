"""The test side: shares as they are, the least certain rows, and those that folds answer otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comp.data.task import Task
from comp.report.run_report.run_data import TestRows
from comp.report.run_report.test_side import of_test
from made_report import made_data, made_rows


def with_test(probs: np.ndarray, by_fold: np.ndarray | None, task: Task | None = None):  # type: ignore[no-untyped-def]
    data = made_data(made_rows(3, 30, task or Task()))
    names = tuple(f"t{n}" for n in range(len(probs)))
    return replace(data, test=TestRows(names, names, probs, by_fold, data.labels))


def test_shares_are_those_of_training_labels_and_of_answers() -> None:
    probs = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1]])
    data = with_test(probs, None)
    side = of_test(data)
    assert side is not None
    assert [share for *_, share in side.shares] == [0.75, 0.25, 0.0]
    np.testing.assert_allclose([share for _, share, _ in side.shares], np.bincount(data.oof.truth) / 30)


def test_the_least_certain_row_is_that_with_the_smallest_margin() -> None:
    probs = np.array([[0.9, 0.1, 0.0], [0.34, 0.33, 0.33], [0.1, 0.8, 0.1]])
    side = of_test(with_test(probs, None))
    assert side is not None
    assert [row.id for row in side.unsure] == ["t1", "t2", "t0"]
    assert side.unsure[0].words == "class 0 0.34, class 1 0.33"
    assert side.split == ()


def test_rows_that_folds_answer_otherwise_say_how() -> None:
    one = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0]])
    by_fold = np.stack([one, one, np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]])])
    side = of_test(with_test(by_fold.mean(axis=0), by_fold))
    assert side is not None
    assert [(row.id, row.words) for row in side.split] == [
        ("t1", "2 of 3 folds class 0, 1 of 3 folds class 1")
    ]


@pytest.mark.parametrize(
    "task", [Task("regression", (0.0,) * 3, (1.0,) * 3), Task("multi-label"), Task("ordinal")]
)
def test_other_tasks_have_their_own_kind_of_doubt(task: Task) -> None:
    data = made_data(made_rows(3, 40, task))
    side = of_test(data)
    assert side is not None
    assert (side.shares == ()) == (task.name == "regression")
    assert (side.unsure == ()) == task.is_numeric
    assert all(row.words.startswith("spread over folds") for row in side.split)


def test_a_run_without_test_rows_has_no_test_side() -> None:
    assert of_test(made_data(tests=0)) is None
