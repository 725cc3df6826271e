"""Scores are of rows that nothing was learned on: a method that learns noise is not rewarded."""

from __future__ import annotations

import numpy as np
import pytest

from comp.data.predictions import Predictions
from comp.ensembling.evaluate import BlendOptions, as_json, evaluate_blend
from comp.ensembling.nested_cv import (
    AUTO,
    BlendSpec,
    additions,
    affordable,
    choose,
    judge_of,
    learn_all,
    nested,
)
from comp.errors import InputError, UnknownName
from comp.metrics import metric_by_name
from made_blends import LABELS, guesses, in_folds, rows_of, truth_of

ACCURACY, LOSS, F1 = (metric_by_name(name) for name in ("accuracy", "log_loss", "macro_f1"))
TRUTH = truth_of(240)
ALIKE = rows_of({name: guesses(TRUTH, 1.5, n) for n, name in enumerate("abc")}, TRUTH)


def test_an_answer_never_depends_on_its_own_label() -> None:
    """Turn the labels of one fold round: its own answers stay, bit for bit; those of other folds may not."""
    for method in ("weighted", "greedy", "stacking", AUTO):
        procedure = BlendSpec(method, ACCURACY, calibrate=True, decide=True)
        straight = nested(procedure, ALIKE)
        here = ALIKE.fold == 2
        turned = {
            i: (c + 1) % 3 if yes else c for (i, c), yes in zip(sorted(TRUTH.items()), here, strict=True)
        }
        parts = {
            name: Predictions(ALIKE.aligned.ids, LABELS, ALIKE.aligned.probs[n])
            for n, name in enumerate("abc")
        }
        other = nested(procedure, rows_of(parts, turned))
        assert (straight[here] == other[here]).all(), method
        assert (straight[~here] != other[~here]).any(), method


def test_what_is_fitted_on_noise_scores_as_noise() -> None:
    """Forty parts without any skill: in the rows that it was fitted on stacking looks good, in nested ones it is chance."""
    truth = truth_of(90)
    noise = rows_of({f"p{n:02}": guesses(truth, 0.0, n) for n in range(40)}, truth)
    fitted = ACCURACY(noise.truth, learn_all(BlendSpec("stacking", ACCURACY), noise)(noise.aligned))
    honest = ACCURACY(noise.truth, nested(BlendSpec("stacking", ACCURACY), noise))
    assert fitted > 0.7
    assert honest < 0.5


def test_parts_of_one_skill_are_simply_averaged_and_beat_each() -> None:
    outcome = evaluate_blend(ALIKE, ACCURACY, BlendOptions())
    assert outcome.method in ("mean", "geometric")
    assert [one.method for one in outcome.tried] == list(affordable(ALIKE))
    assert outcome.gain.is_beyond
    assert all(added.gain is not None and added.gain.value > -0.02 for added in outcome.added)


def test_the_best_method_is_taken_where_it_is_surely_better() -> None:
    parts = {f"n{n}": guesses(TRUTH, 0.0, n) for n in range(6)} | {"good": guesses(TRUTH, 2.0, 9)}
    outcome = evaluate_blend(rows_of(parts, TRUTH), ACCURACY, BlendOptions())
    assert outcome.method not in ("mean", "geometric", "rank", "power")
    by_part = {one.part: one for one in outcome.added}
    assert by_part["good"].gain is not None
    assert by_part["good"].gain.is_beyond
    assert not outcome.gain.is_beyond, "nothing is gained over the one good part, and that is said"


def test_one_standard_error_decides_for_the_simpler() -> None:
    judge = judge_of(ALIKE, ACCURACY)
    worse = ALIKE.aligned.probs.mean(axis=0).copy()
    better = worse.copy()
    wrong = np.flatnonzero(worse.argmax(axis=1) != ALIKE.truth)
    better[wrong[:1]] = np.eye(3)[ALIKE.truth[wrong[:1]]]
    assert choose({"simple": worse, "elaborate": better}, judge) == "simple", "one row is no context"
    better[wrong[:20]] = np.eye(3)[ALIKE.truth[wrong[:20]]]
    assert choose({"simple": worse, "elaborate": better}, judge) == "elaborate"
    assert choose({"elaborate": better, "simple": worse}, judge) == "elaborate"


