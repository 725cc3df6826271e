"""Checks of what a run came to: thresholds, and the score that a recipe's header expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comp.checks.prediction_checks import collapsed_predictions, expected_score, prior_shift, too_good
from comp.data.competitions.competition import built_in_folder
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.metrics import METRICS

EVEN = np.full(4, 0.25)


def answers(counts: list[int], confidence: float = 0.97) -> Predictions:
    """Predictions that answer class c ``counts[c]`` times."""
    classes = np.repeat(np.arange(4), counts)
    probs = np.full((len(classes), 4), (1 - confidence) / 3)
    probs[np.arange(len(classes)), classes] = confidence
    return Predictions(tuple(f"t{n}" for n in range(len(classes))), LabelMap(("a", "b", "c", "d")), probs, "")


@pytest.mark.parametrize(
    ("counts", "speaks"),
    [
        ([95, 5, 0, 0], True),
        ([98, 2, 0, 0], True),
        ([0, 0, 100, 0], True),
        ([94, 6, 0, 0], False),
        ([25] * 4, False),
    ],
)
def test_one_answer_for_nearly_all_rows_is_a_collapse(counts: list[int], speaks: bool) -> None:
    found = collapsed_predictions(answers(counts), EVEN)
    assert [(f.severity, f.count) for f in found] == ([("warning", 100)] if speaks else [])


def test_a_class_of_most_of_train_may_be_most_of_the_answers() -> None:
    assert collapsed_predictions(answers([97, 3, 0, 0]), np.array([0.9, 0.1, 0.0, 0.0])) == []


def test_the_same_probabilities_for_every_row_are_a_collapse_whatever_the_priors() -> None:
    same = Predictions(
        tuple("abcdefghijkl"), LabelMap(("a", "b", "c", "d")), np.tile([0.9, 0.1, 0.0, 0.0], (12, 1)), ""
    )
    (found,) = collapsed_predictions(same, np.array([0.9, 0.1, 0.0, 0.0]))
    assert "same probabilities" in found.message


def test_nine_rows_may_have_one_answer() -> None:
    assert collapsed_predictions(answers([9, 0, 0, 0]), EVEN) == []


@pytest.mark.parametrize(
    ("score", "metric", "rows", "expected", "speaks"),
    [
        (0.995, "accuracy", 200, None, True),
        (1.0, "macro_f1", 1000, 0.94, True),
        (0.9949, "accuracy", 1000, None, False),
        (1.0, "accuracy", 199, None, False),
        (0.998, "accuracy", 1000, 0.995, False),
        (1.0, "log_loss", 1000, None, False),
    ],
)
def test_next_to_no_errors_are_too_good_unless_expected(
    score: float, metric: str, rows: int, expected: float | None, speaks: bool
) -> None:
    found = too_good(score, METRICS[metric], rows, expected)
    assert [(f.check, f.severity, f.count) for f in found] == (
        [("too-good", "warning", rows)] if speaks else []
    )


@pytest.mark.parametrize(
    ("counts", "speaks"),
    [([30, 30, 20, 20], False), ([60, 20, 10, 10], True), ([13, 12, 13, 11], False), ([40, 3, 3, 3], False)],
    ids=["sampling", "moved", "too few, even", "too few, moved"],
)
def test_class_shares_far_from_those_of_train_are_a_shift(counts: list[int], speaks: bool) -> None:
    found = prior_shift(answers(counts), EVEN)
    assert [f.severity for f in found] == (["warning"] if speaks else [])
    if speaks:
        assert "'a'" in found[0].message


def test_many_classes_and_few_rows_move_by_chance_alone() -> None:
    classes = np.random.default_rng(0).integers(0, 100, 60)
    names = LabelMap(tuple(f"c{n:02}" for n in range(100)))
    found = Predictions(tuple(map(str, range(60))), names, np.eye(100)[classes], "")
    assert prior_shift(found, np.full(100, 0.01)) == []


def test_a_class_without_prior_is_a_shift_and_no_division_by_zero() -> None:
    (found,) = prior_shift(answers([0, 0, 50, 50]), np.array([0.5, 0.5, 0.0, 0.0]))
    assert found.check == "prior-shift"


@pytest.mark.parametrize(
    ("header", "score"),
    [
        ("# Cost: a minute. Expected: OOF accuracy 0.94 or more.", 0.94),
        ("# Expected: OOF accuracy 0.995 ± 0.002.", 0.995),
        ("# the expected score is\n# 0.81", 0.81),
        ("# Expected: 1.0", 1.0),
        ("# Expected: not measured.", None),
        ("# a score of 0.9 somewhere", None),
        ("", None),
        ('name = "Expected: 0.9"', None),
    ],
)
def test_a_recipes_header_says_what_score_to_expect(tmp_path: Path, header: str, score: float | None) -> None:
    (tmp_path / "r.toml").write_text(f"{header}\nepochs = 1\n", encoding="utf-8")
    assert expected_score(tmp_path / "r.toml") == score


def test_a_recipe_that_is_not_there_expects_nothing(tmp_path: Path) -> None:
    assert expected_score(tmp_path / "none.toml") is None


def test_the_built_in_recipes_expect_what_their_headers_say() -> None:
    expected = {
        path.parent.name: expected_score(path) for path in sorted(built_in_folder().glob("*/baseline.toml"))
    }
    assert expected["art_classification"] == pytest.approx(0.94, abs=0.03)
    assert expected["digits"] is not None
    assert expected["digits"] >= 0.98
    assert all(score is None or 0.3 < score <= 1 for score in expected.values()), expected
