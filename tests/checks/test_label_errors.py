"""Likely wrong labels: planted ones are found, and nothing of a fold's own labels judges that fold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from comp.checks.label_classifier import nested_probs
from comp.checks.label_errors import class_thresholds, likely_wrong, require_judged
from comp.checks.prediction_checks import label_errors
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.errors import InputError

CLASSES = 4


def clouds(
    rows: int, wrong: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Features of four clouds, their true classes, and labels of which ``wrong`` are others."""
    rng = np.random.default_rng(seed)
    truth = np.arange(rows) % CLASSES
    features = rng.normal(size=(rows, 6)).astype(np.float32)
    features[np.arange(rows), truth] += 5
    labels = truth.copy()
    flipped = rng.choice(rows, wrong, replace=False)
    labels[flipped] = (labels[flipped] + rng.integers(1, CLASSES, wrong)) % CLASSES
    return features, truth, labels


def certain(truth: NDArray[np.int64], confidence: float = 0.91) -> NDArray[np.float64]:
    probs = np.full((len(truth), CLASSES), (1 - confidence) / (CLASSES - 1))
    probs[np.arange(len(truth)), truth] = confidence
    return probs


def test_planted_errors_are_found_by_probabilities_with_the_right_class() -> None:
    _, truth, labels = clouds(200, 12)
    found = likely_wrong(certain(truth), labels, np.arange(200) // 4 % 5)
    assert (found.suspected == (labels != truth)).all()
    assert (found.suggested == truth).all()
    assert set(found.ranked) == set(np.flatnonzero(labels != truth))
    assert found.score[labels != truth].min() > found.score[labels == truth].max()
    assert found.score == pytest.approx(np.where(labels != truth, 0.97, 0.09))


@pytest.mark.parametrize("folds", [2, 3, 5, 12])
def test_planted_errors_are_found_by_features_where_probabilities_know_nothing(folds: int) -> None:
    features, truth, labels = clouds(240, 24)
    knows_nothing = np.full((240, CLASSES), 1 / CLASSES)
    found = likely_wrong(knows_nothing, labels, np.arange(240) // 4 % folds, features)
    assert (found.suspected == (labels != truth)).mean() > (0.96 if folds == 2 else 0.98)
    assert (found.suggested[found.suspected] == truth[found.suspected]).mean() > 0.95
    assert found.probs.sum(axis=1) == pytest.approx(1)


def test_clean_labels_of_a_sure_model_are_not_suspected() -> None:
    features, truth, _ = clouds(200, 0)
    assert not likely_wrong(certain(truth), truth, np.arange(200) % 5).suspected.any()
    assert likely_wrong(certain(truth), truth, np.arange(200) % 5, features).suspected.sum() <= 2


@pytest.mark.parametrize("with_features", [False, True])
@settings(max_examples=10)
@given(st.integers(0, 4), st.integers(0, 2**16))
def test_the_labels_of_a_fold_do_not_judge_it(with_features: bool, k: int, seed: int) -> None:
    """Whatever the labels of fold k, its rows get the same probabilities for every class, and the same thresholds."""
    features, _, labels = clouds(60, 6)
    folds = np.arange(60) // 4 % 5
    rng = np.random.default_rng(seed)
    here = folds == k
    probs = rng.dirichlet(np.ones(CLASSES), 60)
    other = np.where(here, rng.integers(0, CLASSES, 60), labels)
    given_features = features if with_features else None
    before, after = (likely_wrong(probs, one, folds, given_features) for one in (labels, other))
    assert before.probs[here] == pytest.approx(after.probs[here], abs=0)
    same = here & (other == labels)
    assert (before.suggested[same] == after.suggested[same]).all()
    if with_features:
        inner = [list(nested_probs(features, y, folds, CLASSES))[k].inner for y in (labels, other)]
        assert inner[0] == pytest.approx(inner[1], abs=0)


def test_thresholds_are_the_mean_confidence_of_a_class_in_itself() -> None:
    probs = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    assert class_thresholds(probs[np.arange(3), [0, 0, 1]], np.array([0, 0, 1]), 3).tolist() == [
        0.7,
        0.8,
        2.0,
    ]


def test_a_class_without_rows_in_other_folds_is_never_suggested() -> None:
    truth = np.array([0, 1] * 10 + [2] * 2)
    labels = truth.copy()
    labels[-1] = 0
    folds = np.array([0, 1] * 10 + [0, 0])
    found = likely_wrong(certain(truth), labels, folds)
    assert not found.suspected[-1], "no row of fold 1 says how sure of class 2 is sure"


def test_a_step_of_a_scale_that_is_far_off_is_suspected() -> None:
    truth = np.arange(100) % 5
    places = truth[:, None] + np.random.default_rng(0).normal(0, 0.15, (100, 1))
    labels = truth.copy()
    labels[[3, 44]] = [0, 1]
    found = likely_wrong(np.clip(places, 0, 4), labels, np.arange(100) // 5 % 4, classes=5)
    assert found.ranked.tolist()
    assert set(found.ranked) == {3, 44}
    assert found.suggested[[3, 44]].tolist() == [3, 4]


@pytest.mark.parametrize("task", [Task("multi-label"), Task("regression", (0.0,), (1.0,))])
def test_other_tasks_are_told_that_it_is_not_for_them(task: Task) -> None:
    with pytest.raises(InputError, match="labels are judged where a row has one class"):
        require_judged(task, "RUN")


def test_the_check_is_a_note_with_count_examples_and_remedy() -> None:
    _, truth, labels = clouds(200, 12)
    names = LabelMap(("ant", "bee", "cat", "dog"))
    oof = Predictions(tuple(f"r{n}" for n in range(200)), names, certain(truth), "")
    (found,) = label_errors(oof, labels, np.arange(200) // 4 % 5, "RUN")
    wrong = {f"r{n}" for n in np.flatnonzero(labels != truth)}
    assert (found.check, found.severity, found.count) == ("label-errors", "info", 12)
    assert set(found.examples) <= wrong
    assert "comp labels RUN --csv labels.csv" in found.remedy
    assert label_errors(oof, truth, np.arange(200) // 4 % 5, "RUN") == []
    assert label_errors(oof, labels, np.zeros(200, np.int64), "RUN") == [], "one fold has no others"
