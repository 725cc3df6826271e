"""Blends of several labels, of scales and of numbers: within their bounds, of their methods, better than a poor part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.ensembling.methods import METHODS, PAIRED, learn, methods_of, paired
from comp.errors import InputError
from made_blends import NUMBERS, SCALE, SEVERAL, task_metric, task_rows_of

EVERY = [(labels, method) for labels in (SEVERAL, SCALE, NUMBERS) for method in methods_of(labels)]


@pytest.mark.parametrize(("labels", "method"), EVERY, ids=lambda one: getattr(one, "task", one))
def test_a_blend_keeps_to_the_bounds_and_answers_by_the_parts_names(labels: LabelMap, method: str) -> None:
    rows = task_rows_of(labels)
    blend = learn(method, rows, task_metric(labels))
    answers = blend(rows.aligned)
    Predictions(rows.aligned.ids, labels, answers)
    some = np.arange(len(rows)) % 3 == 0
    assert np.allclose(blend(rows.aligned.rows(some)), answers[some])  # a row depends on no other


@pytest.mark.parametrize("labels", [SEVERAL, SCALE, NUMBERS], ids=lambda labels: labels.task.name)
def test_weights_go_where_the_skill_is(labels: LabelMap) -> None:
    rows, metric = task_rows_of(labels), task_metric(labels)
    weights = learn("greedy", rows, metric).by_part()
    assert weights is not None
    assert weights["good"] > weights["poor"]
    mean = learn("mean", rows, metric)(rows.aligned)
    assert np.allclose(mean, rows.aligned.probs.mean(axis=0))
    assert metric(rows.truth, learn("greedy", rows, metric)(rows.aligned)) <= metric(rows.truth, mean)


def test_methods_of_probabilities_are_of_no_numbers() -> None:
    assert methods_of(SCALE) == methods_of(NUMBERS) == ("mean", "greedy", "forward")
    assert set(methods_of(SEVERAL)) == {"mean", "greedy", "forward", *PAIRED}
    for method in set(METHODS) - {"mean", "greedy", "forward"}:
        with pytest.raises(InputError, match="blends predictions of its tasks") as error:
            learn(method, task_rows_of(NUMBERS), task_metric(NUMBERS))
        assert "mean, greedy" in error.value.remedy


def test_labels_are_paired_with_their_absence() -> None:
    rows = task_rows_of(SEVERAL)
    pairs = paired(rows)
    assert (len(pairs), len(pairs.aligned.labels)) == (3 * len(rows), 2)
    assert np.allclose(pairs.aligned.probs[:, :, 1], rows.aligned.probs.reshape(2, -1))
    assert (pairs.truth == rows.truth.reshape(-1)).all()
    assert pairs.group[:4] == (*[rows.group[0]] * 3, rows.group[1])


def test_a_geometric_mean_of_labels_is_that_of_odds() -> None:
    rows = task_rows_of(SEVERAL)
    probs = np.clip(rows.aligned.probs, 1e-12, 1 - 1e-12)
    odds = np.exp(np.log(probs / (1 - probs)).mean(axis=0))
    found = learn("geometric", rows, task_metric(SEVERAL))(rows.aligned)
    assert np.allclose(found, odds / (1 + odds), atol=1e-9)


def test_the_order_of_labels_changes_no_blend() -> None:
    rows = task_rows_of(SEVERAL)
    turned = LabelMap(("c", "a", "b"), Task("multi-label"))
    aligned = replace(rows.aligned, labels=turned, probs=rows.aligned.probs[:, :, [2, 0, 1]])
    other = replace(rows, aligned=aligned, truth=rows.truth[:, [2, 0, 1]])
    for method in methods_of(SEVERAL):
        straight = learn(method, rows, task_metric(SEVERAL))(rows.aligned)
        again = learn(method, other, task_metric(SEVERAL))(aligned)
        assert np.allclose(again, straight[:, [2, 0, 1]], atol=1e-6), method
