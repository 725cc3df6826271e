"""Temperatures and calibration errors against what is known of made predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.metrics import log_loss, metric_by_name
from comp.uncertainty import RANGE, apply_temperature, calibration_error, calibration_summary, fit_temperature


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4), and labels drawn by them: calibrated by making."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(4), count)
    return probs, (probs.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done(sharper: float) -> None:
    probs, truth = drawn(20_000, 1)
    wrong = apply_temperature(probs, 1 / sharper)
    found = fit_temperature(wrong, truth)
    assert found == pytest.approx(sharper, rel=0.05)
    assert calibration_error(apply_temperature(wrong, found), truth) < 0.015
    if sharper != 1.0:
        assert calibration_error(wrong, truth) > 0.05


@given(st.integers(0, 999), st.floats(0.3, 5.0))
def test_no_other_temperature_has_a_smaller_log_loss_and_no_answer_changes(seed: int, sharper: float) -> None:
    probs, truth = drawn(60, seed)
    wrong = apply_temperature(probs, 1 / sharper)
    found = fit_temperature(wrong, truth)
    best = log_loss(truth, apply_temperature(wrong, found))
    for other in np.geomspace(*RANGE, 40):
        assert log_loss(truth, apply_temperature(wrong, other)) >= best - 1e-6
    assert (apply_temperature(wrong, found).argmax(axis=1) == wrong.argmax(axis=1)).all()


def test_the_calibration_error_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    truth = np.array([0, 1, 0, 0])
    assert calibration_error(probs, truth) == pytest.approx((abs(0.5 - 0.9) * 2 + abs(1.0 - 0.6) * 2) / 4)
    assert calibration_error(np.eye(2), np.array([0, 1])) == 0.0


def test_what_is_told_of_a_fold_was_fitted_on_the_others() -> None:
    probs, truth = drawn(400, 3)
    wrong, fold = apply_temperature(probs, 0.3), np.arange(400) % 2
    found = calibration_summary(wrong, truth, fold, metric_by_name("log_loss"))
    assert found["temperature"] == fit_temperature(wrong, truth)
    by_hand = np.empty_like(wrong)
    for k in (0, 1):
        by_hand[fold == k] = apply_temperature(
            wrong[fold == k], fit_temperature(wrong[fold != k], truth[fold != k])
        )
    assert found["log_loss_after"] == pytest.approx(log_loss(truth, by_hand))
    assert found["log_loss_after"] < found["log_loss_before"]
    assert found["error_after"] < found["error_before"]
    assert found["score_after"] == found["log_loss_after"]
    unmoved = calibration_summary(wrong, truth, fold, metric_by_name("accuracy"))
    assert unmoved["score_after"] == unmoved["score_before"], "a temperature changes no answer"
