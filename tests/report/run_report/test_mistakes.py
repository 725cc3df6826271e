"""Mistakes: the worst first, doubted labels before them, confusions counted, classes as scikit-learn has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from comp.data.task import Task
from comp.report.run_report.mistakes import class_rows, confusions, worst_rows
from comp.report.run_report.run_data import p_true
from made_report import doubts_of, made_data, made_rows


def test_the_worst_rows_are_wrong_and_the_least_true_first() -> None:
    data = made_data(made_rows(5, 300))
    worst = worst_rows(data, 10)
    assert len(worst) == 10
    wrong = np.flatnonzero(data.oof.probs.argmax(axis=1) != data.oof.truth)
    assert [one.place for one in worst] == sorted(wrong, key=lambda n: data.oof.p_true[n])[:10]
    first = worst[0]
    assert first.label == data.oof.cells[first.place] != first.answer
    assert first.p_answer == data.oof.probs[first.place].max()


def test_labels_that_are_likely_wrong_come_before_all_others() -> None:
    data = made_data(made_rows(3, 90))
    right = np.flatnonzero(~data.oof.is_wrong)[:2]
    suspected = np.zeros(90, np.bool_)
    suspected[right] = True
    score = np.arange(90.0)
    doubted = replace(data, doubts=doubts_of(score, suspected, np.full(90, 2)))
    worst = worst_rows(doubted)
    assert [one.place for one in worst[:2]] == [right[1], right[0]], "the more doubted first"
    assert [one.likely for one in worst[:3]] == ["class 2", "class 2", ""]


def test_every_confusion_is_counted_once_as_scikit_learn_does() -> None:
    oof = made_rows(6, 200)
    found = confusions(oof)
    assert found is not None
    table = np.zeros((6, 6), int)
    for truth, answer, rows in found.cells:
        table[truth, answer] = rows
    assert (table == confusion_matrix(oof.truth, oof.probs.argmax(axis=1))).all()
    assert sorted(found.order) == list(range(6))
    counts = [rows for *_, rows, _ in found.pairs]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == oof.is_wrong.sum()


def test_classes_that_are_taken_for_each_other_stand_side_by_side() -> None:
    oof = made_rows(6, 120)
    truth = np.arange(120) % 6
    probs = np.full((120, 6), 0.01)
    answer = np.where(np.arange(120) // 6 % 2 == 0, truth, (truth + 3) % 6)  # 0 with 3, 1 with 4, 2 with 5
    probs[np.arange(120), answer] = 0.95
    found = confusions(replace(oof, truth=truth, probs=probs))
    assert found is not None
    place = {c: n for n, c in enumerate(found.order)}
    assert [abs(place[c] - place[c + 3]) for c in range(3)] == [1, 1, 1]


def test_a_scale_keeps_its_order() -> None:
    oof = made_rows(5, 80, Task("ordinal"))
    found = confusions(oof)
    assert found is not None
    assert found.order == (0, 1, 2, 3, 4)


def test_classes_have_the_scores_of_scikit_learn_and_what_mending_them_gains() -> None:
    data = made_data(made_rows(4, 150))
    oof = data.oof
    want = precision_recall_fscore_support(oof.truth, oof.probs.argmax(axis=1), zero_division=0)
    rows = class_rows(data)
    np.testing.assert_allclose(np.array([row.values for row in rows]).T, np.array(want[:3]))
    assert [row.support for row in rows] == want[3].tolist()
    missed = [int((oof.is_wrong & (oof.truth == c)).sum()) for c in range(4)]
    np.testing.assert_allclose([row.gain for row in rows], np.array(missed) / 150)


def test_of_an_error_a_gain_is_above_zero_too() -> None:
    task = Task("regression", (0.0, -5.0), (1.0, 5.0))
    data = made_data(made_rows(2, 50, task))
    rows = class_rows(data)
    assert all(row.gain > 0 for row in rows)
    apart = data.oof.probs - data.oof.truth
    np.testing.assert_allclose([row.values[2] for row in rows], np.sqrt((apart**2).mean(axis=0)))
    assert confusions(data.oof) is None
    assert len(worst_rows(data, 5)) == 5, "of numbers the largest errors"


@pytest.mark.parametrize("name", ["single-label", "multi-label", "ordinal", "regression"])
def test_the_truth_itself_is_given_everything(name: str) -> None:
    task = Task(name, (0.0,) * 3, (1.0,) * 3) if name == "regression" else Task(name)  # type: ignore[arg-type]
    oof = made_rows(3, 30, task)
    best = (
        np.eye(3)[oof.truth]
        if name == "single-label"
        else np.asarray(oof.truth, float).reshape(oof.probs.shape)
    )
    np.testing.assert_allclose(p_true(oof.truth, best, oof.labels), 1)
    assert (p_true(oof.truth, oof.probs, oof.labels) <= 1).all()
