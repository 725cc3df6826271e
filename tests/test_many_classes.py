"""Scores of very many classes need no square of them, and those of the answers alone are those of the predictions."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from comp.data.labels import LabelMap
from comp.metrics import metric_by_name
from comp.runs.result import confusion_csv
from comp.uncertainty import PairedJackknife


def test_macro_f1_of_64500_classes() -> None:
    probs = np.zeros((20, 64_500))
    truth = np.arange(20) * 3000
    answers = np.where(np.arange(20) % 2 == 0, truth, truth + 1)  # every second one is wrong
    probs[np.arange(20), answers] = 1
    assert metric_by_name("macro_f1")(truth, probs) == pytest.approx(10 / 30)  # 20 true and 10 other classes
    assert metric_by_name("accuracy")(truth, probs) == 0.5


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "balanced_accuracy", "matthews", "weighted_f1"])
def test_parts_scored_by_answers_are_scored_alike(name: str) -> None:
    rng = np.random.default_rng(0)
    probs, truth, metric = rng.dirichlet(np.ones(4), 60), rng.integers(0, 4, 60), metric_by_name(name)
    judge = PairedJackknife(metric, truth, [str(n) for n in range(60)])
    found = judge.score(probs)
    left = [metric(truth[judge.blocks != b], probs[judge.blocks != b]) for b in range(60)]
    assert found.left.tolist() == left


def test_the_table_of_many_classes_lists_pairs() -> None:
    labels = LabelMap(tuple(f"c{n:04d}" for n in range(1001)))
    probs = np.eye(1001)[[0, 5, 5]]
    rows = list(csv.reader(io.StringIO(confusion_csv(labels, np.array([0, 5, 7]), probs))))
    assert rows == [["true class", "answer", "rows"], ["c0000", "c0000", "1"], ["c0005", "c0005", "1"], ["c0007", "c0005", "1"]]  # fmt: skip
