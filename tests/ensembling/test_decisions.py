"""What a decision rule learns never costs the rows it was learned on, and answers exactly what it says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.ensembling.decisions import Decision, learn_rule, moved
from comp.ensembling.temperature import learn_temperature, tempered
from comp.errors import InputError
from comp.metrics import metric_by_name, nearest_places
from comp.task_scores import answered_sets

SINGLE = LabelMap(("a", "b", "c"))
SEVERAL = LabelMap(("a", "b", "c"), Task("multi-label"))
SCALE = LabelMap(("0", "1", "2", "3"), Task("ordinal"))
NUMBER = LabelMap(("y",), Task("regression", (0.0,), (10.0,)))


def rows_of(labels: LabelMap, seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (N, D) and truth of skilled but shifted guesses: a rule has something to gain."""
    rng = np.random.default_rng(seed)
    if labels.task.is_single_label:
        truth = rng.choice(3, rows, p=[0.7, 0.2, 0.1])
        logits = rng.normal(size=(rows, 3)) + 1.2 * np.eye(3)[truth] + np.array([1.5, 0.0, 0.0])
        odds = np.exp(logits)
        return odds / odds.sum(axis=1, keepdims=True), truth
    if labels.task.name == "multi-label":
        truth = (rng.random((rows, 3)) < [0.5, 0.2, 0.05]).astype(np.float64)
        return 1 / (1 + np.exp(-(rng.normal(size=(rows, 3)) + 2 * truth - 2))), truth
    truth = rng.choice(4, rows, p=[0.5, 0.2, 0.2, 0.1])
    return np.clip(0.6 * truth + 0.8 + rng.normal(0, 0.4, rows), 0, 3)[:, None], truth


@pytest.mark.parametrize(
    ("labels", "metric"),
    [
        (SINGLE, "macro_f1"),
        (SINGLE, "mcc"),
        (SEVERAL, "micro_f1"),
        (SEVERAL, "macro_f2"),
        (SEVERAL, "samples_f1"),
        (SEVERAL, "accuracy"),
        (SCALE, "qwk"),
        (SCALE, "macro_f1"),
    ],
)
@settings(max_examples=5)
@given(seed=st.integers(0, 999))
def test_a_rule_never_costs_the_rows_it_was_learned_on(labels: LabelMap, metric: str, seed: int) -> None:
    probs, truth = rows_of(labels, seed)
    score = metric_by_name(metric, task=labels.task.name)
    values = learn_rule(probs, truth, score, labels)
    after = moved(probs, np.array(values), labels)
    assert score(truth, after) >= score(truth, probs)
    Predictions(tuple(map(str, range(len(probs)))), labels, after)


@pytest.mark.parametrize(("labels", "metric", "least"), [(SEVERAL, "micro_f1", 0.05), (SCALE, "qwk", 0.05)])
def test_a_rule_gains_where_answers_are_shifted(labels: LabelMap, metric: str, least: float) -> None:
    probs, truth = rows_of(labels, 0, 300)
    score = metric_by_name(metric, task=labels.task.name)
    values = learn_rule(probs, truth, score, labels)
    fresh, true = rows_of(labels, 1, 300)
    assert score(true, moved(fresh, np.array(values), labels)) > score(true, fresh) + least


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=8),
    st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3),
)
def test_a_threshold_answers_exactly_what_it_says(rows: list[list[float]], thresholds: list[float]) -> None:
    probs, values = np.array(rows), np.array(thresholds)
    after = moved(probs, values, SEVERAL)
    assert (answered_sets(after) == (probs >= values)).all()
    assert ((after >= 0) & (after <= 1)).all()
    exact = moved(values[None], values, SEVERAL)
    assert answered_sets(exact).all()
    assert not answered_sets(moved(np.nextafter(values, 0)[None], values, SEVERAL)).any()
    for c in range(3):  # what was likelier stays likelier
        order = np.argsort(probs[:, c], kind="stable")
        assert (np.diff(after[order, c]) >= 0).all()


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=12),
    st.lists(st.integers(1, 2998), min_size=3, max_size=3, unique=True),
)
def test_a_cut_point_answers_what_it_says(places: list[float], cuts: list[int]) -> None:
    values = np.array(sorted(cuts)) / 1000
    probs = np.array(places)[:, None]
    after = moved(probs, values, SCALE)
    near = (np.abs(probs - values) < 1e-9).any(axis=1)  # at a cut rounding may say either
    assert (nearest_places(after) == np.searchsorted(values, probs[:, 0], side="right"))[~near].all()
    assert ((after >= 0) & (after <= 3)).all()
    assert (np.diff(np.sort(probs[:, 0])) >= 0).all()