def test_what_a_part_adds_is_the_score_with_it_less_that_without() -> None:
    procedure = BlendSpec("mean", ACCURACY)
    judge = judge_of(ALIKE, ACCURACY)
    whole = judge.score(nested(procedure, ALIKE))
    (added, *_) = additions(procedure, ALIKE, whole, judge)
    others = ALIKE.aligned.probs[1:].mean(axis=0)
    assert added.without == pytest.approx(ACCURACY(ALIKE.truth, others))
    assert added.gain is not None
    assert added.gain.value == pytest.approx(whole.score - ACCURACY(ALIKE.truth, others))
    assert added.gain.error > 0


def test_log_loss_is_calibrated_and_accuracy_only_told() -> None:
    sharp = rows_of({name: guesses(TRUTH, 1.0, n, sharpness=6.0) for n, name in enumerate("ab")}, TRUTH)
    loss = evaluate_blend(sharp, LOSS, BlendOptions("mean"))
    assert loss.calibration.applied
    assert loss.calibration.temperature > 2
    assert loss.calibration.log_loss_after < loss.calibration.log_loss_before
    assert loss.score == pytest.approx(loss.calibration.log_loss_after)
    told = evaluate_blend(sharp, ACCURACY, BlendOptions("mean"))
    assert not told.calibration.applied
    assert told.calibration.temperature == pytest.approx(loss.calibration.temperature)
    assert (
        evaluate_blend(sharp, ACCURACY, BlendOptions("mean", calibrate="on")).learned.temperature is not None
    )
    assert evaluate_blend(sharp, LOSS, BlendOptions("mean", calibrate="off")).learned.temperature is None


def test_a_temperature_that_does_not_gain_is_left_alone() -> None:
    exact = {
        name: guesses(TRUTH, 1.0, n) for n, name in enumerate("a")
    }  # its probabilities are the frequencies
    rows = rows_of(exact, TRUTH)
    found = evaluate_blend(rows, LOSS, BlendOptions())
    assert found.calibration.log_loss_after >= found.calibration.log_loss_before
    assert not found.calibration.applied
    assert found.learned.temperature is None
    assert found.score == LOSS(rows.truth, rows.aligned.probs[0])
    assert evaluate_blend(rows, LOSS, BlendOptions(calibrate="on")).calibration.applied
    unlike = rows_of({"a": exact["a"], "b": guesses(TRUTH, 1.0, 5, sharpness=40.0)}, TRUTH)
    for method in ("mean", "geometric", "rank"):
        own = evaluate_blend(
            unlike, LOSS, BlendOptions(method)
        )  # each method by itself: ranks need one where a mean may not
        raw = evaluate_blend(unlike, LOSS, BlendOptions(method, calibrate="off"))
        gained = raw.calibration.log_loss_after < raw.calibration.log_loss_before
        assert own.calibration.applied is gained, method


def test_the_method_that_answers_is_chosen_as_it_is_in_each_fold() -> None:
    """Ranks are far from probabilities, and far better ones once their temperature is right: what chose them in the folds
    must choose them for the test rows.
    """
    own = {
        "a": guesses(TRUTH, 1.2, 1),
        "b": guesses(TRUTH, 1.0, 2),
        "c": guesses(TRUTH, 0.8, 3, sharpness=9.0),
    }
    rows = rows_of(own, TRUTH)
    found = evaluate_blend(rows, LOSS, BlendOptions())
    alone = {one.method: one.score for one in found.tried}
    assert alone == {
        name: LOSS(rows.truth, nested(BlendSpec(name, LOSS, calibrate=True), rows)) for name in alone
    }
    assert found.method == choose(
        {name: nested(BlendSpec(name, LOSS, calibrate=True), rows) for name in alone}, judge_of(rows, LOSS)
    )
    raw = {name: nested(BlendSpec(name, LOSS), rows) for name in alone}
    assert found.method != choose(raw, judge_of(rows, LOSS)), "the case tells the two ways apart"


