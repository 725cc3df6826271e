"""Metrics agree with scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from comp.errors import UnknownName
from comp.metrics import METRICS, metric_by_name


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) of C classes, some perhaps absent, and probabilities (N, C)."""
    classes = draw(st.integers(2, 6))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=40))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    sharpness = draw(st.sampled_from([0.3, 1.0, 5.0]))
    return np.array(labels, dtype=np.int64), rng.dirichlet(np.full(classes, sharpness), len(labels))


@given(judged())
def test_accuracy(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    assert metric_by_name("accuracy")(labels, probs) == pytest.approx(
        sk.accuracy_score(labels, probs.argmax(1))
    )


@given(judged())
def test_macro_f1(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    theirs = sk.f1_score(
        labels, probs.argmax(1), average="macro", labels=range(probs.shape[1]), zero_division=0
    )
    assert metric_by_name("macro_f1")(labels, probs) == pytest.approx(theirs)


@given(judged())
def test_log_loss(given_: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = given_
    theirs = sk.log_loss(labels, probs, labels=range(probs.shape[1]))
    assert metric_by_name("log_loss")(labels, probs) == pytest.approx(theirs)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    loss = metric_by_name("log_loss")(np.array([0]), np.array([[0.0, 1.0]]))
    assert loss == pytest.approx(-math.log(np.finfo(np.float64).eps))


def test_the_better_score_follows_the_direction() -> None:
    assert METRICS["accuracy"].better(0.9, 0.8)
    assert METRICS["log_loss"].better(0.2, 0.3)
    assert not METRICS["log_loss"].better(0.3, 0.3)


def test_names_are_forgiving_and_unknown_ones_list_near_misses() -> None:
    assert metric_by_name("Macro F1") is METRICS["macro_f1"]
    with pytest.raises(UnknownName, match="did you mean accuracy") as error:
        metric_by_name("acuracy")
    assert "multi-label and regression" in error.value.remedy


def test_rows_must_match_and_no_rows_score_nothing() -> None:
    with pytest.raises(ValueError, match="2 labels against 1 rows"):
        METRICS["accuracy"](np.zeros(2, dtype=np.int64), np.ones((1, 2)) / 2)
    assert math.isnan(METRICS["accuracy"](np.zeros(0, dtype=np.int64), np.ones((0, 2))))