def test_at_a_cut_point_the_higher_class_is_answered() -> None:
    values = np.array([0.7, 1.1, 2.9])
    assert nearest_places(moved(values[:, None], values, SCALE)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("labels", [SINGLE, SEVERAL], ids=["single", "several"])
def test_a_temperature_does_not_cost_log_loss_and_turns_no_answer_round(labels: LabelMap) -> None:
    probs, truth = rows_of(labels, 0, 200)
    sure = tempered(probs, 0.3, labels)
    loss = metric_by_name("log_loss", task=labels.task.name)
    warm = learn_temperature(sure, truth, labels)
    assert warm > 1
    after = tempered(sure, warm, labels)
    assert loss(truth, after) < loss(truth, sure)
    if labels is SINGLE:
        assert (after.argmax(axis=1) == sure.argmax(axis=1)).all()
    else:
        assert (answered_sets(after) == answered_sets(sure)).all()


def test_places_and_numbers_have_no_temperature_and_numbers_no_rule() -> None:
    for labels in (SCALE, NUMBER):
        with pytest.raises(InputError, match="a temperature is of probabilities"):
            learn_temperature(np.array([[1.0]]), np.array([1]), labels)
    mae = metric_by_name("mae", task="regression")
    assert learn_rule(np.array([[1.0]]), np.array([[1.0]]), mae, NUMBER) == ()


def decision(labels: LabelMap) -> Decision:
    values = {"single-label": (0.5, 1.0, 2.0), "multi-label": (0.1, 0.5, 0.7), "ordinal": (0.4, 1.9, 2.2)}
    warm = 1.25 if labels.task.name != "ordinal" else None
    return Decision(labels, values[labels.task.name], warm)


@pytest.mark.parametrize("labels", [SINGLE, SEVERAL, SCALE], ids=lambda labels: labels.task.name)
def test_a_decision_comes_back_from_json_bit_for_bit(labels: LabelMap) -> None:
    one = decision(labels)
    back = Decision.of_json(json.loads(json.dumps(one.as_json())), labels)
    probs, _ = rows_of(labels, 3)
    assert back == one
    assert back(probs).tobytes() == one(probs).tobytes()
    assert not np.allclose(one(probs), probs)
    nothing = Decision(labels)
    assert nothing.is_empty
    assert nothing(probs) is probs
    assert Decision.of_json(nothing.as_json(), labels).is_empty


def test_values_are_named_by_what_they_are_of() -> None:
    assert decision(SEVERAL).named() == {"a": 0.1, "b": 0.5, "c": 0.7}
    assert decision(SCALE).named() == {"0/1": 0.4, "1/2": 1.9, "2/3": 2.2}
    assert (decision(SINGLE).rule, decision(SCALE).rule) == ("multipliers", "cut points")


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "thresholds"},
        {"values": [0.5, 1.0]},
        {"values": [0.5, 1.0, "x"]},
        {"values": [0.5, 1.0, float("nan")]},
        {"values": [0.5, 1.0, -1.0]},
        {"values": [0.5, 1.0, float("inf")]},
        {"values": None},
        {"temperature": "warm"},
        {"temperature": 0.0},
        {"temperature": float("nan")},
    ],
)
def test_a_decision_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Decision.of_json({**decision(SINGLE).as_json(), **change}, SINGLE)


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (SEVERAL, [0.1, 0.5, 1.5]),
        (SEVERAL, [0.1, 0.5, -0.1]),
        (SCALE, [1.9, 0.4, 2.2]),
        (SCALE, [0.4, 1.9, 3.5]),
        (SCALE, [0.4, 0.4, 2.0]),
        (SCALE, [-0.5, 1.0, 2.0]),
    ],
)
def test_values_outside_of_their_rule_are_refused(labels: LabelMap, values: list[float]) -> None:
    with pytest.raises(ValueError, match=decision(labels).rule):
        Decision.of_json({**decision(labels).as_json(), "values": values}, labels)


def test_a_decision_of_another_task_is_refused() -> None:
    with pytest.raises(ValueError, match="multipliers"):
        Decision.of_json(decision(SINGLE).as_json(), SEVERAL)
    with pytest.raises(ValueError, match="cut points"):
        Decision.of_json(decision(SCALE).as_json(), LabelMap(("0", "1", "2"), Task("ordinal")))