def test_a_blend_is_not_praised_for_its_temperature() -> None:
    alike = {name: guesses(TRUTH, 1.0, 1, sharpness=6.0) for name in "ab"}
    found = evaluate_blend(rows_of(alike, TRUTH), LOSS, BlendOptions("mean"))
    assert found.calibration.log_loss_after < found.calibration.log_loss_before - 0.1
    assert found.gain.value == pytest.approx(0, abs=1e-9), "two copies of a part are worth one"


def test_priors_do_not_choose_the_method() -> None:
    """OOF rows have the training rows' shares, and would choose what undoes others."""
    plain, moved = (evaluate_blend(ALIKE, ACCURACY, BlendOptions(priors=p)) for p in (None, {"cross": 0.9}))
    assert plain.method == moved.method
    assert [one.score for one in plain.tried] == [one.score for one in moved.tried]


def test_a_decision_rule_is_used_where_it_gains() -> None:
    rare = truth_of(400, shares=(0.9, 0.06, 0.04))
    timid = {}
    for n, name in enumerate("ab"):
        found = guesses(rare, 1.5, n)
        biased = found.probs * np.array([25.0, 1.0, 1.0])
        timid[name] = Predictions(found.ids, LABELS, biased / biased.sum(axis=1, keepdims=True))
    rows = rows_of(timid, rare)
    outcome = evaluate_blend(rows, F1, BlendOptions("mean"))
    assert outcome.decision is not None
    assert outcome.decision.applied
    assert outcome.decision.values["circle"] < 1 < outcome.decision.values["square"]
    assert outcome.score == pytest.approx(outcome.decision.score_after)
    assert evaluate_blend(rows, F1, BlendOptions("mean", decide="off")).decision is None
    fair = evaluate_blend(ALIKE, F1, BlendOptions("mean"))
    assert fair.decision is not None
    assert not fair.decision.applied, "argmax stays where nothing is gained"
    assert not fair.learned.decision.values
    assert evaluate_blend(ALIKE, ACCURACY, BlendOptions("mean")).decision is None


def test_priors_move_answers_towards_the_classes_that_are_said_to_be_frequent() -> None:
    plain = evaluate_blend(ALIKE, ACCURACY, BlendOptions("mean"))
    moved = evaluate_blend(ALIKE, ACCURACY, BlendOptions("mean", priors={"cross": 0.9}))
    assert (moved.oof.argmax(axis=1) == 1).sum() > (plain.oof.argmax(axis=1) == 1).sum()
    with pytest.raises(UnknownName):
        evaluate_blend(ALIKE, ACCURACY, BlendOptions("mean", priors={"cat": 0.9}))
    with pytest.raises(InputError, match="leave something"):
        evaluate_blend(ALIKE, ACCURACY, BlendOptions("mean", priors={"cross": 1.0}))
    with pytest.raises(InputError, match="above 0"):
        evaluate_blend(ALIKE, ACCURACY, BlendOptions("mean", priors={"cross": -1.0}))
    with pytest.raises(InputError, match="uniform"):
        evaluate_blend(ALIKE, ACCURACY, BlendOptions("mean", priors="even"))


def test_one_part_is_calibrated_alone() -> None:
    one = rows_of({"a": guesses(TRUTH, 1.0, 1, sharpness=5.0)}, TRUTH)
    outcome = evaluate_blend(one, LOSS, BlendOptions())
    assert outcome.method == "mean"
    assert outcome.gain.is_beyond
    told = as_json(outcome, "auto")
    assert told["parts"][0]["without"] is None
    assert told["calibration"]["applied"] is True


def test_two_folds_are_enough() -> None:
    truth = truth_of(40)
    rows = rows_of({name: guesses(truth, 1.0, n) for n, name in enumerate("ab")}, truth, k=2)
    assert evaluate_blend(rows, ACCURACY, BlendOptions()).oof.shape == (40, 3)
    assert set(in_folds(list(truth), 2).values()) == {0, 1}


def test_options_are_known() -> None:
    with pytest.raises(UnknownName):
        BlendOptions("mode")
    with pytest.raises(InputError, match="calibrate is one of"):
        BlendOptions(calibrate="yes")
