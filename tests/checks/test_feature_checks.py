"""The findings on features: what they say, and from when they warn."""

from __future__ import annotations

import numpy as np
import pytest

from comp.checks.feature_checks import TestLikeScore, drift_of_features, look_alike
from comp.checks.feature_drift import FeatureDrift


def drift(auc: float, error: float = 0.02) -> FeatureDrift:
    return FeatureDrift(auc, error, np.zeros(3))


@pytest.mark.parametrize(
    ("auc", "error", "severity"),
    [(0.5, 0.02, None), (0.59, 0.02, None), (0.65, 0.02, "info"), (0.8, 0.02, "warning"), (0.9, 0.11, None)],
)
def test_a_difference_warns_where_it_is_large_and_certain(
    auc: float, error: float, severity: str | None
) -> None:
    found = drift_of_features(drift(auc, error), 40, None)
    assert [one.severity for one in found] == ([severity] if severity else [])
    assert all((one.check, one.count) == ("feature-drift", 40) for one in found)


def test_the_score_of_test_like_rows_stands_beside_that_of_all() -> None:
    (one,) = drift_of_features(drift(0.86), 40, TestLikeScore("accuracy", 0.7, 0.0312, 0.9))
    assert one.message == (
        "features tell test images from training images with an AUC of 0.86 (0.50 ± 0.02 by chance); OOF accuracy "
        "is 0.7000 ± 0.0312 on the quarter of training rows most like test rows, 0.9000 on all"
    )
    (one,) = drift_of_features(drift(0.86), 40, TestLikeScore("auc", 0.7, float("nan"), 0.9))
    assert "OOF auc is 0.7000 on the quarter" in one.message


def test_pairs_are_counted_by_kind_and_rows_once() -> None:
    (one,) = look_alike([("a", "b"), ("b", "c")], [("a", "t")], "r1")
    assert (one.severity, one.count, one.examples) == ("info", 4, ("a", "b"))
    assert one.message == (
        "2 pairs in different folds and 1 pair of a training and a test row look alike by features, first 'a' and "
        "'b'; they are not grouped"
    )
    (one,) = look_alike([], [("a", "t")], "r1")
    assert one.message.startswith(
        "1 pair of a training and a test row looks alike by features, first 'a' and 't'"
    )
    assert look_alike([], [], "r1") == []
