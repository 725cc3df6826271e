"""Each way to blend does what its name says, and its weights go where the skill is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.predictions import Predictions, average
from comp.ensembling.aligned import align
from comp.ensembling.class_weights import normalize_rows
from comp.ensembling.methods import METHODS, geometric_mean, learn, power_mean
from comp.errors import UnknownName
from comp.metrics import accuracy, log_loss, metric_by_name
from comp.uncertainty import apply_temperature, fit_temperature
from made_blends import LABELS, guesses, rows_of, truth_of

ACCURACY, LOSS = metric_by_name("accuracy"), metric_by_name("log_loss")
TRUTH = truth_of(300)
SKILLED = {"good": guesses(TRUTH, 2.5, 1), "noise": guesses(TRUTH, 0.0, 2), "poor": guesses(TRUTH, 0.7, 3)}
ROWS = rows_of(SKILLED, TRUTH)


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 999))
def test_answers_are_probabilities(method: str, seed: int) -> None:
    learned = learn(method, ROWS, ACCURACY)
    rng = np.random.default_rng(seed)
    drawn = rng.dirichlet(np.full(3, 0.05), (3, 4))  # many near 0 and 1
    parts = {
        name: Predictions(tuple("wxyz"), LABELS, drawn[n]) for n, name in enumerate(("good", "noise", "poor"))
    }
    answers = learned(align(parts))
    assert answers.shape == (4, 3)
    assert np.isfinite(answers).all()
    assert (answers >= 0).all()
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-9)
    Predictions(tuple("wxyz"), LABELS, answers)  # and what refuses other things takes them


@pytest.mark.parametrize("method", METHODS)
def test_parts_that_agree_change_no_answer(method: str) -> None:
    same = rows_of(dict.fromkeys("abc", SKILLED["good"]), TRUTH)
    answers = learn(method, same, ACCURACY)(same.aligned)
    alike = (answers.argmax(axis=1) == same.aligned.probs[0].argmax(axis=1)).mean()
    assert alike > (0.9 if method == "rank" else 0.97)  # ranks know how often a class is answered
    if method not in ("rank", "stacking", "forward"):  # forward makes each as sure as it is right
        assert np.allclose(answers, same.aligned.probs[0], atol=1e-9)


def test_the_mean_is_that_of_predictions() -> None:
    expected = average(list(SKILLED.values())).select(ROWS.aligned.ids).probs
    assert np.allclose(learn("mean", ROWS, ACCURACY)(ROWS.aligned), expected, atol=1e-15)


def test_power_means_lie_where_they_should() -> None:
    probs = ROWS.aligned.probs
    assert np.allclose(power_mean(probs, 1.0), probs.mean(axis=0), atol=1e-9)
    assert np.allclose(power_mean(probs, 1e-6), geometric_mean(probs), atol=1e-5)
    by_hand = normalize_rows(np.prod(probs, axis=0) ** (1 / 3))
    assert np.allclose(geometric_mean(probs), by_hand, atol=1e-9)


@pytest.mark.parametrize("method", ["weighted", "greedy", "stacking"])
def test_weights_go_where_the_skill_is(method: str) -> None:
    weights = learn(method, ROWS, ACCURACY).by_part()
    assert weights is not None
    assert weights["good"] > weights["poor"] >= weights["noise"]
    assert sum(weights.values()) == pytest.approx(1.0)


def test_mixture_weights_have_the_smallest_log_loss_at_their_best_temperature() -> None:
    def loss(weights: np.ndarray) -> float:
        mixed = np.tensordot(weights, ROWS.aligned.probs, axes=1)
        return log_loss(ROWS.truth, apply_temperature(mixed, fit_temperature(mixed, ROWS.truth)))

    learned = learn("weighted", ROWS, LOSS).weights
    assert learned is not None
    rng = np.random.default_rng(0)
    for weights in [*np.eye(3), *rng.dirichlet(np.ones(3), 50)]:
        assert loss(weights) >= loss(learned) - 2e-3


def test_a_part_is_not_preferred_for_being_sure() -> None:
    parts = {"sure": guesses(TRUTH, 1.5, 1), "timid": guesses(TRUTH, 2.0, 2, sharpness=0.1)}
    weights = learn("weighted", rows_of(parts, TRUTH), ACCURACY).by_part()
    assert weights is not None
    assert weights["timid"] > weights["sure"]


def test_greedy_serves_the_metric() -> None:
    greedy = learn("greedy", ROWS, ACCURACY)(ROWS.aligned)
    assert accuracy(ROWS.truth, greedy) >= accuracy(ROWS.truth, ROWS.aligned.probs.mean(axis=0))


def test_stacking_is_the_geometric_mean_where_rows_are_few_and_mends_swapped_classes_where_they_are_many() -> (
    None
):
    few = ROWS.rows(np.arange(300) < 2)
    near = learn("stacking", few, LOSS)(ROWS.aligned)
    assert np.abs(near - geometric_mean(ROWS.aligned.probs)).mean() < 0.12
    swapped = Predictions(SKILLED["good"].ids, LABELS, SKILLED["good"].probs[:, [1, 0, 2]])
    rows = rows_of({"a": swapped, "b": swapped}, TRUTH)
    assert accuracy(rows.truth, rows.aligned.probs[0]) < 0.45
    assert accuracy(rows.truth, learn("stacking", rows, LOSS)(rows.aligned)) > 0.7


def test_ranks_are_of_the_rows_it_was_learned_on() -> None:
    steep = np.array([[0.02, 0.01, 0.97], [0.01, 0.02, 0.97]])
    learned = learn("rank", ROWS, ACCURACY)
    answers = learned(align({name: Predictions(("x", "y"), LABELS, steep) for name in SKILLED}))
    assert answers[0, 2] > 0.8
    assert answers[0, 0] >= answers[1, 0]


def test_an_unknown_method_names_those_there_are() -> None:
    with pytest.raises(UnknownName, match="unknown method") as error:
        learn("meen", ROWS, ACCURACY)
    assert error.value.near == ["mean"]
