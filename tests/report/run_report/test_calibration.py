"""Calibration: curves are right where they can be known, and the words say whether they matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from comp.data.task import Task
from comp.metrics import metric_by_name
from comp.report.run_report.calibration import matters, plots
from made_report import made_data, made_rows


def test_areas_are_those_of_scikit_learn() -> None:
    oof = made_rows(3, 200)
    captions = " ".join(told for told, _ in plots(oof))
    for c in range(3):
        assert f"class {c}, area {roc_auc_score(oof.truth == c, oof.probs[:, c]):.3f}" in captions
        precision = average_precision_score(oof.truth == c, oof.probs[:, c])
        assert f"class {c}, average precision {precision:.3f}" in captions


def test_of_two_classes_there_is_one_curve_and_of_many_one_of_all() -> None:
    assert "class 0" not in " ".join(told for told, _ in plots(made_rows(2, 60)))
    assert "all classes together" in " ".join(told for told, _ in plots(made_rows(30, 200)))


@pytest.mark.parametrize("task", [Task("regression", (0.0,) * 2, (1.0,) * 2), Task("ordinal")])
def test_numbers_are_drawn_over_their_labels(task: Task) -> None:
    ((told, drawn),) = plots(made_rows(2 if task.name == "regression" else 4, 50, task))
    assert "answers over labels" in told
    assert drawn.count("<circle") >= 50


def test_a_class_without_rows_has_no_curve() -> None:
    oof = made_rows(3, 60)
    truth = np.where(oof.truth == 2, 1, oof.truth)
    captions = " ".join(told for told, _ in plots(replace(oof, truth=truth)))
    assert "class 1, area" in captions
    assert "class 2, area" not in captions


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("log_loss", "matters for it"),
        ("accuracy", "does not change it"),
        ("macro_f1", "thresholds"),
        ("roc_auc", "ranks"),
    ],
)
def test_whether_it_matters_depends_on_the_metric(name: str, word: str) -> None:
    assert word in matters(metric_by_name(name), made_data().oof)
